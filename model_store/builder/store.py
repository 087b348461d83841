"""Variants into a store: what is built appears in one step, verified, or not at all.

A version is written into a hidden folder beside the variants, checked there with a real run, then renamed to
`<store>/<name>/<version>`. Readers skip hidden folders, so an interrupted build leaves nothing that could be served.
A version that would come out the same as the newest intact one is not built again.
"""

import hashlib
import re
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from importlib.metadata import version as installed_version
from pathlib import Path

from model_store import manifest as manifests
from model_store.builder import build
from model_store.builder.count import Counts
from model_store.builder.network import OPSET
from model_store.builder.spec import STAGES, Spec
from model_store.builder.weights import LoadedWeights, fitted, from_safetensors
from model_store.builder.weights import untrained as seeded
from model_store.manifest import (
    GRAPH_FILE,
    LABELS_FILE,
    NAME_PATTERN,
    Accuracy,
    Architecture,
    EfficientNetArchitecture,
    LabelSet,
    Manifest,
    Preprocessing,
    Weights,
    WeightsKind,
    sha256_of,
)
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


@dataclass(frozen=True, slots=True)
class Stored:
    """One version in the store, built now or found there."""

    name: str
    version: int
    folder: Path
    kept: bool
    """True when it was there already."""
    params: int
    macs: int
    graph_bytes: int


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


def built_with() -> str:
    """The versions a graph depends on."""
    return f"effserve {installed_version('effserve')}, onnxscript {installed_version('onnxscript')}, opset {OPSET}"


def add(recipe: Recipe, store: Path) -> Stored:
    """Build one version of a variant, unless the newest intact version is made from the same.

    Raises `BuildError` (what cannot be built, or does not run), `ValueError` (weights or coefficients that no manifest
    may have), `OSError` (disk).
    """
    check_name(recipe.spec.name)
    draft = _draft(recipe)
    write = partial(_write_graph, recipe, draft.labels.classes)
    return put(draft, store, labels=recipe.labels, write=write)


def check_name(name: str) -> None:
    """Raise `BuildError` for what cannot be a variant's name."""
    if not re.fullmatch(NAME_PATTERN, name):
        raise build.BuildError(f"a variant's name is a-z, 0-9, '.', '_' and '-', at most 64, not {name!r}")


@dataclass(frozen=True, slots=True)
class Draft:
    """What a manifest says before there is a graph: the identity of a version."""

    name: str
    architecture: Architecture
    preprocessing: Preprocessing
    labels: LabelSet
    weights: Weights
    accuracy: Accuracy
    built_with: str

    def describes(self, manifest: Manifest) -> bool:
        """Whether making it again would give this version again, whatever an evaluation has recorded since."""
        found = {field: getattr(manifest, field) for field in self.__slots__}
        return self == Draft(**found | {"accuracy": manifest.built_accuracy or manifest.accuracy})

    def manifest(self, version: int, counts: Counts, graph: Path) -> Manifest:
        """The draft with what is known once the graph is there."""
        return Manifest(
            version=version,
            params=counts.params,
            macs=counts.macs,
            graph_sha256=sha256_of(graph),
            graph_bytes=graph.stat().st_size,
            **{field: getattr(self, field) for field in self.__slots__},
        )


def put(draft: Draft, store: Path, *, labels: Labels, write: Callable[[Path], Counts]) -> Stored:
    """The version that a draft describes: the newest intact one if it is that, otherwise a new one.

    `write` puts the verified graph into a file and counts it. It runs only for a new version, and what it raises
    leaves the store as it was.
    """
    found = _newest_intact(store / draft.name)
    if found is not None and draft.describes(found):
        return _stored(found, store, kept=True)
    with _workspace(store, draft.name) as folder:
        counts = write(folder / GRAPH_FILE)
        (folder / LABELS_FILE).write_bytes(labels.content)
        manifest = draft.manifest(_next_version(store / draft.name), counts, folder / GRAPH_FILE)
        manifests.write(manifest, folder)
        _publish(folder, store / manifest.name / str(manifest.version))
    return _stored(manifest, store, kept=False)


def _draft(recipe: Recipe) -> Draft:
    loaded = recipe.weights
    return Draft(
        name=recipe.spec.name,
        architecture=_architecture(recipe.spec),
        preprocessing=recipe.preprocessing,
        labels=recipe.labels.described(),
        weights=Weights(kind=recipe.kind, source=loaded.source, licence=recipe.licence, sha256=loaded.sha256),
        accuracy=recipe.accuracy,
        built_with=built_with(),
    )


def _architecture(spec: Spec) -> EfficientNetArchitecture:
    widest = max(stage.expand for stage in STAGES)
    return EfficientNetArchitecture(
        level=spec.level,
        width=spec.width,
        depth=spec.depth,
        group_width=spec.group_width,
        expansion=spec.expansion or widest,
        norm=spec.norm,
        padding=spec.padding,
        published_top1=spec.published_top1,
    )


def _write_graph(recipe: Recipe, classes: int, path: Path) -> Counts:
    prepared = recipe.preprocessing
    normalisation = build.Normalisation(prepared.mean, prepared.std)
    size = prepared.input_size_px
    state = recipe.weights.tensors
    build.save(build.build_graph(recipe.spec, state, classes=classes, normalisation=normalisation, size=size), path)
    build.verify(path, size=size, classes=classes)
    return build.counts(recipe.spec, classes, size)


def _versions(variant: Path) -> list[int]:
    """Version numbers of a variant, newest first, intact or not."""
    folders = variant.iterdir() if variant.is_dir() else ()
    return sorted((int(folder.name) for folder in folders if folder.name.isdecimal()), reverse=True)


def _next_version(variant: Path) -> int:
    return max(_versions(variant), default=0) + 1


def _newest_intact(variant: Path) -> Manifest | None:
    candidates = (_intact(variant / str(version)) for version in _versions(variant))
    return next((manifest for manifest in candidates if manifest is not None), None)


def _intact(folder: Path) -> Manifest | None:
    """The manifest of a version whose files are what it says; None for a damaged one, which is then built anew."""
    try:
        manifest = manifests.read(folder)
        found = sha256_of(folder / GRAPH_FILE), sha256_of(folder / LABELS_FILE)
    except (OSError, ValueError):
        return None
    right = found == (manifest.graph_sha256, manifest.labels.sha256)
    return manifest if right and (manifest.name, str(manifest.version)) == (folder.parent.name, folder.name) else None


@contextmanager
def _workspace(store: Path, name: str) -> Iterator[Path]:
    """A hidden folder in the store, so that the rename stays on one file system. Gone afterwards, whatever happens."""
    folder = store / f".{name}-{secrets.token_hex(4)}"
    folder.mkdir(parents=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _publish(folder: Path, version: Path) -> None:
    version.parent.mkdir(exist_ok=True)
    try:
        folder.rename(version)
    except OSError as error:
        if not version.exists():
            raise
        raise build.BuildError(f"{version} appeared during the build; another build writes to this store") from error


def _stored(manifest: Manifest, store: Path, *, kept: bool) -> Stored:
    return Stored(
        name=manifest.name,
        version=manifest.version,
        folder=store / manifest.name / str(manifest.version),
        kept=kept,
        params=manifest.params,
        macs=manifest.macs,
        graph_bytes=manifest.graph_bytes,
    )
