"""Logits to predictions."""

import numpy as np
import pytest

from service.core.errors import EffserveError, ErrorKind
from service.core.messages import Label
from service.pipeline.response import averaged, confidence, top_k

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


def softmax(values: "np.ndarray[tuple[int], np.dtype[np.float32]]", temperature: float) -> list[float]:
    """By the formula."""
    weights = np.exp(values.astype(float) / temperature)
    return list(weights / weights.sum())


def test_an_average_is_that_of_the_probabilities_at_each_temperature() -> None:
    """Not of the logits."""
    one, other = logits(0, 3, 1, 2), logits(5, 0, 0, 1)
    found = {p.index: p.probability for p in top_k(averaged([(one, 2.0), (other, 0.5)]), 4, LABELS)}
    expected = np.mean([softmax(one, 2.0), softmax(other, 0.5)], axis=0)
    assert [found[index] for index in range(4)] == pytest.approx(list(expected))


def test_what_no_member_thinks_possible_is_possible_all_the_same() -> None:
    """Its probability is too small for a float."""
    found = top_k(averaged([(logits(0, 9000, 0, 0), 1.0)]), 4, LABELS)
    assert [prediction.index for prediction in found] == [1, 0, 2, 3]


def test_a_broken_member_breaks_the_average() -> None:
    """No probability is made up."""
    with pytest.raises(EffserveError) as caught:
        top_k(averaged([(logits(0, 1, 2, 3), 1.0), (logits(0, np.nan, 0, 0), 1.0)]), 1, LABELS)
    assert caught.value.kind is ErrorKind.INTERNAL


def test_confidence_is_the_probability_of_the_best_at_the_temperature() -> None:
    """A high one makes it smaller."""
    assert confidence(logits(0, 3, 1, 2), 1.0) == pytest.approx(max(softmax(logits(0, 3, 1, 2), 1.0)))
    assert confidence(logits(0, 3, 1, 2), 4.0) == pytest.approx(max(softmax(logits(0, 3, 1, 2), 4.0)))


@pytest.mark.parametrize("broken", [np.nan, np.inf, -np.inf])
def test_broken_output_is_not_sure_of_anything(broken: float) -> None:
    """It fails when its answer is built."""
    assert confidence(logits(0, broken, broken, broken), 1.0) in (0.0, 1.0)
    assert confidence(logits(0, np.nan, 0, 0), 1.0) == 0.0
