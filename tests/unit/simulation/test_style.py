"""How policies are told apart in pictures."""

from itertools import combinations

import pytest

from service.simulation.pictures.style import (
    BLUE,
    GREEN,
    GREY,
    INK,
    ORANGE,
    OTHER,
    POLICIES,
    PURPLE,
    SKY,
    VERMILION,
    YELLOW,
    policy,
)

KINDS = ("*", "PX", "sDd", "^v<>", "ohHp8")
"""Shapes that are hard to tell apart at the size of a marker."""
ALIKE = ({BLUE}, {SKY}, {GREEN}, {VERMILION}, {PURPLE}, {ORANGE, YELLOW}, {INK, GREY})
"""Colours that are."""


def _kind(shape: str) -> str:
    (found,) = (kind for kind in KINDS if shape in kind)
    return found


def test_every_colour_is_looked_at() -> None:
    """Once."""
    assert {colour for _, _, colour in POLICIES.values()} <= set().union(*ALIKE)
    assert not any(one & other for one, other in combinations(ALIKE, 2))


@pytest.mark.parametrize("colours", ALIKE)
def test_policies_of_one_colour_have_shapes_of_different_kinds(colours: set[str]) -> None:
    """Those without an entry are among them."""
    shapes = [shape for shape, colour in [*(entry[1:] for entry in POLICIES.values()), OTHER] if colour in colours]
    assert len({_kind(shape) for shape in shapes}) == len(shapes)


def test_a_policy_without_an_entry_is_shown_by_its_own_name() -> None:
    """In the shape and colour that are left for others."""
    assert policy("coin") == ("coin", *OTHER)
