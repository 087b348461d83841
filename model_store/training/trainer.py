"""The loop: batches → steps → averaged weights, with a checkpoint to go on from after a kill.

A run lives in a folder: `checkpoint.pt` (to resume), `metrics.jsonl` (a line an epoch), `curve.png`, and at the end
`model.safetensors`, whose header says everything needed to build a variant from it. Batches, augmentation and dropout
depend only on the seed and the step, so a resumed run repeats what an uninterrupted one would have done.

Left out: training on several machines or GPUs.
"""

import copy
import json
import time
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim.swa_utils import get_ema_multi_avg_fn

from model_store.builder.spec import Spec, blocks
from model_store.builder.weights import IGNORED, untrained
from model_store.images import ImageSet
from model_store.training import data
from model_store.training import recipe as recipes
from model_store.training.augment import cutmix, mixup
from model_store.training.network import EfficientNet
from model_store.training.recipe import Phase, Recipe

CHECKPOINT, METRICS, WEIGHTS = "checkpoint.pt", "metrics.jsonl", "model.safetensors"
CHECKPOINT_EVERY_S = 300.0
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
LAST_LAYERS = ("blocks.6.", "conv_head.", "bn2.", "classifier.")
"""What fine-tuning changes."""
DAMAGED_AT_MOST = 0.2
"""Share of a run's images that may be damaged before it stops: then it is the data that is wrong."""


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
    """A line of `metrics.jsonl`."""

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


def train(job: Job, progress: Progress) -> Outcome:
    """Run to the end, or go on with what `job.folder` holds. Raises `TrainingError`, `OSError`."""
    trainer = Trainer(job, progress)
    trainer.resume()
    trainer.run()
    return Outcome(trainer.averaged.state_dict(), tuple(trainer.history))


