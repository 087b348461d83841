"""Invariants of the decision, over arbitrary families, budgets and queues."""

from hypothesis import given
from hypothesis import strategies as st

from service.core.values import Variant
from tests.builders import FixedCosts, job, policy, running, state, variant

times = st.floats(0.001, 2.0)
budgets = st.floats(0.001, 5.0)


@st.composite
def families(draw: st.DrawFn) -> tuple[tuple[Variant, ...], FixedCosts]:
    """One to eight variants with any accuracies and costs."""
    figures = draw(st.lists(st.tuples(st.floats(0.1, 0.99), times), min_size=1, max_size=8))
    members = tuple(variant(f"v{number}", top1) for number, (top1, _) in enumerate(figures))
    return members, FixedCosts({f"v{number}": seconds for number, (_, seconds) in enumerate(figures)})


@given(families(), budgets, budgets)
def test_more_budget_never_buys_less_accuracy(
    family: tuple[tuple[Variant, ...], FixedCosts], a: float, b: float
) -> None:
    """Monotone in the budget."""
    variants, costs = family
    small, large = (policy(variants).decide(0.0, job(budget_s=s), state(), costs) for s in sorted((a, b)))
    assert (small.variant.rank_top1 or 0) <= (large.variant.rank_top1 or 0)


@given(families(), budgets)
def test_if_something_fits_nothing_unfit_is_chosen(
    family: tuple[tuple[Variant, ...], FixedCosts], budget: float
) -> None:
    """Fits or is the cheapest."""
    variants, costs = family
    decision = policy(variants).decide(0.0, job(budget_s=budget), state(), costs)
    assert decision.fits == any(costs.tail_s(v.name, 0.0) <= budget for v in variants)


@given(families(), budgets)
def test_on_an_idle_machine_the_choice_is_the_best_that_fits(
    family: tuple[tuple[Variant, ...], FixedCosts], budget: float
) -> None:
    """Against brute force."""
    variants, costs = family
    fitting = [v.rank_top1 or 0 for v in variants if costs.tail_s(v.name, 0.0) <= budget]
    decision = policy(variants).decide(0.0, job(budget_s=budget), state(), costs)
    if fitting:
        assert decision.variant.rank_top1 == max(fitting)


@given(families(), budgets, st.randoms())
def test_the_order_of_the_variants_does_not_matter(
    family: tuple[tuple[Variant, ...], FixedCosts], budget: float, draw: object
) -> None:
    """Permuting the store changes nothing."""
    variants, costs = family
    shuffled = list(variants)
    draw.shuffle(shuffled)  # type: ignore[attr-defined]
    first = policy(variants).decide(0.0, job(budget_s=budget), state(), costs)
    second = policy(tuple(shuffled)).decide(0.0, job(budget_s=budget), state(), costs)
    assert first.variant == second.variant


@given(families(), st.lists(budgets, min_size=1, max_size=6), st.integers(1, 3), st.floats(0.0, 3.0), st.floats(0, 100))
def test_a_waiting_queue_never_raises_the_accuracy(
    family: tuple[tuple[Variant, ...], FixedCosts], waiting: list[float], lanes: int, busy_s: float, rate: float
) -> None:
    """Company can only make a decision more careful."""
    variants, costs = family
    jobs = [job(number, budget) for number, budget in enumerate(waiting)]
    busy = (running(0, until_s=busy_s, name="v0"),) if lanes > 1 else ()
    alone = policy(variants).decide(0.0, jobs[0], state(jobs[0], lanes=lanes), costs)
    together = policy(variants).decide(0.0, jobs[0], state(*jobs, lanes=lanes, busy=busy, rate=rate), costs)
    assert (together.variant.rank_top1 or 0) <= (alone.variant.rank_top1 or 0)
