"""From answers to figures, with answers that are made up."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from service.evaluation import measures
from service.evaluation.plan import Plan
from service.evaluation.results import Report, VariantResult, make_report
from service.evaluation.run import Runs, Sheet
from tests.fixtures import CLASSES, tiny_store
from tests.unit.evaluation.kit import folder, photos, planned, relabel, share


@pytest.fixture(name="plan")
def _plan(tmp_path: Path) -> Plan:
    """Three variants, five images of each of four classes."""
    store = tiny_store(tmp_path / "store", ["b0", "b1", "x"])
    return planned(folder(tmp_path / "data", dict.fromkeys(photos(classes=4, each=5), b"")), store)


def sheet(
    *called: int, decode_ms: float = 1.0, inference_ms: float = 2.0, images: range = range(20), shift: int = 0
) -> Sheet:
    """Answers to the images of the plan: the class that is named, then the ones after it; labels shifted as told."""
    labels = np.array([position // 5 - shift for position in images])
    order = (np.arange(CLASSES) - np.array(called)[:, None]) % CLASSES
    count = len(called)
    return Sheet(
        np.array(images), labels, -order.astype(np.float32), np.full(count, decode_ms) / 1e3,
        np.linspace(1, 3, count) * inference_ms / 2e3,
    )  # fmt: skip


def judged(plan: Plan, **sheets: Sheet) -> Report:
    """A report on them."""
    return make_report(plan, Runs(sheets, {}, {}), dataset="mine", limit=None, threads=2, runtime="a machine")


def only(report: Report) -> VariantResult:
    """The single result."""
    (result,) = report.variants
    return result


RIGHT = (0,) * 5 + (1,) * 5 + (2,) * 5 + (3,) * 5


def test_accuracies_count_the_first_and_the_first_five(plan: Plan) -> None:
    """The class after 4 is 5 and so on, so 9 has 3 among its first five and 4 has not."""
    result = only(judged(plan, b0=sheet(*RIGHT[:17], 9, 9, 4)))
    assert (result.top1, result.top5) == (share(17, 20), share(19, 20))
    assert (result.name, result.version, result.trained, result.labels) == ("b0", 1, True, "synthetic")
    assert (result.images, result.classes, result.classes_total) == (20, 4, CLASSES)


def test_top5_of_five_classes_is_not_given(tmp_path: Path) -> None:
    """It would be 1 for any network."""
    store = tiny_store(tmp_path / "store", ["b0"], classes=5)
    plan = planned(folder(tmp_path / "data", dict.fromkeys(photos(), b"")), store)
    five = Sheet(np.arange(6), np.zeros(6, np.intp), np.eye(6, 5, dtype=np.float32), np.ones(6), np.ones(6))
    assert only(judged(plan, b0=five)).top5 is None


def test_classes_are_judged_one_by_one(plan: Plan) -> None:
    """In the order of the labels."""
    rows = only(judged(plan, b0=sheet(*RIGHT[:17], 9, 9, 4))).per_class
    assert [(row.wnid, row.label, row.images) for row in rows] == [
        (f"n{index:08d}", f"class {index}", 5) for index in range(4)
    ]
    assert [row.top1 for row in rows] == [share(5, 5), share(5, 5), share(5, 5), share(2, 5)]


def test_calibration_is_judged_before_and_after_the_temperature(plan: Plan) -> None:
    """A network that is sure and often wrong gets a temperature above 1, and is more honest with it."""
    answers = sheet(*RIGHT[:10], *([9] * 10))
    sure = replace(answers, logits=answers.logits * 5)
    result = only(judged(plan, b0=sure))
    assert result.temperature > 1
    assert result.ece > result.ece_at_temperature
    assert result.nll == measures.negative_log_likelihood(sure.logits, sure.labels)
    assert result.ece == pytest.approx(measures.confidences(sure.logits).mean() - 0.5)


def test_times_are_medians_in_milliseconds(plan: Plan) -> None:
    """The latency is the sum of both."""
    result = only(judged(plan, b0=sheet(*RIGHT, decode_ms=1.5, inference_ms=8)))
    assert (result.decode_ms.median, result.inference_ms.median) == pytest.approx((1.5, 8))
    assert (result.inference_ms.least, result.inference_ms.p95) == pytest.approx((4, 11.6))
    assert result.latency_ms == pytest.approx(9.5)


def test_variants_come_quickest_first_with_their_dominators(plan: Plan) -> None:
    """Slower and not better is dominated, also when it is as good."""
    report = judged(
        plan,
        b0=sheet(*RIGHT[:15], *([9] * 5), inference_ms=8),
        b1=sheet(*RIGHT[:15], *([9] * 5), inference_ms=4),
        x=sheet(*RIGHT, inference_ms=16),
    )
    assert [(one.name, one.dominated_by) for one in report.variants] == [("b1", ()), ("b0", ("b1",)), ("x", ())]


def test_variants_judged_on_other_images_are_not_compared(plan: Plan) -> None:
    """They are of another group."""
    report = judged(
        plan,
        b0=sheet(*RIGHT[5:], images=range(5, 20), inference_ms=1),
        b1=sheet(*([9] * 20), inference_ms=4),
        x=sheet(*([9] * 20), inference_ms=8),
    )
    groups = {one.name: (one.group, one.dominated_by) for one in report.variants}
    assert groups == {"b0": (0, ()), "b1": (1, ()), "x": (1, ("b1",))}


def test_agreement_is_a_matrix(plan: Plan) -> None:
    """Symmetric, 1 with itself, whatever is right."""
    agreement = judged(plan, b0=sheet(*RIGHT), b1=sheet(*RIGHT[:15], *([9] * 5)), x=sheet(*([9] * 20))).agreement
    assert agreement.variants == ("b0", "b1", "x")
    assert agreement.shares == ((1.0, 0.75, 0.0), (0.75, 1.0, 0.25), (0.0, 0.25, 1.0))
    assert agreement.images == ((20,) * 3,) * 3


def test_agreement_is_on_the_images_of_both(plan: Plan) -> None:
    """None where there are none."""
    agreement = judged(
        plan, b0=sheet(*RIGHT[:15], images=range(15)), b1=sheet(*RIGHT[10:], images=range(10, 20)),
        x=sheet(*RIGHT[15:], images=range(15, 20)),
    ).agreement  # fmt: skip
    assert agreement.shares == ((1.0, 1.0, None), (1.0, 1.0, 1.0), (None, 1.0, 1.0))
    assert agreement.images == ((15, 5, 0), (5, 10, 5), (0, 5, 5))


def test_agreement_is_by_class_not_by_index(tmp_path: Path) -> None:
    """Label sets in another order, with other words for the same ids."""
    store = tiny_store(tmp_path / "store")
    relabel(store / "b1/1", "".join(f"{index}\tn{(index - 1) % 10:08d}\tword {index}\n" for index in range(CLASSES)))
    plan = planned(folder(tmp_path / "data", dict.fromkeys(photos(classes=4, each=5), b"")), store)
    shifted = [called + 1 for called in RIGHT]
    report = judged(plan, b0=sheet(*RIGHT), b1=sheet(*shifted, shift=-1))
    assert report.agreement.shares == ((1.0, 1.0), (1.0, 1.0))
    assert [one.top1.value for one in report.variants] == [1.0, 1.0]


def test_what_was_left_out_is_in_the_report(plan: Plan) -> None:
    """Folders, images and variants."""
    known = {position: index for position, index in plan.subjects[0].known.items() if index != 3}
    some = replace(plan, subjects=(replace(plan.subjects[0], known=known), *plan.subjects[1:]))
    runs = Runs({"b0": sheet(*RIGHT[1:15], images=range(1, 15))}, {"n00000000/0.jpg": "cut"}, {"b1": "it broke"})
    report = make_report(some, runs, dataset="mine", limit=7, threads=2, runtime="a machine")
    assert only(report).left_out == ("n00000003",)
    assert [(one.name, one.reason) for one in report.unreadable] == [("n00000000/0.jpg", "cut")]
    assert [(one.name, one.version, one.reason) for one in report.not_evaluated] == [
        ("b1", "1", "it broke"),
        ("x", "1", "none of its images can be read"),
    ]
    assert (report.images, report.classes, report.images_found, report.limit) == (14, 3, 20, 7)
