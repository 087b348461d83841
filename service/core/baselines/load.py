"""Rules that look at the arrival rate and at the profile: the most accurate variant that carries the load.

`ModelSwitching` (Zhang et al., HotCloud 2020). Offline, each variant is simulated at each rate of a grid, alone and
with one common budget; a variant carries a rate if less than 1 % of the requests then miss. Online, all requests get
the most accurate variant that carries the first rate of the grid at or above the one measured in the last 500 ms
(RAMSIS' window; the paper's is about 1 s). Reduced: replicas and threads are not tuned along; no request gets more than
its own budget buys, which the paper, with one budget for all, need not say.

`Jellyfish` (Nigade et al., RTSS 2022), as RAMSIS reduces it: the most accurate variant whose throughput is 1.05 times
the rate and whose latency is at most half the budget; the other half is for waiting. The control loop runs each 500 ms.
Left out: mapping clients to GPUs by dynamic programming and annealing, which one machine does not need. Its idea that
uploading eats the budget is how all budgets are counted here.

`Conservative`: RAMSIS' second baseline. As Jellyfish, without the headroom and over a sliding window.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import islice

from service.core.baselines.base import Metered, Profiled
from service.core.baselines.profile import Row, rate_grid
from service.core.baselines.rates import Periods, Window
from service.core.situation import Situation
from service.core.values import Job, Variant

REQUESTS = 2000
"""Simulated for each variant and rate: twenty of them are 1 %."""
LEHMER = 2**31 - 1


@dataclass(frozen=True)
class ModelSwitching(Profiled):
    """The most accurate variant that carried this load when simulated."""

    budget_s: float = 0.2
    """The common budget of the simulation. A long one trusts in waiting; a short one switches down early."""
    window_s: float = 0.5
    """Time over which arrivals are counted. Short follows bursts, long ignores noise."""
    most_missed: float = 0.01
    """Share of missed deadlines from which on a variant does not carry a rate."""

    @cached_property
    def arrivals(self) -> Window:
        """The last `window_s`."""
        return Window(self.window_s)

    def allows(self, situation: Situation, job: Job, variant: Variant) -> bool:
        """Whether the variant carries the first rate of the grid at or above the measured one."""
        rows, lanes = self.profile(situation, job), situation.state.lanes
        row = next((row for row in rows if row.name == variant.name), None)
        if row is None:
            return False
        carried_per_s = carried(row, rate_grid(rows, lanes), lanes, self.budget_s, self.most_missed)
        return self.arrivals.per_s(situation.now_s) <= carried_per_s


@lru_cache(maxsize=256)
def carried(row: Row, rates: tuple[float, ...], lanes: int, budget_s: float, most_missed: float) -> float:
    """The largest of `rates` up to which fewer than `most_missed` of all requests miss; below zero if there is none."""
    carried_per_s = -math.inf
    for per_s in rates:
        if missed(row, per_s, lanes, budget_s) >= most_missed:
            break
        carried_per_s = per_s
    return carried_per_s


def missed(row: Row, per_s: float, lanes: int, budget_s: float) -> float:
    """Share of Poisson arrivals that miss a common budget when all get `row`. First come, first served, early drop."""
    arrives_s, dropped, free_s = 0.0, 0, [0.0] * lanes
    for gap in islice(exponential_gaps(), REQUESTS):
        arrives_s += gap / per_s
        starts_s = max(arrives_s, min(free_s))
        if starts_s + row.tail_s > arrives_s + budget_s:
            dropped += 1
        else:
            free_s[free_s.index(min(free_s))] = starts_s + row.expected_s
    return dropped / REQUESTS


def exponential_gaps() -> Iterator[float]:
    """Gaps of a Poisson process of rate 1, the same each time: Lehmer's generator (Park & Miller 1988), inverted."""
    number = 1
    while True:
        number = number * 48271 % LEHMER
        yield -math.log(number / LEHMER)


@dataclass(frozen=True)
class Jellyfish(Metered):
    """Throughput with headroom, and half the budget kept for waiting; decided once a period."""

    headroom: float = 1.05
    """Factor on the measured rate."""
    share: float = 0.5
    """Share of the budget that the run may take."""
    period_s: float = 0.5
    """The rate is the count of the last whole period."""

    @cached_property
    def arrivals(self) -> Periods:
        """The last whole period."""
        return Periods(self.period_s)

    def allows(self, situation: Situation, job: Job, variant: Variant) -> bool:
        """Whether all lanes at this variant carry the rate, and the run leaves its share of the whole budget alone."""
        rate_per_s = self.headroom * self.arrivals.per_s(situation.now_s)
        return _keeps_up(situation, job, variant, rate_per_s) and _leaves(situation, job, variant, self.share)


@dataclass(frozen=True)
class Conservative(Metered):
    """Throughput, and half the budget kept for waiting; decided for each request."""

    share: float = 0.5
    """Share of the budget that the run may take."""
    window_s: float = 0.5
    """Time over which arrivals are counted."""

    @cached_property
    def arrivals(self) -> Window:
        """The last `window_s`."""
        return Window(self.window_s)

    def allows(self, situation: Situation, job: Job, variant: Variant) -> bool:
        """Whether a lane's share of the rate is at most what it can do at this variant, and the budget is large."""
        rate_per_s = self.arrivals.per_s(situation.now_s)
        return _keeps_up(situation, job, variant, rate_per_s) and _leaves(situation, job, variant, self.share)


def _keeps_up(situation: Situation, job: Job, variant: Variant, rate_per_s: float) -> bool:
    return situation.state.lanes / situation.keeps_s(job, variant) >= rate_per_s


def _leaves(situation: Situation, job: Job, variant: Variant, share: float) -> bool:
    return situation.tail_s(job, variant) <= share * job.question.deadline.budget_s
