"""What a version of a variant is made from: network, weights, labels, and what is known of them.

Seeded weights, a checkpoint file, or a file of `effserve train`, which says the rest itself. `pull.py` has recipes of
published checkpoints; `store.py` makes versions of them.
"""

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path

from model_store import manifest as manifests
from model_store.builder import build
from model_store.builder.spec import Spec
from model_store.builder.weights import LoadedWeights, fitted, from_safetensors
from model_store.builder.weights import untrained as seeded
from model_store.manifest import Accuracy, LabelSet, Preprocessing, WeightsKind
from model_store.trained import Trained, read_tensors

CROP_BORDER_PX = 32
"""The reference resizes the shorter edge to size + 32 before it crops."""
UNTRAINED_LICENCE = "Apache-2.0"
"""Seeded weights are made by this project."""


@dataclass(frozen=True, slots=True)
class Labels:
    """The classes in output order, as the content of a `labels.tsv`: index, WordNet id (may be empty), words."""

    name: str
    content: bytes

    @classmethod
    def read(cls, path: Path) -> "Labels":
        """A label file. Raises `BuildError` for one that the service would refuse."""
        try:
            return cls(path.stem, path.read_bytes()).checked(str(path))
        except (OSError, UnicodeDecodeError) as error:
            raise build.BuildError(f"cannot read the labels {path}: {error}") from error

    def checked(self, where: str) -> "Labels":
        """Itself, when it is well formed. Raises `BuildError`, `UnicodeDecodeError`."""
        lines = self.content.decode().splitlines()
        for number, line in enumerate(lines):
            if len(line.split("\t")) != 3 or line.split("\t")[0] != str(number):
                raise build.BuildError(f"{where} line {number + 1} is not `{number} <tab> WordNet id <tab> words`")
        if len(lines) < 2:
            raise build.BuildError(f"{where} has {len(lines)} classes; a classifier needs two or more")
        return self

    @property
    def classes(self) -> int:
        """How many there are."""
        return len(self.content.decode().splitlines())

    def described(self) -> LabelSet:
        """What a manifest says of them."""
        return LabelSet(name=self.name, classes=self.classes, sha256=hashlib.sha256(self.content).hexdigest())


@dataclass(frozen=True, slots=True)
class Recipe:
    """Everything one version of a variant is made from."""

    spec: Spec
    weights: LoadedWeights
    kind: WeightsKind
    licence: str
    preprocessing: Preprocessing
    accuracy: Accuracy
    """Of exactly these weights; `Accuracy()` where nobody measured."""
    labels: Labels


def default_labels() -> Path:
    """The ImageNet-1k classes that ship with this package, as index, WordNet id, label."""
    return Path(manifests.__file__).parent / "labels" / "imagenet-1k.tsv"


def paper_preprocessing(size_px: int) -> Preprocessing:
    """The paper's: bicubic to size + 32, centre crop, ImageNet statistics."""
    return Preprocessing(
        input_size_px=size_px,
        crop_pct=round(size_px / (size_px + CROP_BORDER_PX), 3),
        mean=build.IMAGENET_MEAN,
        std=build.IMAGENET_STD,
    )


def untrained(spec: Spec, seed: int, labels: Path) -> Recipe:
    """Seeded weights, which know nothing: for capacity planning and tests."""
    known = Labels.read(labels)
    return Recipe(
        spec=spec,
        weights=seeded(build.state_shapes(spec, known.classes), seed),
        kind=WeightsKind.UNTRAINED,
        licence=UNTRAINED_LICENCE,
        preprocessing=paper_preprocessing(spec.resolution),
        accuracy=Accuracy(),
        labels=known,
    )


def from_file(spec: Spec, path: Path, *, licence: str, labels: Path) -> Recipe:
    """A checkpoint file of unknown accuracy, prepared for as in the paper. Raises `WeightsError`."""
    known = Labels.read(labels)
    return Recipe(
        spec=spec,
        weights=from_safetensors(path, build.state_shapes(spec, known.classes)),
        kind=WeightsKind.CHECKPOINT,
        licence=licence,
        preprocessing=paper_preprocessing(spec.resolution),
        accuracy=Accuracy(),
        labels=known,
    )


def from_trained(path: Path, header: Trained) -> Recipe:
    """A file of `effserve train` or `effserve pack`, which says itself what it is.

    Raises `TrainedFileError`, `WeightsError`, `BuildError`.
    """
    labels = Labels(header.labels_name, header.labels.encode()).checked(path.name)
    loaded = fitted(read_tensors(path), build.state_shapes(header.spec, labels.classes), path)
    source = f"{path.name}, trained on {header.data.name} ({header.data.images:,} images)"
    return Recipe(
        spec=header.spec,
        weights=replace(loaded, source=source),
        kind=WeightsKind.CHECKPOINT,
        licence=header.licence,
        preprocessing=header.preprocessing,
        accuracy=header.accuracy,
        labels=labels,
    )
