"""Real files for tests: small stores with real ONNX graphs, and images of every kind made with Pillow.

A graph takes a fifth of a second to build, so its bytes are kept; a store then costs a few milliseconds. What graphs
and images cost on this machine takes seconds to measure, so it is kept, too. The weights are drawn from a seed. A
store that is to be routed to says that they come from a checkpoint with measured accuracy.
"""

import atexit
import functools
import hashlib
import io
import shutil
import struct
import tempfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
from PIL import Image

from model_store import manifest as manifests
from model_store.builder import build
from model_store.builder.spec import Spec, custom
from model_store.builder.weights import untrained
from model_store.manifest import (
    Accuracy,
    AccuracySource,
    Comparison,
    EfficientNetArchitecture,
    LabelSet,
    Manifest,
    Preprocessing,
    Quantisation,
    Weights,
    WeightsKind,
)
from tests.builders import ACCURACIES

CLASSES = 10
CLASSIFIER_GAIN = 1e5
"""Seeded weights give logits of about 1e-5; with this they are of order one and predictions differ between images."""
NAMES = ("b0", "b1")
NATIVE_PX = {"b0": 32, "b1": 128, "b2": 192, "b3": 256, "b4": 320}
"""Growing with the level so steeply (0.1, 0.9, 2.5 ms …) that no disturbance of the machine makes a more accurate
variant measure as the quicker one; 32 for other names."""


@dataclass(frozen=True, slots=True)
class Graph:
    """An ONNX file with what its manifest says about it."""

    content: bytes
    params: int
    macs: int


@functools.cache
def tiny_graph(resolution: int = 32, classes: int = CLASSES, seed: int = 0) -> Graph:
    """A network with all seven stages and few channels. Built once per process."""
    spec = _spec(resolution)
    state = untrained(build.state_shapes(spec, classes), seed).tensors
    state["classifier.weight"] = state["classifier.weight"] * np.float32(CLASSIFIER_GAIN)
    counted = build.counts(spec, classes)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / manifests.GRAPH_FILE
        build.save(build.build_graph(spec, state, classes=classes), path)
        return Graph(path.read_bytes(), counted.params, counted.macs)


def tiny_store(
    folder: Path,
    names: Sequence[str] = NAMES,
    *,
    trained: bool = True,
    version: int = 1,
    classes: int = CLASSES,
) -> Path:
    """A store with one version of each name, ranked as in the paper; returns `folder`.

    Trained: checkpoint weights of measured accuracy, so that budgets route to them. Untrained: no accuracy of their
    own, the published one of the architecture.
    """
    for name in names:
        write_variant(folder, name, trained=trained, version=version, classes=classes)
    return folder


def write_variant(
    store: Path,
    name: str,
    *,
    version: int = 1,
    trained: bool = True,
    top1: float | None = None,
    published_top1: float | None = None,
    resolution: int | None = None,
    classes: int = CLASSES,
) -> Path:
    """One intact version; returns its folder. Accuracies default to the paper's, the size to `NATIVE_PX`."""
    folder = store / name / str(version)
    folder.mkdir(parents=True)
    resolution = resolution or NATIVE_PX.get(name, 32)
    graph = tiny_graph(resolution, classes, seed=zlib.crc32(name.encode()))
    (folder / manifests.GRAPH_FILE).write_bytes(graph.content)
    (folder / manifests.LABELS_FILE).write_text(labels_text(classes), encoding="utf-8")
    known = ACCURACIES.get(name)
    manifest = Manifest(
        name=name,
        version=version,
        architecture=_architecture(_spec(resolution), published_top1 or known),
        preprocessing=preprocessing(resolution),
        labels=LabelSet(name="synthetic", classes=classes, sha256=_sha256(labels_text(classes).encode())),
        params=graph.params,
        macs=graph.macs,
        weights=_weights(trained),
        accuracy=_accuracy(top1 or known) if trained else Accuracy(),
        graph_sha256=_sha256(graph.content),
        graph_bytes=len(graph.content),
        built_with="tests",
    )
    manifests.write(manifest, folder)
    return folder


def quantise(version: Path, *, original: str, original_top1: float = 0.6, lost: int = 2) -> None:
    """Let a version's manifest say that it was made from `original`; its graph stays what it is."""
    comparison = Comparison(original_top1=original_top1, images=1_000, only_original=lost, only_this=0)
    told = Quantisation(
        original=original,
        original_version=1,
        original_sha256=_sha256(b""),
        method="minmax",
        reduced_range=False,
        dataset="synthetic",
        seed=0,
        calibration_images=128,
        in_float=(),
        comparison=comparison,
    )
    manifests.write(manifests.read(version).model_copy(update={"quantisation": told}), version)


