"""Proteus (Ahmad et al., ASPLOS 2024): a linear program mixes variants so that the demand is just met.

The rule. Demand is an exponentially weighted mean of the arrivals per interval, times 1.05. Each interval a mixed
integer program assigns variants to devices and shares of the requests to variants, for the most accuracy at that
demand; an infeasible demand is served as far as it goes. Requests are routed at random by these shares, and dropped
when they cannot make their deadline.

Reduced. Lanes are not tied to variants, which gives the program more room than the paper's has: what is left is to
maximise Σ xᵥ aᵥ with Σ xᵥ = 1 and Σ xᵥ tᵥ ≤ lanes ÷ demand. With one such bound an optimal solution mixes two
neighbours on the upper hull of the points (tᵥ, aᵥ). The random draw is a low-discrepancy one by job number, which keeps
the shares more exactly. A request gets at most what its own budget buys. Left out: solving again on a sudden spike
within an interval; a shorter interval does that.
"""

import math
from dataclasses import dataclass
from functools import cached_property

from service.core.baselines.base import Metered
from service.core.baselines.profile import Row, profile
from service.core.baselines.rates import Periods
from service.core.catalogue import rank
from service.core.situation import Situation
from service.core.values import Job, Variant

GOLDEN = (math.sqrt(5) - 1) / 2


@dataclass(frozen=True, slots=True)
class Mix:
    """Two neighbours on the hull and the share of the better one."""

    better: Row
    cheaper: Row
    share: float


@dataclass(frozen=True)
class Proteus(Metered):
    """Mixes two variants so that the lanes just meet the demand."""

    interval_s: float = 1.0
    """How often demand is counted and the program solved. The paper takes 10 s, with a way around it for spikes."""
    com: float = 1.6
    """Centre of mass of the weights of past intervals."""
    headroom: float = 1.05
    """Factor on the demand."""

    @cached_property
    def arrivals(self) -> Periods:
        """Intervals, smoothed."""
        return Periods(self.interval_s, self.com)

    def allows(self, situation: Situation, job: Job, variant: Variant) -> bool:
        """Whether the job's draw gives it at least this accuracy."""
        demand_per_s = max(self.headroom * self.arrivals.per_s(situation.now_s), 1e-9)
        mixed = mix(profile(situation, job), situation.state.lanes / demand_per_s)
        drawn = mixed.better if draw(job.id) < mixed.share else mixed.cheaper
        return rank(variant) <= drawn.top1


def draw(job_id: int) -> float:
    """A number in [0, 1) for each job: multiples of the golden ratio, the evenest of such sequences."""
    return job_id * GOLDEN % 1.0


def mix(rows: tuple[Row, ...], mean_s: float) -> Mix:
    """The most accurate mix whose mean time is at most `mean_s`; the cheapest alone when there is none."""
    points = hull(rows)
    better = next((row for row in reversed(points) if row.expected_s > mean_s), None)
    if better is None:
        return Mix(points[0], points[0], 1.0)
    cheaper = next((row for row in points if row.expected_s <= mean_s), None)
    if cheaper is None:
        return Mix(points[-1], points[-1], 1.0)
    return Mix(better, cheaper, (mean_s - cheaper.expected_s) / (better.expected_s - cheaper.expected_s))


def hull(rows: tuple[Row, ...]) -> tuple[Row, ...]:
    """The upper hull of a Pareto front, most accurate first: from the cheapest on, the steepest ascent each time."""
    kept: list[Row] = []
    for row in reversed(rows):
        while len(kept) > 1 and _slope(kept[-1], row) >= _slope(kept[-2], kept[-1]):
            kept.pop()
        kept.append(row)
    return tuple(reversed(kept))


def _slope(a: Row, b: Row) -> float:
    return (b.top1 - a.top1) / (b.expected_s - a.expected_s)
