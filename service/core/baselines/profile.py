"""What an offline phase knows of the variants: a table of times and accuracies, as profiling would have found them.

Rows are plain numbers, so tables made from them can be kept and are the same wherever they are computed.
"""

from dataclasses import dataclass

from service.core.catalogue import rank
from service.core.situation import Situation
from service.core.values import Job

RATES = 20
"""Rates that an offline phase is run for."""


@dataclass(frozen=True, slots=True)
class Row:
    """One variant of the Pareto front."""

    name: str
    top1: float
    expected_s: float
    tail_s: float


def profile(situation: Situation, job: Job) -> tuple[Row, ...]:
    """The Pareto front at present costs, decoding of `job`'s image included, most accurate first."""
    return tuple(Row(v.name, rank(v), situation.keeps_s(job, v), situation.tail_s(job, v)) for v in situation.front)


def rate_grid(rows: tuple[Row, ...], lanes: int) -> tuple[float, ...]:
    """Rates in even steps up to what the lanes can do at the cheapest variant, arrivals per second."""
    most_per_s = lanes / rows[-1].expected_s
    return tuple(most_per_s * step / RATES for step in range(1, RATES + 1))
