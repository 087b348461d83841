"""Variants into a store: whole or not at all, and only when there is something new."""

import shutil
from dataclasses import replace
from importlib.metadata import version as installed_version
from pathlib import Path

import numpy as np
import onnx
import pytest
from safetensors.numpy import save_file

from model_store import manifest as manifests
from model_store.builder import build
from model_store.builder.build import BuildError
from model_store.builder.recipes import Labels, Recipe, default_labels, from_file, paper_preprocessing
from model_store.builder.spec import resolve
from model_store.builder.store import add, built_with
from model_store.builder.weights import LoadedWeights
from model_store.manifest import Accuracy, AccuracySource, WeightsKind, sha256_of
from service.pipeline.store import scan
from tests.unit.model_store.small import CLASSES, TINY, labels_file, recipe


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """A store that does not exist yet."""
    return tmp_path / "store"


def _files(store: Path) -> set[str]:
    return {str(path.relative_to(store)) for path in store.rglob("*") if path.is_file()}


def _checkpoint(tmp_path: Path) -> Recipe:
    save_file(recipe(tmp_path).weights.tensors, tmp_path / "mine.safetensors")
    return from_file(TINY, tmp_path / "mine.safetensors", licence="MIT", labels=labels_file(tmp_path))


def test_a_variant_is_three_files(tmp_path: Path, store: Path) -> None:
    """Graph, labels and manifest lie under name and version, and nothing else lies there."""
    stored = add(recipe(tmp_path), store)
    assert _files(store) == {"tiny/1/model.onnx", "tiny/1/labels.tsv", "tiny/1/manifest.json"}
    assert [path.name for path in store.iterdir()] == ["tiny"]
    assert (stored.name, stored.version, stored.folder, stored.kept) == ("tiny", 1, store / "tiny" / "1", False)


def test_the_service_serves_what_was_built(tmp_path: Path, store: Path) -> None:
    """The reader of the layout finds it intact, with every class."""
    add(recipe(tmp_path), store)
    found = scan(store)
    assert ([entry.manifest.name for entry in found.entries], found.refused) == (["tiny"], ())
    assert len(found.entries[0].labels) == CLASSES


def test_the_manifest_says_what_was_built(tmp_path: Path, store: Path) -> None:
    """Counts, checksums and sizes are those of the files beside it."""
    stored = add(recipe(tmp_path), store)
    manifest = manifests.read(stored.folder)
    counted = build.counts(TINY, CLASSES)
    assert (manifest.params, manifest.macs) == (counted.params, counted.macs) == (stored.params, stored.macs)
    assert manifest.graph_sha256 == sha256_of(stored.folder / "model.onnx")
    assert manifest.graph_bytes == (stored.folder / "model.onnx").stat().st_size == stored.graph_bytes
    assert (manifest.labels.name, manifest.labels.classes) == ("few", CLASSES)


def test_untrained_weights_have_no_accuracy_but_the_architectures(tmp_path: Path, store: Path) -> None:
    """What was published for the network stands with the architecture, not with the weights."""
    spec = replace(TINY, published_top1=0.771)
    manifest = manifests.read(add(recipe(tmp_path, spec), store).folder)
    assert (manifest.weights.kind, manifest.weights.source) == (WeightsKind.UNTRAINED, "seed 0")
    assert (manifest.accuracy, manifest.architecture.published_top1) == (Accuracy(), 0.771)


def test_a_file_of_unknown_accuracy_claims_none(tmp_path: Path, store: Path) -> None:
    """A checkpoint file gives its name, checksum and licence, and no figures."""
    manifest = manifests.read(add(_checkpoint(tmp_path), store).folder)
    weights = manifest.weights
    assert (weights.kind, weights.source, weights.licence) == (WeightsKind.CHECKPOINT, "mine.safetensors", "MIT")
    assert weights.sha256 == sha256_of(tmp_path / "mine.safetensors")
    assert manifest.accuracy.source is AccuracySource.NONE


@pytest.mark.parametrize(("level", "crop_pct"), [("b0", 0.875), ("b1", 0.882), ("b3", 0.904), ("b7", 0.949)])
def test_preprocessing_is_the_papers(level: str, crop_pct: float) -> None:
    """The shorter edge becomes size + 32 before the crop."""
    assert paper_preprocessing(resolve(level).resolution).crop_pct == crop_pct


def test_building_the_same_again_keeps_it(tmp_path: Path, store: Path) -> None:
    """Nothing is written when nothing would change."""
    first = add(recipe(tmp_path), store)
    changed_at = (first.folder / "model.onnx").stat().st_mtime_ns
    assert add(recipe(tmp_path), store) == replace(first, kept=True)
    assert (first.folder / "model.onnx").stat().st_mtime_ns == changed_at


def test_a_change_makes_the_next_version(tmp_path: Path, store: Path) -> None:
    """Other weights, labels, preprocessing, accuracy or licence each make a new version."""
    base = _checkpoint(tmp_path)
    recipes = [base, replace(base, licence="BSD")]
    recipes += [replace(base, labels=Labels.read(labels_file(tmp_path, name="other.tsv")))]
    recipes += [replace(base, preprocessing=base.preprocessing.model_copy(update={"mean": (0.5, 0.5, 0.5)}))]
    recipes += [replace(base, accuracy=Accuracy(top1=0.5, dataset="mine", source=AccuracySource.MEASURED))]
    recipes += [recipe(tmp_path, seed=1)]
    assert [(add(r, store).version, add(r, store).kept) for r in recipes] == [(n, True) for n in range(1, 7)]