@functools.cache
def calibration_folder() -> Path:
    """Where servers keep what they measured, as long as this process lives: all but the first start warm."""
    folder = tempfile.mkdtemp(prefix="calibration-")
    atexit.register(shutil.rmtree, folder)
    return Path(folder)


def preprocessing(
    size: int = 32,
    crop_pct: float = 0.875,
    *,
    crop_mode: Literal["center", "squash"] = "center",
    interpolation: Literal["bicubic", "bilinear"] = "bicubic",
) -> Preprocessing:
    """ImageNet's preparation for an input of `size` pixels."""
    return Preprocessing(
        input_size_px=size,
        crop_pct=crop_pct,
        crop_mode=crop_mode,
        interpolation=interpolation,
        mean=build.IMAGENET_MEAN,
        std=build.IMAGENET_STD,
    )


def labels_text(classes: int = CLASSES) -> str:
    """`labels.tsv` with made-up WordNet ids and words."""
    return "".join(f"{index}\tn{index:08d}\tclass {index}\n" for index in range(classes))


def photo(width: int = 320, height: int = 240, *, seed: int = 0) -> Image.Image:
    """Smooth shapes and mild noise in RGB, without any symmetry."""
    noise = np.random.default_rng(seed).normal(0, 6, (height, width, 3))
    rows, columns = np.mgrid[0:height, 0:width]
    waves = np.stack([np.sin(rows / 23 + seed), np.cos(columns / 31), np.sin((rows + 2 * columns) / 47)], axis=-1)
    ramp = np.linspace(-40, 40, width)[None, :, None]
    return Image.fromarray(np.clip(128 + 70 * waves + ramp + noise, 0, 255).astype(np.uint8))


def encode(picture: Image.Image, image_format: str, **options: object) -> bytes:
    """The picture as a file of Pillow's `image_format`; `options` go to Pillow's writer."""
    buffer = io.BytesIO()
    picture.save(buffer, image_format, **options)
    return buffer.getvalue()


def jpeg(width: int = 320, height: int = 240, *, seed: int = 0, **options: object) -> bytes:
    """A photo as JPEG, quality 90 unless told otherwise."""
    return encode(photo(width, height, seed=seed), "JPEG", **{"quality": 90, **options})


def png(width: int = 320, height: int = 240, *, seed: int = 0, **options: object) -> bytes:
    """A photo as PNG."""
    return encode(photo(width, height, seed=seed), "PNG", **options)


def animation(image_format: str, colours: Sequence[str] = ("red", "blue"), size: tuple[int, int] = (48, 40)) -> bytes:
    """A GIF, WebP or PNG with one frame of each colour."""
    frames = [Image.new("RGB", size, colour) for colour in colours]
    lossless = {"lossless": True} if image_format == "WEBP" else {}
    return encode(frames[0], image_format, save_all=True, append_images=frames[1:], **lossless)


def png_header_bomb(width: int = 20_000, height: int = 20_000) -> bytes:
    """A PNG of under 100 bytes that announces `width` x `height` RGB pixels and holds a few of them."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = zlib.compress(bytes(64))
    return b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", header) + png_chunk(b"IDAT", data) + png_chunk(b"IEND", b"")


def png_chunk(kind: bytes, content: bytes) -> bytes:
    """One chunk with its length and checksum."""
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def pixels_of(picture: Image.Image) -> npt.NDArray[np.uint8]:
    """[height, width, 3] or [height, width]."""
    return np.asarray(picture, dtype=np.uint8)


def _spec(resolution: int) -> Spec:
    return custom("tiny", width=0.25, depth=0.25, resolution=resolution)


def _architecture(spec: Spec, published_top1: float | None) -> EfficientNetArchitecture:
    return EfficientNetArchitecture(
        level=spec.level,
        width=spec.width,
        depth=spec.depth,
        group_width=spec.group_width,
        expansion=6,
        norm=spec.norm,
        padding=spec.padding,
        published_top1=published_top1,
    )


def _weights(trained: bool) -> Weights:
    if trained:
        return Weights(kind=WeightsKind.CHECKPOINT, source="made for tests", licence="Apache-2.0", sha256=_sha256(b""))
    return Weights(kind=WeightsKind.UNTRAINED, source="seed 0", licence="Apache-2.0")


def _accuracy(top1: float | None) -> Accuracy:
    source = AccuracySource.NONE if top1 is None else AccuracySource.MEASURED
    return Accuracy(top1=top1, dataset=None if top1 is None else "synthetic", source=source)


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
