"""Two variants on the same images: which images settle, which judge, and how the two are told apart."""

from dataclasses import replace

import numpy as np
import pytest

from model_store.images import Sample
from service.evaluation.beside import LEAST_JUDGING, compared, split
from service.evaluation.plan import EvaluationError
from service.evaluation.run import Sheet

SAMPLES = [Sample(f"{label}/{number}.jpg", label) for label in range(10) for number in range(10)]


def sheet(answers: list[int], labels: list[int]) -> Sheet:
    """Of one variant, three classes."""
    logits = np.eye(3, dtype=np.float32)[answers]
    nothing = np.zeros(len(answers))
    return Sheet(np.arange(len(answers)), np.array(labels), logits, nothing, nothing)


def test_no_image_both_settles_and_judges() -> None:
    """All have one part in it, and every class is in both."""
    parts = split(SAMPLES, 20, seed=3)
    assert not set(parts.settling) & set(parts.judging)
    assert set(parts.settling) | set(parts.judging) == set(SAMPLES)
    assert {sample.label for sample in parts.settling} == {sample.label for sample in parts.judging} == set(range(10))


def test_the_seed_settles_the_split() -> None:
    """The same one gives the same, another one another."""
    assert split(SAMPLES, 20, seed=1) == split(SAMPLES, 20, seed=1)
    assert split(SAMPLES, 20, seed=1) != split(SAMPLES, 20, seed=2)


@pytest.mark.parametrize("settling", [7, len(SAMPLES) - LEAST_JUDGING + 1])
def test_too_few_images_are_refused(settling: int) -> None:
    """To settle, or to judge."""
    with pytest.raises(EvaluationError, match="images"):
        split(SAMPLES, settling, seed=0)


def test_images_that_one_alone_has_right_are_counted() -> None:
    """Two only the original, one only the other."""
    original, other = sheet([0, 1, 2, 0, 0], [0, 1, 2, 1, 2]), sheet([1, 0, 2, 1, 0], [0, 1, 2, 1, 2])
    found = compared(original, other, original_top1=0.7)
    assert (found.images, found.only_original, found.only_this, found.original_top1) == (5, 2, 1, 0.7)


def test_an_original_of_unknown_accuracy_is_taken_by_these_images() -> None:
    """Three of five."""
    original = sheet([0, 1, 2, 0, 0], [0, 1, 2, 1, 2])
    assert compared(original, original, original_top1=None).original_top1 == 0.6


def test_only_images_that_both_answered_count() -> None:
    """Each may have failed on some."""
    one, other = sheet([0, 1], [0, 1]), replace(sheet([0, 1], [0, 1]), images=np.array([1, 2]))
    assert compared(one, other, original_top1=0.7).images == 1
