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
    """It grows by next to nothing."""
    found = trend(MINUTES, noisy(0.0, peaks=30))
    assert found.flat
    assert abs(found.growth) < 0.005
    assert found.typical == pytest.approx(1000, abs=1)


def test_a_leak_is_found() -> None:
    """The slope is what it was made with, about, and may not be none."""
    found = trend(MINUTES, noisy(200.0, peaks=30))
    assert not found.flat
    assert 0 < found.low < found.per_hour < found.high
    assert found.per_hour == pytest.approx(200, rel=0.15)
    assert found.growth == pytest.approx(200 / 6 / 1000, rel=0.2)


def test_what_comes_and_goes_is_flat_however_often_it_comes() -> None:
    """A leak would stay."""
    values = [1000.0 + (300.0 if at_s % 10 < 1 + at_s / 80 else 0.0) for at_s in MINUTES]
    assert trend(MINUTES, values).flat


def test_higher_peaks_are_found() -> None:
    """Though the least stays the same."""
    values = [1000.0] * 560 + [1100.0] * 40
    assert not trend(MINUTES, values).flat
    assert trend(MINUTES, values[::-1]).flat


def test_what_never_changes_is_flat() -> None:
    """Two points are enough."""
    found = trend([0.0, 1.0], [0.0, 0.0])
    assert (found.flat, found.per_hour, found.growth, found.peaks) == (True, 0.0, 0.0, (0.0, 0.0))
