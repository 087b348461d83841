"""A variant beside the one it was made from: which images settle how it is made, which judge it, how they differ."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from model_store.images import ImageSet, Sample
from model_store.manifest import Comparison, Preprocessing
from service.core.errors import EffserveError
from service.evaluation import measures
from service.evaluation.plan import EvaluationError, evenly
from service.evaluation.run import Sheet
from service.pipeline import image

LEAST_SETTLING, LEAST_JUDGING = 8, 32
"""Images. Fewer cannot show the range of an activation, or by how much an accuracy changed."""


@dataclass(frozen=True, slots=True)
class Split:
    """Images of every class in both parts, as far as they go; none in both."""

    settling: tuple[Sample, ...]
    judging: tuple[Sample, ...]


def split(samples: Sequence[Sample], settling: int, seed: int) -> Split:
    """The same for the same seed. Raises `EvaluationError` when there are too few."""
    if settling < LEAST_SETTLING:
        raise EvaluationError(f"{settling} images cannot settle how to quantise; it takes {LEAST_SETTLING}")
    if len(samples) < settling + LEAST_JUDGING:
        raise EvaluationError(
            f"{len(samples)} images are too few: {settling} settle how to quantise, and at least {LEAST_JUDGING} "
            "others have to judge what became of it"
        )
    first = evenly(samples, settling, seed)
    others = set(samples) - set(first)
    return Split(tuple(first), tuple(sample for sample in samples if sample in others))


def prepared(images: ImageSet, samples: Sequence[Sample], preprocessing: Preprocessing) -> np.ndarray:
    """[images, size, size, 3] as a lane would decode them. Raises `EvaluationError` for one that cannot be read."""
    return np.stack([_pixels(images, sample, preprocessing) for sample in samples])


def _pixels(images: ImageSet, sample: Sample, preprocessing: Preprocessing) -> np.ndarray:
    try:
        return image.decode(images.read(sample), preprocessing)
    except EffserveError as error:
        raise EvaluationError(f"{sample.name}: {error.detail}") from error


def compared(original: Sheet, other: Sheet, *, original_top1: float | None) -> Comparison:
    """Both on the images that both answered. `original_top1`: what the original is ranked by; None where nothing is
    known of it but these images."""
    _, mine, others = np.intersect1d(original.images, other.images, assume_unique=True, return_indices=True)
    before, after = _right(original)[mine], _right(other)[others]
    return Comparison(
        original_top1=float(before.mean()) if original_top1 is None else original_top1,
        images=len(before),
        only_original=int(np.count_nonzero(before & ~after)),
        only_this=int(np.count_nonzero(after & ~before)),
    )


def _right(sheet: Sheet) -> np.ndarray:
    return measures.ranks(sheet.logits, sheet.labels) < 1
