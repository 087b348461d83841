"""A run from what a person asks for to the file it ends in."""

import os
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError

from model_store.builder.spec import Spec
from model_store.builder.weights import IGNORED
from model_store.images import ImageSet, open_images
from model_store.manifest import Preprocessing, sha256_of
from model_store.trained import Trained, TrainingData, digest, write
from model_store.training import recipe as recipes
from model_store.training.grow import grown
from model_store.training.job import Job, Progress, TrainingError
from model_store.training.learner import MEAN, STD
from model_store.training.recipe import Recipe
from model_store.training.trainer import WEIGHTS, train
from model_store.words import words_of

LICENCE = "Apache-2.0"
"""Of the weights; what they may be used for also depends on the images, which the user knows."""


@dataclass(frozen=True, slots=True)
class Wish:
    """What the user asked for."""

    spec: Spec
    data: Path
    validation: Path | None
    folder: Path
    options: Mapping[str, Any]
    """Fields of `Recipe` that differ from their defaults."""
    device: str | None = None
    """None: a GPU where there is one."""
    workers: int | None = None
    """Processes that prepare images; None: one beside a CPU, all cores but two beside a GPU."""
    grow_from: Path | None = None
    """A trained file to start from."""


def run(wish: Wish, progress: Progress) -> Path:
    """Train, or go on; returns the finished file. Raises `TrainingError`, `ImagesError`, `OSError`."""
    job = job_of(wish)
    # Before the hours of training, lest something be missing after them.
    said, path = header(job), job.folder / WEIGHTS
    finished = path.exists()
    outcome = train(job, progress)
    if finished:
        return path
    seconds = sum(line.seconds for line in outcome.history)
    tensors = {n: v.cpu().contiguous().numpy() for n, v in outcome.state.items() if not n.endswith(IGNORED)}
    write(path, said.model_copy(update={"hours": round(seconds / 3600, 2)}), tensors)
    return path


def job_of(wish: Wish) -> Job:
    """Look at the data and settle what was left open. Raises `TrainingError`, `ImagesError`."""
    images = open_images(wish.data)
    if len(images.classes) < 2:
        raise TrainingError(f"{wish.data} has one class, {images.classes[0]!r}; a classifier needs two or more")
    validation = None if wish.validation is None else _aligned(open_images(wish.validation), images)
    device = _device(wish.device)
    return Job(
        spec=wish.spec,
        recipe=_recipe(wish),
        images=images,
        validation=validation,
        folder=wish.folder,
        device=device,
        workers=_workers(device) if wish.workers is None else wish.workers,
        initial={} if wish.grow_from is None else grown(wish.grow_from, wish.spec, labels_text(images.classes)),
        data_sha256=_digest(images),
        start="" if wish.grow_from is None else sha256_of(wish.grow_from),
    )


def header(job: Job) -> Trained:
    """What the finished file says about itself."""
    return Trained(
        spec=job.spec,
        preprocessing=Preprocessing(input_size_px=job.recipe.size_px, crop_pct=job.recipe.crop_pct, mean=MEAN, std=STD),
        labels_name=f"{job.images.name}-{len(job.images.classes)}",
        labels=labels_text(job.images.classes),
        recipe=job.recipe.model_dump(),
        data=TrainingData(name=job.images.name, images=len(job.images.samples), sha256=job.data_sha256),
        commit=_commit(),
        made_with=f"torch {torch.__version__}, {_device_name(job.device)}",
        hours=0,
        licence=LICENCE,
    )


def labels_text(classes: tuple[str, ...]) -> str:
    """`labels.tsv` of folder names: WordNet ids get their words, other names are words themselves."""
    known = words_of()
    rows = [(name, known[name]) if name in known else ("", name.replace("_", " ")) for name in classes]
    return "".join(f"{index}\t{wnid}\t{words}\n" for index, (wnid, words) in enumerate(rows))


def _recipe(wish: Wish) -> Recipe:
    size = wish.options.get("size_px", wish.spec.resolution)
    settled = {
        "size_px": size,
        "train_size_px": recipes.reduced_size(size) if isinstance(size, int) else size,
        "dropout": recipes.default_dropout(wish.spec),
    }
    try:
        recipe = Recipe(**settled | dict(wish.options))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise TrainingError(f"{where + ': ' if where else ''}{first['msg'].removeprefix('Value error, ')}") from error
    if wish.spec.padding == "same" and size % recipes.STRIDE != wish.spec.resolution % recipes.STRIDE:
        native = wish.spec.resolution
        raise TrainingError(f"{wish.spec.name} runs at {native} ± {recipes.STRIDE}·n pixels, not at {size}")
    return recipe


def _aligned(validation: ImageSet, images: ImageSet) -> ImageSet:
    """Validation images with the training classes' indices. Raises `TrainingError` for classes it never saw."""
    unknown = sorted(set(validation.classes) - set(images.classes))
    if unknown:
        raise TrainingError(f"{validation.path} has classes that {images.path} lacks: {', '.join(unknown[:5])}")
    index = {name: at for at, name in enumerate(images.classes)}
    samples = tuple(replace(s, label=index[validation.classes[s.label]]) for s in validation.samples)
    return ImageSet(validation.path, images.classes, samples)


def _device(asked: str | None) -> str:
    """Raises `TrainingError` for one that is not there."""
    device = asked or ("cuda" if torch.cuda.is_available() else "cpu")
    try:
        torch.empty(0, device=device)
    except Exception as error:
        # torch raises what its backends do: RuntimeError, AssertionError, NotImplementedError …
        raise TrainingError(f"device {device!r} cannot be used: {str(error).splitlines()[0]}") from error
    return device


def _workers(device: str) -> int:
    return 1 if device == "cpu" else max(len(os.sched_getaffinity(0)) - 2, 1)


def _digest(images: ImageSet) -> str:
    if images.path.is_dir():
        return digest([f"{s.name} {(images.path / s.name).stat().st_size}" for s in images.samples])
    return sha256_of(images.path)


def _device_name(device: str) -> str:
    return torch.cuda.get_device_name(device) if device.startswith("cuda") else f"{torch.get_num_threads()} CPU threads"


def _commit() -> str:
    """Of this checkout; the installed version where there is none, or no git."""
    root = Path(__file__).parents[2]
    if (root / ".git").exists() and shutil.which("git"):
        asked = ["git", "-C", str(root), "describe", "--always", "--dirty", "--exclude=*"]
        said = subprocess.run(asked, capture_output=True, text=True, check=False)
        if said.returncode == 0:
            return said.stdout.strip()
    try:
        return f"effserve {version('effserve')}"
    except PackageNotFoundError:
        return "unknown"
