"""Which variant does this image get, now? The most accurate one that fits its budget and starves nobody.

A policy is asked whenever something changed. It sees a frozen snapshot and an explicit `now`, and returns one action.
This one keeps no state; the server and the simulator drive the same object.

The rule (K1), for the waiting job with the earliest deadline among those that can still make it:

1. Look at the Pareto front of the routed variants, most accurate first.
2. A variant *fits* when its tail latency is at most what is left of the budget, less the reserve for the response.
3. It *starves nobody* when its expected time is within the job's *allowance*: what the lanes can still do until each
   later deadline, less what is due by then, with those who wait at their cheapest variant and future arrivals at the
   present rate. While somebody waits who is late already, there is none: that answer is wanted soon, too.
4. Take the first that does both. If some fit and all would starve somebody, take the cheapest. If none fits:
   best effort takes the cheapest, strict refuses and names the smallest budget that would have done.
5. All lanes are busy, and whoever is next would miss by waiting: *terminate* a run, the one with most left to do, among
   those whose own deadline leaves room to start anew at the cheapest: an upgrade, or any run for a later deadline. Its
   job goes back into the queue, takes the cheapest next time, and is never terminated again. Under overload no run of
   the cheapest is: there is no room to start anew. Who named a variant or a least accuracy, or asked to be insured, is
   left to end.

Step 5 is what makes step 3 right: the allowance takes lanes for preemptible, and with few lanes it is blocking, not the
choice, that loses most. A run whose own deadline will leave no room before it ends must be able to stand a burst of
arrivals, too: as many more as one standard deviation, by how unevenly requests came lately. Where runs cannot be
terminated, step 3 counts lanes as blocked until their run ends. It allows no upgrades while too much of the lanes' time
went into terminated runs.

An insured request (P2) gets its cheapest variant first, in its turn among all others; what becomes of the answer in
hand, in time that is left over, stands in `upgrading`. While more than `MOST_LOST` of the last requests were lost, all
are insured: a run that is not the cheapest leaves a debt, its job's own cheapest run, and a burst that finds one loses
somebody for it.
[ADR 22](../../docs/decisions/0022-insured-while-losing.md)

Jobs that cannot make their deadline any more run behind those that can, and so does one in doubt whose turn would cost
another its place. Strict ones that nothing fits any more are refused at once; others when they would have to wait until
more than `patience_s` after their deadline. New ones are refused at the door when who is late would have to wait so
long, and they would be late, or somebody else because of them, be it only if runs took a little longer: who was let in
keeps its place.
[ADR 21](../../docs/decisions/0021-who-may-hope.md)
[ADR 8](../../docs/decisions/0008-terminating-upgrades.md)
"""

import heapq
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Protocol

from service.core import explanation, upgrading
from service.core.actions import Action, Reject, Start, Terminate
from service.core.catalogue import Catalogue
from service.core.errors import EffserveError, ErrorKind
from service.core.situation import MOST_DEADLINES, SOONEST_S, Situation
from service.core.state import Costs, Running, SystemState
from service.core.values import Decision, Job, Mode, Reason, Variant
from service.core.window import CALM_WINDOW_S

MOST_WASTED = 0.1
"""Share of the lanes' time that may go into terminated runs."""
MOST_LOST = 0.02
"""Share of lost requests above which everybody gets the cheapest variant first."""
LEAST_AGAIN_S, MOST_AGAIN_S = 0.1, CALM_WINDOW_S
"""Nobody who is refused is told to come again sooner or later: what the rate of arrivals will be is not known for
longer than it was counted."""
ROOM = 1.25
"""A job counts as missing when less than this many times its expected time would be left to it."""


