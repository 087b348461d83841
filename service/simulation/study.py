"""A comparison of policies over many cells as a record: what the benchmark writes, and what is drawn from it.

A cell is one kind of traffic: a shape of arrivals, an offered load, a law of budgets, a number of lanes. All policies
meet the same requests and service times in it, so they are compared request by request. Shares and accuracies are
fractions; intervals are of 95 %.
"""

from dataclasses import dataclass
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from service.simulation.errors import SimulationError


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean with its interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Cell:
    """One kind of traffic."""

    trace: str
    load: float
    """Share of the lanes' time that the cheapest variant alone would take."""
    budgets: str
    lanes: int

    def __str__(self) -> str:
        return f"{self.trace}, load {self.load:g}, {self.budgets}, {self.lanes} lane{'' if self.lanes == 1 else 's'}"


@dataclass(frozen=True, slots=True)
class PolicyResult:
    """One policy in one cell."""

    policy: str
    ours: bool
    """Whether it is no baseline: K1, its relatives, and what a request may ask for beside it."""
    parameters: dict[str, float | str]
    """Chosen on other requests of the same kind; empty where nothing was tuned."""
    attainment: Estimate
    accuracy: float | None
    """Mean over the requests answered in time."""
    effective: Estimate
    """Mean over all requests, 0 for those not answered in time."""
    of_bound: float
    k1_attainment: Estimate
    """K1's less this one's, on the same requests."""
    k1_effective: Estimate
    """Likewise."""
    variants: dict[str, float]
    """Who answered, in time or late: share of the answers."""
    late: float
    rejected: float
    terminated: float
    """Runs that were stopped, over requests."""
    wasted: float
    """Lane time that went into them, over all lane time."""
    decision_us_p50: float
    decision_us_p99: float
    """Processor time of one event, where the simulation ran."""


@dataclass(frozen=True, slots=True)
class CellResult:
    """What became of the policies in one cell."""

    cell: Cell
    requests: int
    """Counted, over all seeds."""
    bound: float
    """Effective accuracy that nobody can surpass."""
    policies: tuple[PolicyResult, ...]
    swept: tuple[PolicyResult, ...] = ()
    """K1 with other parameters, from careful to reckless."""

    def of(self, policy: str) -> PolicyResult | None:
        """None where it does not take part."""
        return next((result for result in self.policies if result.policy == policy), None)

    def best_baseline(self) -> PolicyResult:
        """With hindsight: whose effective accuracy came out highest. Raises `ValueError` where there is none."""
        return max((result for result in self.policies if not result.ours), key=lambda one: one.effective.value)


@dataclass(frozen=True, slots=True)
class Course:
    """What one policy did in the course of a trace, in slices of its time."""

    policy: str
    variants: dict[str, list[float]]
    """Share of the requests of each slice that this variant answered in time."""
    missed: list[float]


@dataclass(frozen=True, slots=True)
class Series:
    """One trace in its course."""

    cell: Cell
    slice_s: float
    load: list[float]
    """Offered in each slice."""
    courses: tuple[Course, ...]


@dataclass(frozen=True, slots=True)
class Miss:
    """A cell in which a goal is not reached."""

    cell: str
    value: float
    limit: float
    note: str = ""


@dataclass(frozen=True, slots=True)
class Goal:
    """A goal, and whether the cells that it is about reach it."""

    name: str
    asks: str
    value: float | None
    """Of the worst cell, or of all where the goal is about all; None where no cell is of its kind."""
    limit: float
    unit: str
    """`%`, `points`, `µs`, `times`."""
    cells: int
    reached: bool
    misses: tuple[Miss, ...] = ()


@dataclass(frozen=True, slots=True)
class Facts:
    """A variant that could be chosen."""

    name: str
    top1: float
    service_ms: float
    """Mean, with decoding."""


@dataclass(frozen=True, slots=True)
class Setting:
    """What was asked for."""

    times: str
    """Whose service times."""
    accuracies: str
    """What an answer is worth."""
    variants: tuple[Facts, ...]
    reference_ms: float
    """Tail latency of the cheapest variant; budgets are multiples of it."""
    budgets_ms: dict[str, str]
    seeds: tuple[int, ...]
    requests: int
    """At least, for each seed; longer where a trace needs it."""
    training_requests: int
    grids: dict[str, dict[str, list[float | str]]]
    """Values tried, by policy and parameter."""


@dataclass(frozen=True, slots=True)
class Study:
    """One file."""

    machine: dict[str, str | float | int]
    setting: Setting
    goals: tuple[Goal, ...]
    series: tuple[Series, ...]
    cells: tuple[CellResult, ...]


def read(path: Path) -> Study:
    """Raises `SimulationError` for a file that is not a study, `OSError`."""
    try:
        return TypeAdapter(Study).validate_json(path.read_bytes())
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise SimulationError(f"{path} is no comparison of policies: {where} {first['msg']}") from error
