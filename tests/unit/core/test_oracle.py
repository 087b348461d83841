"""The oracle's bound: by hand, against all schedules of small instances, and against one pass for each slope."""

import heapq
import math
import random
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.core.oracle import Demand, bound

ROUNDING = 1e-9


def optimum(demands: Sequence[Demand], accuracies: Sequence[float], lanes: int) -> float:
    """The best that whole runs can do, by trying all of them.

    Every schedule, its runs sorted by start, is at least as early when each run goes in that order to the lane that is
    free first.
    """

    def best(left: frozenset[int], free_s: tuple[float, ...]) -> float:
        value = 0.0
        for number in left:
            demand = demands[number]
            start_s = max(free_s[0], demand.at_s)
            for service_s, accuracy in zip(demand.service_s, accuracies, strict=True):
                if start_s + service_s <= demand.deadline_s:
                    then_s = tuple(sorted((*free_s[1:], start_s + service_s)))
                    value = max(value, accuracy + best(left - {number}, then_s))
        return value

    return best(frozenset(range(len(demands))), (0.0,) * lanes) / len(demands)


def hull_value(demand: Demand, accuracies: Sequence[float]) -> list[tuple[float, float]]:
    """(slope, work) of the upper hull, by looking for the steepest line again and again."""
    points = [(s, a) for s, a in zip(demand.service_s, accuracies, strict=True) if s <= demand.deadline_s - demand.at_s]
    steps, at, worth = [], 0.0, 0.0
    while beyond := [(s, a) for s, a in points if a > worth]:
        slope, s, a = max(((a - worth) / (s - at), s, a) for s, a in beyond)
        steps.append((slope, s - at))
        at, worth = s, a
    return steps


def edf_work(demands: Sequence[Demand], asked: Sequence[float]) -> float:
    """What a preemptive machine of speed 1 does before deadlines."""
    waiting: list[tuple[float, float]] = []
    done = 0.0
    for number, demand in enumerate(demands):
        heapq.heappush(waiting, (demand.deadline_s, asked[number]))
        now_s = demand.at_s
        until_s = demands[number + 1].at_s if number + 1 < len(demands) else math.inf
        while waiting and now_s < until_s:
            deadline_s, left = heapq.heappop(waiting)
            spent = max(min(left, deadline_s - now_s, until_s - now_s), 0.0)
            done, now_s = done + spent, now_s + spent
            if now_s == until_s and left > spent:
                heapq.heappush(waiting, (deadline_s, left - spent))
    return done


def one_pass_a_slope(demands: Sequence[Demand], accuracies: Sequence[float], lanes: int) -> float:
    """The same bound, by its formula."""
    ordered = sorted(demands, key=lambda demand: demand.at_s)
    hulls = [[(slope * lanes, work / lanes) for slope, work in hull_value(demand, accuracies)] for demand in ordered]
    slopes = sorted({slope for hull in hulls for slope, _ in hull}, reverse=True)
    value = 0.0
    for slope, gentler in pairwise([*slopes, 0.0]):
        asked = [sum(work for steep, work in hull if steep >= slope) for hull in hulls]
        value += (slope - gentler) * edf_work(ordered, asked)
    return value / len(ordered)


@pytest.mark.parametrize(
    ("lanes", "budgets_s", "expected"),
    [
        (1, [1.0], 0.8),  # The best fits.
        (1, [0.9], 0.6),  # The best does not fit this budget, however idle the machine.
        (1, [0.4], 0.0),  # Nothing fits.
        (1, [1.0, 1.0], 0.6),  # Both have half of the time.
        (2, [1.0, 1.0], 0.8),  # Each has a lane.
        (1, [1.0, 1.0, 1.0], 0.4),  # The time of two, among three.
        (1, [1.0, 2.0], 0.8),  # One after the other.
        (1, [1.0, 1.5], 0.7),  # One of them gets up to half of the way from 0.6 to 0.8.
        (1, [0.9, 1.0], 0.6),  # The short one has no use for more than half.
        (3, [1.0], 0.8),  # More lanes are of no use to one request.
    ],
)
def test_the_bound_of_requests_that_come_at_once(lanes: int, budgets_s: list[float], expected: float) -> None:
    """Two variants: half a second for 0.6, a second for 0.8."""
    demands = [Demand(0.0, budget_s, (0.5, 1.0)) for budget_s in budgets_s]
    assert bound(demands, (0.6, 0.8), lanes) == pytest.approx(expected)


def test_time_before_an_arrival_is_of_no_use() -> None:
    """An idle second, then two requests that want one each within one."""
    demands = [Demand(1.0, 2.0, (1.0,)), Demand(1.0, 2.0, (1.0,)), Demand(0.0, 0.5, (1.0,))]
    assert bound(demands, (0.9,), 1) == pytest.approx(0.9 / 3)


