"""How often the trained arms are right: all of them on the same images, through the path that serves."""

import math
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from benchmarks.g16.study import Accuracy, Arm, Trained
from model_store.builder.recipes import from_trained
from model_store.builder.store import add
from model_store.trained import Trained as Header
from model_store.trained import TrainedFileError, read_header
from service.commands.evaluate import Asked, measure
from service.evaluation.measures import Z_95, ranks, wilson
from service.evaluation.plan import EvaluationError
from service.evaluation.results import Share

Hits = npt.NDArray[np.float64]
"""[images]: how often an arm was right about each, over its seeds."""


def judge(files: Mapping[tuple[Arm, int], Path], validation: Path) -> tuple[tuple[Trained, ...], tuple[Accuracy, ...]]:
    """Each file alone, and each arm over its seeds. Raises `TrainedFileError`, `BuildError`, `EvaluationError`."""
    headers = {key: _header(path) for key, path in files.items()}
    hits = _hits(files, headers, validation)
    alone = tuple(
        Trained(arm, seed, _share(hits[arm, seed]), headers[arm, seed].hours, headers[arm, seed].commit)
        for arm, seed in files
    )
    return alone, _over_seeds(hits)


def _header(path: Path) -> Header:
    header = read_header(path)
    if header is None:
        raise TrainedFileError(f"{path} was not written by training")
    return header


def _hits(
    files: Mapping[tuple[Arm, int], Path], headers: Mapping[tuple[Arm, int], Header], validation: Path
) -> dict[tuple[Arm, int], Hits]:
    """From one evaluation of a store that holds all of them."""
    names = {key: f"{key[0].network}-{key[0].regime}-{key[1]}" for key in files}
    with tempfile.TemporaryDirectory() as store:
        for key, path in files.items():
            recipe = from_trained(path, headers[key])
            add(replace(recipe, spec=replace(recipe.spec, name=names[key])), Path(store))
        _, runs, _ = measure(Asked(validation, store=Path(store), threads=1))
    if runs.broken:
        raise EvaluationError(f"{', '.join(runs.broken)}: {next(iter(runs.broken.values()))}")
    sheets = {key: runs.sheets[name] for key, name in names.items()}
    return {key: (ranks(sheet.logits, sheet.labels) < 1).astype(np.float64) for key, sheet in sheets.items()}


def _over_seeds(hits: Mapping[tuple[Arm, int], Hits]) -> tuple[Accuracy, ...]:
    by_arm: dict[Arm, list[Hits]] = {}
    for (arm, _), found in hits.items():
        by_arm.setdefault(arm, []).append(found)
    mean = {arm: np.mean(found, axis=0) for arm, found in by_arm.items()}
    first = next(iter(mean.values()))
    return tuple(_accuracy(arm, found, mean[arm], first) for arm, found in by_arm.items())


def _accuracy(arm: Arm, seeds: Sequence[Hits], mean: Hits, first: Hits) -> Accuracy:
    tops = [float(found.mean()) for found in seeds]
    return Accuracy(arm, len(mean), _share(mean), min(tops), max(tops), difference(mean, first))


def _share(hits: Hits) -> Share:
    """Means over seeds are not whole numbers of images; the formula does not mind."""
    low, high = wilson(round(float(hits.sum())), len(hits))
    value = float(hits.mean())
    return Share(value, min(low, value), max(high, value))


def difference(ours: Hits, theirs: Hits) -> Share:
    """Mean of the images' differences, and where it lies with 95 % confidence for other images of the same kind.

    The images are the same, so what both arms find easy or hard cancels out, and the interval is narrower than those
    of the two accuracies suggest.
    """
    apart = ours - theirs
    value, half = float(apart.mean()), Z_95 * float(apart.std(ddof=1)) / math.sqrt(len(apart))
    return Share(value, value - half, value + half)
