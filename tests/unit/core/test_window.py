"""How evenly requests come."""

import random

import pytest

from service.core.window import FEWEST, GAPS, VARIATION_CLIP, Gaps


def _after(gaps_s: list[float]) -> float:
    subject, now_s = Gaps(10.0), 0.0
    subject.add(now_s)
    for gap_s in gaps_s:
        now_s += gap_s
        subject.add(now_s)
    return subject.variation


def test_even_gaps_do_not_vary() -> None:
    """As far down as the clip."""
    assert _after([0.1] * GAPS) == VARIATION_CLIP[0]


def test_a_poisson_process_varies_by_one() -> None:
    """In the mean over many windows."""
    draw = random.Random(0)
    found = [_after([draw.expovariate(30.0) for _ in range(GAPS)]) for _ in range(50)]
    assert sum(found) / len(found) == pytest.approx(1.0, abs=0.1)


def test_bursts_vary_more() -> None:
    """Ten at once, then nothing for a second; and no more than the clip."""
    assert _after(([0.0] * 9 + [1.0]) * 12) == VARIATION_CLIP[1]
    assert 1.5 < _after(([0.01] * 3 + [0.2]) * 30) < VARIATION_CLIP[1]


@pytest.mark.parametrize("gaps_s", [[], [0.001, 5.0] * (FEWEST // 2 - 1), [0.0] * 50])
def test_little_is_taken_for_a_poisson_process(gaps_s: list[float]) -> None:
    """Few gaps, or no time between any."""
    assert _after(gaps_s) == 1.0


def test_a_lull_says_nothing() -> None:
    """An hour without requests is none of the gaps."""
    assert _after([0.1] * 40 + [3600.0] + [0.1] * 40) == VARIATION_CLIP[0]
