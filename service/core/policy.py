"""Which variant does this image get, now? The most accurate one that fits its budget and starves nobody.

A policy is asked whenever a lane is idle and something waits. It sees a frozen snapshot and an explicit `now`, and
returns one action; it keeps no state, so the server and the simulator drive the same object.

The rule, for the waiting job with the earliest deadline (EDF):

1. Look at the Pareto front of the routed variants, most accurate first.
2. A variant *fits* when its tail latency is at most what is left of the budget, less the reserve for the response.
3. It *starves nobody* when everybody who waits could still be served in time afterwards: running jobs and this one
   occupy their lanes, the others follow in deadline order at their cheapest variant, each on the lane that is free
   first, and future arrivals at the present rate are reserved for.
4. Take the first that does both. If some fit and all would starve somebody, take the cheapest. If none fits:
   best effort takes the cheapest, strict refuses and names the smallest budget that would have done.

Jobs that cannot make their deadline any more run behind those that can, so that one late request does not make the
next one late (the domino effect of plain EDF under overload); strict ones are refused at once, and nobody is passed
over for longer than `PATIENCE_S` beyond the deadline.

The look-ahead counts lanes as blocked until their run ends. Policy K1, which terminates a running upgrade instead,
changes step 3 and adds an action; it needs nothing else.
"""

import heapq
import math
from dataclasses import dataclass
from typing import Protocol

from service.core.actions import Action, Reject, Start
from service.core.errors import EffserveError, ErrorKind
from service.core.state import Costs, SystemState, free_lanes_s, wait_s
from service.core.values import Candidate, Deadline, Decision, Job, Mode, Question, Reason, Variant, Verdict

PATIENCE_S = 1.0
"""How long after its deadline a late request may be passed over. Its client still wants the answer (best effort)."""


class Policy(Protocol):
    """Decides; does nothing itself."""

    def next_action(self, now_s: float, state: SystemState, costs: Costs) -> Action | None:
        """What to do now, or None when there is nothing to start. Asked again after each action."""

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

    variants: tuple[Variant, ...]
    route_untrained: bool = False
    """Whether seeded weights may be chosen by budget (capacity planning)."""
    utilisation: float = 0.97
    """Share of the lanes' time that the look-ahead plans with."""
    arrival_reserve: float = 1.25
    """Factor on the work that arrivals at the present rate would bring."""
    backlog_limit_s: float = 2.0
    """Predicted work per lane above which new requests are refused."""

    def next_action(self, now_s: float, state: SystemState, costs: Costs) -> Action | None:
        """Refuse strict jobs that cannot make it any more; start the most urgent one of the others."""
        if not state.waiting:
            return None
        situation = _Situation(self, now_s, state, costs)
        hopeless = situation.hopeless()
        if hopeless is not None:
            return Reject(hopeless, situation.infeasible(hopeless))
        if not state.idle_lanes:
            return None
        job = situation.head()
        decision = situation.decide(job)
        if job.question.mode is Mode.STRICT and not decision.fits:
            return Reject(job, situation.infeasible(job))
        return Start(state.idle_lanes[0], job, decision)

    def decide(self, now_s: float, job: Job, state: SystemState, costs: Costs) -> Decision:
        """The rule; with a verdict for each variant when the question asks for it."""
        return _Situation(self, now_s, state, costs).decide(job)

    def admit(self, now_s: float, job: Job, state: SystemState, costs: Costs) -> EffserveError | None:
        """Refuse what is hopeless in strict mode, and anything while too much work waits. Never while a lane idles."""
        situation = _Situation(self, now_s, state, costs)
        budget_s = job.question.deadline.budget_s
        needed_s = situation.needed_s(job, budget_s)
        if job.question.mode is Mode.STRICT and needed_s > budget_s:
            return situation.infeasible(job)
        backlog_s = situation.backlog_s()
        if not state.idle_lanes and backlog_s > self.backlog_limit_s:
            return _queue_full(backlog_s, self.backlog_limit_s)
        return None

    def smallest_feasible_budget_s(self, now_s: float, job: Job, state: SystemState, costs: Costs) -> float:
        """Time since the first byte + expected wait + tail of the cheapest eligible variant + response."""
        return _Situation(self, now_s, state, costs).smallest_feasible_budget_s(job)

    def backlog_s(self, now_s: float, state: SystemState, costs: Costs) -> float:
        """Predicted work per lane: what runs, and what waits at its cheapest."""
        return _Situation(self, now_s, state, costs).backlog_s()

    def routed(self) -> tuple[Variant, ...]:
        """Variants that a budget may choose."""
        return tuple(v for v in self.variants if v.rank_top1 is not None and (v.trained or self.route_untrained))

    def front(self, costs: Costs) -> tuple[Variant, ...]:
        """The Pareto set of the routed variants by expected time and accuracy, most accurate first.

        Every variant decodes the same image, so the set does not depend on which one.
        """
        best: list[Variant] = []
        for variant in sorted(self.routed(), key=lambda v: (costs.expected_s(v.name, 0.0), -_rank(v), v.name)):
            if not best or _rank(variant) > _rank(best[-1]):
                best.append(variant)
        return tuple(reversed(best))

    def named(self, name: str) -> Variant:
        """The served variant of that name."""
        for variant in self.variants:
            if variant.name == name:
                return variant
        known = ", ".join(v.name for v in self.variants)
        raise EffserveError(ErrorKind.UNKNOWN_VARIANT, f"no variant {name!r} is served; there are {known}")

    def cheapest_at(self, top1: float, costs: Costs) -> Variant:
        """The cheapest routed variant whose accuracy is at least `top1`."""
        enough = [v for v in self.routed() if _rank(v) >= top1]
        if enough:
            return min(enough, key=lambda v: (costs.expected_s(v.name, 0.0), -_rank(v), v.name))
        best = max((_rank(v) for v in self.routed()), default=None)
        known = "no variant has a known accuracy" if best is None else f"the best has {best:.4f}"
        facts: dict[str, float | int | str] = {} if best is None else {"best_accuracy": best}
        raise EffserveError(ErrorKind.ACCURACY_UNAVAILABLE, f"no variant reaches {top1:.4f}: {known}", facts)


