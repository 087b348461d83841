"""Many who wait: nobody near enough to a deadline to be late is overlooked, and few are looked at."""

import random
from typing import Any

import pytest

from service.core.catalogue import Catalogue
from service.core.situation import MOST_DEADLINES, Situation
from service.core.values import Job, Mode
from tests.builders import FAMILY, FixedCosts, job, running, state

CROWD = 3 * MOST_DEADLINES


class Counting(Situation):
    """Counts who is looked at."""

    looked = 0

    def is_late(self, job: Job) -> bool:
        """One more."""
        self.looked += 1
        return super().is_late(job)

    def is_servable(self, job: Job, in_s: float = 0.0) -> bool:
        """One more."""
        self.looked += 1
        return super().is_servable(job, in_s)


def among(*waiting: Job) -> Counting:
    """One lane is busy for a long time, and handing over and answering take some."""
    costs = FixedCosts(reserve_s=0.003, hand_over_s=0.001)
    return Counting(Catalogue(FAMILY), 0.0, state(*waiting, busy=(running(0, until_s=9.0),)), costs)


def anybody(draw: random.Random, number: int) -> Job:
    """Late or not by little or much, with all kinds of wishes, and with pictures that take long."""
    asks: dict[str, Any] = draw.choice([{}, {}, {"variant": "b4"}, {"variant": "b1"}, {"min_top1": 0.82}])
    mode = draw.choice([Mode.BEST_EFFORT, Mode.STRICT])
    budget_s = draw.choice([0.0, 0.17, 1.0, 60.0]) + draw.uniform(0.005, 0.3)
    return job(number, budget_s, mode=mode, decode_s=draw.choice([0.0, 0.1]), **asks)


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("late", [0, 1, CROWD])
def test_the_first_who_is_late_is_found_as_if_all_were_looked_at(seed: int, late: int) -> None:
    """And the first who is strict and that nothing fits any more."""
    draw = random.Random(seed)
    crowd = [anybody(draw, number) for number in range(CROWD)]
    waiting = [*crowd[:late], *(one for one in crowd[late:] if not among(one).is_late(one))]
    waiting += [job(CROWD + number, 100.0) for number in range(MOST_DEADLINES)]
    subject = among(*waiting)
    waits = subject.state.waiting
    assert subject.overdue(0.0) == next(filter(subject.is_late, waits), None)
    strict = (one for one in waits if one.question.mode is Mode.STRICT)
    assert subject.hopeless() == next((one for one in strict if not subject.is_servable(one)), None)


def test_who_has_time_is_not_looked_at_in_a_crowd() -> None:
    """However many they are."""
    subject = among(*(job(number, 60.0, mode=Mode.STRICT) for number in range(CROWD)), job(CROWD, 0.1))
    assert subject.hopeless() is None
    assert subject.overdue(0.0) is None
    assert subject.looked == 1
