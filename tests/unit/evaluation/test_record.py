"""Figures into manifests: as measured accuracy, and nothing else changes."""

from pathlib import Path

import pytest

from model_store import manifest as manifests
from model_store.manifest import Accuracy, AccuracySource
from service.evaluation.record import accuracy, ranked_on, record
from service.evaluation.results import Recorded
from service.pipeline.store import StoredVariant, scan
from tests.fixtures import tiny_store, write_variant
from tests.unit.evaluation.kit import report, result

GIVEN = report(result("b0", hits=70), result("b1", hits=2, images=3, top5=None))


@pytest.fixture(name="store")
def _store(tmp_path: Path) -> Path:
    return tiny_store(tmp_path / "store")


def entries(store: Path) -> tuple[StoredVariant, ...]:
    """What an evaluation has found."""
    return scan(store).entries


def test_figures_become_measured_accuracy(store: Path) -> None:
    """With what they were measured on and how sure they are."""
    recorded = record(GIVEN, entries(store))
    assert recorded[0] == Recorded("b0", 1, written=True, note="top-1 70.0% on mine")
    assert manifests.read(store / "b0/1").accuracy == Accuracy(
        top1=0.7, top5=1.0, dataset="mine", source=AccuracySource.MEASURED, images=100, classes=10,
        top1_interval=(0.604151, 0.781051), top5_interval=(0.963007, 1.0), ece=0.123, temperature=1.5,
        confidences=(0.25, 0.5, 1.0),
    )  # fmt: skip


def test_figures_are_as_long_as_they_are_good(store: Path) -> None:
    """Six digits; none where there is no figure."""
    record(GIVEN, entries(store))
    written = manifests.read(store / "b1/1").accuracy
    assert (written.top1, written.top5, written.top5_interval) == (0.666667, None, None)


def test_nothing_else_changes(store: Path) -> None:
    """But that the accuracy of the build is kept."""
    before = manifests.read(store / "b0/1")
    record(GIVEN, entries(store))
    after = manifests.read(store / "b0/1")
    assert after.built_accuracy == before.accuracy
    assert after.model_copy(update={"accuracy": before.accuracy, "built_accuracy": None}) == before
    assert sorted(path.name for path in (store / "b0/1").iterdir()) == ["labels.tsv", "manifest.json", "model.onnx"]


def test_a_second_evaluation_keeps_the_accuracy_of_the_build(store: Path) -> None:
    """Not that of the first evaluation."""
    built = manifests.read(store / "b0/1").accuracy
    record(GIVEN, entries(store))
    record(report(result("b0", hits=50)), entries(store))
    assert manifests.read(store / "b0/1").built_accuracy == built
    assert manifests.read(store / "b0/1").accuracy.top1 == 0.5


def test_the_service_ranks_by_it(store: Path) -> None:
    """The version is intact, and of measured accuracy."""
    record(GIVEN, entries(store))
    assert [entry.variant().rank_top1 for entry in entries(store)] == [0.7, 0.666667]
    assert scan(store).refused == ()


def test_untrained_weights_are_refused_and_keep_nobody_else_from_it(store: Path) -> None:
    """Chance is no accuracy."""
    write_variant(store, "b0", version=2, trained=False)
    before = (store / "b0/2/manifest.json").read_bytes()
    first, second = record(GIVEN, entries(store))
    assert (first.written, first.note) == (False, "its weights are untrained, so no accuracy is theirs")
    assert second.written
    assert (store / "b0/2/manifest.json").read_bytes() == before


def test_a_manifest_that_is_gone_keeps_nobody_else_from_it(store: Path) -> None:
    """Nor does one that cannot be written."""
    found = entries(store)
    (store / "b0/1/manifest.json").unlink()
    first, second = record(GIVEN, found)
    assert (first.written, "No such file" in first.note, second.written) == (False, True, True)


def test_another_graph_in_its_place_is_not_given_the_figures(store: Path) -> None:
    """An evaluation may take hours."""
    found = entries(store)
    changed = manifests.read(store / "b0/1").model_copy(update={"graph_sha256": "0" * 64})
    manifests.write(changed, store / "b0/1")
    assert record(GIVEN, found)[0].note == "another graph has taken its place meanwhile"
    assert manifests.read(store / "b0/1") == changed


def test_what_others_wrote_meanwhile_is_kept(store: Path) -> None:
    """The manifest is read again."""
    found = entries(store)
    changed = manifests.read(store / "b0/1").model_copy(update={"built_with": "somebody"})
    manifests.write(changed, store / "b0/1")
    record(GIVEN, found)
    assert manifests.read(store / "b0/1").built_with == "somebody"


def test_variants_ranked_on_different_data_are_told_apart(store: Path) -> None:
    """Those without any accuracy are ranked on none."""
    write_variant(store, "x")
    write_variant(store, "y", trained=False)
    record(report(result("b0")), entries(store))
    found = entries(store)
    assert ranked_on(found) == {"mine": ["b0"], "synthetic": ["b1"]}
    (store / "b1/1/manifest.json").unlink()
    assert ranked_on(found) == {"mine": ["b0"]}


def test_an_interval_holds_its_figure() -> None:
    """Rounding moves neither past the other."""
    for hits in (0, 1, 37, 99, 100):
        figures = accuracy(result("b0", hits=hits), "mine")
        assert figures.top1_interval is not None
        assert figures.top1 is not None
        assert figures.top1_interval[0] <= figures.top1 <= figures.top1_interval[1]
