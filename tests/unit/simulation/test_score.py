"""The figures, by hand."""

from array import array

import numpy as np
import pytest

from service.core.errors import EffserveError, ErrorKind
from service.core.simulator import Outcome
from service.core.values import Decision, Reason
from service.evaluation.measures import wilson
from service.simulation.run import Played, World
from service.simulation.score import make_report, score
from service.simulation.traces import Recorded
from tests.builders import ACCURACIES, job, variant
from tests.unit.simulation.kit import world


def here(*budgets_ms: float) -> World:
    """One request each second."""
    budgets_s = np.array(budgets_ms) / 1e3
    return world(Recorded("hand", np.arange(len(budgets_s), dtype=float), budgets_s), names=("b0", "b4"), load=None)


def answered(number: int, budget_ms: float, name: str, after_ms: float) -> Outcome:
    """By a variant, so long after its arrival."""
    one = job(number, budget_ms / 1e3, at_s=float(number))
    decision = Decision(variant(name), Reason.MOST_ACCURATE_THAT_FITS, 0.0, 0.0, 0.0, 0.0, True)
    return Outcome(one, decision, number + after_ms / 1e3)


def refused(number: int, budget_ms: float) -> Outcome:
    """At once."""
    error = EffserveError(ErrorKind.QUEUE_FULL, "full")
    return Outcome(job(number, budget_ms / 1e3, at_s=float(number)), None, float(number), error)


def run(*outcomes: Outcome, terminated: int = 0, wasted_s: float = 0.0) -> Played:
    """What a simulation would keep."""
    return Played(list(outcomes), terminated, wasted_s, array("d", [1e-6, 3e-6]))


MIXED = run(
    answered(0, 50, "b0", 40),
    answered(1, 50, "b0", 60),
    answered(2, 200, "b4", 150),
    refused(3, 200),
    terminated=2,
    wasted_s=0.3,
)


def test_every_request_counts() -> None:
    """Late and refused ones are misses; accuracy is the variants'."""
    found = score("mine", MIXED, here(50, 50, 200, 200))
    assert (found.attainment.value, found.late, found.rejected, found.terminated) == (0.5, 0.25, 0.25, 0.5)
    assert (found.attainment.low, found.attainment.high) == wilson(2, 4)
    assert found.serving_accuracy == pytest.approx((ACCURACIES["b0"] + ACCURACIES["b4"]) / 2)
    assert found.effective_accuracy == pytest.approx((ACCURACIES["b0"] + ACCURACIES["b4"]) / 4)
    assert found.of_bound == pytest.approx(found.effective_accuracy / here(50, 50, 200, 200).bound)
    assert found.variants == pytest.approx({"b0": 2 / 3, "b4": 1 / 3})


def test_waste_is_a_share_of_all_lane_time() -> None:
    """Here one lane, until the last outcome after three seconds."""
    assert score("mine", MIXED, here(50, 50, 200, 200)).wasted == pytest.approx(0.3 / 3.0)


def test_each_budget_has_figures_of_its_own() -> None:
    """In order."""
    short, long = score("mine", MIXED, here(50, 50, 200, 200)).budgets
    assert (short.budget_ms, short.requests, short.attainment.value) == (50.0, 2, 0.5)
    assert (long.budget_ms, long.requests, long.attainment.value) == (200.0, 2, 0.5)
    assert (short.serving_accuracy, long.serving_accuracy) == (ACCURACIES["b0"], ACCURACIES["b4"])
    assert (short.variants, long.variants) == ({"b0": 1.0, "b4": 0.0}, {"b0": 0.0, "b4": 1.0})


def test_many_budgets_are_grouped() -> None:
    """By doubling limits."""
    budgets_ms = [10.0 * n for n in range(1, 14)]
    outcomes = [answered(n, budget_ms, "b0", 1) for n, budget_ms in enumerate(budgets_ms)]
    found = score("mine", run(*outcomes), here(*budgets_ms)).budgets
    assert [(group.budget_ms, group.requests) for group in found] == [(25.0, 2), (50.0, 3), (100.0, 5), (200.0, 3)]


def test_where_nobody_is_answered_there_is_no_accuracy() -> None:
    """And a bound of 0 has no fractions."""
    found = score("mine", run(refused(0, 1), refused(1, 1)), here(1, 1))
    assert (found.serving_accuracy, found.effective_accuracy, found.of_bound, found.variants) == (None, 0.0, None, {})


def test_events_are_given_in_microseconds() -> None:
    """Interpolated percentiles."""
    found = score("mine", MIXED, here(50, 50, 200, 200))
    assert (found.event_us_p50, found.event_us_p99) == pytest.approx((2.0, 2.98))


def test_a_report_says_what_all_policies_met() -> None:
    """Requests, load, service times, bound."""
    ours = here(50, 50, 200, 200)
    made = make_report(ours, [score("mine", MIXED, ours)], trace="hand", seed=3)
    assert (made.trace, made.requests, made.seed, made.lanes, made.times) == ("hand", 4, 3, 1, "exact")
    assert (made.seconds, made.arrivals_per_s, made.load) == pytest.approx((3.0, 1.0, 0.016))
    assert [(one.name, one.top1, one.service_ms) for one in made.variants] == [
        ("b0", 0.771, 16.0),
        ("b4", 0.829, 144.0),
    ]
    assert made.bound == pytest.approx((2 * 0.771 + 2 * 0.829) / 4)
