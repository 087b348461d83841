"""Which variants are judged on which images, and what is left out by name."""

from collections import Counter
from pathlib import Path

import pytest

from model_store import manifest as manifests
from model_store.images import ImagesError, Sample
from service.evaluation.plan import EvaluationError, evenly, shortened
from service.pipeline.store import StoreError
from tests.fixtures import tiny_store, write_variant
from tests.unit.evaluation.kit import folder, photos, planned, relabel


@pytest.fixture(name="store")
def _store(tmp_path: Path) -> Path:
    return tiny_store(tmp_path / "store")


@pytest.fixture(name="data")
def _data(tmp_path: Path) -> Path:
    return folder(tmp_path / "data", photos())


def test_all_variants_are_judged_on_all_images(store: Path, data: Path) -> None:
    """Unless told otherwise."""
    plan = planned(data, store)
    assert [subject.name for subject in plan.subjects] == ["b0", "b1"]
    assert [subject.known for subject in plan.subjects] == [{0: 0, 1: 1, 2: 2}] * 2
    assert (plan.samples, plan.matched, plan.refused) == (plan.images.samples, 6, ())


def test_only_named_variants_are_opened(store: Path, data: Path) -> None:
    """Once each, in the order of the names."""
    plan = planned(data, store, "b1", "b0", "b1")
    assert [subject.name for subject in plan.subjects] == ["b1", "b0"]
    assert [subject.name for subject in planned(data, store, "b1").subjects] == ["b1"]


def test_an_unknown_variant_is_named_with_those_there_are(store: Path, data: Path) -> None:
    """In one line."""
    with pytest.raises(EvaluationError, match=r"no variant 'b9' in .*store; there are b0, b1"):
        planned(data, store, "b0", "b9")


def test_a_damaged_version_is_left_out_by_name(store: Path, data: Path) -> None:
    """The others are judged."""
    (store / "b1/1" / manifests.GRAPH_FILE).write_bytes(b"damaged")
    plan = planned(data, store)
    assert [subject.name for subject in plan.subjects] == ["b0"]
    assert [(one.name, one.version) for one in plan.refused] == [("b1", "1")]
    assert "model.onnx is damaged" in plan.refused[0].reason
    assert planned(data, store, "b0").refused == ()


def test_a_damaged_version_that_was_asked_for_is_an_error(store: Path, data: Path) -> None:
    """Nobody who names a variant wants a report without it."""
    (store / "b1/1" / manifests.GRAPH_FILE).write_bytes(b"damaged")
    with pytest.raises(EvaluationError, match=r"b1 version 1 is not served: model\.onnx is damaged"):
        planned(data, store, "b1")


def test_a_graph_that_does_not_open_is_left_out_by_name(store: Path, data: Path) -> None:
    """Its checksum may be right all the same."""
    (store / "b1/1" / manifests.GRAPH_FILE).write_bytes(b"no graph")
    manifest = manifests.read(store / "b1/1")
    checksum = manifests.sha256_of(store / "b1/1" / manifests.GRAPH_FILE)
    manifests.write(manifest.model_copy(update={"graph_sha256": checksum}), store / "b1/1")
    (refused,) = planned(data, store).refused
    assert (refused.name, refused.reason.partition(":")[0]) == ("b1", "ONNX Runtime refuses the graph")
    with pytest.raises(EvaluationError, match="nothing can be evaluated: b1 version 1: ONNX Runtime refuses"):
        planned(data, store, "b1")


def test_an_empty_store_says_how_to_fill_it(tmp_path: Path, data: Path) -> None:
    """As when it is served."""
    with pytest.raises(StoreError, match="`effserve build` or `effserve pull`"):
        planned(data, tmp_path / "nothing")


def test_missing_data_is_named(tmp_path: Path, store: Path) -> None:
    """Before anything is opened."""
    with pytest.raises(ImagesError, match="nowhere is neither a folder nor a ZIP"):
        planned(tmp_path / "nowhere", store)


def test_folders_that_no_variant_knows_are_not_run(store: Path, data: Path) -> None:
    """A variant knows what it has a class for, by label as by id."""
    folder(data, {"class_5/a.jpg": b"", "unicorn/b.jpg": b""})
    plan = planned(data, store)
    assert plan.images.classes == ("class_5", "n00000000", "n00000001", "n00000002", "unicorn")
    assert plan.subjects[0].known == {0: 5, 1: 0, 2: 1, 3: 2}
    assert {sample.label for sample in plan.samples} == {0, 1, 2, 3}


def test_variants_of_other_classes_are_judged_on_theirs(store: Path, data: Path) -> None:
    """An image is run when one of them knows it."""
    relabel(store / "b1/1", "0\tn00000002\tsecond\n1\tn99999999\tanother\n" + _rest(8))
    plan = planned(data, store)
    assert [subject.known for subject in plan.subjects] == [{0: 0, 1: 1, 2: 2}, {2: 0}]
    assert len(plan.samples) == 6
    assert len(planned(data, store, "b1").samples) == 2


def test_a_variant_that_knows_none_of_the_classes_is_left_out(store: Path, data: Path) -> None:
    """By name."""
    relabel(store / "b1/1", _rest(10))
    plan = planned(data, store)
    assert [subject.name for subject in plan.subjects] == ["b0"]
    assert [(one.name, one.reason) for one in plan.refused] == [("b1", "it has none of the classes of these images")]


def test_images_that_nobody_knows_are_an_error(tmp_path: Path, store: Path) -> None:
    """It says what the folders are called."""
    data = folder(tmp_path / "other", {f"{name}/a.jpg": b"" for name in "abcdefg"})
    with pytest.raises(EvaluationError, match=r"no folder of .*other is .*; there are a, b, c, d, e and 2 more"):
        planned(data, store)


def test_a_limit_takes_evenly_of_all_classes(store: Path, data: Path) -> None:
    """And says how many there were."""
    plan = planned(data, store, limit=3)
    assert [sample.label for sample in plan.samples] == [0, 1, 2]
    assert plan.matched == 6
    assert len(planned(data, store, limit=100).samples) == 6


@pytest.mark.parametrize("limit", [1, 7, 10, 23, 40])
def test_evenly_is_as_even_as_it_can_be(limit: int) -> None:
    """Classes differ by one image at most, unless one has no more; the same are chosen each time."""
    samples = [Sample(f"{label}/{number}", label) for label, many in enumerate((20, 3, 20)) for number in range(many)]
    chosen = evenly(samples, limit)
    counts = Counter(sample.label for sample in chosen)
    assert len(chosen) == limit
    assert abs(counts[0] - counts[2]) <= 1
    assert counts[1] == 3 or max(counts.values()) - counts[1] <= 1
    assert chosen == sorted(chosen, key=samples.index) == evenly(samples, limit)


def test_evenly_spreads_over_classes_when_there_are_more_of_them() -> None:
    """Not the first ones by name."""
    chosen = evenly([Sample(str(label), label) for label in range(1000)], 20)
    assert max(sample.label for sample in chosen) > 500


def test_few_names_are_not_shortened() -> None:
    """Many are."""
    assert shortened(["a", "b"]) == "a, b"
    assert shortened(list("abcdefgh")) == "a, b, c, d, e and 3 more"


def test_the_newest_version_is_judged(store: Path, data: Path) -> None:
    """The one that is served."""
    write_variant(store, "b0", version=2)
    assert [subject.entry.manifest.version for subject in planned(data, store).subjects] == [2, 1]


def _rest(count: int) -> str:
    """Label lines that mean nothing else, to the end of ten."""
    return "".join(f"{index}\t\tword {index}\n" for index in range(10 - count, 10))
