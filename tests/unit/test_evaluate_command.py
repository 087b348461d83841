"""`effserve evaluate` over small real stores and real JPEGs: what it prints, writes and refuses."""

import json
import re
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pytest
from PIL import Image
from pydantic import TypeAdapter
from typer.testing import CliRunner

from model_store import manifest as manifests
from model_store.manifest import AccuracySource
from service import cli
from service.commands.console import CommandError
from service.commands.evaluate import Asked, Wanted, evaluate
from service.evaluation.results import Report
from tests.contract.http_kit import real
from tests.fixtures import tiny_store, write_variant
from tests.unit.evaluation.kit import TRUNCATED, Make, answer, archive, folder, photos

JSON = Wanted(as_json=True)


@pytest.fixture(name="store")
def _store(tmp_path: Path) -> Path:
    return tiny_store(tmp_path / "store")


@pytest.fixture(name="data")
def _data(tmp_path: Path) -> Path:
    return folder(tmp_path / "mine", photos())


class Evaluate(Protocol):
    """Evaluates in this process; the JSON document as a report."""

    def __call__(self, data: Path, wanted: Wanted = JSON, variants: Sequence[str] = ()) -> Report:
        """Over the test's store."""


@pytest.fixture(name="report")
def _report(store: Path, capsys: pytest.CaptureFixture[str]) -> Evaluate:
    def report(data: Path, wanted: Wanted = JSON, variants: Sequence[str] = ()) -> Report:
        evaluate(Asked(data, variants, store), wanted)
        return TypeAdapter(Report).validate_json(capsys.readouterr().out)

    return report


@pytest.mark.parametrize("make", [folder, archive])
def test_accuracy_is_the_share_of_right_answers(make: Make, tmp_path: Path, store: Path, report: Evaluate) -> None:
    """Images that lie in the folder of what b0 answers, all but two of them."""
    bodies = list(photos(classes=5).values())
    called = [answer(store, "b0", body) for body in bodies]
    told = [(index + (number < 2)) % 10 for number, index in enumerate(called)]
    files = {f"class_{index}/{number}.jpg": body for number, (index, body) in enumerate(zip(told, bodies, strict=True))}
    found = report(make(tmp_path / "called", files), variants=["b0"])
    (result,) = found.variants
    assert (result.top1.value, result.images, result.classes) == (0.8, 10, len(set(told)))
    assert (found.dataset, found.images, found.limit, found.unreadable) == ("called", 10, None, ())


