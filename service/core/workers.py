"""How many workers a service has, and what each gets.

A worker is a process with an interpreter, an event loop and lanes of its own. One loop carries as many lanes as the
time that it spends on a request goes into the time that a lane does; beyond that lanes wait for the loop, and another
loop is worth its memory. Below it a second loop has nothing to give: it takes lanes away from the first one's queue,
and two queues of one lane make requests wait that one queue of two would not.
"""

from dataclasses import dataclass

LANES_EACH = 8
"""Lanes that one event loop carries with about half of its time to spare, where a request passes 1.45 ms outside its
lane and at least 21 ms on it: docs/scaling.md has where that was so, and where it was not."""
FIRST_WAIT_S = 0.5
LONGEST_WAIT_S = 30.0
"""Before a worker that ended is started again: so long at first, twice as long each time, and never longer."""


@dataclass(frozen=True, slots=True)
class Place:
    """Which of the workers a process is, counted from 1."""

    number: int = 1
    of: int = 1


ALONE = Place()
"""With one worker."""


@dataclass(frozen=True, slots=True)
class Workers:
    """How many there are, and the reason where it is another number than somebody asked for."""

    count: int
    why: str = ""


def how_many(asked: int | None, lanes: int) -> Workers:
    """`asked` None: as many as it takes, for each to have `LANES_EACH` lanes at most."""
    if asked is None:
        return Workers(-(-lanes // LANES_EACH))
    if asked <= lanes:
        return Workers(asked)
    return Workers(lanes, f"{asked} workers were asked for, and there are {lanes} lanes to share: {lanes} workers")


def shares(whole: int, parts: int) -> list[int]:
    """Of what is shared, as evenly as can be; who comes first has the larger ones."""
    each, over = divmod(whole, parts)
    return [each + (number < over) for number in range(parts)]


def wait_s(failures: int) -> float:
    """Before a worker is started again that has ended so many times in a row, at least once."""
    return float(min(FIRST_WAIT_S * 2 ** min(failures - 1, 10), LONGEST_WAIT_S))
