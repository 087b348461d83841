"""What is served of a store and what is refused by name, on real folders."""

import json
import shutil
from pathlib import Path

import pytest

from model_store import manifest as manifests
from service.core.messages import RefusedVariant
from service.core.values import AccuracySource
from service.pipeline.store import StoredVariant, StoreError, StoreReader, StoreScan, read_labels, scan
from tests.builders import ACCURACIES
from tests.fixtures import CLASSES, tiny_store, write_variant


@pytest.fixture(name="store")
def _store(tmp_path: Path) -> Path:
    return tiny_store(tmp_path / "store")


def served(found: StoreScan) -> list[tuple[str, int]]:
    """Name and version of each entry."""
    return [(entry.manifest.name, entry.manifest.version) for entry in found.entries]


def reason(store: Path) -> str:
    """Why the only refused version is refused."""
    (refused,) = scan(store).refused
    return refused.reason


def edit_manifest(folder: Path, **changed: object) -> None:
    """Change top-level fields of a manifest by hand."""
    path = folder / manifests.MANIFEST_FILE
    path.write_text(json.dumps({**json.loads(path.read_text()), **changed}))


def test_intact_variants_are_served_in_order_of_name(store: Path) -> None:
    """And none is refused."""
    assert served(scan(store)) == [("b0", 1), ("b1", 1)]
    assert scan(store).refused == ()


def test_an_entry_has_its_graph_and_labels(store: Path) -> None:
    """Ready to open a session with."""
    entry = scan(store).entries[0]
    assert entry.graph.stat().st_size == entry.manifest.graph_bytes
    assert (len(entry.labels), entry.labels[3].wnid, entry.labels[3].text) == (CLASSES, "n00000003", "class 3")


def test_the_newest_version_is_served(store: Path) -> None:
    """By number: 10 is newer than 9, though it sorts before it."""
    for version in (9, 10):
        write_variant(store, "b0", version=version)
    assert served(scan(store)) == [("b0", 10), ("b1", 1)]


def test_a_damaged_newest_version_leaves_the_one_before(store: Path) -> None:
    """The variant stays served; the damaged version is reported."""
    (write_variant(store, "b0", version=2) / manifests.GRAPH_FILE).write_bytes(b"")
    found = scan(store)
    assert served(found) == [("b0", 1), ("b1", 1)]
    assert [(refused.name, refused.version) for refused in found.refused] == [("b0", "2")]


@pytest.mark.parametrize("file", [manifests.GRAPH_FILE, manifests.LABELS_FILE])
def test_a_tampered_file_is_named(store: Path, file: str) -> None:
    """One bit is enough."""
    path = store / "b0" / "1" / file
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    assert reason(store) == f"{file} is damaged or was changed: its checksum is not the manifest's"


@pytest.mark.parametrize("file", [manifests.GRAPH_FILE, manifests.LABELS_FILE, manifests.MANIFEST_FILE])
def test_a_missing_file_is_named(store: Path, file: str) -> None:
    """The variant is refused, the other one is served."""
    (store / "b0" / "1" / file).unlink()
    assert file in reason(store)
    assert served(scan(store)) == [("b1", 1)]


def test_a_manifest_of_another_variant_is_refused(store: Path) -> None:
    """A folder that was copied under a new name."""
    shutil.copytree(store / "b1", store / "b2")
    assert reason(store) == "the manifest is for b1 version 1"


def test_a_manifest_of_another_version_is_refused(store: Path) -> None:
    """A folder that was copied under a new number."""
    shutil.copytree(store / "b1" / "1", store / "b1" / "7")
    assert reason(store) == "the manifest is for b1 version 1"


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\xfe", b'{"schema_version": 1}'])
def test_a_manifest_that_is_not_one_is_refused(store: Path, content: bytes) -> None:
    """Empty, cut short, of the wrong shape, not text, incomplete."""
    (store / "b0" / "1" / manifests.MANIFEST_FILE).write_bytes(content)
    assert reason(store).startswith("manifest.json is not valid: ")


