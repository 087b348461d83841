"""Variants into a store: what is built appears in one step, verified, or not at all.

A version is written into a hidden folder beside the variants, checked there with a real run, then renamed to
`<store>/<name>/<version>`. Readers skip hidden folders, so an interrupted build leaves nothing that could be served.
A version that would come out the same as the newest intact one is not built again.
"""

import re
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version as installed_version
from pathlib import Path

from model_store import manifest as manifests
from model_store.builder import build
from model_store.builder.count import Counts
from model_store.builder.network import OPSET
from model_store.builder.recipes import Labels, Recipe
from model_store.builder.spec import STAGES, Spec
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
    Quantisation,
    Weights,
    sha256_of,
)


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
    quantisation: Quantisation | None = None

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
