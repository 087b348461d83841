"""Logits → the k most probable classes."""

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from service.core.errors import EffserveError, ErrorKind
from service.core.messages import Label, Prediction

Logits = npt.NDArray[np.float32]


def top_k(logits: npt.NDArray[np.floating[Any]], k: int, labels: Sequence[Label]) -> tuple[Prediction, ...]:
    """The k most probable classes of logits [classes], most probable first, ties by lower index.

    `k` beyond the number of classes gives all of them. Raises `EffserveError(INTERNAL)` for logits that are not
    finite: a graph that does that is broken, and a made-up probability would hide it.
    """
    exponentials = _exponentials(logits)
    total = float(np.add.reduce(exponentials))
    return tuple(
        Prediction(index, labels[index].wnid, labels[index].text, float(exponentials[index]) / total)
        for index in _most_probable(exponentials, k)
    )


def tempered(logits: Logits, temperature: float) -> npt.NDArray[np.float64]:
    """Softmax of logits [classes] divided by a temperature (Guo et al., arXiv 1706.04599)."""
    # Of output that is not finite these are not numbers either, and `top_k` says so.
    with np.errstate(invalid="ignore"):
        exponentials = np.exp((logits.astype(np.float64) - logits.max()) / temperature)
    shares: npt.NDArray[np.float64] = exponentials / exponentials.sum()
    return shares


def confidence(logits: Logits, temperature: float) -> float:
    """The probability of the most probable class; 0 for output that is not finite."""
    largest = float(tempered(logits, temperature).max())
    return largest if math.isfinite(largest) else 0.0


def averaged(members: Iterable[tuple[Logits, float]]) -> npt.NDArray[np.float64]:
    """Of (logits [classes], temperature) of several networks, the logits whose softmax is the mean of theirs."""
    mean = np.mean([tempered(logits, temperature) for logits, temperature in members], axis=0)
    # What no network thinks possible stays finite, and next to nothing.
    logs: npt.NDArray[np.float64] = np.log(np.maximum(mean, np.finfo(np.float64).tiny))
    return logs


def probabilities(logits: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Of logits [classes], all of them, in their order. Raises as `top_k` does."""
    exponentials = _exponentials(logits)
    shares: npt.NDArray[np.float32] = (exponentials / exponentials.sum()).astype(np.float32)
    return shares


def ranking(logits: npt.NDArray[np.float32], k: int) -> list[int]:
    """Indices of the k most probable classes in the order of `top_k`. Raises as it does."""
    return _most_probable(_exponentials(logits), k)


def _exponentials(logits: npt.NDArray[np.floating[Any]]) -> npt.NDArray[np.float64]:
    """Of logits less the largest. Their sum is finite when all of them are."""
    # The functions behind `max` and `sum`, without what Python puts around them.
    largest, total = float(np.maximum.reduce(logits)), float(np.add.reduce(logits, dtype=np.float64))
    if not (math.isfinite(largest) and math.isfinite(total)):
        raise EffserveError(ErrorKind.INTERNAL, "the network's output is not finite")
    exponentials: npt.NDArray[np.float64] = np.exp(np.subtract(logits, largest, dtype=np.float64))
    return exponentials


def _most_probable(exponentials: npt.NDArray[np.float64], k: int) -> list[int]:
    """Sorting a few beats sorting all by a tenth of a millisecond when the caches are cold, as they are after a run."""
    candidates: Iterable[int] = range(len(exponentials))
    if k < len(exponentials):
        parted = exponentials.copy()
        parted.partition(-k)
        (above,) = (exponentials >= parted[-k]).nonzero()
        candidates = above.tolist()
    return sorted(candidates, key=lambda index: (-exponentials[index], index))[:k]