class _Situation:
    """One moment: a policy, the clock, the snapshot, and the Pareto front at the present costs."""

    def __init__(self, policy: BudgetPolicy, now_s: float, state: SystemState, costs: Costs) -> None:
        self.policy = policy
        self.now_s = now_s
        self.state = state
        self.costs = costs
        self.front = policy.front(costs)

    def eligible(self, question: Question) -> tuple[Variant, ...]:
        """What the question leaves to choose from, most accurate first. Never empty: raises instead."""
        if question.variant is not None:
            return (self.policy.named(question.variant),)
        if question.min_top1 is not None:
            return (self.policy.cheapest_at(question.min_top1, self.costs),)
        if not self.front:
            raise EffserveError(ErrorKind.ACCURACY_UNAVAILABLE, "no variant can be chosen by budget; name one")
        return self.front

    def left_s(self, job: Job) -> float:
        """Budget left for decode and inference."""
        return job.question.deadline.remaining_s(self.now_s) - self.costs.respond_s()

    def least_s(self, job: Job) -> float:
        """Expected service time at the cheapest eligible variant."""
        return self.costs.expected_s(self.eligible(job.question)[-1].name, job.decode_s)

    def is_late(self, job: Job) -> bool:
        """Whether the job is expected to miss its deadline even if it started now at its cheapest."""
        return self.least_s(job) > self.left_s(job)

    def head(self) -> Job:
        """A job that is overdue for longer than anyone should wait; else the earliest deadline among those that can
        still make it; else the earliest of the late ones."""
        overdue = (j for j in self.state.waiting if -self.left_s(j) > PATIENCE_S)
        timely = (j for j in self.state.waiting if not self.is_late(j))
        return next(overdue, None) or next(timely, self.state.waiting[0])

    def hopeless(self) -> Job | None:
        """A strict job that cannot make its deadline any more: waiting on would only delay the refusal."""
        strict = (j for j in self.state.waiting if j.question.mode is Mode.STRICT)
        return next((j for j in strict if self.is_late(j)), None)

    def decide(self, job: Job) -> Decision:
        eligible = self.eligible(job.question)
        left_s = self.left_s(job)
        fitting = tuple(v for v in eligible if self.costs.tail_s(v.name, job.decode_s) <= left_s)
        safe = next((v for v in fitting if self.starves_nobody(job, v)), None)
        chosen = safe or eligible[-1]
        return Decision(
            variant=chosen,
            reason=_reason(job.question, fitting, chosen),
            decided_at_s=self.now_s,
            remaining_s=left_s,
            expected_s=self.costs.expected_s(chosen.name, job.decode_s),
            tail_s=self.costs.tail_s(chosen.name, job.decode_s),
            fits=chosen in fitting,
            candidates=self.candidates(job, fitting, chosen) if job.question.explain else (),
        )

    def starves_nobody(self, job: Job, variant: Variant) -> bool:
        """Whether everybody who waits could still be served in time (the module's rule, step 3).

        List scheduling: whoever waits takes the lane that is free first, in deadline order, at the cheapest variant.
        """
        others = [j for j in self.state.waiting if j.id != job.id and not self.is_late(j)]
        if not others:
            return True
        arriving = self.policy.arrival_reserve * self.state.arrivals_per_s * self.least_s(job) / self.state.lanes
        free_s = free_lanes_s(self.now_s, self.state)
        heapq.heapreplace(free_s, free_s[0] + self.costs.expected_s(variant.name, job.decode_s))
        for other in others:
            ends_s, until_s = free_s[0] + self.least_s(other), self.left_s(other)
            if ends_s + arriving * until_s > self.policy.utilisation * until_s:
                return False
            heapq.heapreplace(free_s, ends_s)
        return True

    def backlog_s(self) -> float:
        running_s = sum(run.remaining_s(self.now_s) for run in self.state.running)
        return (running_s + sum(map(self.least_s, self.state.waiting))) / self.state.lanes

    def needed_s(self, job: Job, budget_s: float) -> float:
        """What a budget of `budget_s` would have to be: with a later deadline more jobs go first."""
        deadline = Deadline(job.question.deadline.started_s, budget_s)
        ahead = [j for j in self.state.waiting if j.question.deadline.at_s <= deadline.at_s and j.id != job.id]
        wait = wait_s(self.now_s, self.state, list(map(self.least_s, ahead)))
        cheapest = self.eligible(job.question)[-1]
        service_s = self.costs.tail_s(cheapest.name, job.decode_s) + self.costs.respond_s()
        return self.now_s - deadline.started_s + wait + service_s

    def smallest_feasible_budget_s(self, job: Job, at_least_s: float = 0.0) -> float:
        """The least budget from `at_least_s` on that is as large as it would have to be, rounded up to 0.1 ms.

        Ends: each round either is the last or puts at least one more waiting job ahead.
        """
        budget_s, needed_s = at_least_s, self.needed_s(job, at_least_s)
        while needed_s > budget_s:
            budget_s = math.ceil(needed_s * 1e4) / 1e4
            needed_s = self.needed_s(job, budget_s)
        return budget_s

    def infeasible(self, job: Job) -> EffserveError:
        budget_s = job.question.deadline.budget_s
        smallest_ms = round(self.smallest_feasible_budget_s(job, budget_s) * 1e3, 1)
        detail = f"no eligible variant fits {budget_s * 1e3:g} ms now; {smallest_ms:.1f} ms would do"
        facts: dict[str, float | int | str] = {
            "budget_ms": round(budget_s * 1e3, 3),
            "smallest_feasible_budget_ms": smallest_ms,
        }
        return EffserveError(ErrorKind.INFEASIBLE_BUDGET, detail, facts)

    def candidates(self, job: Job, fitting: tuple[Variant, ...], chosen: Variant) -> tuple[Candidate, ...]:
        return tuple(self.candidate(variant, job, fitting, chosen) for variant in self.policy.variants)

    def candidate(self, variant: Variant, job: Job, fitting: tuple[Variant, ...], chosen: Variant) -> Candidate:
        return Candidate(
            variant=variant,
            expected_s=self.costs.expected_s(variant.name, job.decode_s),
            tail_s=self.costs.tail_s(variant.name, job.decode_s),
            verdict=Verdict.CHOSEN if variant == chosen else self.verdict(variant, job.question, fitting, chosen),
        )

    def verdict(self, variant: Variant, question: Question, fitting: tuple[Variant, ...], chosen: Variant) -> Verdict:
        """Why this variant was not chosen."""
        if question.variant is not None:
            return Verdict.NOT_ASKED_FOR
        if variant.rank_top1 is None:
            return Verdict.UNKNOWN_ACCURACY
        if not variant.trained and not self.policy.route_untrained:
            return Verdict.UNTRAINED
        if question.min_top1 is not None:
            return Verdict.BELOW_MIN_ACCURACY if variant.rank_top1 < question.min_top1 else Verdict.COSTLIER
        if variant not in self.front:
            return Verdict.DOMINATED
        if variant not in fitting:
            return Verdict.TOO_SLOW
        return Verdict.WOULD_STARVE_WAITING if variant.rank_top1 > _rank(chosen) else Verdict.LESS_ACCURATE


