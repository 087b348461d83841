"""What is asked, and the file of results."""

from dataclasses import dataclass
from pathlib import Path

from pydantic import TypeAdapter

from benchmarks.machine import Machine, Others
from benchmarks.realtime.compare import Figures
from benchmarks.realtime.plan import VARIANTS
from benchmarks.stats import Spread
from service.core.layout import Layout, Timed
from service.simulation.traces import DEFAULT_MIX

TIGHT_MIX = "25:.2,50:.25,100:.25,200:.2,400:.1"
"""The default one, halved: its smallest budget is shorter than a run on one thread and its tail, on many machines."""


@dataclass(frozen=True, slots=True)
class Setting:
    """The whole of a comparison."""

    variants: tuple[str, ...] = VARIANTS
    traces: tuple[str, ...] = ("poisson", "gamma4")
    mixes: tuple[str, ...] = (TIGHT_MIX, DEFAULT_MIX)
    load: float = 0.45
    """Share of the cores' time that the cheapest variant alone would take with lanes of one thread."""
    rounds: int = 4
    """Each has a schedule of its own."""
    warm_up_s: float = 2.0
    """Of each turn; its requests do not count."""
    seconds: float = 20.0
    """Of each turn, after it."""
    capacity_s: float = 3.0
    """Of each variant, layout and round, with all lanes kept busy."""
    calibrate_s: float = 0.5
    """Of each variant, when a server starts; the service's default."""
    seed: int = 0
    budgets: tuple[float, ...] = (0.8, 0.9, 1.0, 1.1, 1.25, 1.5, 2.0, 3.0, 5.0)
    """Simulated alone, in usual times of the cheapest variant with lanes of one thread."""
    requests: int = 2_000
    """Of each such simulation."""


QUICK = Setting(rounds=1, seconds=4.0, warm_up_s=1.0, capacity_s=0.5, calibrate_s=0.1, requests=200)
"""Shows that everything works; the figures mean little."""


@dataclass(frozen=True, slots=True)
class Turn:
    """One schedule on one layout."""

    trace: str
    mix: str
    layout: Layout
    number: int
    """Of the round."""
    requests: int
    per_s: float
    """Requests answered in time, each second."""
    real: Figures
    simulated: Figures
    lag_p99_s: float
    """Of the loader; it counts in the latencies."""
    lost: int
    """Requests that the server said nothing about."""


@dataclass(frozen=True, slots=True)
class Capacity:
    """One variant on one layout with all lanes busy, over all rounds."""

    variant: str
    layout: Layout
    per_s: tuple[float, ...]
    """Runs a second, by round."""
    run_ms: Spread
    """Decoding and inference."""


@dataclass(frozen=True, slots=True)
class Limit:
    """One budget for all requests, simulated."""

    trace: str
    times: float
    """The budget, in usual times of the cheapest variant with lanes of one thread."""
    layout: Layout
    attainment: float
    effective: float


@dataclass(frozen=True, slots=True)
class Study:
    """One file."""

    machine: Machine
    setting: Setting
    others: tuple[Others, ...]
    cheapest: str
    usual: tuple[Timed, ...]
    """Of the cheapest variant, by layout, as the servers measured it at their start."""
    turns: tuple[Turn, ...]
    capacities: tuple[Capacity, ...]
    limits: tuple[Limit, ...]


def read(path: Path) -> Study:
    """Raises `ValueError` for a file that is not one, `OSError`."""
    return TypeAdapter(Study).validate_json(path.read_bytes())


def effective(figures: Figures) -> float:
    """A request that is missed is worth nothing."""
    return figures.attainment * figures.accuracy
