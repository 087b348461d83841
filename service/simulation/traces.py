"""When requests come, and with what budgets: drawn from a seed, or read from a file.

A trace is compared with others by its offered load, so its time axis is stretched until the cheapest variant alone
would keep the lanes busy for the wanted share of the time. What makes a trace easy or hard is its shape.
"""

import csv
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from service.evaluation.measures import Floats
from service.simulation.errors import SimulationError

CALM_S, BURST_S = 20.0, 5.0
CALM, BURST = 0.5, 3.0
"""A step trace alternates between these multiples of its mean rate; together they have mean 1."""
RAMP_FROM, RAMP_TO = 0.25, 1.75
"""A ramp goes from one multiple of its mean rate to the other."""

Shape = Callable[[int, float, np.random.Generator], Floats]
"""(requests, requests a second in the mean, source of chance) → arrival times in seconds, ascending."""
Mix = Sequence[tuple[float, float]]
"""(budget in seconds, weight)."""

DEFAULT_MIX = "50:.2,100:.25,200:.25,400:.2,800:.1"


def poisson(count: int, rate_per_s: float, draw: np.random.Generator) -> Floats:
    """Independent requests."""
    return gamma(count, rate_per_s, draw, cv2=1.0)


def gamma(count: int, rate_per_s: float, draw: np.random.Generator, *, cv2: float) -> Floats:
    """Independent gaps with a Gamma distribution; `cv2` is their variance over their squared mean, 1 being Poisson."""
    return np.cumsum(draw.gamma(1 / cv2, cv2 / rate_per_s, count))


def step(count: int, rate_per_s: float, draw: np.random.Generator) -> Floats:
    """Poisson at half the rate for 20 s, then at three times the rate for 5 s, and again."""
    calm, whole = CALM * CALM_S * rate_per_s, (CALM * CALM_S + BURST * BURST_S) * rate_per_s
    periods, within = np.divmod(poisson(count, 1.0, draw), whole)
    in_burst_s = CALM_S + (within - calm) / (BURST * rate_per_s)
    in_period_s = np.where(within < calm, within / (CALM * rate_per_s), in_burst_s)
    return np.asarray(periods * (CALM_S + BURST_S) + in_period_s)


def ramp(count: int, rate_per_s: float, draw: np.random.Generator) -> Floats:
    """Poisson at a rate that grows all the time, from a quarter of its mean to seven quarters."""
    growth = RAMP_TO - RAMP_FROM
    # Requests until x, a share of the trace: count · (RAMP_FROM · x + growth · x² / 2). Solved for x.
    share = poisson(count, 1.0, draw) / count
    passed = (np.sqrt(RAMP_FROM**2 + 2 * growth * share) - RAMP_FROM) / growth
    return np.asarray(passed * count / rate_per_s)


SHAPES: Mapping[str, Shape] = {
    "poisson": poisson,
    "gamma4": partial(gamma, cv2=4.0),
    "gamma8": partial(gamma, cv2=8.0),
    "step": step,
    "ramp": ramp,
}


@dataclass(frozen=True, slots=True)
class Generated:
    """A trace of one of the shapes."""

    name: str
    requests: int
    budgets_s: None = None

    def arrivals_s(self, rate_per_s: float | None, draw: np.random.Generator) -> Floats:
        """Times drawn at this mean rate, which they then have exactly; at one request a second without it."""
        wanted_per_s = rate_per_s or 1.0
        return _at_rate(SHAPES[self.name](self.requests, wanted_per_s, draw), wanted_per_s)


