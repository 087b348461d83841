"""Real answers: what each variant says about each labelled image, so that an answer can be right or wrong.

The images are answered once, through the path that serves; simulated requests then draw images at random. A rule knows
of a variant what its manifest says and nothing of the image, as when it serves; a cascade knows how sure the first
answer to the image was.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import reduce
from itertools import permutations
from pathlib import Path

import numpy as np
import numpy.typing as npt

from service.commands.evaluate import Asked, measure
from service.core.simulator import Outcome
from service.core.values import Reason
from service.evaluation import measures
from service.evaluation.measures import Floats, Indices
from service.evaluation.run import Sheet
from service.simulation.run import World

Rights = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Labels:
    """By variant, image by image, the same images for all."""

    name: str
    right: Mapping[str, Rights]
    """Whether its first guess is the image's class."""
    confidence: Mapping[str, Floats]
    """The probability it gives that guess, at its temperature."""
    together: Mapping[tuple[str, str], Rights]
    """Whether the first guess of two, their probabilities averaged, is."""

    @property
    def images(self) -> int:
        """How many."""
        return len(next(iter(self.right.values())))

    def drawn(self, world: World, seed: int) -> tuple[World, "Drawn"]:
        """An image for each request; and `world`, its requests as sure of their first answers as those images
        have it. Only the order of confidences matters, so they are ranks."""
        images = np.random.default_rng([seed, self.images]).integers(self.images, size=len(world.arrivals_s))
        first = world.variants[0].name
        ranks = self.confidence[first].argsort(kind="stable").argsort() / self.images
        return replace(world, confidences=ranks[images]), Drawn(self, first, images)


@dataclass(frozen=True, slots=True)
class Drawn:
    """What an answer is worth: 1 when it is right about the request's image."""

    labels: Labels
    first: str
    """The variant whose answers a cascade averages with better ones."""
    images: Indices

    def __call__(self, outcome: Outcome) -> float:
        """0 for none."""
        if outcome.decision is None:
            return 0.0
        name = outcome.decision.variant.name
        averaged = outcome.decision.reason is Reason.CASCADES
        right = self.labels.together[self.first, name] if averaged else self.labels.right[name]
        return float(right[self.images[outcome.job.id]])


def evaluated(store: Path, images: Path) -> Labels:
    """Answer all images with all variants of the store. Raises what `service.commands.evaluate.measure` does."""
    _, runs, report = measure(Asked(data=images, store=store))
    shared = reduce(np.intersect1d, (one.images for one in runs.sheets.values()))
    answers = {name: _of(one, shared) for name, one in runs.sheets.items()}
    labels = {name: one.labels[np.searchsorted(one.images, shared)] for name, one in runs.sheets.items()}
    return Labels(
        report.dataset,
        {name: shares.argmax(axis=1) == labels[name] for name, shares in answers.items()},
        {name: shares.max(axis=1) for name, shares in answers.items()},
        {
            (first, second): (answers[first] + answers[second]).argmax(axis=1) == labels[second]
            for first, second in permutations(answers, 2)
        },
    )


def _of(one: Sheet, images: Indices) -> Floats:
    """Probabilities of those images, each half at the temperature that fits the other."""
    rows = np.searchsorted(one.images, images)
    logits, labels = one.logits[rows], one.labels[rows]
    shares = np.empty(logits.shape, dtype=np.float64)
    for half in (0, 1):
        fitted = measures.fit_temperature(logits[1 - half :: 2], labels[1 - half :: 2])
        shares[half::2] = measures.probabilities(logits[half::2], fitted)
    return shares
