"""The typed record of one variant: `<store>/<name>/<version>/{model.onnx, labels.tsv, manifest.json}`.

The service imports nothing else of this package. A manifest says what the graph beside it is, how its input has to
be prepared, where its weights come from and what accuracy *those weights* have. It never says more than is known.
"""

import hashlib
import json
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, model_validator

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


_Share = Annotated[float, Field(ge=0, le=1)]


class Accuracy(_Frozen):
    """Accuracy of exactly these weights, as fractions in [0, 1]."""

    top1: float | None = Field(default=None, ge=0, le=1)
    top5: float | None = Field(default=None, ge=0, le=1)
    dataset: str | None = None
    source: AccuracySource = AccuracySource.NONE
    images: int | None = Field(default=None, ge=1)
    """How many images it was measured on. This and what follows is recorded by `effserve evaluate --write` alone."""
    classes: int | None = Field(default=None, ge=1)
    """How many of the classes these images show; of fewer than all, the figures say nothing about the others."""
    top1_interval: tuple[_Share, _Share] | None = None
    """Where top-1 on all images of this kind lies with 95 % confidence (Wilson's score interval)."""
    top5_interval: tuple[_Share, _Share] | None = None
    """The same for top-5."""
    ece: float | None = Field(default=None, ge=0, le=1)
    """Expected calibration error of the probabilities as served: by how much they differ from the share of answers
    that are right, on average (15 bins; Guo et al., arXiv 1706.04599)."""
    temperature: float | None = Field(default=None, gt=0)
    """Dividing the logits by this would make the probabilities most likely on these images. The service does so only
    where it judges how sure an answer is, and where it averages answers (policy P3)."""
    confidences: tuple[_Share, ...] | None = None
    """Quantiles, from the least to the largest in equal steps, of the probability of the most probable class at that
    temperature."""

    @model_validator(mode="after")
    def _source_matches_figures(self) -> Self:
        if (self.source is AccuracySource.NONE) != (self.top1 is None):
            raise ValueError("top1 is given exactly when source is measured or published")
        return self


class WeightsKind(StrEnum):
    """Untrained weights are drawn from a seed; their predictions mean nothing.

    Those of a checkpoint went into a network built here. Imported ones came inside somebody's finished graph: that they
    are trained is the word of whoever imported them.
    """

    UNTRAINED = "untrained"
    CHECKPOINT = "checkpoint"
    IMPORTED = "imported"


class Weights(_Frozen):
    """Where the numbers in the graph come from."""

    kind: WeightsKind
    source: str
    """Hub id and tag, file name, or `seed N`."""
    licence: str
    sha256: str | None = None
    """Checksum of the file they came in; None for seeded weights."""


class EfficientNetArchitecture(_Frozen):
    """A network of this project's own builder, in the paper's terms."""

    kind: Literal["efficientnet"] = "efficientnet"
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


class ImportedArchitecture(_Frozen):
    """A network made elsewhere. Nothing is known of its inside; what is told is how it was fitted to the service."""

    kind: Literal["imported"] = "imported"
    network: str
    """The name of its file without the ending, or timm's name of it."""
    layout: Literal["nchw", "nhwc"]
    """Order of axes that the network itself takes."""
    channels: Literal["rgb", "bgr"]
    """Order of colours that it takes. Mean and standard deviation in `Preprocessing` are red first either way."""
    element_type: str
    """What it takes as pixels, as ONNX Runtime writes it: float, float16, double, uint8."""
    output: str
    """The output that gives the classes, by its name in the file."""
    published_top1: float | None = Field(default=None, ge=0, le=1)
    """As for `EfficientNetArchitecture`."""


def _kind(architecture: object) -> str:
    """Manifests from before networks were imported do not say it: theirs are all EfficientNets."""
    if isinstance(architecture, dict):
        return str(architecture.get("kind", "efficientnet"))
    return str(getattr(architecture, "kind", "efficientnet"))


Architecture = Annotated[
    Annotated[EfficientNetArchitecture, Tag("efficientnet")] | Annotated[ImportedArchitecture, Tag("imported")],
    Discriminator(_kind),
]
"""Which network this is."""


class LabelSet(_Frozen):
    """The classes in output order, stored beside the graph as index, WordNet id, label (tab-separated)."""

    name: str
    classes: int = Field(ge=2)
    sha256: str


class Comparison(_Frozen):
    """A variant and the one it was made from, on the same images."""

    original_top1: _Share
    """What the original was ranked by at that time."""
    images: int = Field(ge=1)
    """None of which its quantisation was settled by."""
    only_original: int = Field(ge=0)
    """Images that the original alone has right."""
    only_this: int = Field(ge=0)
    """Images that this one alone has right."""

    @model_validator(mode="after")
    def _of_these_images(self) -> Self:
        if self.only_original + self.only_this > self.images:
            raise ValueError("more images are told apart than there are")
        return self


class Quantisation(_Frozen):
    """How a graph of 8-bit integers was made from another variant of the store (`effserve quantize`)."""

    original: str = Field(pattern=NAME_PATTERN)
    original_version: int = Field(ge=1)
    original_sha256: str
    """Of its graph."""
    method: Literal["minmax", "percentile", "entropy"]
    """How the range of each activation was found."""
    reduced_range: bool
    """Whether weights have 7 bits, for processors whose 8-bit products saturate."""
    dataset: str
    seed: int
    """Of the split into images that settle it and images that judge it."""
    calibration_images: int = Field(ge=1)
    in_float: tuple[str, ...]
    """Parts of the network that stay in float32, because they lose most."""
    comparison: Comparison


class Manifest(_Frozen):
    """Everything the service needs to know about one version of one variant."""

    schema_version: Literal[1] = 1
    name: str = Field(pattern=NAME_PATTERN)
    version: int = Field(ge=1)
    architecture: Architecture
    preprocessing: Preprocessing
    labels: LabelSet
    params: int = Field(ge=1)
    """Trainable parameters (norm affine counted, running statistics not), counted from the built graph.

    Of an imported graph: all its weights, because it does not tell which of them training would change.
    """
    macs: int = Field(ge=1)
    """Multiply-adds of convolutions and matrix products for one image, counted from the graph."""
    weights: Weights
    accuracy: Accuracy
    built_accuracy: Accuracy | None = None
    """What `accuracy` was when this version was built, once an evaluation has replaced it. None before that."""
    graph_sha256: str
    graph_bytes: int = Field(ge=1)
    built_with: str
    """Versions of effserve, of what made the graph, and of its opset."""
    quantisation: Quantisation | None = None
    """Of a variant that was made from another one."""

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
