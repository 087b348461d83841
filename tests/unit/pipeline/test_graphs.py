"""Kept graphs: same answers as the graph itself, checked, made anew when damaged, and none where none can be kept."""

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from service.pipeline import graphs
from service.pipeline.graphs import ABANDONED_S, GRAPH, RECORD, UNUSED_S, WEIGHTS, open_session, prune
from service.pipeline.session import Session, SessionError, SessionOptions
from service.pipeline.store import StoredVariant, scan
from service.wire.graph_pb2 import Model
from tests.fixtures import preprocessing, tiny_store
from tests.unit.pipeline.test_store import edit_manifest

IMAGES = np.random.default_rng(7).integers(0, 256, (3, 128, 128, 3), np.uint8)


@pytest.fixture(name="entry")
def _entry(tmp_path: Path) -> StoredVariant:
    (entry,) = scan(tiny_store(tmp_path / "store", ["b1"])).entries
    return entry


@pytest.fixture(name="options")
def _options(tmp_path: Path) -> SessionOptions:
    return SessionOptions(graphs=tmp_path / "graphs")


@pytest.fixture(name="expected")
def _expected(entry: StoredVariant) -> npt.NDArray[np.float32]:
    return open_session(entry, SessionOptions()).run(IMAGES)


def kept(options: SessionOptions) -> Path:
    """The folder of the one graph that is kept."""
    assert options.graphs is not None
    (folder,) = options.graphs.iterdir()
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    """By the name of the file."""
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def silent(_: str) -> None:
    """To be told anything is a failure."""
    raise AssertionError(_)


def opened(entry: StoredVariant, options: SessionOptions) -> Session:
    """A session of a kept graph."""
    return open_session(entry, options, silent)


def test_a_kept_graph_gives_the_same_logits_bit_for_bit(
    entry: StoredVariant, options: SessionOptions, expected: npt.NDArray[np.float32]
) -> None:
    """When it is made and when it is found, of one image and of several."""
    made, found = opened(entry, options), opened(entry, options)
    assert np.array_equal(made.run(IMAGES), expected)
    assert np.array_equal(found.run(IMAGES), expected)
    assert np.array_equal(found.run(IMAGES[:1]), expected[:1])


def test_what_is_kept_is_not_written_again(entry: StoredVariant, options: SessionOptions) -> None:
    """The next start finds it."""
    opened(entry, options)
    before = (kept(options) / WEIGHTS).stat()
    opened(entry, options)
    assert (kept(options) / WEIGHTS).stat() == before


def test_gates_are_in_the_blocked_layout(entry: StoredVariant, options: SessionOptions) -> None:
    """Where the processor has one: products are fewer than there are gates."""
    opened(entry, options)
    nodes = Model.FromString((kept(options) / GRAPH).read_bytes()).graph.node
    if not any(node.domain == "com.microsoft.nchwc" for node in nodes):
        pytest.skip("ONNX Runtime has no blocked layout for this processor")
    pools = sum(node.op_type == "GlobalAveragePool" for node in nodes)
    assert sum(node.op_type == "Mul" for node in nodes) < pools - 1


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="only Linux tells what is mapped")
def test_weights_are_mapped(entry: StoredVariant, options: SessionOptions) -> None:
    """So that processes share them."""
    session = opened(entry, options)
    assert str(kept(options) / WEIGHTS) in Path("/proc/self/maps").read_text()
    assert session.run(IMAGES[:1]).shape[0] == 1


def cut(file: Path) -> None:
    """Half of it is lost."""
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def flip(file: Path) -> None:
    """A bit in the middle changes."""
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


@pytest.mark.parametrize("name", [GRAPH, WEIGHTS, RECORD])
@pytest.mark.parametrize("damage", [cut, flip, Path.unlink])
def test_a_damaged_one_is_made_anew(
    entry: StoredVariant,
    options: SessionOptions,
    expected: npt.NDArray[np.float32],
    name: str,
    damage: Callable[[Path], None],
) -> None:
    """Whichever file it is. What is there then is whole: it is found, and nothing else is left."""
    opened(entry, options)
    damage(kept(options) / name)
    assert np.array_equal(opened(entry, options).run(IMAGES), expected)
    repaired = contents(kept(options))
    opened(entry, options)
    assert contents(kept(options)) == repaired
    assert repaired.keys() == {GRAPH, WEIGHTS, RECORD}


