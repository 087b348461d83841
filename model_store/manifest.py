"""The typed record of one variant: `<store>/<name>/<version>/{model.onnx, labels.tsv, manifest.json}`.

The service imports nothing else of this package. A manifest says what the graph beside it is, how its input has to
be prepared, where its weights come from and what accuracy *those weights* have. It never says more than is known.
"""

import hashlib
import json
from enum import StrEnum
from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

SCHEMA_VERSION = 1
GRAPH_FILE = "model.onnx"
LABELS_FILE = "labels.tsv"
MANIFEST_FILE = "manifest.json"
NAME_PATTERN = r"^[a-z0-9][a-z0-9._-]{0,63}$"


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Preprocessing(_Frozen):
    """How pixels get from the decoded image to the graph's uint8 input [N, size, size, 3] (RGB).

    The shorter edge is resized to floor(size / crop_pct), then the centre is cropped (timm's evaluation transform).
    Mean and standard deviation (of pixels in [0, 1]) are inside the graph; they are here for the reader.
    """

    input_size_px: int = Field(ge=32, le=2048)
    crop_pct: float = Field(gt=0, le=1)
    crop_mode: Literal["center", "squash"] = "center"
    interpolation: Literal["bicubic", "bilinear"] = "bicubic"
    mean: tuple[float, float, float]
    std: tuple[float, float, float]


class AccuracySource(StrEnum):
    """Who says so: whoever built this version and measured it, the publisher of these weights, or nobody."""

    MEASURED = "measured"
    PUBLISHED = "published"
    NONE = "none"


class Accuracy(_Frozen):
    """Accuracy of exactly these weights, as fractions in [0, 1]."""

    top1: float | None = Field(default=None, ge=0, le=1)
    top5: float | None = Field(default=None, ge=0, le=1)
    dataset: str | None = None
    source: AccuracySource = AccuracySource.NONE

    @model_validator(mode="after")
    def _source_matches_figures(self) -> Self:
        if (self.source is AccuracySource.NONE) != (self.top1 is None):
            raise ValueError("top1 is given exactly when source is measured or published")
        return self


class WeightsKind(StrEnum):
    """Untrained weights are drawn from a seed; their predictions mean nothing."""

    UNTRAINED = "untrained"
    CHECKPOINT = "checkpoint"


class Weights(_Frozen):
    """Where the numbers in the graph come from."""

    kind: WeightsKind
    source: str
    """Hub id and tag, file name, or `seed N`."""
    licence: str
    sha256: str | None = None
    """Checksum of the checkpoint file; None for seeded weights."""


class Architecture(_Frozen):
    """Which network this is, in the paper's terms."""

    level: str
    """b0 … b7, or `custom`."""
    width: float
    depth: float
    group_width: int
    """1 = depthwise; 16 = G16."""
    expansion: int
    norm: Literal["batch", "group4", "proxy"]
    padding: Literal["same", "symmetric"]
    published_top1: float | None = Field(default=None, ge=0, le=1)
    """Published for the architecture. Not a property of these weights: used to rank untrained variants only."""


class LabelSet(_Frozen):
    """The classes in output order, stored beside the graph as index, WordNet id, label (tab-separated)."""

    name: str
    classes: int = Field(ge=2)
    sha256: str


class Manifest(_Frozen):
    """Everything the service needs to know about one version of one variant."""

    schema_version: Literal[1] = 1
    name: str = Field(pattern=NAME_PATTERN)
    version: int = Field(ge=1)
    architecture: Architecture
    preprocessing: Preprocessing
    labels: LabelSet
    params: int = Field(ge=1)
    """Trainable parameters (norm affine counted, running statistics not), counted from the built graph."""
    macs: int = Field(ge=1)
    """Multiply-adds of convolutions and the classifier for one image, counted from the built graph."""
    weights: Weights
    accuracy: Accuracy
    graph_sha256: str
    graph_bytes: int = Field(ge=1)
    built_with: str
    """effserve, onnxscript and opset versions."""

    @model_validator(mode="after")
    def _untrained_has_no_accuracy(self) -> Self:
        if self.weights.kind is WeightsKind.UNTRAINED and self.accuracy.source is not AccuracySource.NONE:
            raise ValueError("untrained weights have no accuracy")
        return self


def sha256_of(path: Path) -> str:
    """Hex SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read(folder: Path) -> Manifest:
    """The manifest in `folder`. Raises `OSError` when it is not there, `ValueError` when it is not one."""
    return Manifest.model_validate_json((folder / MANIFEST_FILE).read_bytes())


def write(manifest: Manifest, folder: Path) -> None:
    """Write `manifest.json` into `folder`, replacing an earlier one in one step."""
    temporary = folder / (MANIFEST_FILE + ".tmp")
    temporary.write_text(json.dumps(manifest.model_dump(mode="json"), indent=2) + "\n")
    temporary.replace(folder / MANIFEST_FILE)