@dataclass(frozen=True, slots=True)
class Recorded:
    """A trace of a file."""

    name: str
    times_s: Floats
    budgets_s: Floats | None = None
    """None where the file says nothing about them."""

    @property
    def requests(self) -> int:
        """How many."""
        return len(self.times_s)

    def arrivals_s(self, rate_per_s: float | None, draw: np.random.Generator) -> Floats:
        """The times of the file, stretched to this mean rate; as they are without it."""
        return self.times_s if rate_per_s is None else _at_rate(self.times_s, rate_per_s)

    def first(self, requests: int | None) -> "Recorded":
        """Its beginning; None: all of it. Raises `SimulationError` for one without gaps: it has no rate to play."""
        mean_rate_per_s(self.times_s[:requests])
        budgets_s = None if self.budgets_s is None else self.budgets_s[:requests]
        return Recorded(self.name, self.times_s[:requests], budgets_s)


Trace = Generated | Recorded


def read(path: Path) -> Recorded:
    """A CSV file with the column `arrival_s` and, where requests have budgets of their own, `budget_ms`.

    Other columns and the order of rows do not matter, nor what spreadsheets put around names (a byte order mark,
    spaces). Time begins with the first arrival. Raises `SimulationError`, `OSError`.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            figures = _figures(path, csv.DictReader(file))
    except (UnicodeDecodeError, csv.Error) as error:
        raise SimulationError(f"{path} is no CSV file: {error}") from error
    budgets_s = figures[:, 1] / 1e3 if figures.shape[1] > 1 else None
    return Recorded(path.name, figures[:, 0] - figures[:1, 0], budgets_s).first(None)


def _figures(path: Path, rows: "csv.DictReader[str]") -> Floats:
    """Arrivals in order, and budgets where there are any: a row for each request."""
    rows.fieldnames = columns = [name.strip() for name in rows.fieldnames or ()]
    if "arrival_s" not in columns:
        raise SimulationError(f"{path} has no column arrival_s; a trace is a CSV file that has one")
    wanted = ("arrival_s", "budget_ms") if "budget_ms" in columns else ("arrival_s",)
    table = [tuple(_number(path, rows.line_num, name, row[name]) for name in wanted) for row in rows]
    return np.array(sorted(table, key=lambda row: row[0])).reshape(-1, len(wanted))


def mean_rate_per_s(arrivals_s: Floats) -> float:
    """Gaps per second. Raises `SimulationError` for a trace without gaps."""
    if len(arrivals_s) < 2 or arrivals_s[-1] <= arrivals_s[0]:
        raise SimulationError("a trace needs two requests at least, at different times")
    return float((len(arrivals_s) - 1) / (arrivals_s[-1] - arrivals_s[0]))


def _at_rate(arrivals_s: Floats, rate_per_s: float) -> Floats:
    """The same shape with another mean rate."""
    return np.asarray(arrivals_s * (mean_rate_per_s(arrivals_s) / rate_per_s))


def mix(text: str) -> Mix:
    """`50:.2,100:.8`: budgets in milliseconds with their weights; a budget alone has weight 1. Raises
    `SimulationError`."""
    parts = [part.partition(":") for part in text.split(",")]
    try:
        pairs = [(float(budget_ms) / 1e3, float(weight) if colon else 1.0) for budget_ms, colon, weight in parts]
    except ValueError:
        pairs = []
    if not pairs or not all(0 < number < math.inf for pair in pairs for number in pair):
        raise SimulationError(f"budgets are given as MS:WEIGHT,MS:WEIGHT, both above 0, not as {text!r}")
    return pairs


def budgets_s(wanted: Mix, count: int, draw: np.random.Generator) -> Floats:
    """Independent of when the requests come."""
    weights = np.array([weight for _, weight in wanted])
    chosen = draw.choice(len(wanted), count, p=weights / weights.sum())
    return np.array([budget_s for budget_s, _ in wanted])[chosen]


def _number(path: Path, line: int, column: str, text: str | None) -> float:
    try:
        number = float(text or "")
    except ValueError:
        number = math.nan
    if not math.isfinite(number) or (column == "budget_ms" and number <= 0):
        raise SimulationError(f"{path} line {line}: {column} is {text!r}")
    return number
