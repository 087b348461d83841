"""A run from what a person asks for to the file it ends in."""

import os
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
from model_store.training import curve
from model_store.training import recipe as recipes
from model_store.training.grow import grown
from model_store.training.recipe import Recipe
from model_store.training.trainer import MEAN, STD, WEIGHTS, Job, Outcome, Progress, TrainingError, train
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
    outcome = train(job, progress)
    path = job.folder / WEIGHTS
    seconds = sum(line.seconds for line in outcome.history)
    tensors = {n: v.cpu().contiguous().numpy() for n, v in outcome.state.items() if not n.endswith(IGNORED)}
    write(path, header(job, seconds), tensors)
    draw(job, outcome)
    return path


def job_of(wish: Wish) -> Job:
    """Look at the data and settle what was left open. Raises `TrainingError`, `ImagesError`."""
    images = open_images(wish.data)
    if len(images.classes) < 2:
        raise TrainingError(f"{wish.data} has one class, {images.classes[0]!r}; a classifier needs two or more")
    validation = None if wish.validation is None else _aligned(open_images(wish.validation), images)
    device = wish.device or ("cuda" if torch.cuda.is_available() else "cpu")
    recipe = _recipe(wish)
    return Job(
        spec=wish.spec,
        recipe=recipe,
        images=images,
        validation=validation,
        folder=wish.folder,
        device=device,
        workers=_workers(device) if wish.workers is None else wish.workers,
        initial={} if wish.grow_from is None else grown(wish.grow_from, wish.spec, len(images.classes)),
    )


def header(job: Job, seconds: float) -> Trained:
    """What the finished file says about itself."""
    return Trained(
        spec=job.spec,
        preprocessing=Preprocessing(input_size_px=job.recipe.size_px, crop_pct=job.recipe.crop_pct, mean=MEAN, std=STD),
        labels_name=f"{job.images.path.stem}-{len(job.images.classes)}",
        labels=labels_text(job.images.classes),
        recipe=job.recipe.model_dump(),
        data=TrainingData(name=job.images.path.name, images=len(job.images.samples), sha256=_digest(job.images)),
        commit=_commit(),
        made_with=f"torch {torch.__version__}, {_device_name(job.device)}",
        hours=round(seconds / 3600, 2),
        licence=LICENCE,
    )


def labels_text(classes: tuple[str, ...]) -> str:
    """`labels.tsv` of folder names: WordNet ids get their words, other names are words themselves."""
    known = words_of()
    rows = [(name, known[name]) if name in known else ("", name.replace("_", " ")) for name in classes]
    return "".join(f"{index}\t{wnid}\t{words}\n" for index, (wnid, words) in enumerate(rows))


def draw(job: Job, outcome: Outcome) -> None:
    """The learning curve beside the weights."""
    if outcome.history:
        title = f"{job.spec.name} on {job.images.path.stem}: {len(job.images.samples):,} images"
        curve.draw(outcome.history, title, job.folder / "curve.png")


def _recipe(wish: Wish) -> Recipe:
    size = wish.options.get("size_px", wish.spec.resolution)
    settled = {
        "size_px": size,
        "train_size_px": recipes.reduced_size(size),
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


def _workers(device: str) -> int:
    return 1 if device == "cpu" else max(len(os.sched_getaffinity(0)) - 2, 1)


def _digest(images: ImageSet) -> str:
    if images.path.is_dir():
        return digest([f"{s.name} {(images.path / s.name).stat().st_size}" for s in images.samples])
    return sha256_of(images.path)


def _device_name(device: str) -> str:
    return torch.cuda.get_device_name(device) if device.startswith("cuda") else f"{torch.get_num_threads()} CPU threads"


def _commit() -> str:
    """Of this checkout; the installed version where there is none."""
    here = Path(__file__).parent
    said = subprocess.run(
        ["git", "-C", str(here), "describe", "--always", "--dirty", "--exclude=*"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if said.returncode == 0:
        return said.stdout.strip()
    try:
        return f"effserve {version('effserve')}"
    except PackageNotFoundError:
        return "unknown"
