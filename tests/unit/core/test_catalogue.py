"""Which variants a budget may choose, which are dominated, and what a request leaves."""

import random
from collections.abc import Callable
from dataclasses import replace

import pytest

from service.core.catalogue import Catalogue, rank, wanted
from service.core.errors import EffserveError, ErrorKind
from service.core.values import Absent
from tests.builders import FAMILY, FixedCosts, job, variant

COSTS = FixedCosts()
WHOLE = Catalogue(FAMILY)


def test_the_front_is_ordered_by_accuracy() -> None:
    """The most accurate first, whatever order they were read in."""
    shuffled = list(FAMILY)
    random.Random(1).shuffle(shuffled)
    assert Catalogue(tuple(shuffled)).front(COSTS) == tuple(reversed(FAMILY))


def test_of_two_that_cost_the_same_the_more_accurate_is_on_the_front() -> None:
    """The other one is dominated."""
    pair = (variant("x", 0.7), variant("y", 0.8))
    assert Catalogue(pair).front(FixedCosts({"x": 0.01, "y": 0.01})) == pair[1:]


def test_of_two_alike_the_first_by_name_is_on_the_front() -> None:
    """Somebody has to be."""
    pair = (variant("y", 0.8), variant("x", 0.8))
    assert Catalogue(pair).front(FixedCosts({"x": 0.01, "y": 0.01})) == pair[1:]


def test_what_is_routed_has_weights_and_an_accuracy() -> None:
    """Unless the operator routes to seeded weights, too."""
    kinds = (variant("b0"), variant("b1", trained=False), variant("unknown"))
    assert Catalogue(kinds).routed() == kinds[:1]
    assert Catalogue(kinds, route_untrained=True).routed() == kinds[:2]


def test_an_accuracy_is_out_of_reach_when_none_is_known() -> None:
    """There is no best one to name."""
    with pytest.raises(EffserveError, match="no variant has a known accuracy") as caught:
        Catalogue((variant("unknown"),)).cheapest_at(0.5, FixedCosts({"unknown": 1.0}))
    assert (caught.value.kind, caught.value.facts) == (ErrorKind.ACCURACY_UNAVAILABLE, {})


def test_what_is_not_in_memory_says_how_long_it_takes_to_load() -> None:
    """Whether it is named, or the only one that is accurate enough; budgets do not choose it."""
    some = Catalogue(FAMILY[:2], absent=(Absent(FAMILY[2], 1.5), Absent(FAMILY[3], None)))
    assert some.front(COSTS) == (FAMILY[1], FAMILY[0])
    assert some.known() == FAMILY[:4]
    asked: list[Callable[[], object]] = [lambda: some.named("b2"), lambda: some.cheapest_at(0.8, COSTS)]
    for ask in asked:
        with pytest.raises(EffserveError, match="b2 is not in memory") as caught:
            ask()
        assert (caught.value.kind, caught.value.retry_after_s) == (ErrorKind.NOT_RESIDENT, 1.5)
        assert wanted(caught.value) == "b2"
    with pytest.raises(EffserveError, match="b3 does not fit"):
        some.named("b3")
    with pytest.raises(EffserveError, match="b3 does not fit") as caught:
        some.cheapest_at(0.81, COSTS)
    assert (caught.value.kind, caught.value.retry_after_s) == (ErrorKind.MEMORY_LIMIT, None)
    assert wanted(caught.value) is None
    with pytest.raises(EffserveError, match=r"no variant reaches 0\.9"):
        some.cheapest_at(0.9, COSTS)


def test_a_job_that_made_room_has_the_cheapest_left() -> None:
    """Of the front."""
    front = WHOLE.front(COSTS)
    assert WHOLE.eligible(job(), front, COSTS) == front
    assert WHOLE.eligible(replace(job(), terminated=FAMILY[3]), front, COSTS) == (FAMILY[0],)


def test_a_variant_without_accuracy_cannot_be_ranked() -> None:
    """A programming error, told as one: the front is made of ranked variants only."""
    with pytest.raises(ValueError, match="x has no accuracy to rank by"):
        rank(variant("x"))
