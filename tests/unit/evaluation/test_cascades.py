"""What cascades are worth, with answers that are made up."""

from pathlib import Path

import numpy as np
import pytest

from model_store.manifest import LABELS_FILE
from service.evaluation.cascades import SHARES, Cascade, cascades
from service.evaluation.plan import Subject
from service.evaluation.report import cascades_table
from service.evaluation.run import Sheet
from tests.fixtures import CLASSES, tiny_store
from tests.unit.evaluation.kit import folder, photos, planned, relabel, report, result

IMAGES = 20
LABELS = np.arange(IMAGES) % 4


@pytest.fixture(name="subjects")
def _subjects(tmp_path: Path) -> tuple[Subject, ...]:
    store = tiny_store(tmp_path / "store", ["b0", "b1"])
    return planned(folder(tmp_path / "data", dict.fromkeys(photos(classes=4, each=5), b"")), store).subjects


def sheet(wrong: int, *, images: int = IMAGES) -> Sheet:
    """Sure of the class after the right one for the first `wrong` images, the less so the earlier; right of the others,
    and surer."""
    labels = LABELS[:images]
    called = (labels + (np.arange(images) < wrong)) % CLASSES
    logits = np.zeros((images, CLASSES), np.float32)
    logits[np.arange(images), called] = np.linspace(1.0, 6.0, images)
    return Sheet(np.arange(images), labels, logits, np.ones(images), np.ones(images))


def pair(subjects: tuple[Subject, ...], first: Sheet, second: Sheet) -> list[Cascade]:
    """Of b0 and b1."""
    return list(cascades(subjects, [first, second]))


def test_the_least_confident_are_upgraded_first(subjects: tuple[Subject, ...]) -> None:
    """The ten that the first has wrong are those that it is least sure of; each step corrects as many as it upgrades,
    because the second is sure of the right one, and beyond the ten there is nothing to correct."""
    second = sheet(0)
    second.logits[:] = 0
    second.logits[np.arange(IMAGES), LABELS] = 9.0
    (found,) = pair(subjects, sheet(10), second)
    assert (found.first, found.second, found.second_alone) == ("b0", "b1", 1.0)
    assert [step.share for step in found.steps] == list(SHARES)
    assert [step.top1 for step in found.steps] == pytest.approx([0.5, 0.6, 0.7, 0.8, 1.0, 1.0])
    thresholds = [step.threshold for step in found.steps]
    assert thresholds[0] is None
    assert thresholds[1:] == sorted(one for one in thresholds if one is not None)


def test_a_variant_that_is_no_better_makes_no_cascade(subjects: tuple[Subject, ...]) -> None:
    """Nor one that is as good."""
    assert pair(subjects, sheet(2), sheet(5)) == pair(subjects, sheet(2), sheet(2)) == []


def test_answers_to_other_images_cannot_be_averaged(subjects: tuple[Subject, ...]) -> None:
    """Fewer of them, here."""
    assert pair(subjects, sheet(10), sheet(1, images=10)) == []


def test_answers_among_other_classes_cannot_be_averaged(tmp_path: Path) -> None:
    """The store of one has other words for them."""
    store = tiny_store(tmp_path / "store", ["b0", "b1"])
    labels = (store / "b1/1" / LABELS_FILE).read_text(encoding="utf-8")
    relabel(store / "b1/1", labels.replace("class 5", "class five"))
    subjects = planned(folder(tmp_path / "data", dict.fromkeys(photos(classes=4, each=5), b"")), store).subjects
    assert pair(subjects, sheet(10), sheet(0)) == []


def test_a_table_shows_shares_accuracies_and_thresholds(subjects: tuple[Subject, ...]) -> None:
    """One row for each pair; no table without any."""
    found = tuple(pair(subjects, sheet(10), sheet(0)))
    table = cascades_table(report(result("b0"), result("b1"), cascades=found))
    assert table is not None
    assert [heading for heading, _ in table.columns] == [
        "cascade",
        "0 %",
        "10 %",
        "20 %",
        "30 %",
        "50 %",
        "100 %",
        "alone",
    ]
    (row,) = table.rows
    assert (row[0], row[1], row[-1]) == ("b0 → b1", "50.0", "100.0")
    assert row[2].endswith(f"({found[0].steps[1].threshold:.2f})")
    assert cascades_table(report(result("b0"))) is None
