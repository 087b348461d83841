"""Logits to predictions."""

import numpy as np
import pytest

from service.core.errors import EffserveError, ErrorKind
from service.pipeline.response import Label, top_k

LABELS = tuple(Label(f"n{index}", f"class {index}") for index in range(4))


def logits(*values: float) -> "np.ndarray[tuple[int], np.dtype[np.float32]]":
    """[classes], float32."""
    return np.array(values, np.float32)


def test_the_most_probable_class_comes_first() -> None:
    """With its index, id and words."""
    (best,) = top_k(logits(0, 3, 1, 2), 1, LABELS)
    assert (best.index, best.wnid, best.label) == (1, "n1", "class 1")


def test_classes_come_in_falling_order() -> None:
    """All the way down."""
    assert [prediction.index for prediction in top_k(logits(0, 3, 1, 2), 4, LABELS)] == [1, 3, 2, 0]


def test_probabilities_are_the_softmax() -> None:
    """Against the formula."""
    weights = np.exp([0.0, 3.0, 1.0, 2.0])
    found = {prediction.index: prediction.probability for prediction in top_k(logits(0, 3, 1, 2), 4, LABELS)}
    assert [found[index] for index in range(4)] == pytest.approx(list(weights / weights.sum()))


def test_probabilities_are_of_all_classes_not_of_those_listed() -> None:
    """The best of four equal ones has a quarter."""
    assert top_k(logits(1, 1, 1, 1), 1, LABELS)[0].probability == pytest.approx(0.25)


def test_ties_go_to_the_lower_index() -> None:
    """The same answer on every machine."""
    assert [prediction.index for prediction in top_k(logits(1, 2, 2, 1), 4, LABELS)] == [1, 2, 0, 3]


@pytest.mark.parametrize(("k", "listed"), [(0, 0), (1, 1), (4, 4), (5, 4), (1000, 4)])
def test_k_beyond_the_classes_gives_all_of_them(k: int, listed: int) -> None:
    """And none gives none."""
    assert len(top_k(logits(0, 3, 1, 2), k, LABELS)) == listed


def test_large_logits_do_not_overflow() -> None:
    """Up to the largest float32."""
    best, second, *_ = top_k(logits(3e38, 1e38, -3e38, 0), 4, LABELS)
    assert (best.probability, second.probability) == (1.0, 0.0)


@pytest.mark.parametrize("broken", [float("nan"), float("inf"), float("-inf")])
def test_logits_that_are_not_finite_are_an_internal_error(broken: float) -> None:
    """A made-up probability would hide a broken graph."""
    with pytest.raises(EffserveError) as caught:
        top_k(logits(0, broken, 1, 2), 1, LABELS)
    assert caught.value.kind is ErrorKind.INTERNAL