@pytest.mark.parametrize(
    "built",
    [
        Accuracy(),
        Accuracy(top1=0.8, dataset="imagenet-1k", source=AccuracySource.PUBLISHED),
        Accuracy(top1=0.5, dataset="mine", source=AccuracySource.MEASURED),
    ],
    ids=lambda accuracy: accuracy.source,
)
def test_a_recorded_evaluation_does_not_make_it_another(tmp_path: Path, store: Path, built: Accuracy) -> None:
    """Building the same again keeps the version and what was measured since; another accuracy of its own does not."""
    same = replace(_checkpoint(tmp_path), accuracy=built)
    first = add(same, store)
    measured = Accuracy(
        top1=0.25, dataset="photos", source=AccuracySource.MEASURED, images=4, top1_interval=(0.04, 0.7)
    )
    recorded = manifests.read(first.folder).model_copy(update={"accuracy": measured, "built_accuracy": built})
    manifests.write(recorded, first.folder)
    assert add(same, store) == replace(first, kept=True)
    assert manifests.read(first.folder) == recorded
    assert add(replace(same, accuracy=measured), store).version == 2


def test_an_older_version_is_not_taken_for_the_newest(tmp_path: Path, store: Path) -> None:
    """Going back to an earlier seed is a change like any other."""
    versions = [add(recipe(tmp_path, seed=seed), store).version for seed in (0, 1, 0)]
    assert versions == [1, 2, 3]


@pytest.mark.parametrize("name", ["model.onnx", "labels.tsv", "manifest.json"])
def test_a_damaged_version_is_built_anew(tmp_path: Path, store: Path, name: str) -> None:
    """A version with a wrong file is not kept, and its number not used again."""
    first = add(recipe(tmp_path), store)
    (first.folder / name).write_bytes(b"damaged")
    second = add(recipe(tmp_path), store)
    assert (second.version, second.kept) == (2, False)


def test_a_damaged_newer_version_does_not_hide_an_intact_one(tmp_path: Path, store: Path) -> None:
    """The newest *intact* version is what counts, as for the service."""
    first = add(recipe(tmp_path), store)
    shutil.copytree(first.folder, first.folder.parent / "2")
    assert add(recipe(tmp_path), store) == replace(first, kept=True)


def test_leftovers_of_an_interrupted_build_do_no_harm(tmp_path: Path, store: Path) -> None:
    """A half-written hidden folder is neither served nor in the way."""
    (store / ".tiny-0123abcd").mkdir(parents=True)
    (store / ".tiny-0123abcd" / "model.onnx").write_bytes(b"half")
    assert add(recipe(tmp_path), store).version == 1
    assert [entry.manifest.version for entry in scan(store).entries] == [1]


def test_a_build_that_does_not_run_leaves_nothing(tmp_path: Path, store: Path) -> None:
    """What fails verification never gets a version."""
    good = recipe(tmp_path)
    broken = good.weights.tensors | {"classifier.bias": np.full(CLASSES, np.inf, np.float32)}
    with pytest.raises(BuildError, match="finite: False"):
        add(replace(good, weights=LoadedWeights(broken, "seed 0", None)), store)
    assert list(store.iterdir()) == []


@pytest.mark.parametrize("name", ["../tiny", "Tiny", "", "a b"])
def test_names_that_are_no_folder_names_are_refused(tmp_path: Path, store: Path, name: str) -> None:
    """The name is checked before anything is written."""
    with pytest.raises(BuildError, match="a variant's name is"):
        add(recipe(tmp_path, replace(TINY, name=name)), store)
    assert not store.exists()


def test_folders_can_be_read_by_a_service_of_another_user(tmp_path: Path, store: Path) -> None:
    """A version is as readable as any folder made here."""
    (tmp_path / "plain").mkdir()
    assert add(recipe(tmp_path), store).folder.stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_built_with_names_the_versions_that_matter(tmp_path: Path, store: Path) -> None:
    """Package versions are the installed ones, and the opset is the graph's."""
    graph = onnx.load(add(recipe(tmp_path), store).folder / "model.onnx")
    opset = graph.opset_import[0].version
    versions = f"effserve {installed_version('effserve')}, onnxscript {installed_version('onnxscript')}"
    assert built_with() == f"{versions}, opset {opset}"


def test_the_labels_that_ship_are_imagenets() -> None:
    """A thousand classes, goldfish second."""
    assert Labels.read(default_labels()).classes == 1000
    assert default_labels().read_text().splitlines()[1] == "1\tn01443537\tgoldfish, Carassius auratus"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"0\tn1\tone\n2\tn2\ttwo\n", "line 2 is not `1 "),
        (b"0,n1,one\n1,n2,two\n", "line 1 is not `0 "),
        (b"0\tn1\tone\n", "has 1 classes"),
        (b"\xff\xfe", "cannot read the labels"),
    ],
    ids=["gap", "commas", "one class", "not text"],
)
def test_label_files_that_the_service_would_refuse_are_refused(tmp_path: Path, content: bytes, reason: str) -> None:
    """The builder and the reader agree on what a label file is."""
    (tmp_path / "labels.tsv").write_bytes(content)
    with pytest.raises(BuildError, match=reason):
        Labels.read(tmp_path / "labels.tsv")
