"""Which variants are kept in memory: what the rule promises, for any variants, demand and limit."""

from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.core.residency import (
    MARGIN,
    PRIOR,
    DoesNotFitError,
    Tenant,
    cheapest,
    most_useful,
    size_bytes,
    step,
    usefulness,
)

TENANTS = st.lists(
    st.builds(
        Tenant,
        name=st.sampled_from("abcdefg"),
        weights_bytes=st.integers(1, 40),
        runs_bytes=st.integers(0, 20),
        cost=st.integers(1, 5).map(float),
        top1=st.one_of(st.none(), st.sampled_from([0.5, 0.6, 0.7, 0.8])),
        bought=st.sampled_from([0.0, 1.0, 30.0]),
        named=st.sampled_from([0.0, 0.0, 2.0]),
    ),
    min_size=1,
    max_size=7,
    unique_by=lambda one: one.name,
)
LIMITS = st.integers(0, 200)


def chosen(tenants: list[Tenant], limit: int) -> frozenset[str] | None:
    """None where not even the cheapest fits."""
    try:
        return most_useful(tenants, limit)
    except DoesNotFitError:
        return None


def of(tenants: list[Tenant], names: frozenset[str]) -> list[Tenant]:
    """Those of these names."""
    return [one for one in tenants if one.name in names]


@given(TENANTS, LIMITS)
def test_no_other_set_within_the_limit_is_more_useful(tenants: list[Tenant], limit: int) -> None:
    """Every set is tried; the chosen one is within the limit, too, and has the cheapest that budgets may choose."""
    found, first = chosen(tenants, limit), cheapest(tenants)
    every = [frozenset(one) for n in range(len(tenants) + 1) for one in combinations([t.name for t in tenants], n)]
    possible = [one for one in every if size_bytes(of(tenants, one)) <= limit and (first is None or first in one)]
    assert (found is None) == (not possible)
    if found is not None:
        assert found in possible
        best = max(usefulness(tenants, one) for one in possible)
        assert usefulness(tenants, found) == pytest.approx(best)


@given(TENANTS, LIMITS, st.integers(0, 100))
def test_more_memory_never_gives_a_less_useful_set(tenants: list[Tenant], limit: int, more: int) -> None:
    """And what everything fits into holds everything."""
    less, larger = chosen(tenants, limit), chosen(tenants, limit + more)
    if less is not None:
        assert larger is not None
        assert usefulness(tenants, larger) >= usefulness(tenants, less) - 1e-9
    assert most_useful(tenants, size_bytes(tenants)) == {one.name for one in tenants}


@given(TENANTS, LIMITS, st.randoms())
def test_the_order_does_not_matter(tenants: list[Tenant], limit: int, random: object) -> None:
    """Of what is in the store, or in which order it was asked for."""
    mixed = list(tenants)
    random.shuffle(mixed)  # type: ignore[attr-defined]
    assert chosen(mixed, limit) == chosen(tenants, limit)


@given(TENANTS, LIMITS)
def test_steps_stay_within_the_limit_and_come_to_an_end(tenants: list[Tenant], limit: int) -> None:
    """Each makes the set more useful by more than the margin; when nothing changes, nothing is loaded any more."""
    try:
        resident = most_useful(tenants, limit, among={cheapest(tenants) or tenants[0].name})
    except DoesNotFitError:
        return
    least = MARGIN * sum(one.bought + one.named + PRIOR for one in tenants)
    for _ in range(100):
        swap = step(tenants, resident, limit)
        if swap is None:
            return
        after = (resident - {*swap.evict}) | {swap.load}
        assert size_bytes(of(tenants, after)) <= limit
        assert cheapest(tenants) in {None, *after}
        assert usefulness(tenants, after) > usefulness(tenants, resident) + least
        resident = after
    raise AssertionError("it goes on for ever")


@given(TENANTS, LIMITS, st.data())
def test_what_must_be_there_is_there_or_does_not_fit(tenants: list[Tenant], limit: int, data: st.DataObject) -> None:
    """Of what may be there, and nothing else is."""
    some = st.sets(st.sampled_from([one.name for one in tenants]))
    must, among = data.draw(some), data.draw(some)
    needed = among & {*must, cheapest(tenants)}
    needed_bytes = size_bytes(of(tenants, frozenset(needed)))
    if needed_bytes <= limit:
        assert needed <= most_useful(tenants, limit, must=must, among=among) <= among
        return
    with pytest.raises(DoesNotFitError) as found:
        most_useful(tenants, limit, must=must, among=among)
    assert found.value.needed_bytes == needed_bytes