class Trainer:
    """The state of one run: network, averaged network, optimiser, step and history."""

    def __init__(self, job: Job, progress: Progress) -> None:
        self._job, self._recipe, self._progress = job, job.recipe, progress
        self._per_epoch = data.steps_per_epoch(len(job.images.samples), job.recipe.batch_size)
        self._total = self._per_epoch * (job.recipe.epochs + job.recipe.fine_tune_epochs)
        self._network = _network(job)
        self.averaged = copy.deepcopy(self._network).eval()
        self._step, self._damaged = 0, set[str]()
        self.history: list[Epoch] = []
        self._meter = Meter()
        self._enter(recipes.phase_at(self._recipe, 0))

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
        self._enter(recipes.phase_at(self._recipe, max(self._step - 1, 0) // self._per_epoch))
        self._network.load_state_dict(kept["network"])
        self.averaged.load_state_dict(kept["averaged"])
        self._optimizer.load_state_dict(kept["optimizer"])
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

    def _enter(self, phase: Phase) -> None:
        """Set up what a phase trains and by which optimiser. Fine-tuning goes on from the averaged weights."""
        self._phase = phase
        # Gradients of layers that are about to be frozen would go on counting in the norm that is clipped.
        self._network.zero_grad(set_to_none=True)
        if phase.name == "fine-tune":
            self._network.load_state_dict(self.averaged.state_dict())
            for name, parameter in self._network.named_parameters():
                parameter.requires_grad_(name.startswith(LAST_LAYERS))
        self._optimizer = _optimizer(self._network, self._recipe)

    def _set_modes(self) -> None:
        """Batch statistics and dropout only where weights change."""
        if self._phase.name != "fine-tune":
            self._network.train()
            return
        self._network.eval()
        for name, module in self._network.named_modules():
            if f"{name}.".startswith(LAST_LAYERS):
                module.train()

    def _learn(self, batch: data.Batch) -> None:
        """One step."""
        epoch = self._step // self._per_epoch
        phase = recipes.phase_at(self._recipe, epoch)
        if (phase.name == "fine-tune") != (self._phase.name == "fine-tune"):
            self._enter(phase)
        self._phase = phase
        self._note_damaged(batch.damaged)
        if len(batch.labels) < 2:
            return
        torch.manual_seed(self._recipe.seed * 1_000_003 + self._step)
        loss = self._loss(batch)
        self._optimise(loss)
        self._average()
        self._meter.add(loss, len(batch.labels))
        self._progress.step(self._step + 1, self._total, epoch, self._meter.recent())

    def _loss(self, batch: data.Batch) -> Tensor:
        self._set_modes()
        images, targets = self._normalised(batch.images), self._targets(batch.labels)
        random = np.random.default_rng((data.MIXING, self._recipe.seed, self._step))
        if self._phase.name != "fine-tune" and random.random() < self._recipe.mix_probability:
            ways = (mixup, self._recipe.mixup_alpha), (cutmix, self._recipe.cutmix_alpha)
            mix, alpha = ways[random.random() < 0.5]
            images, targets = mix(images, targets, alpha, random)
        with self._autocast():
            return functional.cross_entropy(self._network(images).float(), targets)

    def _optimise(self, loss: Tensor) -> None:
        rate = recipes.learning_rate(self._recipe, self._step, self._per_epoch)
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        self._optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self._network.parameters(), self._recipe.clip_norm)
        self._optimizer.step()

    def _average(self) -> None:
        """Move the averaged weights towards the present ones; fine-tuning, whose rate falls to zero, just copies."""
        decay = 0.0 if self._phase.name == "fine-tune" else recipes.ema_decay(self._recipe, self._step)
        ours, theirs = self.averaged.state_dict(), self._network.state_dict()
        names = [name for name, value in ours.items() if value.is_floating_point()]
        with torch.no_grad():
            get_ema_multi_avg_fn(decay)([ours[n] for n in names], [theirs[n] for n in names], 0)

    def _end_epoch(self) -> None:
        epoch = self._step // self._per_epoch - 1
        loss, speed = self._meter.end()
        top1, top5 = self._evaluate()
        seconds, self._meter = self._meter.seconds(), Meter()
        rate = recipes.learning_rate(self._recipe, self._step - 1, self._per_epoch)
        phase = self._phase
        line = Epoch(
            epoch + 1, phase.name, phase.size_px, loss, rate, speed, seconds, top1, top5, len(self._damaged)
        )  # fmt: skip
        self.history.append(line)
        self._progress.epoch(line)

    def _evaluate(self) -> tuple[float | None, float | None]:
        if self._job.validation is None:
            return None, None
        return accuracy(self.averaged, self._job.validation, self._recipe, self._job.device, self._job.workers)

    def _note_damaged(self, names: tuple[str, ...]) -> None:
        for name in names:
            if name not in self._damaged:
                self._progress.remark(f"{name} cannot be decoded and is left out")
        self._damaged |= set(names)
        if len(self._damaged) > DAMAGED_AT_MOST * len(self._job.images.samples):
            raise TrainingError(f"{len(self._damaged)} of {len(self._job.images.samples)} images cannot be decoded")

    def _keep(self) -> None:
        """Write the checkpoint in one step. Raises `TrainingError` rather than keep weights that are not finite."""
        if not all(bool(value.isfinite().all()) for value in self._network.state_dict().values()):
            raise TrainingError(
                f"training diverged before step {self._step}; the last checkpoint is sound: try a lower --learning-rate"
            )
        kept = {
            "identity": self._identity(),
            "step": self._step,
            "damaged": sorted(self._damaged),
            "history": [asdict(line) for line in self.history],
            "network": self._network.state_dict(),
            "averaged": self.averaged.state_dict(),
            "optimizer": self._optimizer.state_dict(),
        }
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

    def _normalised(self, images: Tensor) -> Tensor:
        return normalised(images.to(self._job.device, non_blocking=True))

    def _targets(self, labels: Tensor) -> Tensor:
        classes, smoothing = len(self._job.images.classes), self._recipe.label_smoothing
        one_hot = functional.one_hot(labels.to(self._job.device, non_blocking=True), classes).float()
        return one_hot * (1 - smoothing) + smoothing / classes

    def _autocast(self) -> AbstractContextManager[Any]:
        return autocast(self._recipe, self._job.device)


class Meter:
    """Loss and speed of an epoch."""

    def __init__(self) -> None:
        self._began, self._images = time.monotonic(), 0
        self._losses: deque[Tensor] = deque()

    def add(self, loss: Tensor, images: int) -> None:
        """A step; the loss is not read yet, which would wait for a GPU."""
        self._losses.append(loss.detach())
        self._images += images

    def recent(self) -> float:
        """Loss of the last step but a few, which is ready."""
        return float(self._losses[max(len(self._losses) - 5, 0)])

    def end(self) -> tuple[float, float]:
        """Mean loss; images per second."""
        loss = float(torch.stack(list(self._losses)).mean()) if self._losses else float("nan")
        return loss, self._images / self.seconds()

    def seconds(self) -> float:
        """Since the epoch began, or was resumed."""
        return time.monotonic() - self._began


def normalised(images: Tensor) -> Tensor:
    """uint8 [n, 3, s, s] → float, zero mean and unit deviation over ImageNet, channels last, which is faster."""
    mean, std = (torch.tensor(values, device=images.device).view(1, 3, 1, 1) * 255 for values in (MEAN, STD))
    return ((images.float() - mean) / std).contiguous(memory_format=torch.channels_last)


def autocast(recipe: Recipe, device: str) -> AbstractContextManager[Any]:
    """The precision of forward passes."""
    kind = torch.device(device).type
    wanted = recipe.precision == "bfloat16" or (recipe.precision == "auto" and kind == "cuda")
    return torch.autocast(kind, torch.bfloat16, enabled=wanted)


@torch.inference_mode()
def accuracy(network: nn.Module, images: ImageSet, recipe: Recipe, device: str, workers: int) -> tuple[float, float]:
    """Top-1 and top-5 on unaugmented images at the test size, as fractions of those that decode."""
    dataset = data.TestImages(images, recipe.size_px, recipe.crop_pct)
    batches = data.test_batches(len(dataset), recipe.batch_size)
    seen = first = among_five = 0
    for batch in data.loader(dataset, batches, workers=workers, pin=False):
        if not len(batch.labels):
            continue
        with autocast(recipe, device):
            logits = network(normalised(batch.images.to(device)))
        best = logits.topk(min(5, logits.shape[1])).indices.cpu() == batch.labels[:, None]
        seen, first, among_five = seen + len(best), first + int(best[:, 0].sum()), among_five + int(best.sum())
    if not seen:
        raise TrainingError(f"none of the {len(dataset)} images in {images.path} can be decoded")
    return first / seen, among_five / seen


def _loaded(path: Path, device: str) -> dict[str, Any]:
    try:
        kept: dict[str, Any] = torch.load(path, map_location=device, weights_only=True)
    except Exception as error:
        # Unpickling, ZIP and device errors share no base.
        raise TrainingError(f"{path} cannot be read ({' '.join(str(error).split())[:200]}); delete it") from error
    return kept


def _network(job: Job) -> EfficientNet:
    recipe = job.recipe
    network = EfficientNet(
        job.spec, len(job.images.classes), dropout=recipe.dropout, drop_path=recipe.drop_path
    )  # fmt: skip
    state = network.state_dict()
    shapes = {name: tuple(value.shape) for name, value in state.items() if not name.endswith(IGNORED)}
    seeded = {name: torch.from_numpy(value) for name, value in untrained(shapes, recipe.seed).tensors.items()}
    for block in blocks(job.spec):
        if block.has_skip:
            # It begins as the identity (Goyal et al., arXiv 1706.02677, §5.1), which speeds up the first epochs.
            seeded[f"{block.name}.bn{3 if block.expands else 2}.weight"].zero_()
    network.load_state_dict(state | seeded | dict(job.initial))
    return network.to(job.device, memory_format=torch.channels_last)


def _optimizer(network: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    learning = [(name, p) for name, p in network.named_parameters() if p.requires_grad]
    decayed = [p for name, p in learning if p.ndim > 1 or ".proxy_" in f".{name}"]
    plain = [p for name, p in learning if not (p.ndim > 1 or ".proxy_" in f".{name}")]
    groups = [{"params": decayed, "weight_decay": recipe.weight_decay}, {"params": plain, "weight_decay": 0.0}]
    if recipe.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=recipe.learning_rate, momentum=0.9, nesterov=True)
    return torch.optim.AdamW(groups, lr=recipe.learning_rate, fused=True)
