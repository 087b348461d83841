"""How long a run still takes, as far as anybody knows."""

from dataclasses import replace

import pytest

from service.core.state import Running, wait_s
from tests.builders import job, running, state, variant

RUN = Running(0, job(1, 10.0), variant("b4"), started_s=1.0, expected_end_s=1.2, tail_end_s=1.3)


@pytest.mark.parametrize(
    ("now_s", "left_s"),
    [
        (1.0, 0.2),  # As expected.
        (1.15, 0.05),
        (1.2, 0.1),  # Late: by its tail.
        (1.25, 0.05),
        (1.29, 0.029),  # Later than nearly all: a tenth of what it took so far.
        (2.0, 0.1),
        (11.0, 1.0),
    ],
)
def test_what_is_left_of_a_run_is_never_nothing(now_s: float, left_s: float) -> None:
    """It is expected to end at 1.2, nearly surely by 1.3, and who has not ended by then goes on for a while."""
    assert RUN.remaining_s(now_s) == pytest.approx(left_s)


def test_a_run_that_was_asked_to_stop_ends_then() -> None:
    """Whatever it still had to do."""
    stopping = replace(RUN, stops_s=1.11)
    assert stopping.remaining_s(1.1) == pytest.approx(0.01)
    assert stopping.remaining_s(1.2) == 0.0


def test_a_run_that_was_asked_to_stop_may_end_by_itself_before() -> None:
    """5 ms from now, not 10."""
    assert replace(RUN, stops_s=1.205).remaining_s(1.195) == pytest.approx(0.005)


def test_idle_lanes_are_those_without_a_run() -> None:
    """In ascending order."""
    busy = (running(2, until_s=1.0), running(0, until_s=1.0))
    assert state(lanes=4, busy=busy).idle_lanes == (1, 3)


def test_a_wait_is_the_end_of_whoever_goes_before() -> None:
    """Two lanes, free in 1 and 2 s: the first in line ends at 2.5, the second at 3, so a lane is free at 2.5."""
    assert wait_s([1.0, 2.0], [1.5, 1.0]) == 2.5
