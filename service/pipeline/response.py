"""Logits → the k most probable classes."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from service.core.errors import EffserveError, ErrorKind
from service.core.messages import Prediction


@dataclass(frozen=True, slots=True)
class Label:
    """One class: WordNet id (empty when there is none) and words."""

    wnid: str
    text: str


def top_k(logits: npt.NDArray[np.float32], k: int, labels: Sequence[Label]) -> tuple[Prediction, ...]:
    """The k most probable classes of logits [classes], most probable first, ties by lower index.

    `k` beyond the number of classes gives all of them. Raises `EffserveError(INTERNAL)` for logits that are not
    finite: a graph that does that is broken, and a made-up probability would hide it.
    """
    if not np.isfinite(logits).all():
        raise EffserveError(ErrorKind.INTERNAL, "the network's output is not finite")
    order = np.argsort(-logits, kind="stable")[:k]
    exact = logits.astype(np.float64)
    exponentials = np.exp(exact - exact.max())
    probabilities = exponentials / exponentials.sum()
    return tuple(
        Prediction(int(index), labels[index].wnid, labels[index].text, float(probabilities[index])) for index in order
    )
