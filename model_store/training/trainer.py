"""The loop: batches → steps → averaged weights, with a checkpoint to go on from after a kill.

A run lives in a folder: `checkpoint.pt` (to resume), `metrics.jsonl` (a line an epoch) and `curve.png` (drawn anew each
epoch), and at the end `model.safetensors`, whose header says everything needed to build a variant from it. Batches,
augmentation and dropout depend only on the seed and the step, so a resumed run repeats what an uninterrupted one would
have done.

Left out: training on several machines or GPUs.
"""

import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from model_store.training import curve, data
from model_store.training import recipe as recipes
from model_store.training.job import Epoch, Job, Outcome, Progress, TrainingError
from model_store.training.judge import accuracy
from model_store.training.learner import Learner

CHECKPOINT, METRICS, CURVE, WEIGHTS = "checkpoint.pt", "metrics.jsonl", "curve.png", "model.safetensors"
CHECKPOINT_EVERY_S = 300.0
DAMAGED_AT_MOST = 0.2
"""Share of a run's images that may be damaged before it stops: then it is the data that is wrong."""


def train(job: Job, progress: Progress) -> Outcome:
    """Run to the end, or go on with what `job.folder` holds. Raises `TrainingError`, `OSError`."""
    trainer = Trainer(job, progress)
    trainer.resume()
    trainer.run()
    return Outcome(trainer.learner.averaged.state_dict(), tuple(trainer.history))


