"""Small values for tests of the core: variants with fixed costs, jobs with budgets."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from service.core.catalogue import Catalogue
from service.core.latency import Calibration, DecodeCost, LatencyModel
from service.core.policy import BudgetPolicy
from service.core.scheduler import Scheduler
from service.core.state import Running, SystemState
from service.core.values import AccuracySource, Deadline, Job, Mode, PolicyName, Question, Variant

ACCURACIES = {"b0": 0.771, "b1": 0.791, "b2": 0.801, "b3": 0.816, "b4": 0.829}
TIMES_S = {"b0": 0.016, "b1": 0.026, "b2": 0.036, "b3": 0.063, "b4": 0.144}


def variant(name: str, top1: float | None = None, *, trained: bool = True) -> Variant:
    """A variant with the paper's accuracy unless told otherwise."""
    rank = ACCURACIES.get(name) if top1 is None else top1
    return Variant(name, 1, rank, AccuracySource.MEASURED if rank is not None else AccuracySource.NONE, trained)


FAMILY = tuple(variant(name) for name in ACCURACIES)


@dataclass
class FixedCosts:
    """Costs known exactly: the tail is `tail_factor` times the mean."""

    times_s: Mapping[str, float] = field(default_factory=lambda: TIMES_S)
    tail_factor: float = 1.2
    reserve_s: float = 0.0
    stop_s: float | None = None
    """None: runs cannot be terminated."""
    hand_over_s: float = 0.0
    usual_reserve_s: float | None = None
    """Of `reserve_s`, what responding takes as a rule; None: all."""

    def expected_s(self, variant: str, decode_s: float) -> float:
        """Mean."""
        return self.times_s[variant] + decode_s

    def tail_s(self, variant: str, decode_s: float) -> float:
        """Tail."""
        return self.expected_s(variant, decode_s) * self.tail_factor

    @property
    def changes(self) -> int:
        """None."""
        return 0

    def dispatch_s(self) -> float:
        """What a run keeps its lane longer."""
        return self.hand_over_s

    def respond_s(self) -> float:
        """Reserve."""
        return self.reserve_s

    def expected_respond_s(self) -> float:
        """Of that, the usual."""
        return self.reserve_s if self.usual_reserve_s is None else self.usual_reserve_s

    def terminate_s(self) -> float | None:
        """Time to stop."""
        return self.stop_s


def question(
    budget_s: float = 0.1,
    *,
    at_s: float = 0.0,
    mode: Mode = Mode.BEST_EFFORT,
    variant: str | None = None,
    min_top1: float | None = None,
    policy: PolicyName = PolicyName.K1,
) -> Question:
    """A question whose first byte came at `at_s`."""
    return Question(Deadline(at_s, budget_s), mode, variant, min_top1, explain=True, policy=policy)


def job(number: int = 1, budget_s: float = 0.1, *, at_s: float = 0.0, decode_s: float = 0.0, **asked: object) -> Job:
    """A job; `asked` goes to `question`."""
    return Job(number, question(budget_s, at_s=at_s, **asked), decode_s)  # type: ignore[arg-type]


def running(
    lane: int, *, until_s: float, number: int = 99, name: str = "b4", started_s: float = 0.0, budget_s: float = 10.0
) -> Running:
    """A job on a lane that is expected to end at `until_s`."""
    return Running(lane, job(number, budget_s), variant(name), started_s, until_s, until_s)


def state(
    *waiting: Job, lanes: int = 1, busy: tuple[Running, ...] = (), rate: float = 0.0, wasted: float = 0.0
) -> SystemState:
    """A snapshot; waiting jobs are put in deadline order."""
    ordered = sorted(waiting, key=lambda j: (j.question.deadline.at_s, j.id))
    return SystemState(tuple(ordered), busy, lanes, rate, wasted)


def policy(variants: tuple[Variant, ...] = FAMILY, *, route_untrained: bool = False, **options: object) -> BudgetPolicy:
    """The default policy over the family."""
    return BudgetPolicy(Catalogue(variants, route_untrained), **options)  # type: ignore[arg-type]


def latency(times_s: Mapping[str, float] = TIMES_S, *, ratios: int = 200, stop_s: float | None = None) -> LatencyModel:
    """A model that has seen `ratios` runs that were exactly as expected; runs stop within `stop_s`, if at all."""
    return LatencyModel(Calibration(times_s, {"JPEG": DecodeCost(0.0, 0.0)}, (1.0,) * ratios, stop_s))


def scheduler(
    lanes: int = 1,
    variants: tuple[Variant, ...] = FAMILY,
    *,
    background_lanes: int = 0,
    confidences: tuple[float, ...] = (),
    stop_s: float | None = None,
    **options: object,
) -> Scheduler:
    """A scheduler with the default policy, which `options` go to, and exact expectations."""
    rule = policy(variants, **options)  # type: ignore[arg-type]
    model = latency(stop_s=stop_s)
    return Scheduler(
        policy=rule, latency=model, lanes=lanes, background_lanes=background_lanes, confidences=confidences
    )
