"""What a cascade is worth: the quickest variant answers, and the least confident share of its answers is averaged with
those of a better one.

Confidence is the probability of the most probable class, logits divided by the variant's temperature; an average is one
of such probabilities (Wang et al., "Wisdom of Committees", arXiv 2012.01988). Temperatures and thresholds are of the
same images as the accuracies, which flatters them very little.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from service.evaluation import measures
from service.evaluation.measures import Floats
from service.evaluation.plan import Subject
from service.evaluation.run import Sheet

SHARES = (0.0, 0.1, 0.2, 0.3, 0.5, 1.0)


@dataclass(frozen=True, slots=True)
class Step:
    """One share of upgrades."""

    share: float
    """Of the images, those whose first answer is upgraded."""
    threshold: float | None
    """The largest confidence among them; None when there are none."""
    top1: float


@dataclass(frozen=True, slots=True)
class Cascade:
    """Two variants on the same images."""

    first: str
    second: str
    steps: tuple[Step, ...]
    second_alone: float
    """Top-1 of the second without the first."""


def cascades(subjects: Sequence[Subject], sheets: Sequence[Sheet]) -> Iterator[Cascade]:
    """The first of `sheets`, which are the quickest first, with each other that saw the same images, chooses among the
    same classes and is right more often."""
    first, sheet = subjects[0], sheets[0]
    for other, better in zip(subjects[1:], sheets[1:], strict=True):
        alike = first.entry.labels == other.entry.labels and np.array_equal(sheet.images, better.images)
        if alike and _top1(better.logits, better) > _top1(sheet.logits, sheet):
            yield _cascade(first.name, other.name, sheet, better)


def _cascade(first: str, second: str, sheet: Sheet, better: Sheet) -> Cascade:
    own, others = _probabilities(sheet), _probabilities(better)
    sure = own.max(axis=1)
    order, both = np.argsort(sure, kind="stable"), (own + others) / 2
    steps = []
    for share in SHARES:
        upgraded = order[: round(share * len(order))]
        answers = own.copy()
        answers[upgraded] = both[upgraded]
        threshold = float(sure[upgraded[-1]]) if len(upgraded) else None
        steps.append(Step(len(upgraded) / len(order), threshold, _top1(answers, sheet)))
    return Cascade(first, second, tuple(steps), _top1(better.logits, better))


def _probabilities(sheet: Sheet) -> Floats:
    """[images, classes]"""
    return measures.probabilities(sheet.logits, measures.fit_temperature(sheet.logits, sheet.labels))


def _top1(scores: np.ndarray, sheet: Sheet) -> float:
    return float(np.mean(scores.argmax(axis=1) == sheet.labels))