def test_a_session_outlives_what_it_was_opened_from(
    entry: StoredVariant, options: SessionOptions, expected: npt.NDArray[np.float32]
) -> None:
    """Another process may find it damaged and put another one in its place."""
    session = opened(entry, options)
    (kept(options) / RECORD).unlink()
    opened(entry, options)
    assert np.array_equal(session.run(IMAGES), expected)


def test_the_graph_of_another_key_is_not_taken(
    entry: StoredVariant, options: SessionOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of another runtime, say; not even from the same folder."""
    opened(entry, options)
    first = kept(options)
    monkeypatch.setattr(graphs, "machine_fingerprint", lambda: "another")
    opened(entry, options)
    assert options.graphs is not None
    (second,) = set(options.graphs.iterdir()) - {first}
    for file in first.iterdir():
        (second / file.name).write_bytes(file.read_bytes())
    opened(entry, options)
    assert b"another" in (second / RECORD).read_bytes()


def test_where_nothing_can_be_kept_the_graph_itself_is_opened(
    entry: StoredVariant, tmp_path: Path, expected: npt.NDArray[np.float32]
) -> None:
    """And one line says why."""
    (tmp_path / "file").touch()
    told = list[str]()
    session = open_session(entry, SessionOptions(graphs=tmp_path / "file" / "graphs"), told.append)
    assert np.array_equal(session.run(IMAGES), expected)
    (line,) = told
    assert line.startswith("the optimised graph of b1 is not kept: ")


def other_gates(content: bytes) -> bytes:
    """A graph whose gates end in another function."""
    model = Model.FromString(content)
    for node in model.graph.node:
        for attribute in node.attribute:
            if attribute.name == "activation":
                attribute.s = b"Tanh"
    return model.SerializeToString()


@pytest.mark.parametrize("form", [other_gates, lambda _: b"no graph"], ids=["other logits", "no graph"])
def test_a_form_that_is_not_the_same_network_is_not_kept(
    entry: StoredVariant,
    options: SessionOptions,
    expected: npt.NDArray[np.float32],
    monkeypatch: pytest.MonkeyPatch,
    form: Callable[[bytes], bytes],
) -> None:
    """What ONNX Runtime wrote is then kept as it is."""
    monkeypatch.setattr(graphs, "gated", form)
    assert np.array_equal(opened(entry, options).run(IMAGES), expected)
    assert b"Tanh" not in (kept(options) / GRAPH).read_bytes()


def test_without_a_folder_nothing_is_written(entry: StoredVariant, tmp_path: Path) -> None:
    """The graph is opened as it is."""
    assert opened(entry, SessionOptions()).run(IMAGES).shape[0] == len(IMAGES)
    assert [path.name for path in tmp_path.iterdir()] == ["store"]


def test_a_graph_that_is_not_what_its_manifest_says_is_refused(entry: StoredVariant, options: SessionOptions) -> None:
    """Its own error, and nothing is kept."""
    edit_manifest(entry.folder, preprocessing=preprocessing(48).model_dump())
    changed = replace(entry, manifest=scan(entry.folder.parents[1]).entries[0].manifest)
    with pytest.raises(SessionError, match="not uint8"):
        open_session(changed, options)
    assert options.graphs is not None
    assert list(options.graphs.iterdir()) == []


def test_what_was_not_used_for_long_is_removed(entry: StoredVariant, options: SessionOptions) -> None:
    """Opening is using; a draft is given up sooner."""
    opened(entry, options)
    folder, draft = kept(options), kept(options).with_name(f".{kept(options).name}-00000000")
    draft.mkdir()
    now_s = draft.stat().st_mtime
    prune(folder.parent, now_s + ABANDONED_S + 60)
    assert (folder.exists(), draft.exists()) == (True, False)
    os.utime(folder / RECORD, (now_s - UNUSED_S, now_s - UNUSED_S))
    opened(entry, options)
    prune(folder.parent, now_s + 60)
    assert folder.exists()
    prune(folder.parent, now_s + UNUSED_S + 600)
    assert not folder.exists()


def test_there_may_be_nothing_to_remove(tmp_path: Path) -> None:
    """Before the first graph is kept there is no folder."""
    prune(tmp_path / "graphs")
    assert not (tmp_path / "graphs").exists()


def test_what_somebody_else_keeps_there_stays(tmp_path: Path) -> None:
    """However old it is, hidden or not."""
    others = [tmp_path / ".somebody", tmp_path / "notes"]
    for folder in others:
        folder.mkdir()
        (folder / RECORD).write_text("{}")
        os.utime(folder / RECORD, (0, 0))
        os.utime(folder, (0, 0))
    prune(tmp_path)
    assert all(folder.exists() for folder in others)
