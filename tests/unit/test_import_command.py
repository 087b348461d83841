"""`effserve import`: what it takes for granted, what it says, and that the service answers with what was imported."""

import json
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from model_store import manifest as manifests
from model_store.manifest import Accuracy, AccuracySource
from service import cli
from service.commands.console import CommandError
from service.commands.imports import Asked, Network, Preparation, import_network
from service.pipeline.image import decode
from tests.contract.http_kit import real
from tests.fixtures import jpeg
from tests.unit.model_store.foreign_graphs import by_hand, network, node, normalised, saved, tensor
from tests.unit.model_store.small import labels_file


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A network that ends in a softmax."""
    return saved(tmp_path, network([node("Softmax", "scores", "p")], [tensor("p", "f4", None)]))


def run(*words: object) -> str:
    """What `effserve import` prints."""
    result = CliRunner().invoke(cli.app, ["import", *map(str, words)])
    if result.exception is not None:
        raise result.exception
    return result.stdout


def words(file: Path, *more: object) -> list[object]:
    """The file with its labels, into a store beside it."""
    return [file, "--labels", labels_file(file.parent), "--store", file.parent / "store", *more]


def test_a_file_becomes_a_ranked_variant(file: Path) -> None:
    """Under the name given, with the accuracy that the user measured."""
    said = run(*words(file, "--name", "resnext101", "--input-size", 32, "--accuracy", 0.809, "--dataset", "my photos"))
    manifest = manifests.read(file.parent / "store" / "resnext101" / "1")
    assert manifest.accuracy == Accuracy(top1=0.809, dataset="my photos", source=AccuracySource.MEASURED)
    assert "ranked    by top-1 80.9% on my photos (measured)" in said
    assert "`effserve evaluate --data DIR --variants resnext101 --write`" in said


def test_what_was_taken_for_granted_is_said(file: Path) -> None:
    """A wrong guess is found by reading, not by wondering."""
    said = run(*words(file)).splitlines()
    assert "takes     NCHW float, RGB, 32 px; mean 0.485 0.456 0.406, deviation 0.229 0.224 0.225" in said
    assert "gives     'p', 4 classes of few" in said
    assert "images    bicubic, center, 0.875 of the resized edge" in said
    assert any(line.startswith("ranked    no: budgets do not choose it") for line in said)


def test_the_preparation_is_what_the_user_says(file: Path) -> None:
    """Each option ends up in the manifest."""
    cut = ("--crop-pct", 0.95, "--crop-mode", "squash", "--interpolation", "bilinear")
    run(*words(file, *cut, "--mean", 0.1, 0.2, 0.3, "--std", 0.4, 0.5, 0.6, "--channels", "bgr", "--licence", "MIT"))
    manifest = manifests.read(file.parent / "store" / "mine" / "1")
    found = manifest.preprocessing
    assert (found.crop_pct, found.crop_mode, found.interpolation) == (0.95, "squash", "bilinear")
    assert (found.mean, found.std) == ((0.1, 0.2, 0.3), (0.4, 0.5, 0.6))
    assert manifest.weights.licence == "MIT"
    assert manifest.architecture.model_dump()["channels"] == "bgr"


def test_a_range_stands_for_mean_and_deviation(file: Path) -> None:
    """[−1, 1] is 0.5 and 0.5."""
    run(*words(file, "--range", "-1-1"))
    found = manifests.read(file.parent / "store" / "mine" / "1").preprocessing
    assert (found.mean, found.std) == ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


def test_machines_are_told_in_json(file: Path) -> None:
    """As by `build`, with the manifest."""
    (stored,) = json.loads(run(*words(file, "--json")))
    assert (stored["name"], stored["version"], stored["kept"]) == ("mine", 1, False)
    assert stored["manifest"] == json.loads((Path(stored["folder"]) / "manifest.json").read_text())


FILE_NEEDED = "goes with an ONNX file"


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (Asked("mine.onnx", accuracy=0.8), "--accuracy and --dataset go together"),
        (Asked("mine.onnx", dataset="mine"), "--accuracy and --dataset go together"),
        (Asked("mine.onnx", untrained=True), "--untrained goes with timm:NAME"),
        (Asked("timm:resnet18", seed=1), "--seed goes with --untrained"),
        (Asked("mine.onnx", network=Network(layout="chwn")), "--layout is one of nchw, nhwc, not 'chwn'"),
        (Asked("mine.onnx", network=Network(channels="rbg")), "--channels is one of rgb, bgr, not 'rbg'"),
        (Asked("mine.onnx", network=Network(range="0-2")), "--range is one of 0-1, 0-255, -1-1, not '0-2'"),
        (Asked("mine.onnx", network=Network(mean=(0, 0, 0))), "--mean and --std go together"),
        (Asked("mine.onnx", network=Network(mean=(0, 0, 0), std=(1, 0, 1))), "--std is above 0 for each colour"),
        (Asked("mine.onnx", network=Network(mean=(0, 0, 0), std=(1, 1, 1), range="0-1")), "leave out --mean and --std"),
        (Asked("mine.onnx", preparation=Preparation(crop_mode="left")), "--crop-mode is one of center, squash"),
        (Asked("mine.onnx", preparation=Preparation(interpolation="area")), "--interpolation is one of bicubic"),
        (Asked("mine.onnx", "b0"), "b0 is the name of a published variant"),
        (Asked("timm:resnet18", network=Network(layout="nchw")), f"--layout {FILE_NEEDED}"),
        (Asked("timm:resnet18", network=Network(licence="MIT")), f"--licence {FILE_NEEDED}"),
        (Asked("timm:resnet18", accuracy=0.8, dataset="mine", untrained=True), "untrained weights have no accuracy"),
        (Asked("nowhere.onnx"), "there is no file nowhere.onnx"),
    ],
)
def test_what_does_not_go_together_is_one_line(asked: Asked, message: str) -> None:
    """Before anything is read, as far as that is possible."""
    with pytest.raises(CommandError, match=message) as refused:
        import_network(asked, as_json=False)
    assert "\n" not in str(refused.value)


def test_a_refusal_of_the_file_is_one_line(tmp_path: Path) -> None:
    """The store stays empty."""
    file = saved(tmp_path, network(classes=5))
    with pytest.raises(CommandError, match=r"mine\.onnx gives 5 values an image .*, but few\.tsv has 4 classes"):
        run(*words(file))
    assert not (tmp_path / "store").exists()


def test_networks_of_timm_need_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Which is large, so that it is an extra of its own."""
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.delitem(sys.modules, "model_store.builder.timm_export", raising=False)
    with pytest.raises(CommandError, match=r"pip install 'effserve\[timm\]'"):
        import_network(Asked("timm:resnet18"), as_json=False)


async def test_the_service_answers_with_an_imported_variant(file: Path) -> None:
    """With the probabilities that the network itself gives, and where its weights come from."""
    run(*words(file, "--accuracy", 0.7, "--dataset", "mine", "--licence", "MIT"))
    store, photo = file.parent / "store", jpeg(160, 120)
    pixels = decode(photo, manifests.read(store / "mine" / "1").preprocessing)
    (expected,) = by_hand(file, normalised(pixels[None]).astype("f4"), "p")
    async with real(store) as kit:
        headers = {"Content-Type": "image/jpeg"}
        answer = (await kit.client.post("/classify?variant=mine&budget_ms=2000", content=photo, headers=headers)).json()
        (row,) = (await kit.client.get("/variants")).json()["variants"]
    found = {prediction["index"]: prediction["probability"] for prediction in answer["predictions"]}
    assert [found[index] for index in range(4)] == pytest.approx(expected.tolist(), abs=1e-6)
    assert (answer["decision"]["variant"], answer["warnings"]) == ("mine", [])
    assert row["weights"] == {"kind": "imported", "source": "mine.onnx", "licence": "MIT"}
