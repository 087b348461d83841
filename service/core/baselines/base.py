"""What all baselines share, so that a comparison is one of rules.

They differ from the default policy in one question: may this job have this variant now? Deadline order, the refusal of
what is hopeless, patience with what is late, admission and explanation are the same code. Thus nearly every published
rule gets the best queue there is, also where its paper had a plainer one (a queue per worker, first come first served):
what a baseline loses here, it loses by its choice. Two would not be themselves without more: INFaaS chooses when a
request comes and answers in that order (`infaas`), and Clipper takes everybody for in time whose deadline has not
passed (`static`).

Rules that measure or remember keep that in their instance, which therefore belongs to one scheduler; a decision still
changes nothing.

None of them terminates a run or insures unasked, and none batches: on a CPU the time of a batch is linear in its size,
so a batch only keeps its first image waiting for its last. Batch sizes are reduced to 1, the best value of their grid.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from functools import cached_property

from service.core.baselines.profile import Row, profile
from service.core.baselines.rates import Arrivals
from service.core.errors import EffserveError
from service.core.policy import BudgetPolicy
from service.core.situation import Situation
from service.core.state import Costs, SystemState
from service.core.values import Job, Variant


@dataclass(frozen=True)
class Baseline(BudgetPolicy, ABC):
    """The most accurate variant that fits what is left of the job's own budget and that `allows` lets pass; else the
    cheapest.

    What a rule remembers is told by `admit` and `next_action` alone; `decide` changes nothing.
    """

    terminates: bool = field(default=False, init=False)
    insures: bool = field(default=False, init=False)

    def choose(self, situation: Situation, job: Job, fitting: tuple[Variant, ...]) -> Variant:
        """A job that names its variant or accuracy has one eligible variant, and no rule is asked about it."""
        cheapest = situation.cheapest(job)
        return next((v for v in fitting if v == cheapest or self.allows(situation, job, v)), cheapest)

    @abstractmethod
    def allows(self, situation: Situation, job: Job, variant: Variant) -> bool:
        """Whether the rule lets `job` have `variant`, which fits and is not its cheapest."""


@dataclass(frozen=True)
class Metered(Baseline):
    """A baseline that looks at the arrival rate."""

    @property
    @abstractmethod
    def arrivals(self) -> Arrivals:
        """Its memory: who came when."""

    def admit(self, now_s: float, job: Job, state: SystemState, costs: Costs) -> EffserveError | None:
        """As ever; whoever asks has arrived, also if it is refused."""
        error = super().admit(now_s, job, state, costs)
        self.arrivals.tell(now_s, job.id)
        return error


class Profiled(Metered):
    """A baseline with an offline phase: it takes what variants cost when it first sees a job, and keeps to that."""

    @cached_property
    def _profiles(self) -> list[tuple[Row, ...]]:
        return []

    def profile(self, situation: Situation, job: Job) -> tuple[Row, ...]:
        """The Pareto front then, most accurate first, with the decoding of that first image."""
        if not self._profiles:
            self._profiles.append(profile(situation, job))
        return self._profiles[0]
