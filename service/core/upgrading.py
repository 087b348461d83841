"""Policies P2 and P3, and K1 while many are lost: what becomes of an answer in hand. Pure, as all policies are.

An insured request got its cheapest variant in its turn, as if every request had asked for the cheapest. What follows
happens on background lanes, which take nothing from anybody: the foreground is the same to the moment, so whoever would
be answered in time without upgrades has an answer in hand in time, and it goes out before its deadline.

- The earliest deadline first, the most accurate variant that fits what is left and is *expected to finish* in its share
  of the spare time: what the lanes do until then, less what arrivals at the present rate would bring, what waits and
  what runs, in equal parts among the upgrades, and never more than one lane's.
- One more upgrade must leave those that run enough to finish.
- An answer goes out when nothing better fits any more, when the run for a better one is expected to come too late, and
  at the latest `HAND_OVER_S` before the deadline; one that is kept unasked, because many requests are lost, also when
  it has waited for long (`LONGEST_HOLD`) and no run for a better one can begin.
- A cascade (P3) upgrades an answer once, and only if it is among the least confident of the last ones: as large a share
  of them as there is spare time for, at the mean rate of arrivals. The others go out at once.

[ADR 9](../../docs/decisions/0009-background-lanes.md)
"""

from collections.abc import Iterator
from functools import cached_property
from itertools import islice

from service.core.actions import Deliver
from service.core.confidence import threshold
from service.core.situation import MOST_DEADLINES, SOONEST_S, Situation
from service.core.state import Upgrade
from service.core.values import Job, Reason, Variant

HAND_OVER_S = 0.005
"""An answer in hand goes out so long before it would have to: the p99 of how late an event loop's timer rings on a busy
machine. Nothing that could still come in that time is worth a missed deadline."""

LONGEST_HOLD = 2.0
"""An answer that nobody asked to keep waits for an upgrade to begin until so many times the tail of the run that its
budget would have bought alone has passed since its request came. Seconds of budget are no wish to wait for seconds."""

LOOK_AGAIN_S = 0.05
"""When nobody comes any more, the rate of arrivals falls and nothing else tells."""


def better(situation: Situation, job: Job) -> list[tuple[Variant, float]]:
    """What is more accurate than the answer in hand and fits what is left, with its tail; most accurate first.

    Nothing once a cascade was upgraded: what comes then is the average of two.
    """
    if job.question.cascades and job.upgraded:
        return []
    left_s = _left_s(situation, job)
    return [one for one in situation.better_s(job) if one[1] <= left_s]


def deliveries_s(situation: Situation) -> Iterator[float]:
    """Seconds until each answer in hand has to go, whatever else happens, and until there may be time for a better one
    though nothing happens."""
    if situation.state.idle_background:
        yield LOOK_AGAIN_S
    running = {run.job.id for run in situation.state.upgrades}
    for job in _insured(situation):
        if job.id in running:
            yield _left_s(situation, job)
        else:
            for _, tail_s in better(situation, job)[-1:]:
                yield _left_s(situation, job) - tail_s + 2 * SOONEST_S
            if not job.question.insures:
                yield _kept_s(situation, job)


class Spare:
    """Lane time that the foreground is expected to leave over."""

    def __init__(self, situation: Situation, *, utilisation: float, arrival_reserve: float) -> None:
        state = situation.state
        self._situation = situation
        self._lanes = state.lanes * utilisation
        self._reserve = arrival_reserve

    def delivery(self) -> Deliver | None:
        """The first job whose answer in hand is its last."""
        upgrades = {run.job.id: run for run in self._situation.state.upgrades}
        for job in _insured(self._situation):
            if self._is_last(job, upgrades.get(job.id)):
                return Deliver(job)
            if job.id not in upgrades and self._is_confident(job):
                return Deliver(job, Reason.CONFIDENT)
        return None

    def _is_last(self, job: Job, run: Upgrade | None) -> bool:
        if run is None:
            hopeless = not self._situation.state.background_lanes or not better(self._situation, job)
            return hopeless or self._waits_long(job)
        left_s = _left_s(self._situation, job)
        return left_s <= SOONEST_S or run.remaining_s > left_s

    def _waits_long(self, job: Job) -> bool:
        if job.question.insures or _kept_s(self._situation, job) > SOONEST_S:
            return False
        return not self._situation.state.idle_background or self._best(job) is None

    def _is_confident(self, job: Job) -> bool:
        """Whether others need an upgrade more: of all requests, that share can be upgraded at the price of this one.

        Nothing is reserved here: a share that turns out too large costs an upgrade that does not finish.
        """
        if not job.question.cascades:
            return False
        state, situation = self._situation.state, self._situation
        quickest, _ = better(self._situation, job)[-1]
        upgrade = self._best(job) or quickest
        price_s = situation.expected_s(job, upgrade)
        spare = max(self._lanes - state.calm_arrivals_per_s * situation.least_s(job), 0.0)
        wanted = state.calm_arrivals_per_s * price_s
        return job.confidence > threshold(state.confidences, spare / wanted if wanted else 1.0)

    def upgrade(self) -> tuple[Job, Variant] | None:
        """What to start on an idle background lane."""
        if not self._situation.state.idle_background or self._is_full:
            return None
        running = {run.job.id for run in self._situation.state.upgrades}
        found = ((job, self._best(job)) for job in _insured(self._situation) if job.id not in running)
        return next(((job, variant) for job, variant in found if variant is not None), None)

    def _best(self, job: Job) -> Variant | None:
        if self._is_full:
            return None
        share_s = self._share_s(job, len(self._situation.state.upgrades) + 1)
        return next((v for v, _ in better(self._situation, job) if self._situation.expected_s(job, v) <= share_s), None)

    @cached_property
    def _is_full(self) -> bool:
        """Whether one more upgrade would keep one of those that run from finishing."""
        upgrades = self._situation.state.upgrades
        runs = len(upgrades)
        return any(
            self._share_s(run.job, runs + 1) < run.remaining_s <= self._share_s(run.job, runs) for run in upgrades
        )

    def _share_s(self, job: Job, runs: int) -> float:
        """What one of `runs` upgrades gets until the job's answer has to go."""
        left_s = _left_s(self._situation, job)
        arriving_s = self._situation.arriving(left_s, self._reserve) * self._situation.least_s(job)
        return min(left_s, (self._lanes * left_s - arriving_s - self._due_s) / runs)

    @cached_property
    def _due_s(self) -> float:
        return self._situation.work_s()


def _left_s(situation: Situation, job: Job) -> float:
    return situation.left_s(job) - HAND_OVER_S


def _kept_s(situation: Situation, job: Job) -> float:
    """Seconds for which an answer that nobody asked to keep may still wait for an upgrade."""
    since_s = situation.now_s - job.submitted_s
    tails_s, left_s = situation.tails_s(job), situation.left_s(job) + since_s
    bought_s = next((tail_s for _, tail_s in tails_s if tail_s <= left_s), tails_s[-1][1])
    return LONGEST_HOLD * bought_s - since_s


def _insured(situation: Situation) -> Iterator[Job]:
    return islice(situation.state.insured, MOST_DEADLINES)
