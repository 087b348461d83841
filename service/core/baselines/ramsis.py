"""RAMSIS (Mendoza et al., EuroSys 2024): which variant, by the policy of a Markov decision process.

The rule. Offline, for each arrival rate of a grid: the state of a worker is its queue length n and the slack s of its
oldest request, on 100 steps of the objective; an action runs a variant; the reward is its accuracy if the request is
done in time. Value iteration gives the table π[n, s]. Online, the table of the first rate of the grid at or above the
one measured in 500 ms is looked up.

Batches of 1. The paper's action serves the whole queue at once, which pays where batches are cheap. Here an action
serves one request. Then each decision is one request, the mean reward per decision is the effective accuracy, and the
mean-reward criterion needs no discount and no lengths of time.

The transition, with B the objective, L the mean time of the variant and k the arrivals during it:

- n ≥ 2: (n − 1 + k, s + (B − s)/n − L). The others arrived after the oldest, B − s ago; they are taken to be evenly
  spaced since.
- n = 1, k ≥ 1: (k, B − L·k/(k + 1)), the arrivals evenly spaced during the run. k = 0: the lane waits; (1, B).
- No variant's tail fits: dropped in no time and for no reward, about as the queue here does.

Arrivals are Poisson, dealt to the lanes in turn (Erlang gaps, the phase unknown).

Reduced, besides: the real queue is one for all lanes, and n is its length per lane, rounded up. The table knows one
common budget and is meant for such traffic; where budgets differ, no request gets more than its own buys.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache
from operator import mul

from service.core.baselines.base import Profiled
from service.core.baselines.profile import Row, rate_grid
from service.core.baselines.rates import Window
from service.core.catalogue import rank
from service.core.situation import Situation
from service.core.values import Job, Variant

CONVERGED = 1e-4
"""Value iteration ends when the mean reward is known to a hundredth of a point of accuracy."""
MOST_SWEEPS = 1000
NEGLIGIBLE = 1e-9
"""Probability below which a number of arrivals is left out."""

Table = tuple[tuple[float, ...], ...]
"""Highest accuracy to take, by slack step and number waiting; 0 where the cheapest is all there is."""


@dataclass(frozen=True)
class RamsisMdp(Profiled):
    """The table of the present rate, looked up by queue length and slack."""

    budget_s: float = 0.2
    """The common budget that tables are computed for."""
    window_s: float = 0.5
    """Time over which arrivals are counted."""
    most_waiting: float = 32
    """Queue length per lane from which on all are alike."""
    steps: float = 100
    """Steps of slack. Halving steps and queue computes a table four times faster."""

    @cached_property
    def arrivals(self) -> Window:
        """The last `window_s`."""
        return Window(self.window_s)

    def allows(self, situation: Situation, job: Job, variant: Variant) -> bool:
        """Whether the table goes so high for this queue and this slack."""
        table = self._table(situation, job)
        slack = self.steps * max(situation.left_s(job), 0.0) / self.budget_s
        waiting = max(math.ceil(len(situation.state.waiting) / situation.state.lanes), 1)
        row = table[min(int(slack), len(table) - 1)]
        return rank(variant) <= row[min(waiting, len(row) - 1)]

    def _table(self, situation: Situation, job: Job) -> Table:
        rows, lanes = self.profile(situation, job), situation.state.lanes
        rates, rate_per_s = rate_grid(rows, lanes), self.arrivals.per_s(situation.now_s)
        per_s = next((rate for rate in rates if rate >= rate_per_s), rates[-1])
        return solve(rows, per_s, self.budget_s, lanes, int(self.most_waiting), int(self.steps))


@lru_cache(maxsize=256)
def solve(
    rows: tuple[Row, ...], per_s: float, budget_s: float, lanes: int, most_waiting: int = 32, steps: int = 100
) -> Table:
    """The best policy at `per_s` arrivals a second for all lanes, by relative value iteration."""
    return _Process(rows, per_s, budget_s, lanes, most_waiting, steps).solve()


def arrivals_at_lane(mean: float, lanes: int) -> list[float]:
    """Probability of 0, 1, 2 … arrivals at one lane while `mean` are expected at all, until the rest is negligible.

    They are dealt to the lanes in turn, and whose turn it is first is not known.
    """
    dealt = [0.0]
    for count, probability in enumerate(_poisson(mean)):
        for phase in range(lanes):
            lane_count = (count + phase) // lanes
            dealt.extend([0.0] * (lane_count + 1 - len(dealt)))
            dealt[lane_count] += probability / lanes
    return dealt


def _poisson(mean: float) -> Iterator[float]:
    """Probabilities from 0 on, until both they are negligible and the mean is passed."""
    count = 0
    while (p := math.exp(count * math.log(mean) - mean - math.lgamma(count + 1))) > NEGLIGIBLE or count < mean:
        yield p
        count += 1


@dataclass(frozen=True, eq=False)
class _Act:
    """Running one variant, or dropping the request, which takes no time."""

    top1: float
    expected_s: float
    tail_s: float
    arriving: list[float]
    """Probability of k arrivals at this lane meanwhile."""


_DROP = _Act(0.0, 0.0, 0.0, [1.0])

_Option = tuple[_Act, int]
"""What to do, and the slack step of the next state."""
_Values = list[list[float]]
"""Relative value by slack step and number waiting. Nobody waiting is the state in which the next request comes."""


class _Process:
    def __init__(
        self, rows: tuple[Row, ...], per_s: float, budget_s: float, lanes: int, most_waiting: int, steps: int
    ) -> None:
        self._budget_s = budget_s
        self._most = most_waiting
        self._steps = steps
        self._acts = [_Act(r.top1, r.expected_s, r.tail_s, arrivals_at_lane(per_s * r.expected_s, lanes)) for r in rows]
        self._options = [[self._possible(step, waiting) for waiting in self._waiting()] for step in range(steps + 1)]

    def solve(self) -> Table:
        values = [[0.0] * (self._most + 1) for _ in self._options]
        for _ in range(MOST_SWEEPS):
            before, values = values, self._sweep(values)
            gains = [new - old for pair in zip(values, before, strict=True) for new, old in zip(*pair, strict=True)]
            if max(gains) - min(gains) < CONVERGED:
                break
        return self._policy(values)

    def _waiting(self) -> range:
        return range(1, self._most + 1)

    def _possible(self, step: int, waiting: int) -> list[_Option]:
        slack_s = step * self._budget_s / self._steps
        next_s = slack_s + (self._budget_s - slack_s) / waiting
        acts = [act for act in self._acts if act.tail_s <= slack_s] or [_DROP]
        return [(act, self._step(next_s - act.expected_s)) for act in acts]

    def _step(self, slack_s: float) -> int:
        return round(self._steps * max(slack_s, 0.0) / self._budget_s)

    def _sweep(self, values: _Values) -> _Values:
        """One more decision to go, relative to a request that finds its lane idle."""
        rows = [[max(worths) for worths in row] for row in self._worths(values)]
        origin = rows[-1][0]
        return [[0.0, *(worth - origin for worth in row)] for row in rows]

    def _policy(self, values: _Values) -> Table:
        return tuple(
            (0.0, *map(_best, options, worths))
            for options, worths in zip(self._options, self._worths(values), strict=True)
        )

    def _worths(self, values: _Values) -> Iterator[list[list[float]]]:
        """By slack step and number waiting: what each option is worth, with `values` for what comes after."""
        padding = max(len(act.arriving) for act in self._acts)
        padded = [row + row[-1:] * padding for row in values]
        last = {act: act.top1 + self._after_last(act, padded) for act in (*self._acts, _DROP)}
        for row in self._options:
            yield [
                [last[act] for act, _ in row[0]],
                *([_worth(act, padded[step], more) for act, step in row[more]] for more in range(1, self._most)),
            ]

    def _after_last(self, act: _Act, padded: _Values) -> float:
        """Expected value after running the only one waiting. The first of k arrivals has waited k/(k+1) of the run."""
        left_s = [self._budget_s - act.expected_s * k / (k + 1) for k in range(len(act.arriving))]
        return sum(p * padded[self._step(left_s[k])][k] for k, p in enumerate(act.arriving))


def _worth(act: _Act, values: list[float], more: int) -> float:
    """Reward and expected value of an option while `more` wait besides; `values` are those of its slack step."""
    after: float = sum(map(mul, act.arriving, values[more : more + len(act.arriving)]))
    return act.top1 + after


def _best(options: list[_Option], worths: list[float]) -> float:
    """The accuracy of the best option."""
    return max(zip(worths, (act.top1 for act, _ in options), strict=True))[1]
