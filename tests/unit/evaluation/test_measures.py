"""The figures against known values, and what must hold for any answers."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.evaluation import measures
from service.evaluation.measures import Indices, Logits

TRIALS = st.integers(1, 10_000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))


def answers(seed: int, images: int = 200, classes: int = 5, gain: float = 2.0) -> tuple[Logits, Indices]:
    """Logits that favour the right class somewhat."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, classes, images)
    logits = random.normal(size=(images, classes)) + gain * np.eye(classes)[labels] * random.random((images, 1))
    return logits.astype(np.float32), labels


ANSWERS = st.builds(answers, st.integers(0, 1000), st.integers(1, 60), st.integers(2, 8), st.floats(-3, 8))


@pytest.mark.parametrize(
    ("hits", "trials", "low", "high"),
    [
        (0, 10, 0.0, 0.2775),
        (10, 10, 0.7225, 1.0),
        (81, 263, 0.2553, 0.3662),  # Newcombe, Statistics in Medicine 17 (1998), table I
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_wilson_interval_is_that_of_the_literature(hits: int, trials: int, low: float, high: float) -> None:
    """To the four digits that are printed there."""
    assert measures.wilson(hits, trials) == pytest.approx((low, high), abs=5e-5)


@given(TRIALS)
def test_wilson_interval_holds_its_estimate(drawn: tuple[int, int]) -> None:
    """And is one of probabilities, with a width even when nothing or everything hit."""
    hits, trials = drawn
    low, high = measures.wilson(hits, trials)
    assert 0 <= low <= hits / trials <= high <= 1
    assert low < high


@given(TRIALS, st.integers(2, 50))
def test_wilson_interval_narrows_with_more_of_the_same(drawn: tuple[int, int], times: int) -> None:
    """The same share of more images is known better."""
    hits, trials = drawn
    low, high = measures.wilson(hits, trials)
    more_low, more_high = measures.wilson(hits * times, trials * times)
    assert more_high - more_low < high - low


@given(TRIALS)
def test_wilson_interval_mirrors(drawn: tuple[int, int]) -> None:
    """Misses are as uncertain as hits."""
    hits, trials = drawn
    low, high = measures.wilson(hits, trials)
    assert measures.wilson(trials - hits, trials) == pytest.approx((1 - high, 1 - low))


def test_a_rank_counts_the_classes_before() -> None:
    """Ties go to the lower index, as in the service's answers."""
    logits = np.array([[1, 3, 2], [1, 3, 2], [2, 2, 2], [2, 2, 2]], np.float32)
    assert measures.ranks(logits, np.array([1, 0, 0, 2])).tolist() == [0, 2, 0, 2]


@given(ANSWERS)
def test_a_rank_of_none_is_the_first_answer(drawn: tuple[Logits, Indices]) -> None:
    """Rank 0 exactly where the largest logit is the label's, and every rank below the number of classes."""
    logits, labels = drawn
    ranks = measures.ranks(logits, labels)
    assert ((ranks == 0) == (logits.argmax(axis=1) == labels)).all()
    assert ((ranks >= 0) & (ranks < logits.shape[1])).all()


def test_confidence_is_the_softmax_of_the_largest() -> None:
    """Also of logits whose exponentials overflow."""
    logits = np.array([[0, math.log(3)], [1000, 0], [5, 5]], np.float32)
    assert measures.confidences(logits) == pytest.approx([0.75, 1, 0.5])
    assert measures.confidences(logits[:1], 2.0) == pytest.approx([math.sqrt(3) / (1 + math.sqrt(3))])


def test_calibration_error_by_hand() -> None:
    """Two bins: one of 3/4 confidence and half right, one sure and right."""
    confident = np.array([0.75, 0.75, 1.0, 1.0])
    right = np.array([True, False, True, True])
    assert measures.calibration_error(confident, right) == pytest.approx(0.5 * 0.25)


def test_calibration_error_bins_by_upper_edge() -> None:
    """1/15 belongs to the first bin, anything more to the second, where it would be averaged."""
    edge = 1 / measures.BINS
    same = measures.calibration_error(np.array([edge, edge / 2]), np.array([False, True]))
    other = measures.calibration_error(np.array([edge * 1.001, edge / 2]), np.array([False, True]))
    assert same == pytest.approx(abs(1 - 1.5 * edge) / 2)
    assert other == pytest.approx((edge * 1.001 + 1 - edge / 2) / 2)


@given(ANSWERS)
def test_calibration_error_is_a_share(drawn: tuple[Logits, Indices]) -> None:
    """And at least the gap between mean confidence and accuracy, which bins can only widen."""
    logits, labels = drawn
    confident, right = measures.confidences(logits), logits.argmax(axis=1) == labels
    error = measures.calibration_error(confident, right)
    assert abs(confident.mean() - right.mean()) - 1e-9 <= error <= 1


def test_likelihood_by_hand() -> None:
    """−log of the probabilities of the labels."""
    logits = np.log(np.array([[0.2, 0.8], [0.5, 0.5]])).astype(np.float32)
    assert measures.negative_log_likelihood(logits, np.array([0, 1])) == pytest.approx(-math.log(0.2 * 0.5) / 2)


@given(ANSWERS)
def test_a_fitted_temperature_never_makes_labels_less_likely(drawn: tuple[Logits, Indices]) -> None:
    """It is positive, and no other in reach is better by more than rounding."""
    logits, labels = drawn
    fitted = measures.fit_temperature(logits, labels)
    best = measures.negative_log_likelihood(logits, labels, fitted)
    assert fitted > 0
    for other in (1.0, 0.02, 0.5, 2.0, 50.0, fitted * 1.05, fitted / 1.05):
        if 1 / measures.MOST_TEMPERATURE <= other <= measures.MOST_TEMPERATURE:
            assert best <= measures.negative_log_likelihood(logits, labels, other) + 1e-9


@pytest.mark.parametrize("scale", [0.25, 1.0, 3.0])
def test_a_fitted_temperature_undoes_a_scale(scale: float) -> None:
    """Labels drawn from the softmax of logits fit temperature 1; scaled logits fit the scale."""
    random = np.random.default_rng(0)
    logits = random.normal(0, 2, (20_000, 4))
    chances = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    labels = (chances.cumsum(axis=1) > random.random((len(logits), 1))).argmax(axis=1)
    fitted = measures.fit_temperature((logits * scale).astype(np.float32), labels)
    assert fitted == pytest.approx(scale, rel=0.05)


def test_a_fit_without_a_maximum_stays_in_bounds() -> None:
    """Of a network that is always right and one that is always wrong; all the same logits fit anything, so 1."""
    logits, labels = np.array([[5, 0], [0, 5]], np.float32), np.array([0, 1])
    assert measures.fit_temperature(logits, labels) == pytest.approx(1 / measures.MOST_TEMPERATURE)
    assert measures.fit_temperature(logits, 1 - labels) == pytest.approx(measures.MOST_TEMPERATURE)
    assert measures.fit_temperature(np.zeros((2, 2), np.float32), labels) == 1.0


def test_chunks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every figure is the same in one piece and in many."""
    logits, labels = answers(1)
    figures = []
    for rows in (7, 1000):
        monkeypatch.setattr(measures, "CHUNK_ROWS", rows)
        figures.append(
            [
                measures.ranks(logits, labels).sum(),
                measures.confidences(logits).sum(),
                measures.negative_log_likelihood(logits, labels),
                measures.fit_temperature(logits, labels),
            ]
        )
    assert figures[0] == pytest.approx(figures[1])


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1))
def test_agreement_is_symmetric_and_whole_with_itself(pairs: list[tuple[int, int]]) -> None:
    """A share of the images."""
    one, other = np.array(pairs).T
    assert measures.agreement(one, other) == measures.agreement(other, one)
    assert measures.agreement(one, one) == 1
    assert measures.agreement(one, other) == sum(a == b for a, b in pairs) / len(pairs)


@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6))))
def test_dominators_are_those_of_the_definition(points: list[tuple[int, int]]) -> None:
    """Not dearer, not worse, and better in one of both; and whoever is dominated is so by somebody on the front."""
    found = measures.dominators([cost for cost, _ in points], [gain for _, gain in points])
    for (cost, gain), others in zip(points, found, strict=True):
        expected = [
            position for position, (c, g) in enumerate(points) if (c < cost and g >= gain) or (c <= cost and g > gain)
        ]
        assert others == expected
        assert not others or any(not found[other] for other in others)
