"""The small rules that values keep by themselves."""

import math

import pytest

from service.core.values import Deadline, Decision, ImageHeader, Reason, Timing
from tests.builders import variant


def test_a_deadline_runs_from_its_start() -> None:
    """50 ms from 1.0 s; 30 ms later, 20 are left."""
    deadline = Deadline(1.0, 0.05)
    assert deadline.at_s == 1.05
    assert deadline.remaining_s(1.03) == pytest.approx(0.02)


def test_an_overdrawn_budget_is_negative() -> None:
    """It says by how much."""
    assert Deadline(0.0, 0.05).remaining_s(0.06) == pytest.approx(-0.01)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_decision_with_a_made_up_prediction_cannot_be_made(bad: float) -> None:
    """NaN would compare as fitting or not fitting by accident."""
    with pytest.raises(ValueError, match="non-finite prediction for b0"):
        Decision(variant("b0"), Reason.MOST_ACCURATE_THAT_FITS, 0.0, 0.1, bad, 0.1, True, ())


def test_stages_add_up() -> None:
    """The total is not measured apart."""
    assert Timing(0.001, 0.002, 0.003, 0.004, 0.005).total_s == pytest.approx(0.015)


def test_megapixels_are_millions() -> None:
    """2000 x 1500 are three."""
    assert ImageHeader("JPEG", 2000, 1500, 1).megapixels == 3.0
