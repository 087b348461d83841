"""The record of a variant: what it may say, and that it survives the disk."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from model_store import manifest as manifests
from model_store.manifest import (
    Accuracy,
    AccuracySource,
    EfficientNetArchitecture,
    ImportedArchitecture,
    Manifest,
)

RECORD: dict[str, Any] = {
    "name": "b0",
    "version": 1,
    "architecture": {
        "level": "b0", "width": 1.0, "depth": 1.0, "group_width": 1, "expansion": 6, "norm": "batch",
        "padding": "same", "published_top1": 0.771,
    },
    "preprocessing": {"input_size_px": 224, "crop_pct": 0.875, "mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]},
    "labels": {"name": "imagenet-1k", "classes": 1000, "sha256": "0" * 64},
    "params": 5_288_548,
    "macs": 385_814_752,
    "weights": {"kind": "checkpoint", "source": "timm/x", "licence": "apache-2.0", "sha256": "1" * 64},
    "accuracy": {"top1": 0.76882, "top5": 0.9327, "dataset": "imagenet-1k", "source": "published"},
    "graph_sha256": "2" * 64,
    "graph_bytes": 21_190_238,
    "built_with": "effserve 0.1.0",
}  # fmt: skip


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    """A manifest survives the disk, floats included."""
    manifest = Manifest.model_validate(RECORD)
    manifests.write(manifest, tmp_path)
    assert manifests.read(tmp_path) == manifest


def test_writing_leaves_one_file(tmp_path: Path) -> None:
    """The temporary file of the replacement is gone, and an earlier manifest replaced."""
    manifest = Manifest.model_validate(RECORD)
    manifests.write(manifest, tmp_path)
    manifests.write(manifest.model_copy(update={"version": 2}), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["manifest.json"]
    assert manifests.read(tmp_path).version == 2


def test_a_missing_manifest_is_an_os_error(tmp_path: Path) -> None:
    """Absence and nonsense are told apart."""
    with pytest.raises(OSError, match=r"manifest\.json"):
        manifests.read(tmp_path)


def test_nonsense_is_a_value_error(tmp_path: Path) -> None:
    """A file that is not JSON is no manifest."""
    (tmp_path / "manifest.json").write_text("{")
    with pytest.raises(ValueError, match="JSON"):
        manifests.read(tmp_path)


@pytest.mark.parametrize("name", ["B0", "../b0", "b0/1", "", ".b0", "b" * 65, "b0\n"])
def test_names_that_are_no_folder_names_are_refused(name: str) -> None:
    """A name is a folder in the store and a part of URLs."""
    with pytest.raises(ValidationError, match="name"):
        Manifest.model_validate(RECORD | {"name": name})


@pytest.mark.parametrize(
    "wrong",
    [
        {"version": 0},
        {"params": 0},
        {"schema_version": 2},
        {"colour": "red"},
        {"preprocessing": RECORD["preprocessing"] | {"crop_pct": 1.5}},
        {"preprocessing": RECORD["preprocessing"] | {"input_size_px": 16}},
        {"architecture": RECORD["architecture"] | {"published_top1": 77.1}},
        {"architecture": RECORD["architecture"] | {"norm": "layer"}},
        {"labels": RECORD["labels"] | {"classes": 1}},
    ],
    ids=lambda wrong: str(next(iter(wrong))),
)
def test_impossible_values_are_refused(wrong: dict[str, Any]) -> None:
    """Accuracies in percent, empty label sets, unknown fields and versions of the format do not pass."""
    with pytest.raises(ValidationError):
        Manifest.model_validate(RECORD | wrong)


IMPORTED = {
    "kind": "imported", "network": "resnet50", "layout": "nchw", "channels": "rgb", "element_type": "float",
    "output": "scores",
}  # fmt: skip


def test_a_manifest_from_before_imports_is_one_of_an_efficientnet() -> None:
    """`RECORD` is as such manifests are: they do not say what kind of network it is."""
    assert "kind" not in RECORD["architecture"]
    assert isinstance(Manifest.model_validate(RECORD).architecture, EfficientNetArchitecture)


def test_an_imported_network_is_told_by_how_it_was_fitted(tmp_path: Path) -> None:
    """It survives the disk as well."""
    manifest = Manifest.model_validate(RECORD | {"architecture": IMPORTED})
    manifests.write(manifest, tmp_path)
    assert isinstance(manifest.architecture, ImportedArchitecture)
    assert manifests.read(tmp_path) == manifest


@pytest.mark.parametrize(
    "wrong",
    [IMPORTED | {"kind": "drawn"}, IMPORTED | {"width": 1.0}, RECORD["architecture"] | {"kind": "imported"}, "b0"],
)
def test_a_network_is_of_one_kind(wrong: object) -> None:
    """Nobody knows the width of an imported one."""
    with pytest.raises(ValidationError, match="architecture"):
        Manifest.model_validate(RECORD | {"architecture": wrong})


def test_untrained_weights_cannot_claim_accuracy() -> None:
    """What was drawn from a seed was measured by nobody."""
    weights = RECORD["weights"] | {"kind": "untrained"}
    with pytest.raises(ValidationError, match="untrained weights have no accuracy"):
        Manifest.model_validate(RECORD | {"weights": weights})
    assert Manifest.model_validate(RECORD | {"weights": weights, "accuracy": {}}).accuracy.top1 is None


@pytest.mark.parametrize(("top1", "source"), [(None, AccuracySource.PUBLISHED), (0.7, AccuracySource.NONE)])
def test_accuracy_and_its_source_come_together(top1: float | None, source: AccuracySource) -> None:
    """No figure without saying whose, no claim without a figure."""
    with pytest.raises(ValidationError, match="top1 is given exactly when"):
        Accuracy(top1=top1, source=source)


def test_a_manifest_from_before_evaluations_is_read(tmp_path: Path) -> None:
    """It says nothing of intervals, and its accuracy is that of the build."""
    (tmp_path / "manifest.json").write_text(json.dumps(RECORD))
    manifest = manifests.read(tmp_path)
    assert (manifest.built_accuracy, manifest.accuracy.images, manifest.accuracy.top1_interval) == (None, None, None)


def test_what_an_evaluation_records_is_read_back(tmp_path: Path) -> None:
    """Intervals too, which JSON has as lists."""
    figures = {"images": 50_000, "classes": 1000, "top1_interval": (0.765, 0.772), "ece": 0.02, "temperature": 1.1}
    recorded = RECORD | {"accuracy": RECORD["accuracy"] | figures, "built_accuracy": RECORD["accuracy"]}
    manifest = Manifest.model_validate(recorded)
    manifests.write(manifest, tmp_path)
    assert manifests.read(tmp_path) == manifest
    assert manifest.accuracy.top1_interval == (0.765, 0.772)


@pytest.mark.parametrize(
    "wrong",
    [{"images": 0}, {"top1_interval": (0.5, 1.5)}, {"top1_interval": (0.5,)}, {"ece": -0.1}, {"temperature": 0}],
)
def test_impossible_figures_are_refused(wrong: dict[str, Any]) -> None:
    """As of an evaluation that went wrong."""
    with pytest.raises(ValidationError):
        Accuracy.model_validate(RECORD["accuracy"] | wrong)


def test_manifests_do_not_change() -> None:
    """A record is a value."""
    manifest = Manifest.model_validate(RECORD)
    with pytest.raises(ValidationError, match="frozen"):
        manifest.version = 2  # type: ignore[misc]


def test_checksum_is_sha256(tmp_path: Path) -> None:
    """Files are identified by the usual checksum, in hex."""
    (tmp_path / "file").write_bytes(b"content")
    assert manifests.sha256_of(tmp_path / "file") == hashlib.sha256(b"content").hexdigest()
