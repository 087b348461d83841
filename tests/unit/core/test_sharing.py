"""Time that background runs share: what each has had, and when it will have had enough."""

import math

import pytest

from service.core.sharing import SharedTime


def test_a_run_alone_has_one_lane_of_many() -> None:
    """It cannot use two."""
    shared = SharedTime(4)
    shared.begin(1.0, 7)
    assert shared.got_s(1.5, 7) == pytest.approx(0.5)
    assert shared.reaches_s(7, 2.0) == pytest.approx(3.0)


def test_runs_share_alike() -> None:
    """Three on two lanes; the third comes a second later than the others."""
    shared = SharedTime(2)
    shared.begin(0.0, 1)
    shared.begin(0.0, 2)
    shared.begin(1.0, 3)
    assert [shared.got_s(4.0, run) for run in (1, 2, 3)] == pytest.approx([3.0, 3.0, 2.0])


def test_the_foreground_goes_first() -> None:
    """With one of two lanes taken two runs get half each, with both taken nothing, which has no end."""
    shared = SharedTime(2)
    shared.begin(0.0, 1)
    shared.begin(0.0, 2)
    shared.occupy(0.0, 1)
    assert shared.reaches_s(1, 1.0) == pytest.approx(2.0)
    shared.occupy(1.0, 2)
    assert shared.got_s(9.0, 1) == pytest.approx(0.5)
    assert shared.reaches_s(1, 1.0) == math.inf


def test_who_ends_leaves_more_to_the_others() -> None:
    """Half a lane each for a second, then one for the one that is left."""
    shared = SharedTime(1)
    shared.begin(0.0, 1)
    shared.begin(0.0, 2)
    shared.end(1.0, 1)
    assert shared.reaches_s(2, 1.0) == pytest.approx(1.5)


def test_what_is_overdue_is_due_now() -> None:
    """Not earlier."""
    shared = SharedTime(1)
    shared.begin(0.0, 1)
    shared.occupy(2.0, 0)
    assert shared.reaches_s(1, 0.5) == pytest.approx(2.0)
