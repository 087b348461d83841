"""INFaaS (Romero et al., USENIX ATC 2021): a request gets its variant when it arrives, by profile alone.

The rule. Among variants whose profiled latency is within the latency objective, running and not overloaded, take the
tightest fit (least objective − latency). Each second the worker compares its load with its capacity and replaces
variants by cheaper or better ones. `InfaasAccurate` is the re-implementation in Proteus (Ahmad et al., ASPLOS 2024):
the least accuracy given up, in place of the tightest fit.

On a Pareto front the slowest that fits is the most accurate, so the two differ only where dominated variants are
served. Neither looks at the queue; the queue is first come, first served; and what was chosen on arrival is run, though
by then it may not fit any more (strict requests are refused then, as everywhere here).

Reduced. All variants are resident, so nothing is loaded or replicated: what is left of the autoscaler is one step of
the most accurate variant allowed, down when the lanes were busier than 95 % of the last second and up when they were
less than 60 % (Proteus' slack of 0.05 and 0.6). The list of recently used variants is a cache of the look-up and is
left out. The paper's minimum accuracy is this service's `min_accuracy`, which has one answer under every policy.
"""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property

from service.core.actions import Action
from service.core.baselines.base import Baseline
from service.core.catalogue import rank
from service.core.errors import EffserveError
from service.core.situation import Situation
from service.core.state import Costs, SystemState
from service.core.values import Job, Variant


class _ByArrival(Situation):
    """First come, first served."""

    def timely(self) -> Iterator[Job]:
        return iter(sorted(super().timely(), key=lambda job: job.id))


@dataclass
class _Memory:
    """What INFaaS keeps between two requests."""

    chosen: dict[int, Variant] = field(default_factory=dict)
    """By job, of those that wait."""
    level: int = 0
    """Steps that the most accurate variant allowed is below the top of the front."""
    since_s: float = -math.inf
    """Start of the present period."""
    seen_s: float = -math.inf
    running: int = 0
    """Since `seen_s`."""
    busy_s: float = 0.0
    """Lane time used in the present period."""

    def see(self, now_s: float, running: int) -> None:
        """Lanes were as last seen until now."""
        if math.isinf(self.since_s):
            self.since_s = self.seen_s = now_s
        self.busy_s += self.running * (now_s - self.seen_s)
        self.seen_s, self.running = now_s, running

    def keep(self, waiting: Iterable[Job]) -> None:
        """Forget the choice for those that wait no more."""
        self.chosen = {job.id: self.chosen[job.id] for job in waiting if job.id in self.chosen}


@dataclass(frozen=True)
class InfaasTightest(Baseline):
    """The slowest variant that fits the budget on arrival, dominated ones included."""

    busy: float = 0.95
    """Utilisation of a period above which the most accurate variant allowed goes down a step."""
    calm: float = 0.6
    """Utilisation of a period below which it goes up a step."""
    period_s: float = 1.0
    """How often that is looked at."""

    @cached_property
    def memory(self) -> _Memory:
        """Choices and utilisation."""
        return _Memory()

    def admit(self, now_s: float, job: Job, state: SystemState, costs: Costs) -> EffserveError | None:
        """As ever; who is let in gets its variant."""
        error = super().admit(now_s, job, state, costs)
        if error is None:
            self.memory.chosen[job.id] = self._on_arrival(self._situation(now_s, state, costs), job)
        return error

    def next_action(self, now_s: float, state: SystemState, costs: Costs) -> Action | None:
        """As ever, with an eye on the lanes."""
        self.memory.see(now_s, len(state.running))
        self.memory.keep(state.waiting)
        self._scale(now_s, len(self.catalogue.front(costs)) - 1, state.lanes)
        return super().next_action(now_s, state, costs)

    def choose(self, situation: Situation, job: Job, fitting: tuple[Variant, ...]) -> Variant:
        """What it got on arrival; who is only asked about arrives now."""
        return self.memory.chosen.get(job.id) or self._on_arrival(situation, job)

    def allows(self, situation: Situation, job: Job, variant: Variant) -> bool:
        """Whether the utilisation of late lets anybody have so much accuracy."""
        front = situation.front
        return rank(variant) <= rank(front[min(self.memory.level, len(front) - 1)])

    def candidates(self, situation: Situation, job: Job) -> tuple[Variant, ...]:
        """What the rule looks at, the preferred ones first."""
        by_budget = job.question.variant is None and job.question.min_top1 is None
        served = situation.catalogue.routed() if by_budget else situation.eligible(job)
        return tuple(sorted(served, key=lambda v: (situation.tail_s(job, v), v.name), reverse=True))

    def _situation(self, now_s: float, state: SystemState, costs: Costs) -> Situation:
        return _ByArrival(self.catalogue, now_s, state, costs)

    def _on_arrival(self, situation: Situation, job: Job) -> Variant:
        left_s, cheapest = situation.left_s(job), situation.cheapest(job)
        fitting = (v for v in self.candidates(situation, job) if situation.tail_s(job, v) <= left_s)
        return next((v for v in fitting if v == cheapest or self.allows(situation, job, v)), cheapest)

    def _scale(self, now_s: float, lowest: int, lanes: int) -> None:
        """At the end of a period, one step."""
        memory = self.memory
        passed_s = now_s - memory.since_s
        if passed_s < self.period_s:
            return
        used = memory.busy_s / (lanes * passed_s)
        memory.since_s, memory.busy_s = now_s, 0.0
        step = 1 if used > self.busy else -1 if used < self.calm else 0
        memory.level = max(min(memory.level + step, lowest), 0)


@dataclass(frozen=True)
class InfaasAccurate(InfaasTightest):
    """The most accurate variant that fits the budget on arrival."""

    def candidates(self, situation: Situation, job: Job) -> tuple[Variant, ...]:
        """The Pareto front is in that order."""
        return situation.eligible(job)
