"""Real answers: what each variant says about each labelled image, so that an answer can be right or wrong.

The images are answered once, through the path that serves; simulated requests then draw images at random. A rule knows
of a variant what its manifest says and nothing of the image, as when it serves.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import reduce
from pathlib import Path

import numpy as np
import numpy.typing as npt

from service.commands.evaluate import Asked, measure
from service.core.simulator import Outcome
from service.evaluation.measures import Floats
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
    """The probability it gives that guess."""

    @property
    def images(self) -> int:
        """How many."""
        return len(next(iter(self.right.values())))

    def worth(self, world: World, seed: int) -> "Drawn":
        """An image for each request of `world`."""
        draw = np.random.default_rng([seed, self.images])
        return Drawn(self.right, draw.integers(self.images, size=len(world.arrivals_s)))


@dataclass(frozen=True, slots=True)
class Drawn:
    """What an answer is worth: 1 when it is right about the request's image."""

    right: Mapping[str, Rights]
    images: "npt.NDArray[np.int64]"

    def __call__(self, outcome: Outcome) -> float:
        """0 for none."""
        if outcome.decision is None:
            return 0.0
        return float(self.right[outcome.decision.variant.name][self.images[outcome.job.id]])


def evaluated(store: Path, images: Path) -> Labels:
    """Answer all images with all variants of the store. Raises what `service.commands.evaluate.measure` does."""
    _, runs, report = measure(Asked(data=images, store=store))
    shared = reduce(np.intersect1d, (one.images for one in runs.sheets.values()))
    sheets = {name: _of(one, shared) for name, one in runs.sheets.items()}
    return Labels(
        report.dataset,
        {name: logits.argmax(axis=1) == labels for name, (logits, labels) in sheets.items()},
        {name: _top(logits) for name, (logits, _) in sheets.items()},
    )


def _of(one: Sheet, images: "npt.NDArray[np.int64]") -> tuple[Floats, "npt.NDArray[np.int64]"]:
    """Logits and labels of those images."""
    rows = np.searchsorted(one.images, images)
    return one.logits[rows].astype(np.float64), one.labels[rows]


def _top(logits: Floats) -> Floats:
    """The probability of the first guess."""
    shares = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(1 / shares.sum(axis=1))