def test_a_manifest_with_an_unknown_field_is_refused_with_its_name(store: Path) -> None:
    """A typo is not a default."""
    edit_manifest(store / "b0" / "1", acuracy={})
    assert reason(store).startswith("manifest.json is not valid: acuracy")


def test_a_manifest_of_a_later_schema_is_refused(store: Path) -> None:
    """It may mean something this service does not know."""
    edit_manifest(store / "b0" / "1", schema_version=2)
    assert "schema_version" in reason(store)


def test_labels_that_are_fewer_than_the_manifest_says_are_refused(store: Path) -> None:
    """Checksums match, the count does not."""
    folder = store / "b0" / "1"
    labels = json.loads((folder / manifests.MANIFEST_FILE).read_text())["labels"]
    edit_manifest(folder, labels={**labels, "classes": 11})
    assert reason(store) == "labels.tsv has 10 classes, the manifest says 11"


@pytest.mark.parametrize("folder", ["b0/.2.partial", ".b9/1"])
def test_half_written_and_hidden_folders_are_not_versions(store: Path, folder: str) -> None:
    """A build that was killed leaves them behind."""
    (store / folder).mkdir(parents=True)
    found = scan(store)
    assert (served(found), found.refused) == ([("b0", 1), ("b1", 1)], ())


def test_stray_files_are_not_versions(store: Path) -> None:
    """Notes beside the variants and inside one."""
    (store / "README.md").write_text("notes")
    (store / "b0" / "notes.txt").write_text("notes")
    assert scan(store).refused == ()


def test_an_empty_version_folder_is_refused_not_fatal(store: Path) -> None:
    """The rest is served."""
    (store / "b2" / "1").mkdir(parents=True)
    assert manifests.MANIFEST_FILE in reason(store)


def test_nothing_intact_leaves_no_entry_and_every_reason(store: Path) -> None:
    """The caller can say why it does not start."""
    for name in ("b0", "b1"):
        (store / name / "1" / manifests.GRAPH_FILE).unlink()
    found = scan(store)
    assert (found.entries, len(found.refused)) == ((), 2)


@pytest.mark.parametrize("folder", ["empty", "missing", "file", "nested"])
def test_a_store_with_nothing_in_it_is_an_error_with_a_way_out(tmp_path: Path, folder: str) -> None:
    """No folder, a file, an empty folder, a variant without versions."""
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").touch()
    (tmp_path / "nested" / "b0").mkdir(parents=True)
    with pytest.raises(StoreError, match=r"no variants in .*`effserve build`"):
        scan(tmp_path / folder)


@pytest.mark.parametrize("threads", [1, 4])
def test_the_number_of_threads_does_not_change_what_is_found(tmp_path: Path, threads: int) -> None:
    """Five variants, one of them damaged."""
    store = tiny_store(tmp_path, ("b0", "b1", "b2", "b3", "b4"))
    (store / "b2" / "1" / manifests.LABELS_FILE).unlink()
    found = scan(store, threads=threads)
    assert served(found) == [("b0", 1), ("b1", 1), ("b3", 1), ("b4", 1)]
    assert [refused.name for refused in found.refused] == ["b2"]


# Ranks.


def test_measured_weights_are_ranked_by_their_accuracy(tmp_path: Path) -> None:
    """Not by what their architecture is known for."""
    write_variant(tmp_path, "b0", top1=0.5, published_top1=0.9)
    variant = scan(tmp_path).entries[0].variant()
    assert (variant.rank_top1, variant.rank_source, variant.trained) == (0.5, AccuracySource.MEASURED, True)


def test_untrained_weights_are_ranked_by_their_architecture_and_marked(tmp_path: Path) -> None:
    """Good for capacity planning only."""
    variant = scan(tiny_store(tmp_path, ("b0",), trained=False)).entries[0].variant()
    assert (variant.rank_top1, variant.rank_source) == (ACCURACIES["b0"], AccuracySource.ARCHITECTURE)
    assert not variant.trained


