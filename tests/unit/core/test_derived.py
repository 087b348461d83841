"""When a budget may choose a variant that was made from another, and what it counts for."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.core.catalogue import Catalogue, rank
from service.core.derived import LEAST_GAIN, Paired, Standing, counted_top1, least_change, withheld
from service.core.explanation import why_never
from service.core.values import AccuracySource, Variant, Verdict
from tests.builders import FixedCosts, variant

shares = st.floats(0.0, 1.0)
times = st.floats(0.001, 2.0)


@st.composite
def pairs(draw: st.DrawFn) -> Paired:
    """Any number of images, some of which tell the two apart."""
    images = draw(st.integers(1, 100_000))
    lost = draw(st.integers(0, images))
    return Paired(images, lost, draw(st.integers(0, images - lost)))


def made_from(original: str, top1: float, name: str = "b0-int8") -> Variant:
    """A derived variant."""
    return Variant(name, 1, top1, AccuracySource.MEASURED, True, original)


def test_the_least_change_is_the_lower_end_of_the_interval() -> None:
    """Of 100 images 10 told apart, 8 lost and 2 won: (2.5 - 8.5) / 102 less 1.96 standard errors."""
    error = math.sqrt((11 - 36 / 102) / 102**2)
    assert least_change(Paired(100, 8, 2)) == pytest.approx(-6 / 102 - 1.959964 * error)


def test_no_difference_on_few_images_proves_little() -> None:
    """The same answers throughout leave 4 points open after 50 images, and a fifth of one after 1,000."""
    assert -0.04 < least_change(Paired(50, 0, 0)) < -0.03
    assert -0.003 < least_change(Paired(1_000, 0, 0)) < -0.001


@given(shares, pairs())
def test_a_derived_variant_never_counts_as_more_accurate(original_top1: float, paired: Paired) -> None:
    """However the images fell."""
    assert 0.0 <= counted_top1(original_top1, paired) <= original_top1


@given(pairs(), st.integers(2, 50))
def test_more_images_of_the_same_kind_leave_less_open(paired: Paired, times_more: int) -> None:
    """The same shares on more images are never counted for less."""
    more = Paired(*(count * times_more for count in (paired.images, paired.only_original, paired.only_derived)))
    assert counted_top1(1.0, more) >= counted_top1(1.0, paired) - 1 / paired.images


@given(shares, shares, times, times)
def test_it_is_withheld_unless_it_is_clearly_quicker(
    own_top1: float, original_top1: float, own_s: float, original_s: float
) -> None:
    """And ranked below its original."""
    found = withheld(Standing(own_top1, own_s), Standing(original_top1, original_s))
    better = own_top1 <= original_top1 and own_s <= (1 - LEAST_GAIN) * original_s
    assert (found is None) == better


@given(st.lists(st.tuples(shares, times), min_size=1, max_size=6), st.lists(st.tuples(shares, times), max_size=6))
def test_a_derived_variant_never_ousts_its_original(
    originals: list[tuple[float, float]], derived: list[tuple[float, float]]
) -> None:
    """By a lower rank; and on the Pareto set it is quicker."""
    family = [variant(f"b{number}", top1) for number, (top1, _) in enumerate(originals)]
    made = [made_from("b0", top1, f"b0-{number}") for number, (top1, _) in enumerate(derived)]
    times_s = dict(zip([v.name for v in (*family, *made)], [s for _, s in (*originals, *derived)], strict=True))
    costs = FixedCosts(times_s)
    before, after = (Catalogue(tuple(one)).front(costs) for one in (family, family + made))
    lower = all(rank(one) < rank(family[0]) for one in made)
    assert family[0] in after or family[0] not in before or not lower
    for one in made:
        assert one not in after or (rank(one) <= rank(family[0]) and times_s[one.name] <= 0.95 * times_s["b0"])


QUICK, SLOW = FixedCosts({"b0": 0.010, "b0-int8": 0.007}), FixedCosts({"b0": 0.010, "b0-int8": 0.0098})


def test_a_quicker_one_is_on_the_front_beside_its_original() -> None:
    """For budgets that its original is too slow for."""
    family = (variant("b0", 0.67), made_from("b0", 0.65))
    assert Catalogue(family).front(QUICK) == family


def test_one_that_saves_too_little_is_listed_and_not_chosen() -> None:
    """Two percent today may be none tomorrow; it can be named, and says why budgets leave it out."""
    family = (variant("b0", 0.67), made_from("b0", 0.65))
    catalogue = Catalogue(family)
    assert catalogue.front(SLOW) == family[:1]
    assert catalogue.cheapest_at(0.6, SLOW) == family[0]
    assert catalogue.named("b0-int8") == family[1]
    assert catalogue.withheld(family[1], SLOW) is Verdict.NO_QUICKER
    assert why_never(catalogue, family[1], SLOW) == "it is not clearly quicker here than b0, which it was made from"


def test_one_ranked_above_its_original_was_compared_before_that_was_measured_anew() -> None:
    """It may not take the place of what it was made from."""
    family = (variant("b0", 0.60), made_from("b0", 0.65))
    assert Catalogue(family).withheld(family[1], QUICK) is Verdict.OUTDATED
    assert Catalogue(family).front(QUICK) == family[:1]


def test_without_its_original_it_stands_alone() -> None:
    """Where only the quantised one is served, budgets choose it."""
    family = (made_from("b0", 0.65),)
    assert Catalogue(family).front(SLOW) == family


def test_who_is_dominated_says_by_whom() -> None:
    """And who is not says nothing."""
    family = (variant("b0", 0.67), variant("b0-g16", 0.59))
    costs = FixedCosts({"b0": 0.01, "b0-g16": 0.02})
    catalogue = Catalogue(family)
    assert why_never(catalogue, family[1], costs) == "b0 is at least as accurate and not slower"
    assert why_never(catalogue, family[0], costs) == ""


def test_what_is_not_known_or_not_trained_says_so() -> None:
    """It is no question of costs."""
    family = (variant("b0"), variant("b1", trained=False), variant("unknown"))
    catalogue, costs = Catalogue(family), FixedCosts({"b0": 0.01, "b1": 0.02, "unknown": 0.001})
    assert why_never(catalogue, family[1], costs) == "its weights are untrained"
    assert why_never(catalogue, family[2], costs) == "its accuracy is not known"
