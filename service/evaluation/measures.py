"""The figures of an evaluation as functions of arrays: how often right, how sure of that, how honest about it.

Pure arithmetic, chunked by rows so that the logits of many images need no second copy in double precision. Nothing
here knows of variants, files or time.
"""

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Logits = npt.NDArray[np.float32]
"""[images, classes]"""
Indices = npt.NDArray[np.intp]
"""[images]"""
Floats = npt.NDArray[np.float64]
Interval = tuple[float, float]

Z_95 = 1.959963984540054
"""Two-sided 95 % quantile of the normal distribution."""
BINS = 15
"""As Guo et al. and most after them; figures with other numbers of bins cannot be compared."""
MOST_TEMPERATURE = 100.0
"""Fitted temperatures stay within this and its inverse. Only networks that know nothing, or are never wrong, get
there: their likelihood has no maximum inside."""
HALVINGS = 28
"""Steps of the fit: the last interval is 1e-8 wide relative to the temperature."""
CHUNK_ROWS = 1024


def wilson(hits: int, trials: int) -> Interval:
    """Where a probability lies with 95 % confidence after `hits` in `trials` independent ones (Wilson, 1927).

    (p + z²/2n ± z √(p(1−p)/n + z²/4n²)) / (1 + z²/n). Unlike p ± z √(p(1−p)/n) it stays inside [0, 1] and has a width
    when all or none hit.
    """
    share, square = hits / trials, Z_95**2 / trials
    centre = (share + square / 2) / (1 + square)
    half = Z_95 * math.sqrt(share * (1 - share) / trials + square / (4 * trials)) / (1 + square)
    return max(min(centre - half, share), 0.0), min(max(centre + half, share), 1.0)


def ranks(logits: Logits, labels: Indices) -> Indices:
    """How many classes each image's own class comes after; 0 is right. Ties go to the lower index, as in answers."""
    return np.concatenate([_ranks(logits[rows], labels[rows]) for rows in _chunks(len(labels))])


def _ranks(logits: Logits, labels: Indices) -> Indices:
    own = np.take_along_axis(logits, labels[:, None], axis=1)
    tied_before = (logits == own) & (np.arange(logits.shape[1]) < labels[:, None])
    before: Indices = np.count_nonzero((logits > own) | tied_before, axis=1)
    return before


def confidences(logits: Logits, temperature: float = 1.0) -> Floats:
    """The probability of the most probable class of each image, logits divided by `temperature`."""
    return np.concatenate(
        [1 / np.exp(_shifted(logits[rows]) / temperature).sum(axis=1) for rows in _chunks(len(logits))]
    )


def probabilities(logits: Logits, temperature: float) -> Floats:
    """[images, classes], logits divided by `temperature`."""
    exponentials = np.exp(_shifted(logits) / temperature)
    shares: Floats = exponentials / exponentials.sum(axis=1, keepdims=True)
    return shares


def calibration_error(confident: Floats, right: npt.NDArray[np.bool_]) -> float:
    """Expected calibration error: Σ over bins of (images in it ÷ images) · |share right − mean confidence|.

    15 bins of equal width, each without its lower and with its upper edge (Guo et al., arXiv 1706.04599, section 2).
    """
    bins = np.clip(np.ceil(confident * BINS).astype(np.intp) - 1, 0, BINS - 1)
    gaps = np.bincount(bins, right.astype(np.float64) - confident, BINS)
    return float(np.abs(gaps).sum() / len(right))


def negative_log_likelihood(logits: Logits, labels: Indices, temperature: float = 1.0) -> float:
    """Mean of −log(probability of the image's own class), in nats, logits divided by `temperature`."""
    total = 0.0
    for rows in _chunks(len(labels)):
        scaled = _shifted(logits[rows]) / temperature
        total += float((np.log(np.exp(scaled).sum(axis=1)) - _own(scaled, labels[rows])).sum())
    return total / len(labels)


def fit_temperature(logits: Logits, labels: Indices) -> float:
    """The temperature that makes these labels most likely (Guo et al., arXiv 1706.04599, section 4.2).

    The negative log-likelihood is convex in β = 1/T, so its slope has one change of sign, which is found by halving an
    interval of log β. It is fitted to the images it is judged on: with one parameter, that flatters it very little.
    """
    low = -math.log(MOST_TEMPERATURE)
    high = -low
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        if _slope(logits, labels, math.exp(middle)) < 0:
            low = middle
        else:
            high = middle
    fitted = math.exp(-(low + high) / 2)
    better = negative_log_likelihood(logits, labels, fitted) < negative_log_likelihood(logits, labels)
    return fitted if better else 1.0


def _slope(logits: Logits, labels: Indices, inverse: float) -> float:
    """Derivative of the negative log-likelihood by β: the mean of (expected logit − logit of the own class)."""
    total = 0.0
    for rows in _chunks(len(labels)):
        shifted = _shifted(logits[rows])
        weights = np.exp(shifted * inverse)
        expected = (weights * shifted).sum(axis=1) / weights.sum(axis=1)
        total += float((expected - _own(shifted, labels[rows])).sum())
    return total / len(labels)


def agreement(one: npt.NDArray[Any], other: npt.NDArray[Any]) -> float:
    """Share of images that two variants call the same. Needs no labels.

    Where two differ, one at least is wrong, so their errors add up to 1 − agreement or more. For two well calibrated
    networks of the same kind the disagreement estimates the error itself (Jiang et al., arXiv 2106.13799).
    """
    return float(np.mean(one == other))


def dominators(costs: Sequence[float], gains: Sequence[float]) -> list[list[int]]:
    """For each point, those that are at most as dear and at least as good, and differ: it is on the front if none."""
    points = list(zip(costs, gains, strict=True))
    return [
        [other for other, (c, g) in enumerate(points) if c <= cost and g >= gain and (c, g) != (cost, gain)]
        for cost, gain in points
    ]


def _chunks(rows: int) -> Iterator[slice]:
    return (slice(start, start + CHUNK_ROWS) for start in range(0, rows, CHUNK_ROWS))


def _shifted(logits: Logits) -> Floats:
    """In double precision, the largest of each row 0, so that no exponential overflows."""
    shifted: Floats = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    return shifted


def _own(values: Floats, labels: Indices) -> Floats:
    own: Floats = np.take_along_axis(values, labels[:, None], axis=1)[:, 0]
    return own