def test_a_long_budget_makes_room_for_a_short_one() -> None:
    """It waits meanwhile, as whole runs could not: bound, and optimum below it."""
    demands = [Demand(0.0, 4.0, (3.0,)), Demand(1.0, 2.0, (1.0,))]
    assert bound(demands, (0.5,), 1) == pytest.approx(0.5)
    assert optimum(demands, (0.5,), 1) == pytest.approx(0.25)


def test_a_variant_below_the_line_between_its_neighbours_is_left_out() -> None:
    """As is one that is dominated, and of two that take the same time the worse one."""
    all_of_them = [Demand(0.0, 1.0, (0.5, 0.6, 1.0, 0.9, 0.5)) for _ in range(2)]
    two = [Demand(0.0, 1.0, (0.5, 1.0)) for _ in range(2)]
    assert bound(all_of_them, (0.6, 0.61, 0.8, 0.6, 0.5), 1) == pytest.approx(bound(two, (0.6, 0.8), 1))


def test_nobody_is_not_answered() -> None:
    """No requests, no accuracy; and no time, no answer."""
    assert bound([], (0.8,), 1) == 0.0
    assert bound([Demand(1.0, 0.5, (0.1,)), Demand(1.0, 1.0, (0.1,))], (0.8,), 1) == 0.0


@pytest.mark.parametrize("seed", range(60))
def test_no_schedule_of_whole_runs_is_better(seed: int) -> None:
    """Up to five requests with three variants each, on one lane or two; all schedules are tried."""
    draw = random.Random(seed)
    accuracies = sorted(draw.random() for _ in range(3))
    demands = []
    for _ in range(draw.randint(1, 5)):
        at_s, times_s = draw.uniform(0, 2), sorted(draw.uniform(0.2, 2) for _ in range(3))
        demands.append(Demand(at_s, at_s + draw.uniform(0.2, 4), times_s))
    lanes = draw.randint(1, 2)
    assert optimum(demands, accuracies, lanes) <= bound(demands, accuracies, lanes) + ROUNDING


@st.composite
def instances(draw: st.DrawFn) -> tuple[list[Demand], list[float], int]:
    """Few different numbers, so that moments and slopes coincide."""
    variants = draw(st.integers(1, 3))
    some_s = st.integers(0, 12).map(lambda number: number / 4)
    demand = st.builds(
        lambda at_s, budget_s, times_s: Demand(at_s, at_s + budget_s, times_s),
        some_s,
        some_s,
        st.lists(st.integers(1, 12).map(lambda number: number / 4), min_size=variants, max_size=variants),
    )
    accuracies = st.lists(st.integers(1, 10).map(lambda number: number / 10), min_size=variants, max_size=variants)
    return draw(st.lists(demand, min_size=1, max_size=8)), draw(accuracies), draw(st.integers(1, 3))


@given(instances())
def test_it_is_the_value_of_one_pass_a_slope(instance: tuple[list[Demand], list[float], int]) -> None:
    """Halving loses nothing."""
    demands, accuracies, lanes = instance
    assert bound(demands, accuracies, lanes) == pytest.approx(one_pass_a_slope(demands, accuracies, lanes), abs=1e-9)


def test_it_is_the_value_of_one_pass_a_slope_under_noise() -> None:
    """Hundreds of requests, each with slopes of its own, at twice what the lanes can do."""
    draw = random.Random(1)
    demands, at_s = [], 0.0
    for _ in range(150):
        at_s += draw.expovariate(2.0)
        times_s = [base_s * draw.uniform(0.8, 1.2) for base_s in (0.5, 1.0, 3.0)]
        demands.append(Demand(at_s, at_s + draw.choice((0.6, 1.0, 4.0, 9.0)), times_s))
    for lanes in (1, 2, 5):
        expected = one_pass_a_slope(demands, (0.7, 0.8, 0.84), lanes)
        assert bound(demands, (0.7, 0.8, 0.84), lanes) == pytest.approx(expected, abs=1e-9)


@given(instances())
def test_it_is_at_most_the_best_variant_for_everybody(instance: tuple[list[Demand], list[float], int]) -> None:
    """And never negative."""
    demands, accuracies, lanes = instance
    assert -ROUNDING <= bound(demands, accuracies, lanes) <= max(accuracies) + ROUNDING


@given(instances(), st.integers(1, 3))
def test_more_lanes_never_lower_it(instance: tuple[list[Demand], list[float], int], more: int) -> None:
    """They may stay idle."""
    demands, accuracies, lanes = instance
    assert bound(demands, accuracies, lanes) <= bound(demands, accuracies, lanes + more) + ROUNDING


@given(instances(), st.lists(st.integers(0, 8).map(lambda number: number / 4), min_size=8, max_size=8))
def test_looser_deadlines_never_lower_it(
    instance: tuple[list[Demand], list[float], int], looser_s: list[float]
) -> None:
    """Answers may come as early as before."""
    demands, accuracies, lanes = instance
    loose = [
        replace(demand, deadline_s=demand.deadline_s + more_s)
        for demand, more_s in zip(demands, looser_s, strict=False)
    ]
    assert bound(demands, accuracies, lanes) <= bound(loose, accuracies, lanes) + ROUNDING
