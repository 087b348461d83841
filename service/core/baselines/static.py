"""One variant for everybody: what serving without accuracy scaling does.

`Static` drops early, as Nexus (Shen et al., SOSP 2019) does: whoever cannot be done in time any more is refused when
strict and runs behind those who can otherwise. Nexus places models on GPUs and sizes batches by an epoch planner;
with one model and batches of 1 the early drop is what remains.

`Clipper` (Crankshaw et al., NSDI 2017) serves one model in deadline order and gives a request up when its deadline has
passed, not before; what it starts may end late. Its batch size, additive increase and multiplicative decrease by
missed deadlines, is reduced to 1, where AIMD has nothing to vary. Its choice of models by bandits (Exp3, Exp4) learns
from labels, which a service does not get; its release takes the first candidate, and Proteus compares with the most
accurate (Clipper-HA) and the fastest (Clipper-HT). Here every variant can be the one.
"""

from dataclasses import dataclass

from service.core.baselines.slack import Greedy
from service.core.catalogue import Catalogue
from service.core.situation import Situation
from service.core.state import Costs, SystemState
from service.core.values import Job, Variant


@dataclass(frozen=True)
class Only(Catalogue):
    """A catalogue of which budgets get one variant. The others are still served to who names them."""

    name: str = ""

    def routed(self) -> tuple[Variant, ...]:
        """That variant, if a budget may choose it at all."""
        return tuple(v for v in super().routed() if v.name == self.name)


def only(catalogue: Catalogue, name: str) -> Only:
    """`catalogue` with budgets left to `name`. Raises `EffserveError(UNKNOWN_VARIANT)`."""
    return Only(catalogue.variants, catalogue.route_untrained, name=catalogue.named(name).name)


@dataclass(frozen=True)
class Static(Greedy):
    """Deadline order and early drop: whatever fits of a catalogue of one."""


class _UntilDeadline(Situation):
    """Nobody is given up before the deadline has passed, and until then whatever there is will do."""

    def is_late(self, job: Job) -> bool:
        return self.expected_left_s(job) <= 0

    def is_doubtful(self, job: Job) -> bool:
        return False

    def is_servable(self, job: Job, in_s: float = 0.0) -> bool:
        return not self.is_late(job)

    def fitting(self, job: Job) -> tuple[Variant, ...]:
        return () if self.is_late(job) else self.eligible(job)


@dataclass(frozen=True)
class Clipper(Static):
    """Deadline order; dropped when the deadline has passed."""

    def _situation(self, now_s: float, state: SystemState, costs: Costs) -> Situation:
        return _UntilDeadline(self.catalogue, now_s, state, costs)