class Trainer:
    """The state of one run: what learns, how far it is, and what was seen on the way."""

    def __init__(self, job: Job, progress: Progress) -> None:
        self._job, self._recipe, self._progress = job, job.recipe, progress
        self._per_epoch = data.steps_per_epoch(len(job.images.samples), job.recipe.batch_size)
        self._total = self._per_epoch * (job.recipe.epochs + job.recipe.fine_tune_epochs)
        self.learner = Learner(
            job.spec,
            job.recipe,
            classes=len(job.images.classes),
            steps_per_epoch=self._per_epoch,
            device=job.device,
            initial=job.initial,
        )
        self._step, self._damaged = 0, set[str]()
        self.history: list[Epoch] = []
        self._meter = Meter()

    def resume(self) -> None:
        """Take up the folder's checkpoint, if there is one. Raises `TrainingError` when it is of another run."""
        path = self._job.folder / CHECKPOINT
        if not path.exists():
            return
        kept = _loaded(path, self._job.device)
        if kept.get("identity") != self._identity():
            raise TrainingError(f"{path} is of another run (variant, recipe, data or start differ); use another folder")
        self._step, self._damaged = kept["step"], set(kept["damaged"])
        self.history = [Epoch(**line) for line in kept["history"]]
        # A checkpoint at the very end of a phase was written by that phase.
        self.learner.take_up(kept, recipes.phase_at(self._recipe, max(self._step - 1, 0) // self._per_epoch))
        # Checkpoints of earlier versions have no meter.
        self._meter = Meter(**kept.get("meter", {}))
        self._progress.remark(f"going on at step {self._step} of {self._total}")

    def run(self) -> None:
        """All steps that are left."""
        for line in data.remarks(self._job.images):
            self._progress.remark(line)
        last_kept = time.monotonic()
        for batch in self._batches():
            self._learn(batch)
            self._step += 1
            if self._step % self._per_epoch == 0:
                self._end_epoch()
            elif time.monotonic() - last_kept < CHECKPOINT_EVERY_S:
                continue
            self._keep()
            last_kept = time.monotonic()

    def _batches(self) -> Iterator[data.Batch]:
        draws = data.Draws(self._job.images, self._recipe, self._step)
        dataset = data.TrainingImages(self._job.images, self._recipe)
        yield from data.loader(dataset, draws, workers=self._job.workers, pin=self._job.device != "cpu")

    def _learn(self, batch: data.Batch) -> None:
        """One step."""
        self._note_damaged(batch.damaged)
        if len(batch.labels) < 2:
            return
        self._meter.add(self.learner.learn(batch.images, batch.labels, self._step), len(batch.labels))
        self._progress.step(self._step + 1, self._total, self._step // self._per_epoch, self._meter.recent())

    def _end_epoch(self) -> None:
        epoch = self._step // self._per_epoch - 1
        loss, speed = self._meter.end()
        top1, top5 = self._evaluate()
        line = Epoch(
            epoch=epoch + 1,
            phase=self.learner.phase.name,
            size_px=self.learner.phase.size_px,
            loss=loss,
            learning_rate=recipes.learning_rate(self._recipe, self._step - 1, self._per_epoch),
            images_per_s=speed,
            seconds=self._meter.seconds(),
            top1=top1,
            top5=top5,
            damaged=len(self._damaged),
        )
        self.history.append(line)
        self._progress.epoch(line)
        self._draw()
        self._meter = Meter()

    def _evaluate(self) -> tuple[float | None, float | None]:
        job = self._job
        if job.validation is None:
            return None, None
        return accuracy(self.learner.averaged, job.validation, self._recipe, job.device, job.workers)

    def _draw(self) -> None:
        images = self._job.images
        self._job.folder.mkdir(parents=True, exist_ok=True)
        title = f"{self._job.spec.name} on {images.name}: {len(images.samples):,} images"
        curve.draw(self.history, title, self._job.folder / CURVE)

    def _note_damaged(self, names: tuple[str, ...]) -> None:
        for name in names:
            if name not in self._damaged:
                self._progress.remark(f"{name} cannot be decoded and is left out")
        self._damaged |= set(names)
        if len(self._damaged) > DAMAGED_AT_MOST * len(self._job.images.samples):
            raise TrainingError(f"{len(self._damaged)} of {len(self._job.images.samples)} images cannot be decoded")

    def _keep(self) -> None:
        """Write the checkpoint in one step. Raises `TrainingError` rather than keep weights that are not finite."""
        if not self.learner.finite():
            raise TrainingError(
                f"training diverged before step {self._step}; the last checkpoint is sound: try a lower --learning-rate"
            )
        kept = {
            "identity": self._identity(),
            "step": self._step,
            "damaged": sorted(self._damaged),
            "history": [asdict(line) for line in self.history],
            "meter": self._meter.kept(),
        } | self.learner.kept()
        self._job.folder.mkdir(parents=True, exist_ok=True)
        temporary = self._job.folder / (CHECKPOINT + ".tmp")
        torch.save(kept, temporary)
        temporary.replace(self._job.folder / CHECKPOINT)
        lines = "".join(json.dumps(asdict(line)) + "\n" for line in self.history)
        (self._job.folder / METRICS).write_text(lines, encoding="utf-8")

    def _identity(self) -> str:
        """What must be the same for a run to go on."""
        job = self._job
        return json.dumps([repr(job.spec), self._recipe.model_dump(), job.images.classes, job.data_sha256, job.start])


class Meter:
    """Loss and speed of an epoch. Made from what another one kept, it goes on where that one was."""

    def __init__(self, losses: Tensor | None = None, images: int = 0, seconds: float = 0.0) -> None:
        self._losses: list[Tensor] = [] if losses is None else list(losses)
        self._images, self._began = images, time.monotonic() - seconds

    def kept(self) -> Mapping[str, Any]:
        """For a checkpoint."""
        losses = torch.stack(self._losses) if self._losses else torch.empty(0)
        return {"losses": losses, "images": self._images, "seconds": self.seconds()}

    def add(self, loss: Tensor, images: int) -> None:
        """A step; the loss is not read yet, which would wait for a GPU."""
        self._losses.append(loss)
        self._images += images

    def recent(self) -> float:
        """Loss of the last step but a few, which is ready."""
        return float(self._losses[max(len(self._losses) - 5, 0)])

    def end(self) -> tuple[float, float]:
        """Mean loss; images per second."""
        loss = float(torch.stack(self._losses).mean()) if self._losses else float("nan")
        return loss, self._images / self.seconds()

    def seconds(self) -> float:
        """Since the epoch began, without the time between a kill and going on."""
        return time.monotonic() - self._began


def _loaded(path: Path, device: str) -> dict[str, Any]:
    try:
        kept: dict[str, Any] = torch.load(path, map_location=device, weights_only=True)
    except Exception as error:
        # Unpickling, ZIP and device errors share no base.
        raise TrainingError(f"{path} cannot be read ({' '.join(str(error).split())[:200]}); delete it") from error
    return kept
