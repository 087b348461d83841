"""A network made elsewhere → a variant of the store.

`foreign` reads it, `fitting` finds out what it takes and gives, `adapt` puts nodes around it, `trial` holds the result
against the network as it came. What no machine can see is whether mean, crop and order of colours are those it was
trained with; labelled photos show it: `effserve evaluate`.
"""

from dataclasses import dataclass, field
from functools import partial
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import Literal

import onnx

from model_store.builder import count_foreign, fitting, store
from model_store.builder.adapt import Fit
from model_store.builder.count import Counts
from model_store.builder.fitting import Told
from model_store.builder.foreign import Array, Foreign, ImportRefused, opened, ran, read
from model_store.builder.recipes import Labels
from model_store.builder.trial import served_graph
from model_store.manifest import Accuracy, ImportedArchitecture, Preprocessing, Weights, WeightsKind


@dataclass(frozen=True, slots=True)
class Wishes:
    """What the variant is to be."""

    name: str
    labels: Path
    told: Told = field(default_factory=Told)
    crop_pct: float = 0.875
    crop_mode: Literal["center", "squash"] = "center"
    interpolation: Literal["bicubic", "bilinear"] = "bicubic"
    accuracy: Accuracy = field(default_factory=Accuracy)
    """Of exactly these weights."""


@dataclass(frozen=True, slots=True)
class Origin:
    """A network, with what is known of it."""

    model: Foreign
    network: str
    weights: Weights
    published_top1: float | None = None
    """Of the architecture, for untrained weights."""
    params: int | None = None
    """Trainable ones, where that is known. None counts what looks like a weight."""
    made_with: tuple[str, ...] = ()
    """Packages that the graph depends on, beside those of every import."""


def from_file(path: Path, licence: str) -> Origin:
    """Somebody's ONNX file. Raises `ImportRefused`."""
    model = read(path)
    weights = Weights(kind=WeightsKind.IMPORTED, source=path.name, licence=licence, sha256=model.sha256)
    return Origin(model, path.stem, weights)


def add(origin: Origin, wishes: Wishes, folder: Path) -> store.Stored:
    """Make a network a variant of the store in `folder`, unless its newest intact version is made from the same.

    Raises `ImportRefused` with the reason why it cannot be one, `BuildError` (name, labels), `OSError` (disk).
    """
    store.check_name(wishes.name)
    labels = Labels.read(wishes.labels)
    fit = fitting.fit(origin.model, wishes.told, classes=labels.classes, labels=wishes.labels.name)
    draft = store.Draft(
        name=wishes.name,
        architecture=_architecture(origin, fit),
        preprocessing=_preprocessing(wishes, fit),
        labels=labels.described(),
        weights=origin.weights,
        accuracy=wishes.accuracy,
        built_with=_built_with(origin),
    )
    return store.put(draft, folder, labels=labels, write=partial(_write, origin, fit))


def _architecture(origin: Origin, fit: Fit) -> ImportedArchitecture:
    return ImportedArchitecture(
        network=origin.network,
        layout=fit.front.layout,
        channels=fit.front.channels,
        element_type=fit.front.element_type,
        output=fit.back.output,
        published_top1=origin.published_top1,
    )


def _preprocessing(wishes: Wishes, fit: Fit) -> Preprocessing:
    return Preprocessing(
        input_size_px=fit.front.size,
        crop_pct=wishes.crop_pct,
        crop_mode=wishes.crop_mode,
        interpolation=wishes.interpolation,
        mean=fit.front.mean,
        std=fit.front.std,
    )


def _built_with(origin: Origin) -> str:
    packages = ("effserve", "onnx-ir", *origin.made_with)
    opset = max(entry.version for entry in origin.model.proto.opset_import if entry.domain in ("", "ai.onnx"))
    return ", ".join([*(f"{package} {installed_version(package)}" for package in packages), f"opset {opset}"])


def _write(origin: Origin, fit: Fit, path: Path) -> Counts:
    counts = _counts(origin, fit)
    path.write_bytes(served_graph(origin.model, fit))
    return counts


def _counts(origin: Origin, fit: Fit) -> Counts:
    model = origin.model
    images = fit.front.prepare(fitting.noise(fit.front.size)[:1]).repeat(model.batch, axis=0)
    macs = count_foreign.macs(model.proto, fit.back.output, partial(_run, model.name, images)) // model.batch
    params = origin.params or count_foreign.params(model.proto, fit.back.output)
    if not (macs and params):
        raise ImportRefused(f"{model.name} is no network: {params} weights and {macs} multiply-adds were found in it")
    return Counts(params, macs)


def _run(name: str, images: Array, graph: onnx.ModelProto) -> list[Array]:
    session = opened(name, graph.SerializeToString())
    return ran(name, session, images, [output.name for output in session.get_outputs()])
