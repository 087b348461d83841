"""How well could any scheduler have done? An upper bound on effective accuracy, found without a solver.

The bound is the optimum of an easier problem. Whoever solves it knows arrivals and service times in advance, stops and
resumes runs at no cost, splits a request over all lanes, and gets a share of a variant's accuracy for a share of its
run. No scheduler of whole runs can do better, so effective accuracy ÷ bound is a fraction of the best there could be.

**Why it is a bound.** Let y_i be the time that the lanes, taken as one machine of their joint speed, spend on request
i between its arrival and its deadline, and f_i the concave hull of (0, 0) and the points (service time, accuracy) of
those variants that alone fit its budget. A request answered in time by v took at least v's service time, so it is worth
at most f_i(y_i), and one that was not is worth 0 ≤ f_i(y_i). Let w_1 > … > w_K be the slopes of all hulls, w_{K+1} = 0,
and u_ik the time up to which f_i is at least as steep as w_k. For any sets T_k of requests, |T_k| the length of the
union of their windows from arrival to deadline,

    Σ_i f_i(y_i) = Σ_k (w_k − w_{k+1}) · Σ_i min(y_i, u_ik) ≤ Σ_k (w_k − w_{k+1}) · (|T_k| + Σ_{i ∉ T_k} u_ik),

because the requests in T_k can take no more time than there is in their windows. Rounding errors in the choice of T_k
cannot make that untrue.

**Why it is the best of its kind.** One pass of preemptive EDF that drops what has expired spends as much time on the
demands u_ik as can be spent: it is the greedy matching in a convex bipartite graph (Glover 1967), requests on one side,
slices of time on the other. The requests that it leaves short, those that it serves within their windows, those that it
serves within the windows of these, and so on, are the T_k at which min cut meets max flow. The y that can be done form
a polymatroid, so one y does this for all k at once (Edmonds 1970), and the bound is the easier problem's optimum.

**How it is found.** With noise every request has slopes of its own, and one pass for each would be too many. Instead
slopes are halved (the decomposition algorithm: Fujishige 1980; Groenevelt 1991). After a pass at the median slope,
requests in T get nothing at gentler slopes, and the others get at steeper ones all they ask for, in time that T has no
use for; each half goes on alone. O(n log² n): 10^5 requests in some seconds.
"""

import heapq
import math
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import NamedTuple


@dataclass(frozen=True, slots=True)
class Demand:
    """One request as somebody sees it who knows everything."""

    at_s: float
    deadline_s: float
    service_s: Sequence[float]
    """What it takes in truth, by variant."""


def bound(demands: Iterable[Demand], accuracies: Sequence[float], lanes: int) -> float:
    """The highest effective accuracy that there could be: the mean over all requests, 0 for those not answered in time.

    `accuracies` in the order of `service_s`. 0 when there are no requests.
    """
    wishes = [
        _Wish(demand.at_s, demand.deadline_s, 0.0, _steps(demand, accuracies, lanes))
        for demand in sorted(demands, key=lambda demand: demand.at_s)
    ]
    value, open_ = 0.0, [wishes]
    while open_:
        for group in _apart(open_.pop()):
            gained, parts = _halve(group)
            value += gained
            open_ += parts
    return value / max(len(wishes), 1)


class _Wish(NamedTuple):
    """One request on the machine as fast as all lanes."""

    start_s: float
    end_s: float
    sure_s: float
    """Time that it is known to get; its worth is counted."""
    steps: list[tuple[float, float]]
    """(slope, time) that may come on top, steepest first."""


def _steps(demand: Demand, accuracies: Sequence[float], lanes: int) -> list[tuple[float, float]]:
    """The segments of the upper hull."""
    budget_s = demand.deadline_s - demand.at_s
    fitting = [(s / lanes, a) for s, a in zip(demand.service_s, accuracies, strict=True) if s <= budget_s]
    corners = [(0.0, 0.0)]
    for point in sorted(fitting, key=lambda point: (point[0], -point[1])):
        if point[1] <= corners[-1][1]:
            continue
        while len(corners) > 1 and _slope(corners[-2], corners[-1]) <= _slope(corners[-1], point):
            corners.pop()
        corners.append(point)
    return [(_slope(one, other), other[0] - one[0]) for one, other in pairwise(corners)]


def _slope(one: tuple[float, float], other: tuple[float, float]) -> float:
    return (other[1] - one[1]) / (other[0] - one[0])


def _apart(wishes: Sequence[_Wish]) -> Iterator[list[_Wish]]:
    """Groups whose windows do not overlap, without those that have nothing to gain. `wishes` by start."""
    group: list[_Wish] = []
    end_s = 0.0
    for wish in wishes:
        if group and wish.start_s >= end_s:
            yield group
            group = []
        end_s = max(end_s, wish.end_s) if group else wish.end_s
        group.append(wish)
    yield group


