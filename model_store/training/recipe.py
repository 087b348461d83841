"""What a run is made of, and when it does what: pure functions of the recipe and the number of images.

Reduced-resolution training (Masters et al., arXiv 2106.03640, §3.3): the network is trained at about half of the
pixels it will be tested at, then its last layers are fine-tuned at the test size on unaugmented images. Both sizes
leave the same remainder by 32, or TensorFlow's padding would shift the sampling grid between them. Progressive
learning (Tan & Le, arXiv 2104.00298) may start at fewer pixels still.
"""

import math
from dataclasses import dataclass
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from model_store.builder.spec import LEVELS, Spec

STRIDE = 32
"""Of the whole network: sizes that differ by a multiple of it sample the same grid."""

Precision = Literal["auto", "float32", "bfloat16"]


class Recipe(BaseModel):
    """Hyperparameters. The defaults are for some ten thousand images and some tens of epochs."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    size_px: int = Field(ge=32, le=2048)
    """Edge of the served network's input."""
    train_size_px: int = Field(ge=32, le=2048)
    """Edge during training."""
    start_size_px: int | None = Field(default=None, ge=32, le=2048)
    """Edge during the first `start_share` of the epochs. None: the training size throughout."""
    start_share: float = Field(default=0.4, gt=0, lt=1)
    epochs: int = Field(default=60, ge=1)
    fine_tune_epochs: int = Field(default=2, ge=0)
    """Epochs of the last layers at `size_px`, after the others."""
    batch_size: int = Field(default=64, ge=2)
    optimizer: Literal["adamw", "sgd"] = "adamw"
    learning_rate: float = Field(default=1.5e-3, gt=0)
    """At the end of the warm-up; cosine to zero from there."""
    fine_tune_learning_rate: float = Field(default=1e-4, gt=0)
    weight_decay: float = Field(default=0.05, ge=0)
    """Of weight matrices and Proxy Norm's β̃ and γ̃; not of other norm parameters and biases."""
    warm_up_epochs: float = Field(default=2, ge=0)
    ema_decay: float = Field(default=0.999, ge=0, lt=1)
    """Of the averaged weights, which are the ones kept; lower in the first steps."""
    label_smoothing: float = Field(default=0.1, ge=0, lt=1)
    rand_augment_operations: int = Field(default=2, ge=0)
    """Per image."""
    rand_augment_magnitude: float = Field(default=7, ge=0, le=10)
    mix_probability: float = Field(default=0.5, ge=0, le=1)
    """Share of batches whose images are mixed in pairs: half of them by mixup, half by CutMix."""
    mixup_alpha: float = Field(default=0.2, gt=0)
    cutmix_alpha: float = Field(default=1.0, gt=0)
    smallest_crop: float = Field(default=0.35, gt=0, le=1)
    """Least share of an image's area that a random crop keeps."""
    dropout: float = Field(default=0.2, ge=0, lt=1)
    drop_path: float = Field(default=0.1, ge=0, lt=1)
    """Rate of stochastic depth in the last block."""
    crop_pct: float = Field(default=1.0, gt=0, le=1)
    """At test time the shorter edge is resized to size / crop_pct."""
    precision: Precision = "auto"
    """`auto`: bfloat16 on a GPU, float32 on a CPU, most of which have no fast bfloat16."""
    clip_norm: float = Field(default=5.0, gt=0)
    """Longer gradients are shortened to this length."""
    seed: int = Field(default=0, ge=0, lt=2**31)

    @model_validator(mode="after")
    def _sizes_share_a_grid(self) -> Self:
        for size in (self.train_size_px, self.start_size_px):
            if size is not None and size % STRIDE != self.size_px % STRIDE:
                raise ValueError(
                    f"{size} and {self.size_px} pixels leave different remainders by {STRIDE}: the padding would "
                    f"shift the grid; try {self.size_px - STRIDE * math.ceil((self.size_px - size) / STRIDE)}"
                )
        return self


def reduced_size(size_px: int) -> int:
    """About half the pixels: the size nearest to size / √2 on the same grid (224 → 160, 300 → 204).

    Those of the paper, but for B4: 284 is nearer to half of 380's pixels than the paper's 252.
    """
    return max(size_px - STRIDE * round(size_px * (1 - math.sqrt(0.5)) / STRIDE), size_px % STRIDE + STRIDE)


def default_dropout(spec: Spec) -> float:
    """The reference's: 0.2 at B0, rising with the level to 0.5."""
    rates = (0.2, 0.2, 0.3, 0.3, 0.4, 0.4, 0.5, 0.5)
    return rates[list(LEVELS).index(spec.level)] if spec.level in LEVELS else rates[0]


@dataclass(frozen=True, slots=True)
class Phase:
    """A stretch of epochs that are all alike."""

    name: Literal["start", "train", "fine-tune"]
    epochs: int
    size_px: int


def phases(recipe: Recipe) -> list[Phase]:
    """What is done in which order; phases of no epochs are left out."""
    at_start = round(recipe.epochs * recipe.start_share) if recipe.start_size_px else 0
    every = [
        Phase("start", at_start, recipe.start_size_px or recipe.train_size_px),
        Phase("train", recipe.epochs - at_start, recipe.train_size_px),
        Phase("fine-tune", recipe.fine_tune_epochs, recipe.size_px),
    ]
    return [phase for phase in every if phase.epochs]


def phase_at(recipe: Recipe, epoch: int) -> Phase:
    """The phase that epoch number `epoch` (from 0) belongs to."""
    for phase in phases(recipe):
        if epoch < phase.epochs:
            return phase
        epoch -= phase.epochs
    raise ValueError("the run has fewer epochs")


def learning_rate(recipe: Recipe, step: int, steps_per_epoch: int) -> float:
    """Linear warm-up and cosine to zero over the epochs of training; a cosine of its own for fine-tuning."""
    training = recipe.epochs * steps_per_epoch
    if step >= training:
        done = (step - training) / max(recipe.fine_tune_epochs * steps_per_epoch, 1)
        return recipe.fine_tune_learning_rate * _cosine(done)
    warm_up = min(recipe.warm_up_epochs * steps_per_epoch, training / 2)
    if step < warm_up:
        return recipe.learning_rate * (step + 1) / warm_up
    return recipe.learning_rate * _cosine((step - warm_up) / (training - warm_up))


def ema_decay(recipe: Recipe, step: int) -> float:
    """The first averages would mostly be of the initial weights: the decay grows to its final value."""
    return min(recipe.ema_decay, (1 + step) / (10 + step))


def _cosine(done: float) -> float:
    return 0.5 * (1 + math.cos(math.pi * min(done, 1.0)))
