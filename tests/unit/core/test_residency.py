"""Which variants are kept in memory: the rule by example. tests/property/test_residency.py has what it promises."""

from dataclasses import replace

import pytest

from service.core.residency import (
    Demand,
    DoesNotFitError,
    Swap,
    Tenant,
    bought,
    cheapest,
    estimated_cost,
    front,
    most_useful,
    size_bytes,
    step,
    usefulness,
)

SMALL = Tenant("small", 10, 5, cost=1.0, top1=0.7)
MIDDLE = Tenant("middle", 20, 10, cost=2.0, top1=0.75)
LARGE = Tenant("large", 40, 20, cost=4.0, top1=0.8)
NAMED_ONLY = Tenant("named-only", 15, 5, cost=3.0, top1=None)
DOMINATED = Tenant("dominated", 10, 5, cost=3.0, top1=0.72)
FAMILY = [LARGE, SMALL, MIDDLE]
BOTH = size_bytes([SMALL, LARGE])


def test_runs_share_their_memory() -> None:
    """The largest counts."""
    assert size_bytes(FAMILY) == 10 + 20 + 40 + 20
    assert size_bytes([]) == 0


def test_the_front_is_what_budgets_would_buy() -> None:
    """The cheapest first; of no accuracy that is known, or beaten, nobody."""
    assert front([*FAMILY, NAMED_ONLY, DOMINATED]) == (SMALL, MIDDLE, LARGE)
    assert (cheapest([NAMED_ONLY, LARGE]), cheapest([NAMED_ONLY])) == ("large", None)


def test_a_set_is_worth_what_requests_get_of_it() -> None:
    """Who would have bought what is not there gets the best that costs no more; who names it gets nothing."""
    tenants = [SMALL, replace(MIDDLE, bought=9.0), replace(LARGE, named=3.0)]
    assert usefulness(tenants, {"small"}) == pytest.approx(0.7 + 10 * 0.7 + 0.7)
    assert usefulness(tenants, {"small", "large"}) == pytest.approx(0.7 + 10 * 0.7 + 0.8 + 3.0)
    assert usefulness(tenants, {"small", "middle"}) == pytest.approx(0.7 + 10 * 0.75 + 0.75)


def test_without_demand_the_front_is_spread() -> None:
    """As if each of it had been bought once; what fits beside is filled up."""
    assert most_useful(FAMILY, BOTH) == {"small", "middle"}
    assert most_useful([*FAMILY, NAMED_ONLY], BOTH) == {"small", "middle", "named-only"}
    assert most_useful(FAMILY, size_bytes(FAMILY)) == {"small", "middle", "large"}


def test_demand_decides() -> None:
    """By budgets and by name."""
    for wanted in (replace(LARGE, bought=5.0), replace(LARGE, named=1.0)):
        assert most_useful([wanted, SMALL, MIDDLE], BOTH) == {"small", "large"}
    tenants = [replace(NAMED_ONLY, named=1.0), SMALL, MIDDLE]
    assert most_useful(tenants, size_bytes([SMALL, NAMED_ONLY])) == {"small", "named-only"}


def test_nothing_removes_the_cheapest() -> None:
    """However much others are asked for; what does not fit beside it is told."""
    tenants = [SMALL, replace(LARGE, named=1e6)]
    assert most_useful(tenants, BOTH - 1) == {"small"}
    with pytest.raises(DoesNotFitError, match=f"{BOTH} bytes are needed") as caught:
        most_useful(tenants, BOTH - 1, must={"large"})
    assert caught.value.needed_bytes == BOTH


def test_only_what_may_be_there_must() -> None:
    """What is just being loaded has to stay once it is there, and is not there yet."""
    coming = Tenant("coming", 1, 1, cost=9.0, top1=None, named=1.0)
    family = {"small", "middle", "large"}
    assert most_useful([*FAMILY, coming], BOTH, must={"coming"}, among=family) == {"small", "middle"}
    tenants = [SMALL, MIDDLE, replace(LARGE, bought=100.0), coming]
    assert step(tenants, {"small", "middle"}, BOTH, must={"coming"}) == Swap("large", ("middle",))


def test_a_step_loads_one_and_says_what_goes() -> None:
    """Only what brings more than the margin; what must stay does."""
    tenants = [SMALL, MIDDLE, replace(LARGE, bought=100.0)]
    assert step(tenants, {"small", "middle"}, BOTH) == Swap("large", ("middle",))
    assert step(tenants, {"small", "middle"}, BOTH, must={"middle"}) is None
    assert step(tenants, {"small", "large"}, BOTH) is None
    assert step(FAMILY, {"small"}, 1e9) == Swap("large", ()) or step(FAMILY, {"small"}, 1e9) == Swap("middle", ())


def test_a_small_gain_is_no_reason_to_load() -> None:
    """Demand wavers; loading takes time."""
    alike = replace(MIDDLE, name="alike", cost=2.1, top1=0.7501)
    assert usefulness([SMALL, MIDDLE, alike], {"small", "alike"}) != usefulness([SMALL, MIDDLE, alike], {"small"})
    assert step([SMALL, MIDDLE, alike], {"small", "middle"}, size_bytes([SMALL, MIDDLE])) is None


def test_demand_fades() -> None:
    """It halves every so many seconds; naming is counted apart."""
    demand = Demand(half_life_s=10.0)
    demand.count(0.0, "b0", named=True)
    demand.count(10.0, "b0", named=True)
    assert demand.of(10.0, "b0", named=True) == 1.5
    assert demand.of(20.0, "b0", named=True) == 0.75
    assert demand.of(20.0, "b0", named=False) == 0.0
    assert repr(demand) == "<Demand 1 counts>"


def test_a_budget_buys_the_most_accurate_that_fits() -> None:
    """The cheapest when none does; nothing of nothing."""
    fronts = front(FAMILY)
    assert [bought(fronts, budget_s, 0.01) for budget_s in (0.001, 0.01, 0.03, 1.0)] == [SMALL, SMALL, MIDDLE, LARGE]
    assert bought((), 1.0, 0.01) is None


def test_what_was_never_run_costs_as_much_for_its_work_as_the_one_most_like_it() -> None:
    """By the ratio of their multiply-adds."""
    assert estimated_cost(400, {100: 1.0, 300: 6.0}) == pytest.approx(8.0)
