"""How many workers there are, and what each gets of what they share."""

import pytest

from service.core.workers import LANES_EACH, LONGEST_WAIT_S, Workers, how_many, shares, wait_s


@pytest.mark.parametrize(("lanes", "count"), [(1, 1), (2, 1), (LANES_EACH, 1), (LANES_EACH + 1, 2), (64, 8), (192, 24)])
def test_automatic_is_what_an_event_loop_carries(lanes: int, count: int) -> None:
    """One for each eight lanes; on a small machine a single process."""
    assert how_many(None, lanes) == Workers(count)


def test_what_is_asked_for_is_what_there_is() -> None:
    """As long as each has a lane."""
    assert [how_many(asked, 4) for asked in (1, 3, 4)] == [Workers(1), Workers(3), Workers(4)]


def test_more_than_lanes_are_too_many() -> None:
    """As many as there are lanes then, and the reason."""
    assert how_many(5, 4) == Workers(4, "5 workers were asked for, and there are 4 lanes to share: 4 workers")


@pytest.mark.parametrize(
    ("whole", "parts", "each"), [(4, 2, [2, 2]), (5, 2, [3, 2]), (7, 3, [3, 2, 2]), (1, 2, [1, 0]), (0, 2, [0, 0])]
)
def test_what_is_shared_is_shared_evenly(whole: int, parts: int, each: list[int]) -> None:
    """Nobody has two more than another, and nothing is left."""
    assert shares(whole, parts) == each


def test_who_fails_again_and_again_is_started_less_and_less_often() -> None:
    """Half a second, twice as long each time, and never longer than half a minute."""
    assert [wait_s(failures) for failures in (1, 2, 3)] == [0.5, 1.0, 2.0]
    assert wait_s(7) == wait_s(1000) == LONGEST_WAIT_S
