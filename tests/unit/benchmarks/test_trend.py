"""Whether a series grows: what the soak is judged by."""

import random

import pytest

from benchmarks.trend import trend

MINUTES = [float(second) for second in range(600)]


def noisy(slope_per_hour: float, *, peaks: int = 0) -> list[float]:
    """Around 1000, by a seed, with so many peaks of 3 %."""
    drawn = random.Random(1)
    values = [1000 + slope_per_hour * at_s / 3600 + drawn.gauss(0, 3) for at_s in MINUTES]
    for place in drawn.sample(range(len(values)), peaks):
        values[place] += 30
    return values


def test_noise_is_flat_whatever_its_peaks() -> None:
    """Its slope may be none."""
    found = trend(MINUTES, noisy(0.0, peaks=30))
    assert found.flat
    assert found.low <= 0 <= found.high
    assert found.typical == pytest.approx(1000, abs=1)


def test_a_leak_is_found() -> None:
    """The slope is what it was made with, and the interval holds it."""
    found = trend(MINUTES, noisy(200.0, peaks=30))
    assert not found.flat
    assert found.low < 200 < found.high
    assert found.per_hour == pytest.approx(200, rel=0.1)
    assert found.growth == pytest.approx(200 / 6 / 1000, rel=0.15)


def test_a_step_up_is_found() -> None:
    """Though hardly any pair of points shows it."""
    values = [1000.0] * 590 + [1100.0] * 10
    assert not trend(MINUTES, values).flat
    assert trend(MINUTES, values[::-1]).flat


def test_what_never_changes_is_flat() -> None:
    """Two points are enough."""
    found = trend([0.0, 1.0], [0.0, 0.0])
    assert (found.flat, found.per_hour, found.growth, found.largest) == (True, 0.0, 0.0, (0.0, 0.0))
