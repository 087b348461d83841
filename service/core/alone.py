"""What a budget would have bought if nobody else had been there: the measure of what load costs in accuracy."""

from service.core.catalogue import Catalogue, rank
from service.core.situation import Situation
from service.core.state import Costs, SystemState
from service.core.upgrading import HAND_OVER_S
from service.core.values import Job, Variant

_NOBODY = SystemState((), (), 1, 0.0)


def best_alone(now_s: float, job: Job, catalogue: Catalogue, costs: Costs, *, upgrades: bool) -> Variant | None:
    """The variant that would have answered a job which came at `now_s` and never waited; None when none fits.

    `costs` are those of a machine with nothing else at work; `upgrades`: there are background lanes, on which an
    insured job gets the best that fits after the cheapest has answered. Raises `EffserveError` as `Situation` does.
    """
    situation = Situation(catalogue, now_s, _NOBODY, costs)
    fitting = situation.fitting(job)
    if not fitting or not job.question.insures:
        return fitting[0] if fitting else None
    cheapest = situation.cheapest(job)
    left_s = situation.left_s(job) - situation.least_s(job) - HAND_OVER_S
    better = (v for v in fitting if upgrades and rank(v) > rank(cheapest) and situation.tail_s(job, v) <= left_s)
    return next(better, cheapest)