class Policy(Protocol):
    """Decides; does nothing itself.

    Two questions, because the answer to the first must not depend on when the second is asked.
    """

    @property
    def catalogue(self) -> Catalogue:
        """What is served."""

    def next_action(self, now_s: float, state: SystemState, costs: Costs) -> Action | None:
        """What to do for those who wait, or None when there is nothing to do. Asked again after each action."""

    def wake_s(self, now_s: float, state: SystemState, costs: Costs) -> float | None:
        """When to be asked that again at the latest, though nothing happened; None when only events matter."""

    def next_upgrade(self, now_s: float, state: SystemState, costs: Costs) -> Action | None:
        """What to do for those with an answer in hand, likewise: a `Deliver`, or a `Start` on a background lane."""

    def upgrade_wake_s(self, now_s: float, state: SystemState, costs: Costs) -> float | None:
        """When to be asked that again at the latest."""

    def decide(self, now_s: float, job: Job, state: SystemState, costs: Costs) -> Decision:
        """The variant `job` would get if a lane were free for it now."""

    def admit(self, now_s: float, job: Job, state: SystemState, costs: Costs) -> EffserveError | None:
        """Why `job` cannot be taken in, or None."""

    def smallest_feasible_budget_s(self, now_s: float, job: Job, state: SystemState, costs: Costs) -> float:
        """The budget that would have been enough for `job`, counted from its first byte."""

    def backlog_s(self, now_s: float, state: SystemState, costs: Costs) -> float:
        """Predicted work per lane, in seconds."""


