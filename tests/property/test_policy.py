"""Invariants of the decision, over arbitrary families, budgets and queues, where runs can be terminated and not."""

import random
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from service.core.state import SystemState
from service.core.values import Job, Variant, urgency
from tests.builders import FixedCosts, job, policy, running, state, variant

Family = tuple[tuple[Variant, ...], FixedCosts]

times = st.floats(0.001, 2.0)
budgets = st.floats(0.001, 5.0)


@st.composite
def families(draw: st.DrawFn) -> Family:
    """One to eight variants with any accuracies and costs, on a machine where runs can be terminated or not."""
    figures = draw(st.lists(st.tuples(st.floats(0.1, 0.99), times), min_size=1, max_size=8))
    members = tuple(variant(f"v{number}", top1) for number, (top1, _) in enumerate(figures))
    times_s = {f"v{number}": seconds for number, (_, seconds) in enumerate(figures)}
    reserve_s, usual = draw(st.floats(0.0, 0.05)), draw(st.floats(0.0, 1.0))
    stop_s = draw(st.sampled_from([None, 0.0, 0.002]))
    return members, FixedCosts(times_s, stop_s=stop_s, reserve_s=reserve_s, usual_reserve_s=usual * reserve_s)


@st.composite
def company(draw: st.DrawFn) -> SystemState:
    """Up to six others wait, a run on one of two lanes goes on for a while, more may arrive, in bursts or evenly, some
    time was wasted, and some requests were lost."""
    others = [job(number, budget) for number, budget in enumerate(draw(st.lists(budgets, max_size=6)), 2)]
    run = running(0, until_s=draw(st.floats(0.0, 3.0)), name="v0", budget_s=draw(budgets))
    wasted = draw(st.sampled_from([0.0, 0.2]))
    return replace(
        state(*others, lanes=2, busy=(run,), rate=draw(st.floats(0, 100)), wasted=wasted),
        calm_arrivals_per_s=draw(st.floats(0, 100)),
        burstiness=draw(st.floats(0.5, 8)),
        lost_share=draw(st.sampled_from([0.0, 0.1])),
        background_lanes=draw(st.sampled_from([0, 2])),
    )


def beside(others: SystemState, asked: Job) -> SystemState:
    """The same, and one more waits."""
    return replace(others, waiting=tuple(sorted((asked, *others.waiting), key=urgency)))


def chosen(family: Family, asked: Job, snapshot: SystemState) -> Variant:
    """What the asked one gets."""
    variants, costs = family
    return policy(variants).decide(0.0, asked, snapshot, costs).variant


@given(families(), budgets, budgets, company())
def test_more_budget_never_buys_less_accuracy(family: Family, a: float, b: float, others: SystemState) -> None:
    """Monotone in the budget, whoever else waits and runs."""
    small, large = (chosen(family, asked, beside(others, asked)) for asked in (job(1, min(a, b)), job(1, max(a, b))))
    assert (small.rank_top1 or 0) <= (large.rank_top1 or 0)


@given(families(), budgets, company())
def test_if_something_fits_nothing_unfit_is_chosen(family: Family, budget: float, others: SystemState) -> None:
    """Fits or is the cheapest."""
    variants, costs = family
    asked = job(1, budget)
    decision = policy(variants).decide(0.0, asked, beside(others, asked), costs)
    assert decision.fits == any(costs.tail_s(v.name, 0.0) <= budget - costs.respond_s() for v in variants)


@given(families(), budgets)
def test_on_an_idle_machine_the_choice_is_the_best_that_fits(family: Family, budget: float) -> None:
    """Against brute force."""
    variants, costs = family
    fitting = [v.rank_top1 or 0 for v in variants if costs.tail_s(v.name, 0.0) <= budget - costs.respond_s()]
    if fitting:
        assert chosen(family, job(budget_s=budget), state()).rank_top1 == max(fitting)


@given(families(), budgets, company(), st.integers())
def test_the_order_of_the_variants_does_not_matter(
    family: Family, budget: float, others: SystemState, seed: int
) -> None:
    """Permuting the store changes nothing."""
    variants, costs = family
    shuffled = list(variants)
    random.Random(seed).shuffle(shuffled)
    asked = job(1, budget)
    snapshot = beside(others, asked)
    assert chosen(family, asked, snapshot) == chosen((tuple(shuffled), costs), asked, snapshot)


@given(families(), budgets, company())
def test_company_never_raises_the_accuracy(family: Family, budget: float, others: SystemState) -> None:
    """Whoever waits, runs or may come can only make a decision more careful."""
    asked = job(1, budget)
    alone, together = chosen(family, asked, state(asked, lanes=2)), chosen(family, asked, beside(others, asked))
    assert (together.rank_top1 or 0) <= (alone.rank_top1 or 0)