def test_untrained_weights_of_an_unpublished_architecture_are_not_ranked(tmp_path: Path) -> None:
    """There is nothing to rank a custom network by."""
    write_variant(tmp_path, "custom", trained=False)
    variant = scan(tmp_path).entries[0].variant()
    assert (variant.rank_top1, variant.rank_source) == (None, AccuracySource.NONE)


def test_trained_weights_of_unknown_accuracy_do_not_borrow_the_architectures(tmp_path: Path) -> None:
    """Somebody's fine-tune may be anything."""
    write_variant(tmp_path, "custom", published_top1=0.8)
    variant = scan(tmp_path).entries[0].variant()
    assert (variant.rank_top1, variant.rank_source, variant.trained) == (None, AccuracySource.NONE, True)


# Labels.


@pytest.mark.parametrize(
    ("text", "line"),
    [("0\tn0\ta\n2\tn2\tc\n", 2), ("0\tn0\n", 1), ("0\tn0\ta\tmore\n", 1), ("zero\tn0\ta\n", 1), ("\n", 1)],
)
def test_a_label_line_that_is_not_one_is_named_by_number(tmp_path: Path, text: str, line: int) -> None:
    """A gap, a missing field, a field too many, no number, an empty line."""
    path = tmp_path / "labels.tsv"
    path.write_text(text)
    with pytest.raises(ValueError, match=f"line {line} is not"):
        read_labels(path)


def test_labels_may_lack_a_wordnet_id_and_hold_any_words(tmp_path: Path) -> None:
    """Commas, accents, even what Unicode counts as a line separator."""
    path = tmp_path / "labels.tsv"
    path.write_text("0\t\tcafé, crème\n1\tn1\tone\u2028line\n", encoding="utf-8")
    assert [(label.wnid, label.text) for label in read_labels(path)] == [("", "café, crème"), ("n1", "one\u2028line")]


def test_a_store_is_read_again_only_where_it_has_changed(store: Path) -> None:
    """The very same entry comes back, until a file is written or put in another one's place."""
    reader = StoreReader(store)
    before = reader.scan().entries
    assert [one is other for one, other in zip(before, reader.scan().entries, strict=True)] == [True, True]
    edit_manifest(store / "b0" / "1", params=7)
    after = reader.scan().entries
    assert [one is other for one, other in zip(before, after, strict=True)] == [False, True]
    assert after[0].manifest.params == 7


def test_a_version_that_is_asked_for_is_read_anew(store: Path) -> None:
    """The newest by number, damaged or not; or the one that is named; or none."""
    reader = StoreReader(store)
    write_variant(store, "b0", version=9)
    (write_variant(store, "b0", version=10) / manifests.GRAPH_FILE).write_bytes(b"")
    newest, ninth = reader.find("b0"), reader.find("b0", 9)
    assert isinstance(newest, RefusedVariant)
    assert newest.version == "10"
    assert isinstance(ninth, StoredVariant)
    assert ninth.manifest.version == 9
    assert (reader.find("b9"), reader.find("b0", 3)) == (None, None)


def test_what_is_there_is_listed_unread(store: Path) -> None:
    """Also what is no version; a store that is gone has nothing."""
    (store / "b2" / "new").mkdir(parents=True)
    assert StoreReader(store).versions() == [("b0", "1"), ("b1", "1"), ("b2", "new")]
    assert StoreReader(store / "gone").versions() == []


def test_a_version_that_vanishes_while_it_is_looked_at_is_refused(store: Path) -> None:
    """Somebody is tidying up."""
    reader = StoreReader(store)
    (store / "b0" / "1" / manifests.GRAPH_FILE).unlink()
    assert [one.reason for one in reader.scan().refused] == ["model.onnx is missing"]
