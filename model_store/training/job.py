"""What a run is given, what it says on its way, and what it gives back."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from torch import Tensor

from model_store.builder.spec import Spec
from model_store.images import ImageSet
from model_store.training.recipe import Recipe


class TrainingError(Exception):
    """A run cannot begin or go on. One line."""


@dataclass(frozen=True, slots=True)
class Job:
    """One run."""

    spec: Spec
    recipe: Recipe
    images: ImageSet
    validation: ImageSet | None
    folder: Path
    device: str = "cpu"
    workers: int = 1
    initial: Mapping[str, Tensor] = field(default_factory=dict)
    """Tensors to start from in place of seeded ones."""
    data_sha256: str = ""
    """Of the images, so that a run does not go on with others."""
    start: str = ""
    """Checksum of the file that `initial` comes from."""


@dataclass(frozen=True, slots=True)
class Epoch:
    """A line of `metrics.jsonl`. An epoch that was interrupted counts as one, without what was lost."""

    epoch: int
    phase: str
    size_px: int
    loss: float
    """Mean training loss, on augmented images and smoothed targets."""
    learning_rate: float
    images_per_s: float
    """Of training, waiting for images included, evaluation not."""
    seconds: float
    """Of all of it."""
    top1: float | None
    """Of the averaged weights on the validation images, at the test size; None without such images."""
    top5: float | None
    damaged: int
    """Files that would not decode, so far."""


class Progress(Protocol):
    """Who is told how a run goes."""

    def step(self, done: int, total: int, epoch: int, loss: float) -> None:
        """A step is done."""

    def epoch(self, epoch: Epoch) -> None:
        """An epoch is done."""

    def remark(self, text: str) -> None:
        """Something a person should know."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a run ended with."""

    state: dict[str, Tensor]
    """Averaged weights, by timm's names."""
    history: tuple[Epoch, ...]
