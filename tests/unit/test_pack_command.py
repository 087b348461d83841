"""`effserve pack`, and `effserve build` from files that say themselves what they are."""

import zipfile
from pathlib import Path

import numpy as np
import pytest

from model_store import manifest as manifests
from model_store.builder.build import state_shapes
from model_store.builder.randomised import random_state
from model_store.builder.spec import Spec, custom
from model_store.manifest import Accuracy, AccuracySource, WeightsKind
from model_store.trained import Trained, TrainingData, read_header, read_tensors, write
from service.commands.build import BUNDLED, Custom, Source, build
from service.commands.console import CommandError
from service.commands.pack import pack
from tests.fixtures import CLASSES, jpeg, labels_text, preprocessing

SPEC = custom("tiny", width=0.25, depth=0.25, resolution=32)


def trained_file(folder: Path, spec: Spec = SPEC, **changes: object) -> Path:
    """As a run would leave it, with random weights."""
    fields: dict[str, object] = {
        "spec": spec,
        "preprocessing": preprocessing(32, 1.0),
        "labels_name": "ten",
        "labels": labels_text(),
        "recipe": {"epochs": 3, "seed": 1},
        "data": TrainingData(name="ten.zip", images=100, sha256="0" * 64),
        "commit": "abc",
        "made_with": "tests",
        "hours": 0.1,
        "licence": "Apache-2.0",
    }
    path = folder / f"{spec.name}.safetensors"
    write(path, Trained.model_validate(fields | changes), dict(random_state(state_shapes(spec, CLASSES), 0)))
    return path


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Two of each class."""
    with zipfile.ZipFile(tmp_path / "some.zip", "w") as archive:
        for index in range(CLASSES):
            for number in range(2):
                archive.writestr(f"n{index:08d}/{number}.jpg", jpeg(40, 40, seed=10 * index + number))
    return tmp_path / "some.zip"


def built(weights: str, store: Path, *variants: str, licence: str | None = None) -> manifests.Manifest:
    """The manifest of the only variant."""
    build(variants, custom=Custom(), source=Source(weights, licence=licence), labels=None, store=store, as_json=True)
    (version,) = (
        folder for variant in store.iterdir() if not variant.name.startswith(".") for folder in variant.iterdir()
    )
    return manifests.read(version)


def test_a_trained_file_is_built_as_it_says(tmp_path: Path) -> None:
    """Name, size, classes, source and licence come from its header."""
    found = built(str(trained_file(tmp_path)), tmp_path / "store")
    assert (found.name, found.preprocessing.input_size_px, found.labels.classes) == ("tiny", 32, CLASSES)
    assert (found.weights.kind, found.weights.licence) == (WeightsKind.CHECKPOINT, "Apache-2.0")
    assert found.weights.source == "tiny.safetensors, trained on ten.zip (100 images)"


def test_its_accuracy_goes_into_the_manifest(tmp_path: Path) -> None:
    """What was measured when it was packed."""
    measured = Accuracy(top1=0.5, top5=0.9, dataset="val", source=AccuracySource.MEASURED, images=800)
    assert built(str(trained_file(tmp_path, accuracy=measured)), tmp_path / "store").accuracy == measured


def test_a_file_that_says_what_it_is_needs_no_telling(tmp_path: Path) -> None:
    """An option that contradicts its header would be a mistake."""
    with pytest.raises(CommandError, match="say themselves"):
        built(str(trained_file(tmp_path)), tmp_path / "store", licence="MIT")


def test_a_file_of_another_variant_is_refused(tmp_path: Path) -> None:
    """Named with what it is."""
    with pytest.raises(CommandError, match="is a tiny, not b0"):
        built(str(trained_file(tmp_path)), tmp_path / "store", "b0")


def test_variants_that_are_not_bundled_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With those that are."""
    monkeypatch.setattr("model_store.trained.BUNDLED", tmp_path)
    trained_file(tmp_path)
    with pytest.raises(CommandError, match="bundled for b7; there are tiny"):
        built(BUNDLED, tmp_path / "store", "b7")


def test_all_bundled_variants_are_built_without_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever lies in the package's folder."""
    (tmp_path / "bundled").mkdir()
    monkeypatch.setattr("model_store.trained.BUNDLED", tmp_path / "bundled")
    trained_file(tmp_path / "bundled")
    assert built(BUNDLED, tmp_path / "store").name == "tiny"


def test_packing_measures_what_it_writes(tmp_path: Path, images: Path) -> None:
    """A smaller file of the same variant, whose header has the accuracy of its own rounded weights."""
    file = trained_file(tmp_path)
    pack(file, data=images, folder=tmp_path / "packed", dataset="some images")
    header = read_header(tmp_path / "packed" / "tiny.safetensors")
    assert header is not None
    assert (header.packing, header.accuracy.dataset, header.accuracy.images) == ("int8", "some images", 2 * CLASSES)
    assert header.accuracy.top1 is not None
    assert (tmp_path / "packed" / "tiny.safetensors").stat().st_size < 0.5 * file.stat().st_size
    before, after = read_tensors(file), read_tensors(tmp_path / "packed" / "tiny.safetensors")
    assert before.keys() == after.keys()
    assert all(np.abs(before[name] - after[name]).max() <= np.abs(before[name]).max() / 200 for name in before)


def test_the_model_card_has_data_recipe_and_figures(tmp_path: Path, images: Path) -> None:
    """What a reader needs to judge the network."""
    pack(trained_file(tmp_path), data=images, folder=tmp_path / "packed", dataset=None, note="For shows.")
    card = (tmp_path / "packed" / "tiny.md").read_text()
    for fact in ("ten.zip", "epochs 3", "seed 1", "abc", "some: 20 images of 10 classes", "licence", "For shows."):
        assert fact in card


def test_only_files_of_training_are_packed(tmp_path: Path, images: Path) -> None:
    """Others lack what the header needs."""
    (tmp_path / "x.safetensors").write_bytes(b"nothing")
    with pytest.raises(CommandError, match=r"x\.safetensors is not a safetensors file"):
        pack(tmp_path / "x.safetensors", data=images, folder=tmp_path, dataset=None)


def test_packing_does_not_replace_what_it_packs(tmp_path: Path, images: Path) -> None:
    """The float32 weights would be gone."""
    file = trained_file(tmp_path)
    before = file.read_bytes()
    with pytest.raises(CommandError, match="name another folder"):
        pack(file, data=images, folder=tmp_path, dataset=None)
    assert file.read_bytes() == before


def test_a_packed_file_is_not_packed_again(tmp_path: Path, images: Path) -> None:
    """Its card would call rounded weights float32."""
    with pytest.raises(CommandError, match="packed already"):
        pack(trained_file(tmp_path, packing="int8"), data=images, folder=tmp_path / "packed", dataset=None)