def test_json_is_the_whole_report(store: Path, data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One document on standard output, every field of it, and nothing else there."""
    evaluate(Asked(data, store=store, threads=1), JSON)
    printed = capsys.readouterr()
    document = json.loads(printed.out)
    found = TypeAdapter(Report).validate_json(printed.out)
    assert json.loads(json.dumps(asdict(found))) == document
    assert set(document) == {
        "dataset", "images", "classes", "images_found", "limit", "threads", "runtime", "variants", "agreement",
        "cascades", "unreadable", "unclassed", "not_evaluated", "recorded",
    }  # fmt: skip
    for row in document["variants"]:
        assert {"top1", "top5", "ece", "temperature", "ece_at_temperature", "inference_ms", "per_class"} <= set(row)
        assert row["top1"]["low"] <= row["top1"]["value"] <= row["top1"]["high"]
        assert 0 < row["inference_ms"]["least"] <= row["inference_ms"]["median"] <= row["inference_ms"]["p95"]
    assert document["agreement"]["variants"] == [row["name"] for row in document["variants"]]
    assert "evaluating [" in printed.err


def test_tables_are_for_people(store: Path, data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A row for each variant, the agreement below, and no classes unless asked for."""
    evaluate(Asked(data, store=store), Wanted())
    shown = capsys.readouterr().out
    assert shown.startswith("mine: 6 images, 3 classes\n")
    assert re.search(r"^b0\*? +\d+\.\d \(\d+\.\d–\d+\.\d\)", shown, re.MULTILINE)
    assert re.search(r"^b1\*? +\d", shown, re.MULTILINE)
    assert re.search(r"^same answer %\n +b\d\nb\d +\d+\.\d$", shown, re.MULTILINE)
    assert "class 0" not in shown


def test_classes_are_shown_when_asked_for(store: Path, data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With their words."""
    evaluate(Asked(data, store=store), Wanted(per_class=True))
    assert re.search(r"^n00000001 class 1 +2 +\d", capsys.readouterr().out, re.MULTILINE)


def test_what_is_left_out_is_said(store: Path, data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """On standard error: folders, damaged images, damaged versions."""
    folder(data, {"unicorn/a.jpg": b"", "n00000000/cut.jpg": TRUNCATED, "cover.png": b""})
    (write_variant(store, "b1", version=2) / manifests.GRAPH_FILE).write_bytes(b"damaged")
    evaluate(Asked(data, store=store), JSON)
    said = capsys.readouterr().err
    assert "left out, no class of b0, b1: unicorn" in said
    assert "left out, 1 image without a class: cover.png" in said
    assert "left out, 1 image that cannot be read: n00000000/cut.jpg (the image is damaged: " in said
    assert "not evaluated: b1 version 2: model.onnx is damaged" in said


def test_a_limit_says_from_how_many(store: Path, data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """And takes evenly."""
    evaluate(Asked(data, store=store, limit=3, dataset="a few"), Wanted())
    assert "a few: 3 images, 3 classes, chosen evenly from 6" in capsys.readouterr().out


def test_names_may_stand_between_commas(data: Path, report: Evaluate) -> None:
    """Or in several options."""
    assert {one.name for one in report(data, variants=["b0, b1"]).variants} == {"b0", "b1"}
    assert {one.name for one in report(data, variants=["b1"]).variants} == {"b1"}


async def test_what_is_written_shows_in_the_table_of_the_service(store: Path, data: Path) -> None:
    """From its next start."""
    evaluate(Asked(data, store=store), Wanted(write=True))
    written = {name: manifests.read(store / name / "1").accuracy for name in ("b0", "b1")}
    async with real(store) as kit:
        rows = (await kit.client.get("/variants")).json()["variants"]
    assert {row["name"]: row["accuracy"]["top1"] for row in rows} == {
        name: accuracy.top1 for name, accuracy in written.items()
    }
    assert {(row["accuracy"]["dataset"], row["accuracy"]["source"]) for row in rows} == {("mine", "measured")}
    assert {row["rank_source"] for row in rows} == {"measured"}


def test_writing_says_what_became_of_each(
    store: Path, data: Path, report: Evaluate, capsys: pytest.CaptureFixture[str]
) -> None:
    """In the JSON; untrained weights keep nobody else from it."""
    write_variant(store, "x", trained=False)
    recorded = {one.name: one for one in report(data, Wanted(as_json=True, write=True)).recorded}
    assert (recorded["b0"].written, recorded["x"].written) == (True, False)
    assert "untrained" in recorded["x"].note
    assert manifests.read(store / "x/1").accuracy.source is AccuracySource.NONE
    evaluate(Asked(data, store=store), Wanted(write=True))
    said = capsys.readouterr().err
    assert re.search(r"^recorded in b0 version 1: top-1 \d+\.\d% on mine$", said, re.MULTILINE)
    assert "not recorded in x version 1: its weights are untrained, so no accuracy is theirs" in said
    assert "A running server ranks by this from its next start." in said
    assert "budgets now compare" not in said


def test_writing_some_says_that_others_were_measured_elsewhere(
    store: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Budgets would take the figures for comparable."""
    evaluate(Asked(data, store=store, variants=["b0"]), Wanted(write=True))
    said = capsys.readouterr().err
    assert "budgets now compare accuracies on different images" in said
    assert said.endswith("mine: b0; synthetic: b1\n")


def test_nothing_recorded_is_a_failure(store: Path, data: Path) -> None:
    """A script that wanted it has to know."""
    write_variant(store, "x", trained=False)
    with pytest.raises(CommandError, match="nothing was recorded"):
        evaluate(Asked(data, store=store, variants=["x"]), Wanted(write=True))


def test_nothing_is_written_unasked(store: Path, data: Path) -> None:
    """Neither into the store nor beside it."""
    before = {path: path.read_bytes() for path in store.rglob("*") if path.is_file()}
    evaluate(Asked(data, store=store), JSON)
    assert {path: path.read_bytes() for path in store.rglob("*") if path.is_file()} == before


def test_the_plot_is_drawn(store: Path, data: Path, tmp_path: Path) -> None:
    """Beside the report."""
    evaluate(Asked(data, store=store), Wanted(as_json=True, plot=tmp_path / "plot.png"))
    with Image.open(tmp_path / "plot.png") as image:
        assert image.format == "PNG"


def test_predictions_can_be_kept(store: Path, data: Path, tmp_path: Path, report: Evaluate) -> None:
    """Logits and labels of each variant, and which image each row is."""
    folder(data, {"n00000000/cut.jpg": TRUNCATED})
    found = report(data, Wanted(as_json=True, predictions=tmp_path / "kept.npz"))
    with np.load(tmp_path / "kept.npz") as kept:
        assert sorted(kept) == ["b0.images", "b0.labels", "b0.logits", "b1.images", "b1.labels", "b1.logits", "names"]
        assert kept["names"][kept["b0.images"]].tolist() == sorted(photos())
        right = (kept["b0.logits"].argmax(axis=1) == kept["b0.labels"]).mean()
    assert {one.name: one.top1.value for one in found.variants}["b0"] == right


@pytest.mark.parametrize(
    ("asked", "wanted", "message"),
    [
        ({"data": "nowhere"}, {}, r"nowhere is neither a folder nor a ZIP: it does not exist"),
        ({"data": "strange"}, {}, r"no folder of .*strange is a WordNet id or label .*; there are unicorn"),
        ({"data": "cut"}, {}, r"nothing could be evaluated: n00000000/a\.jpg: the image is damaged"),
        ({"variants": ["b9"]}, {}, r"no variant 'b9' in .*; there are b0, b1"),
        ({"store": "nothing"}, {}, r"no variants in .*nothing; `effserve build`"),
        ({}, {"plot": "plot.pdf"}, r"a plot is a \.png or \.svg file"),
        ({}, {"plot": "no/plot.png"}, r"there is no folder"),
        ({}, {"predictions": "no/kept.npz"}, r"there is no folder"),
        ({}, {"predictions": "folder"}, r"Is a directory"),
    ],
)
def test_what_cannot_be_is_one_line(
    store: Path, data: Path, tmp_path: Path, asked: dict[str, Any], wanted: dict[str, str], message: str
) -> None:
    """It names what is wrong."""
    folder(tmp_path / "strange", {"unicorn/a.jpg": b""})
    folder(tmp_path / "cut", {"n00000000/a.jpg": TRUNCATED})
    (tmp_path / "folder").mkdir()
    changed = {name: value if name == "variants" else tmp_path / str(value) for name, value in asked.items()}
    files = {name: tmp_path / value for name, value in wanted.items()}
    with pytest.raises(CommandError, match=message) as failed:
        evaluate(replace(Asked(data, store=store), **changed), replace(Wanted(), **files))  # type: ignore[arg-type]
    assert "\n" not in str(failed.value)


def test_a_broken_setting_is_one_line(store: Path, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Settings are those of the service."""
    monkeypatch.setenv("EFFSERVE_LIMITS_PIXELS", "none")
    with pytest.raises(CommandError, match=r"limits\.pixels: "):
        evaluate(Asked(data, store=store), JSON)


def test_images_that_the_service_would_refuse_are_not_judged(
    data: Path, report: Evaluate, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the limit of the settings."""
    folder(data, {"n00000000/large.jpg": photos()["n00000000/0.jpg"]})
    monkeypatch.setenv("EFFSERVE_LIMITS_PIXELS", "10")
    with pytest.raises(CommandError, match="has 96 x 64 pixels; the limit is 10 pixels"):
        report(data)


def test_options_reach_the_evaluation(store: Path, data: Path, tmp_path: Path) -> None:
    """All of them, from the command line."""
    words = ["evaluate", "--data", data, "--store", store, "--variants", "b0", "--limit", 2, "--threads", 1, "--json"]
    words += ["--dataset", "two", "--write", "--plot", tmp_path / "a.svg", "--save-predictions", tmp_path / "a.npz"]
    ended = CliRunner().invoke(cli.app, [*map(str, words), "--per-class"])
    assert ended.exit_code == 0, ended.output
    accuracy = manifests.read(store / "b0/1").accuracy
    assert (accuracy.dataset, accuracy.images) == ("two", 2)
    assert (tmp_path / "a.svg").is_file()
    assert (tmp_path / "a.npz").is_file()


def test_the_store_is_that_of_the_settings(
    store: Path, data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The one that `serve` reads."""
    monkeypatch.setenv("EFFSERVE_STORE_DIR", str(store))
    evaluate(Asked(data), JSON)
    assert len(json.loads(capsys.readouterr().out)["variants"]) == 2
