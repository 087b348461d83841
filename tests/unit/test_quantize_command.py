"""`effserve quantize` over a small real store: what it makes, what it measures, and what it refuses."""

import json
import sys
from pathlib import Path

import onnx
import pytest

from model_store import manifest as manifests
from service.commands.console import CommandError
from service.commands.quantize import Asked, quantize
from service.core.derived import Paired, counted_top1
from service.pipeline.store import scan
from tests.fixtures import tiny_store, write_variant
from tests.unit.evaluation.kit import folder, photos

SETTLING = 10


@pytest.fixture(name="store", scope="module")
def _store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_store(tmp_path_factory.mktemp("quantise") / "store", ["b0"])


@pytest.fixture(name="data", scope="module")
def _data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return folder(tmp_path_factory.mktemp("images") / "mine", photos(classes=10, each=5))


def asked(store: Path, data: Path, name: str = "b0", **changed: object) -> Asked:
    """With few images, for there are few; how far a random network may diverge is another test's business."""
    few = {"calibrate_images": SETTLING, "tolerance_nats": 100.0}
    return Asked([name], data, store, **(few | changed))  # type: ignore[arg-type]


@pytest.fixture(name="made", scope="module")
def _made(store: Path, data: Path) -> manifests.Manifest:
    """Made once for several tests."""
    quantize(asked(store, data), as_json=True)
    return manifests.read(store / "b0-int8" / "1")


def test_the_new_variant_stands_beside_its_original(store: Path, made: manifests.Manifest) -> None:
    """A graph of 8-bit integers that is sound by its manifest, with all else as it was."""
    found = scan(store)
    assert [entry.manifest.name for entry in found.entries] == ["b0", "b0-int8"]
    assert found.refused == ()
    original = found.entries[0].manifest
    same = {"labels", "preprocessing", "weights", "architecture", "params", "macs"}
    assert all(getattr(made, field) == getattr(original, field) for field in same)
    graph = onnx.load(store / "b0-int8" / "1" / "model.onnx").graph
    assert {"QuantizeLinear", "DequantizeLinear"} <= {node.op_type for node in graph.node}


def test_the_manifest_says_how_it_was_made(store: Path, made: manifests.Manifest) -> None:
    """From which version of which variant, by which images and method."""
    told = made.quantisation
    assert told is not None
    original = scan(store).entries[0].manifest
    assert (told.original, told.original_version, told.original_sha256) == ("b0", 1, original.graph_sha256)
    assert (told.method, told.dataset, told.seed, told.in_float) == ("minmax", "mine", 0, ())
    assert (told.calibration_images, told.comparison.images) == (SETTLING, 50 - SETTLING)


def test_its_accuracy_is_of_images_that_had_no_part_in_it(made: manifests.Manifest) -> None:
    """Measured, with its interval."""
    accuracy = made.accuracy
    assert (accuracy.source, accuracy.images, accuracy.dataset) == ("measured", 50 - SETTLING, "mine")
    assert accuracy.top1 is not None
    assert accuracy.top1_interval is not None
    assert accuracy.top1_interval[0] <= accuracy.top1 <= accuracy.top1_interval[1]


def test_it_is_ranked_by_its_original_less_what_is_open(store: Path, made: manifests.Manifest) -> None:
    """Not by its own figure, which is of other images than its original's."""
    original, derived = (entry.variant() for entry in scan(store).entries)
    assert made.quantisation is not None
    pair = made.quantisation.comparison
    paired = Paired(pair.images, pair.only_original, pair.only_this)
    assert pair.original_top1 == original.rank_top1
    assert derived.rank_top1 == counted_top1(pair.original_top1, paired) < pair.original_top1
    assert (derived.original, original.original) == ("b0", None)


def test_doing_it_again_keeps_what_is_there(
    store: Path, data: Path, made: manifests.Manifest, capsys: pytest.CaptureFixture[str]
) -> None:
    """The same images and seed give the same version, to the last byte."""
    capsys.readouterr()
    quantize(asked(store, data), as_json=True)
    (told,) = json.loads(capsys.readouterr().out)
    assert (told["name"], told["version"], told["kept"]) == ("b0-int8", made.version, True)
    assert told["manifest"] == made.model_dump(mode="json")


def test_the_table_shows_both(
    store: Path, data: Path, made: manifests.Manifest, capsys: pytest.CaptureFixture[str]
) -> None:
    """Accuracy and time, before and after."""
    capsys.readouterr()
    quantize(asked(store, data), as_json=False)
    printed = capsys.readouterr().out
    assert "b0-int8" in printed
    assert "minmax" in printed
    assert "kept" in printed
    assert made.accuracy.top1 is not None
    assert f"{made.accuracy.top1:.1%}" in printed


@pytest.mark.parametrize(
    ("name", "changed", "why"),
    [
        ("b9", {}, "no variant 'b9'"),
        ("b0", {"calibrate_images": 30}, "50 images are too few: 30 settle"),
        ("b0", {"calibrate_images": 4}, "4 images cannot settle"),
        ("b0-int8", {}, "b0-int8 is quantised already, from b0"),
    ],
)
def test_what_cannot_be_quantised_is_said_in_one_line(
    store: Path, data: Path, made: manifests.Manifest, name: str, changed: dict[str, object], why: str
) -> None:
    """And leaves the store as it was."""
    before = sorted(store.rglob("*"))
    with pytest.raises(CommandError, match=why):
        quantize(asked(store, data, name, **changed), as_json=True)
    assert sorted(store.rglob("*")) == before
    assert made.version == 1


def test_images_that_are_not_there_are_named(store: Path, tmp_path: Path) -> None:
    """As by `effserve evaluate`."""
    with pytest.raises(CommandError, match="does not exist"):
        quantize(asked(store, tmp_path / "nowhere"), as_json=True)


def test_untrained_weights_are_refused(data: Path, tmp_path: Path) -> None:
    """They have no accuracy that could be lost."""
    with pytest.raises(CommandError, match="b0 has untrained weights"):
        quantize(asked(tiny_store(tmp_path, ["b0"], trained=False), data), as_json=True)


def test_somebody_elses_variant_of_that_name_is_left_alone(data: Path, tmp_path: Path) -> None:
    """It was not made from this one."""
    write_variant(tiny_store(tmp_path, ["b0"]), "b0-int8", top1=0.5)
    with pytest.raises(CommandError, match="b0-int8 is in the store, and was not made from b0"):
        quantize(asked(tmp_path, data), as_json=True)


def test_without_the_builders_packages_the_extra_is_named(
    store: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A serving install has no onnx."""
    for name in [module for module in sys.modules if module.startswith("model_store.builder")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(CommandError, match=r"pip install 'effserve\[build\]'"):
        quantize(asked(store, data), as_json=True)


def test_an_image_that_cannot_be_read_is_named(store: Path, tmp_path: Path) -> None:
    """Where it would have settled ranges; among those that judge it counts for neither."""
    files = photos(classes=10, each=5)
    data = folder(tmp_path / "bad", dict.fromkeys(files, b"no image"))
    with pytest.raises(CommandError, match=r"n0000000\d/\d.jpg"):
        quantize(asked(store, data), as_json=True)
