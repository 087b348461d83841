"""`effserve build` from a local file: what its manifest may and may not say."""

from pathlib import Path

import pytest
from safetensors.numpy import save_file

from model_store import manifest as manifests
from model_store.builder import build, spec, weights
from model_store.manifest import Accuracy, AccuracySource
from service.commands.build import Custom, Source
from service.commands.build import build as build_command
from service.commands.console import CommandError


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Some weights for b0 in timm's layout."""
    path = tmp_path_factory.mktemp("weights") / "mine.safetensors"
    save_file(weights.untrained(build.state_shapes(spec.resolve("b0"), 1000), 1).tensors, path)
    return path


def built(store: Path, source: Source) -> manifests.Manifest:
    """The manifest of b0 built from a source."""
    build_command(["b0"], custom=Custom(), source=source, labels=None, store=store, as_json=True)
    return manifests.read(store / "b0" / "1")


def test_naming_a_tag_brings_its_preprocessing_and_not_its_accuracy(tmp_path: Path, checkpoint: Path) -> None:
    """Nothing shows that the file is that checkpoint."""
    manifest = built(tmp_path, Source(str(checkpoint), tag="ap_in1k"))
    assert manifest.preprocessing.mean == (0.5, 0.5, 0.5)
    assert manifest.accuracy == Accuracy()
    assert manifest.weights.source == "mine.safetensors"


def test_a_measured_accuracy_is_recorded_with_its_dataset(tmp_path: Path, checkpoint: Path) -> None:
    """Whoever measured may say so; budgets then rank by it."""
    manifest = built(tmp_path, Source(str(checkpoint), top1=0.81, dataset="my photos"))
    assert manifest.accuracy == Accuracy(top1=0.81, dataset="my photos", source=AccuracySource.MEASURED)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (Source("x.safetensors", top1=0.8), "--top1 and --dataset go together"),
        (Source("x.safetensors", dataset="mine"), "--top1 and --dataset go together"),
        (Source(top1=0.8, dataset="mine"), "--top1 goes with --weights"),
        (Source("x.safetensors", tag="ap_in1k", padding="same"), "--tag names a published checkpoint"),
    ],
)
def test_contradictions_are_said_before_anything_is_built(tmp_path: Path, source: Source, message: str) -> None:
    """The store stays empty."""
    with pytest.raises(CommandError, match=message):
        built(tmp_path, source)
    assert list(tmp_path.iterdir()) == []