def _halve(wishes: list[_Wish]) -> tuple[float, list[list[_Wish]]]:
    """What is certain after one pass at the median slope, and the two halves that are open."""
    slopes = sorted({slope for wish in wishes for slope, _ in wish.steps})
    if not slopes:
        return 0.0, []
    median = slopes[len(slopes) // 2]
    steep = [[step for step in wish.steps if step[0] >= median] for wish in wishes]
    asked_s = [wish.sure_s + sum(time_s for _, time_s in steps) for wish, steps in zip(wishes, steep, strict=True)]
    tight = _tight(wishes, asked_s)
    within = [
        _Wish(wish.start_s, wish.end_s, wish.sure_s, steps)
        for wish, steps, is_tight in zip(wishes, steep, tight, strict=True)
        if is_tight
    ]
    taken = _union(within)
    free = _Free(taken)
    beyond = [
        _Wish(free(wish.start_s), free(wish.end_s), asks_s, wish.steps[len(steps) :])
        for wish, steps, asks_s, is_tight in zip(wishes, steep, asked_s, tight, strict=True)
        if not is_tight
    ]
    gained = sum(s * t for steps, is_tight in zip(steep, tight, strict=True) if not is_tight for s, t in steps)
    if len(slopes) > 1:
        return gained, [within, beyond]
    spent_s = sum(end_s - start_s for start_s, end_s in taken)
    return gained + median * (spent_s - sum(wish.sure_s for wish in within)), []


def _tight(wishes: list[_Wish], asked_s: list[float]) -> list[bool]:
    """Whose windows leave no time that anybody in them could still get."""
    pieces, short = _earliest_deadline_first(wishes, asked_s)
    tight = [False] * len(wishes)
    for one in short:
        tight[one] = True
    ends_s = [end_s for _, end_s, _ in pieces]
    after = list(range(len(pieces) + 1))
    # From each piece, where the next one is that was not looked at; shortened on the way.
    while short:
        wish = wishes[short.pop()]
        number = _unseen(after, bisect_right(ends_s, wish.start_s))
        while number < len(pieces) and pieces[number][0] < wish.end_s:
            served = pieces[number][2]
            if not tight[served]:
                tight[served] = True
                short.append(served)
            after[number] = number + 1
            number = _unseen(after, number)
    return tight


def _unseen(after: list[int], number: int) -> int:
    while after[number] != number:
        after[number] = after[after[number]]
        number = after[number]
    return number


_Piece = tuple[float, float, int]
"""From when to when the machine works for which request."""


def _earliest_deadline_first(wishes: list[_Wish], asked_s: list[float]) -> tuple[list[_Piece], list[int]]:
    """What a preemptive machine does when, in order, and who does not get all it asks for."""
    pieces: list[_Piece] = []
    short: list[int] = []
    waiting: list[tuple[float, int, float]] = []
    arrivals_s = [wish.start_s for wish in wishes[1:]]
    for number, (wish, work_s, next_s) in enumerate(zip(wishes, asked_s, [*arrivals_s, math.inf], strict=True)):
        now_s = wish.start_s
        if not waiting and now_s + work_s <= min(wish.end_s, next_s):
            if work_s > 0:
                pieces.append((now_s, now_s + work_s, number))
            continue
        heapq.heappush(waiting, (wish.end_s, number, work_s))
        while waiting and now_s < next_s:
            end_s, served, left_s = waiting[0]
            until_s = min(end_s, next_s, now_s + left_s)
            if until_s > now_s:
                pieces.append((now_s, until_s, served))
            if until_s < now_s + left_s and until_s < end_s:
                waiting[0] = end_s, served, left_s - (until_s - now_s)
            else:
                heapq.heappop(waiting)
                if until_s < now_s + left_s:
                    short.append(served)
            now_s = max(until_s, now_s)
    return pieces, short


def _union(wishes: list[_Wish]) -> list[tuple[float, float]]:
    """The windows of all of them, joined where they overlap. `wishes` by start."""
    joined: list[tuple[float, float]] = []
    for wish in wishes:
        if joined and wish.start_s <= joined[-1][1]:
            joined[-1] = joined[-1][0], max(joined[-1][1], wish.end_s)
        else:
            joined.append((wish.start_s, wish.end_s))
    return joined


class _Free:
    """Time on a clock that stands still during `taken`."""

    def __init__(self, taken: list[tuple[float, float]]) -> None:
        self._taken = taken
        self._starts_s = [start_s for start_s, _ in taken]
        self._before_s = [0.0, *accumulate(end_s - start_s for start_s, end_s in taken)]

    def __call__(self, at_s: float) -> float:
        number = bisect_right(self._starts_s, at_s)
        if number == 0:
            return at_s
        start_s, end_s = self._taken[number - 1]
        return at_s - self._before_s[number - 1] - (min(at_s, end_s) - start_s)
