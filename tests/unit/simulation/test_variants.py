"""Variants without a store."""

import pytest

from service.core.values import AccuracySource
from service.simulation.errors import SimulationError
from service.simulation.variants import published


def test_accuracies_are_those_of_the_papers() -> None:
    """And a budget may choose them."""
    found = published(["b0", "b7", "b0-g16"]).routed()
    assert [(one.name, one.rank_top1) for one in found] == [("b0", 0.771), ("b7", 0.843), ("b0-g16", 0.7942)]
    assert {one.rank_source for one in found} == {AccuracySource.PUBLISHED}


def test_other_names_need_a_store() -> None:
    """It would know their accuracy."""
    with pytest.raises(SimulationError, match="no accuracy is known without a store: no variant 'mine'"):
        published(["b0", "mine"])