@dataclass(frozen=True, slots=True)
class BudgetPolicy:
    """The rule above. Each method raises `EffserveError(UNKNOWN_VARIANT | ACCURACY_UNAVAILABLE)` for a job that
    nothing served is eligible for; `admit` is asked first, so a queued job has something to run on.
    """

    catalogue: Catalogue
    utilisation: float = 0.97
    """Share of the lanes' time that the look-ahead plans with."""
    arrival_reserve: float = 0.75
    """Standard deviations by which arrivals may exceed those at the present rate."""
    terminates: bool = True
    """Whether runs may be terminated."""
    insures: bool = True
    """Whether all are insured while too many are lost."""
    patience_s: float = 0.25
    """How long after its deadline a late request may wait, its own run not counted. Its client wants the answer (best
    effort), or else to be told soon that there will be none."""

    def next_action(self, now_s: float, state: SystemState, costs: Costs) -> Action | None:
        """Refuse who is hopeless; start the most urgent one of the others, or make room for it where it must be. Who is
        late is answered by a lane that has nothing better to do, and refused when none is to be expected in time."""
        if not state.waiting:
            return None
        situation = self._situation(now_s, state, costs)
        if hopeless := situation.hopeless():
            return Reject(hopeless, situation.infeasible(hopeless))
        if state.idle_lanes:
            return self._start(situation)
        if overdue := situation.overdue(self.patience_s):
            return Reject(overdue, self._untimely(situation, overdue, "it is late, and no run is expected to begin"))
        return self._make_room(situation)

    def wake_s(self, now_s: float, state: SystemState, costs: Costs) -> float | None:
        """The moment from which on a waiting job needs a lane: whatever was expected of the runs, look again then."""
        if not state.waiting:
            return None
        return _soonest_s(now_s, self._latest_starts(self._situation(now_s, state, costs)))

    def next_upgrade(self, now_s: float, state: SystemState, costs: Costs) -> Action | None:
        """Deliver what nothing better will come for; else use the spare time."""
        if not state.insured:
            return None
        situation = self._situation(now_s, state, costs)
        spare = upgrading.Spare(situation, utilisation=self.utilisation, arrival_reserve=self.arrival_reserve)
        if delivery := spare.delivery():
            return delivery
        if (found := spare.upgrade()) is None:
            return None
        job, variant = found
        reason = Reason.CASCADES if job.question.cascades else Reason.UPGRADES
        decision = self._decision(situation, job, variant, situation.fitting(job), reason, insured=True)
        return Start(state.idle_background[0], job, decision)

    def upgrade_wake_s(self, now_s: float, state: SystemState, costs: Costs) -> float | None:
        """The moment at which an answer in hand has to go."""
        if not state.insured:
            return None
        return _soonest_s(now_s, upgrading.deliveries_s(self._situation(now_s, state, costs)))

    def decide(self, now_s: float, job: Job, state: SystemState, costs: Costs) -> Decision:
        """The rule; with a verdict for each variant when the question asks for it."""
        return self._decide(self._situation(now_s, state, costs), job)

    def admit(self, now_s: float, job: Job, state: SystemState, costs: Costs) -> EffserveError | None:
        """Refuse what is hopeless in strict mode; while no lane idles, also what would be late or make another late
        when so much work waits that there is no time for late answers."""
        situation, budget_s = self._situation(now_s, state, costs), job.question.deadline.budget_s
        situation.eligible(job)  # Raises where nothing is; a job in the queue has something to run on.
        if job.question.mode is Mode.STRICT and situation.needed_s(job, budget_s) > budget_s:
            return situation.infeasible(job)
        if state.idle_lanes:
            return None
        # What the job would be late by is not known yet; that late ones who come now wait so long is.
        if situation.outlasts(job, self.patience_s, left_s=0.0) and situation.makes_late(job):
            waits = f"{situation.backlog_s * 1e3:.0f} ms of work waits for each lane and more keeps coming"
            why = f"{waits}: this request or another would be late, and who is late would not be run"
            return self._untimely(situation, job, why)
        return None

    def smallest_feasible_budget_s(self, now_s: float, job: Job, state: SystemState, costs: Costs) -> float:
        """Time since the first byte + expected wait + tail of the cheapest eligible variant + response."""
        return self._situation(now_s, state, costs).smallest_feasible_budget_s(job)

    def backlog_s(self, now_s: float, state: SystemState, costs: Costs) -> float:
        """Predicted work per lane: what runs, and what waits at its cheapest."""
        return self._situation(now_s, state, costs).backlog_s

    def choose(self, situation: Situation, job: Job, fitting: tuple[Variant, ...]) -> Variant:
        """Steps 3 and 4. `fitting` is in order of accuracy; empty when nothing fits."""
        cheapest = situation.cheapest(job)
        if not fitting or fitting[0] == cheapest or len(situation.state.waiting) > MOST_DEADLINES:
            return cheapest
        return self._affordable(situation, job, fitting) or cheapest

    def _affordable(self, situation: Situation, job: Job, fitting: tuple[Variant, ...]) -> Variant | None:
        """Step 3: the first that starves nobody."""
        if any(map(situation.is_late, situation.state.waiting)):
            return None
        if situation.stop_s is not None:
            return self._within_allowance(situation, job, fitting)
        if self._can_terminate(situation.costs):
            return None
        return next((v for v in fitting if self._blocks_nobody(situation, job, v)), None)

    def _within_allowance(self, situation: Situation, job: Job, fitting: tuple[Variant, ...]) -> Variant | None:
        room_s, kept = situation.room_s(job), dict[bool, float]()
        for variant in fitting:
            keeps_s = situation.keeps_s(job, variant)
            bursts = room_s < keeps_s
            if bursts not in kept:
                kept[bursts] = situation.allowance_s(
                    job, utilisation=self.utilisation, arrival_reserve=self.arrival_reserve, bursts=bursts
                )
            if keeps_s <= kept[bursts]:
                return variant
        return None

    def _latest_starts(self, situation: Situation) -> Iterator[float]:
        """Seconds until each who waits needs a lane."""
        stop_s = situation.stop_s
        if stop_s is not None and any(map(situation.makes_room, situation.state.running)):
            for job in islice(situation.timely(), MOST_DEADLINES):
                yield situation.left_s(job) - ROOM * situation.least_s(job) - stop_s

    def _start(self, situation: Situation) -> Action:
        job = situation.head()
        decision = self._decide(situation, job)
        if job.question.mode is Mode.STRICT and not decision.fits and not situation.is_superseded(job):
            return Reject(job, situation.infeasible(job))
        return Start(situation.state.idle_lanes[0], job, decision)

    def _make_room(self, situation: Situation) -> Terminate | None:
        """Step 5, for the first who would miss by waiting, where terminating frees a lane sooner than waiting does.

        Lanes that are about to stop count as free then, so one who is urgent makes one run stop.
        """
        if situation.stop_s is None or not any(map(situation.makes_room, situation.state.running)):
            return None
        free_s = situation.free_lanes_s()
        for job in islice(situation.timely(), MOST_DEADLINES):
            least_s = situation.least_s(job)
            sooner = free_s[0] > situation.stop_s + SOONEST_S
            misses = free_s[0] + ROOM * least_s > situation.left_s(job)
            if sooner and misses and situation.is_servable(job, situation.stop_s) and situation.has_turn(job):
                victim = self._victim(situation, job, situation.stop_s)
                return None if victim is None else Terminate(victim.lane, victim.job)
            if situation.is_servable(job, free_s[0]):
                heapq.heapreplace(free_s, free_s[0] + least_s)
        return None

    def _victim(self, situation: Situation, job: Job, stop_s: float) -> Running | None:
        """The run with most left to do whose job can still start anew, behind `job`, who gets its lane."""
        able = (run for run in situation.state.running if self._may_yield(situation, run, job, stop_s))
        return max(able, key=lambda run: run.remaining_s(situation.now_s), default=None)

    def _may_yield(self, situation: Situation, run: Running, job: Job, stop_s: float) -> bool:
        """Whether stopping it is worth while, too: not if it ends soon."""
        if not situation.makes_room_for(run, job):
            return False
        worth_s = stop_s + situation.least_s(run.job) / 2
        return situation.room_s(run.job) > 0 and run.remaining_s(situation.now_s) > worth_s

    def _can_terminate(self, costs: Costs) -> bool:
        return self.terminates and costs.terminate_s() is not None

    def _situation(self, now_s: float, state: SystemState, costs: Costs) -> Situation:
        allowed = self.terminates and state.wasted_share <= MOST_WASTED
        return Situation(self.catalogue, now_s, state, costs, stop_s=costs.terminate_s() if allowed else None)

    def _blocks_nobody(self, situation: Situation, job: Job, variant: Variant) -> bool:
        return situation.starves_nobody(
            job, variant, utilisation=self.utilisation, arrival_reserve=self.arrival_reserve
        )

    def _decide(self, situation: Situation, job: Job) -> Decision:
        fitting = situation.fitting(job)
        insured = job.question.insures or self._insures_unasked(situation, job, fitting)
        chosen = situation.cheapest(job) if insured else self.choose(situation, job, fitting)
        reason = explanation.reason(job.question, fitting, chosen, insured=insured)
        return self._decision(situation, job, chosen, fitting, reason, insured=insured)

    def _insures_unasked(self, situation: Situation, job: Job, fitting: tuple[Variant, ...]) -> bool:
        """Whether too many were lost lately to begin with anything but the cheapest, where more is to be had."""
        state = situation.state
        losing = self.insures and state.lost_share > MOST_LOST and state.background_lanes > 0
        return losing and job.question.insurable and bool(fitting) and fitting[0] != situation.cheapest(job)

    def _decision(
        self,
        situation: Situation,
        job: Job,
        chosen: Variant,
        fitting: tuple[Variant, ...],
        reason: Reason,
        *,
        insured: bool,
    ) -> Decision:
        explains = job.question.explain
        return Decision(
            variant=chosen,
            reason=reason,
            decided_at_s=situation.now_s,
            remaining_s=situation.left_s(job),
            expected_s=situation.expected_s(job, chosen),
            tail_s=situation.tail_s(job, chosen),
            fits=chosen in fitting,
            terminated=job.terminated,
            candidates=explanation.candidates(situation, job, fitting, chosen, insured=insured) if explains else (),
            insured=insured,
        )

    def _untimely(self, situation: Situation, job: Job, why: str) -> EffserveError:
        """Too late for the client. Once the work that waits is done, as far as others leave time for that, who is late
        waits no longer than it may: that is when to come again."""
        patience_ms, drained_s = self.patience_s * 1e3, situation.late_wait_s(job) - self.patience_s
        facts: dict[str, float | int | str] = {
            "backlog_ms": round(situation.backlog_s * 1e3, 1),
            "patience_ms": patience_ms,
        }
        detail = f"{why} within the {patience_ms:g} ms of `limits.patience_ms` after its deadline"
        again_s = min(max(drained_s, LEAST_AGAIN_S), MOST_AGAIN_S)
        return EffserveError(ErrorKind.QUEUE_FULL, detail, facts, retry_after_s=again_s)


def _soonest_s(now_s: float, lefts_s: Iterator[float]) -> float | None:
    """The first of some moments, given as seconds from now, that is not now."""
    return min((now_s + left_s for left_s in lefts_s if left_s > SOONEST_S), default=None)
