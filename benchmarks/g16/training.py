"""Trains the arms, one after the other. A killed study goes on with the same command, within an arm too."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from benchmarks.g16.study import Arm, Regime, arms
from benchmarks.report import say
from model_store.builder.spec import Spec, resolve
from model_store.training.job import Job, Progress
from model_store.training.run import Wish, job_of, run

NETWORKS = ("b0", "b0-g16-gn", "b0-g16")
RECIPE: Mapping[str, Any] = {
    "batch_size": 64,
    "learning_rate": 1.5e-3,
    "warm_up_epochs": 1,
    "mix_probability": 0.3,
    "rand_augment_operations": 1,
    "rand_augment_magnitude": 6,
}
"""Where it differs from `Recipe`'s: milder, for few epochs."""

Key = tuple[Arm, int]
"""An arm and a seed."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What is asked for."""

    data: Path
    validation: Path
    folder: Path
    epochs: int
    """Before fine-tuning."""
    fine_tune_epochs: int
    size_px: int
    """Of the served network."""
    reduced_px: int
    seeds: tuple[int, ...]
    options: Mapping[str, Any] = field(default_factory=dict)
    """Fields of `Recipe` that differ from `RECIPE`."""
    threads: int = 1
    workers: int | None = None
    device: str | None = None
    specs: tuple[Spec, ...] = tuple(resolve(name) for name in NETWORKS)

    @property
    def networks(self) -> tuple[str, ...]:
        """Their names; the first is what the others are compared with."""
        return tuple(spec.name for spec in self.specs)

    def wish(self, arm: Arm, seed: int) -> Wish:
        """One run."""
        return Wish(
            spec=next(spec for spec in self.specs if spec.name == arm.network),
            data=self.data,
            validation=self.validation,
            folder=self.folder / f"{arm.network}-{arm.regime}-{seed}",
            options={
                **RECIPE,
                **self.options,
                "epochs": self.epochs,
                "fine_tune_epochs": self.fine_tune_epochs,
                "size_px": self.size_px,
                "train_size_px": self.train_size_px(arm.regime),
                "seed": seed,
            },
            device=self.device,
            workers=self.workers,
        )

    def train_size_px(self, regime: Regime) -> int:
        """The one thing in which the regimes differ."""
        return self.size_px if regime == "native" else self.reduced_px

    def job(self) -> Job:
        """The first run's, for what all have in common."""
        return job_of(self.wish(next(arms(self.networks)), self.seeds[0]))


def train(plan: Plan, progress: Progress) -> dict[Key, Path]:
    """All arms with the first seed, then all with the next. Raises what `model_store.training.run.run` does."""
    torch.set_num_threads(plan.threads)
    wishes = {(arm, seed): plan.wish(arm, seed) for seed in plan.seeds for arm in arms(plan.networks)}
    for wish in wishes.values():
        # What is wrong with the last arm is not said after the hours that the others take.
        job_of(wish)
    files = {}
    for (arm, seed), wish in wishes.items():
        say(f"training {arm.network}, {arm.regime}, seed {seed}")
        files[arm, seed] = run(wish, progress)
    return files