def _reason(question: Question, fitting: tuple[Variant, ...], chosen: Variant) -> Reason:
    if question.variant is not None:
        return Reason.NAMED_BY_REQUEST
    if question.min_top1 is not None:
        return Reason.CHEAPEST_AT_MIN_ACCURACY
    if not fitting:
        return Reason.CHEAPEST_NONE_FITS
    return Reason.MOST_ACCURATE_THAT_FITS if chosen == fitting[0] else Reason.PROTECTS_WAITING


def _rank(variant: Variant) -> float:
    """Accuracy to rank by. Only asked of routed variants, which have one."""
    if variant.rank_top1 is None:
        raise ValueError(f"{variant.name} has no accuracy to rank by")
    return variant.rank_top1


def _queue_full(backlog_s: float, limit_s: float) -> EffserveError:
    """The wait suggested is the time the excess takes to drain, and never less than a tenth of a second."""
    detail = f"{backlog_s * 1e3:.0f} ms of work waits for each lane; the limit is {limit_s * 1e3:.0f} ms"
    facts: dict[str, float | int | str] = {"backlog_ms": round(backlog_s * 1e3, 1), "limit_ms": limit_s * 1e3}
    return EffserveError(ErrorKind.QUEUE_FULL, detail, facts, retry_after_s=max(backlog_s - limit_s, 0.1))
