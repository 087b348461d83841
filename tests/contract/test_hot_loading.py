"""What is served changes while the service runs, on both protocols, over real sockets and real graphs."""

import asyncio
import gc
import json
import shutil
import threading
import weakref
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import cast

import grpc
import numpy as np
import numpy.typing as npt
import onnx
import pytest
import typer
from onnx import TensorProto, helper

from model_store import manifest as manifests
from service.client import Client
from service.commands import client
from service.commands.console import CommandError
from service.core.errors import EffserveError, ErrorKind
from service.core.events import StoreUnread, VariantChanged, VariantLoaded, VariantRefused
from service.core.messages import ChangeKind, RefusedVariant
from service.core.values import Variant
from service.pipeline.executor import Runner
from service.pipeline.opening import Known, Opened, Opener
from service.pipeline.priority import can_yield
from service.pipeline.session import Session, SessionError
from service.pipeline.stop import Stop
from service.pipeline.store import StoredVariant
from service.wire import grpc_inference_pb2 as pb
from tests.contract.grpc_kit import PATIENCE_S
from tests.contract.oip_kit import Kit, as_parameter, document, lengths, message, raw_scores, scores, serving
from tests.fixtures import CLASSES, jpeg, tiny_store, write_variant

PHOTO = jpeg(160, 120)
IMAGE = {"Content-Type": "image/jpeg"}
EXPLICIT: dict[str, object] = {"changes": "explicit"}


@asynccontextmanager
async def changeable(store: Path, **more: object) -> AsyncIterator[Kit]:
    """A server whose variants may be loaded and unloaded."""
    async with serving(store, store={"dir": store, **EXPLICIT, **more}) as kit:
        yield kit


@pytest.fixture(name="store")
def _store(tmp_path: Path) -> Path:
    return tiny_store(tmp_path / "store")


async def over_http(kit: Kit, verb: str, name: str, **parameters: object) -> tuple[int, str]:
    """Status and kind of failure, if any."""
    body = {"parameters": parameters} if parameters else {}
    response = await kit.http.post(f"/v2/repository/models/{name}/{verb}", json=body)
    return response.status_code, response.headers.get("effserve-error-kind", "")


async def over_grpc(kit: Kit, verb: str, name: str, **parameters: bool | int | str) -> tuple[grpc.StatusCode, str]:
    """The same."""
    method, request = {
        "load": (kit.stub.RepositoryModelLoad, pb.RepositoryModelLoadRequest),
        "unload": (kit.stub.RepositoryModelUnload, pb.RepositoryModelUnloadRequest),
    }[verb]
    given = {}
    for key, value in parameters.items():
        chosen = as_parameter(value)
        field = chosen.WhichOneof("parameter_choice")
        given[key] = pb.ModelRepositoryParameter(**{str(field): value})  # type: ignore[arg-type]
    try:
        await method(request(model_name=name, parameters=given))
    except grpc.aio.AioRpcError as error:
        trailer = {key: str(value) for key, value in error.trailing_metadata() or ()}
        return error.code(), trailer.get("effserve-error-kind", "")
    return grpc.StatusCode.OK, ""


async def index(kit: Kit) -> dict[tuple[str, str], tuple[str, str]]:
    """Name and version → state and reason."""
    rows = (await kit.http.post("/v2/repository/index")).raise_for_status().json()
    return {(row["name"], row["version"]): (row["state"], row["reason"]) for row in rows}


async def names(kit: Kit) -> list[str]:
    """Of what is served."""
    found: list[str] = (await kit.http.get("/v2/models")).json()["models"]
    return found


async def logits(kit: Kit, model: str = "b0") -> bytes:
    """Of the photo."""
    return scores(await kit.post(document([PHOTO]), model))["logits"]


def changes(kit: Kit) -> list[tuple[ChangeKind, str, str]]:
    """What the observer has been told."""
    told = (event.change for event in kit.seen.events if isinstance(event, VariantChanged))
    return [(change.kind, change.name, change.version) for change in told]


async def test_a_new_variant_is_served_once_it_is_loaded(store: Path) -> None:
    """By name and by budget, on all pages; the index says so. Loading it again changes nothing."""
    async with changeable(store) as kit:
        write_variant(store, "b2")
        assert (await index(kit))["b2", "1"] == ("UNAVAILABLE", "not loaded")
        assert await over_http(kit, "load", "b2") == (200, "")
        assert (await index(kit))["b2", "1"] == ("READY", "")
        assert await names(kit) == ["b0", "b1", "b2", "efficientnet"]
        answer = (await kit.post(document([PHOTO]))).raise_for_status().json()
        assert answer["parameters"]["variant"] == "b2"
        table = (await kit.http.get("/variants")).json()["variants"]
        assert [row["name"] for row in table] == ["b0", "b1", "b2"]
        assert all(row["expected_ms"] > 0 and row["routed"] for row in table)
        assert await over_grpc(kit, "load", "b2") == (grpc.StatusCode.OK, "")
        assert changes(kit) == [(ChangeKind.LOADED, "b2", "1")]


async def test_an_unloaded_variant_is_unknown_and_can_come_back(store: Path) -> None:
    """Its session is free when the call returns; whoever names it is told what there is."""
    async with changeable(store) as kit:
        before = await logits(kit, "b1")
        session = weakref.ref(next(runner.session for v, runner in kit.runners.items() if v.name == "b1"))
        assert await over_grpc(kit, "unload", "b1", unload_dependents=True) == (grpc.StatusCode.OK, "")
        gc.collect()
        assert session() is None
        response = await kit.post(document([PHOTO]), "b1")
        assert (response.status_code, response.headers["effserve-error-kind"]) == (404, "unknown-variant")
        assert (await kit.http.get("/variants/b1")).status_code == 404
        assert (await kit.http.get("/plan?budget_ms=60000")).json()["decision"]["variant"] == "b0"
        assert await over_http(kit, "load", "b1") == (200, "")
        assert await logits(kit, "b1") == before


async def test_the_newest_version_takes_the_place_of_the_one_before(store: Path) -> None:
    """Other logits, another size, the same name; the version that is named can be had back."""
    async with changeable(store) as kit:
        first = await logits(kit)
        write_variant(store, "b0", version=2, resolution=64)
        assert await over_http(kit, "load", "b0") == (200, "")
        assert (await index(kit))["b0", "2"] == ("READY", "")
        assert (await kit.http.get("/v2/models/b0")).json()["inputs"][0]["shape"] == [-1, 64, 64, 3]
        assert await logits(kit) != first
        assert (await kit.http.get("/v2/models/b0/versions/1")).status_code == 404
        assert await over_grpc(kit, "load", "b0", version=1) == (grpc.StatusCode.OK, "")
        assert await logits(kit) == first
        assert [len(kit.runners), *changes(kit)] == [
            2, (ChangeKind.REPLACED, "b0", "2"), (ChangeKind.REPLACED, "b0", "1"),
        ]  # fmt: skip


async def test_other_figures_of_the_same_network_keep_its_session(store: Path) -> None:
    """What an evaluation writes into a manifest counts at the next reload."""
    async with changeable(store) as kit:
        session, loaded = (
            {variant.name: one.session for variant, one in kit.runners.items()}["b0"],
            len(kit.seen.events),
        )
        folder = store / "b0" / "1"
        known = manifests.read(folder)
        better = known.accuracy.model_copy(update={"top1": 0.9})
        manifests.write(known.model_copy(update={"accuracy": better}), folder)
        assert [change.kind for change in await kit.repository.reload()] == [ChangeKind.REPLACED, ChangeKind.KEPT]
        assert (await kit.http.get("/variants/b0")).json()["rank_top1"] == 0.9
        assert {variant.name: runner.session for variant, runner in kit.runners.items()}["b0"] is session
        assert not any(isinstance(event, VariantLoaded) for event in kit.seen.events[loaded:])


def damage(folder: Path) -> None:
    """Cut the graph short."""
    (folder / manifests.GRAPH_FILE).write_bytes((folder / manifests.GRAPH_FILE).read_bytes()[:-10])


def mislabel(folder: Path) -> None:
    """Other words than those that were counted."""
    (folder / manifests.LABELS_FILE).write_text("0\t\tcat\n")


def resign(folder: Path) -> None:
    """A network of another size than the manifest says."""
    known = manifests.read(folder)
    preparation = known.preprocessing.model_copy(update={"input_size_px": 48})
    manifests.write(known.model_copy(update={"preprocessing": preparation}), folder)


def spoil(folder: Path) -> None:
    """A network that can be loaded, and cannot be run."""
    pixels = helper.make_tensor_value_info("pixels", TensorProto.UINT8, ["n", 32, 32, 3])
    out = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n", CLASSES])
    shape = helper.make_tensor("shape", TensorProto.INT64, [2], [-1, CLASSES])
    nodes = [
        helper.make_node("Cast", ["pixels"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("Reshape", ["floats", "shape"], ["logits"]),
    ]
    graph = helper.make_graph(nodes, "spoilt", [pixels], [out], [shape])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(model, str(folder / manifests.GRAPH_FILE))
    known = manifests.read(folder)
    checksum = manifests.sha256_of(folder / manifests.GRAPH_FILE)
    manifests.write(known.model_copy(update={"graph_sha256": checksum}), folder)


BROKEN: dict[str, tuple[Callable[[Path], None], str]] = {
    "damaged": (damage, "checksum"),
    "other labels": (mislabel, "checksum"),
    "another signature": (resign, "not uint8 [N, 48, 48, 3]"),
    "it does not run": (spoil, "does not run"),
}


async def test_a_broken_version_leaves_the_one_before(store: Path) -> None:
    """Whatever is wrong with it; the index keeps the reason until an intact one is loaded."""
    async with changeable(store) as kit:
        before = await logits(kit)
        for spoiling, words in BROKEN.values():
            folder = write_variant(store, "b0", version=2)
            spoiling(folder)
            response = await kit.http.post("/v2/repository/models/b0/load")
            assert (response.status_code, response.headers["effserve-error-kind"]) == (400, "load-failed")
            assert words in response.json()["error"]
            found = await index(kit)
            assert found["b0", "1"] == ("READY", "")
            assert found["b0", "2"][0] == "UNAVAILABLE"
            assert words in found["b0", "2"][1]
            assert await logits(kit) == before
            shutil.rmtree(folder)
        assert await over_grpc(kit, "load", "b0", version=2) == (grpc.StatusCode.NOT_FOUND, "unknown-variant")
        write_variant(store, "b0", version=2)
        assert await over_grpc(kit, "load", "b0") == (grpc.StatusCode.OK, "")
        assert (await index(kit))["b0", "2"] == ("READY", "")
        assert len([event for event in kit.seen.events if isinstance(event, VariantRefused)]) == len(BROKEN)


async def test_what_is_wrong_with_a_change_is_said_on_both_protocols(store: Path) -> None:
    """By kind; and nothing is changed."""
    refusals: list[tuple[str, str, dict[str, bool | int | str], int, grpc.StatusCode, str]] = [
        ("load", "efficientnet", {}, 409, grpc.StatusCode.FAILED_PRECONDITION, "change-refused"),
        ("unload", "efficientnet", {}, 409, grpc.StatusCode.FAILED_PRECONDITION, "change-refused"),
        ("load", "b9", {}, 404, grpc.StatusCode.NOT_FOUND, "unknown-variant"),
        ("load", "..", {}, 404, grpc.StatusCode.NOT_FOUND, "unknown-variant"),
        ("load", "b0", {"version": 7}, 404, grpc.StatusCode.NOT_FOUND, "unknown-variant"),
        ("unload", "b9", {}, 404, grpc.StatusCode.NOT_FOUND, "unknown-variant"),
        ("load", "b0", {"config": "{}"}, 501, grpc.StatusCode.UNIMPLEMENTED, "unsupported"),
        ("load", "b0", {"file:1/model.onnx": "AAAA"}, 501, grpc.StatusCode.UNIMPLEMENTED, "unsupported"),
        ("load", "b0", {"version": "new"}, 400, grpc.StatusCode.INVALID_ARGUMENT, "invalid-parameter"),
        ("load", "b0", {"version": True}, 400, grpc.StatusCode.INVALID_ARGUMENT, "invalid-parameter"),
        ("load", "b0", {"fast": True}, 400, grpc.StatusCode.INVALID_ARGUMENT, "invalid-parameter"),
        ("unload", "b0", {"unload_dependents": 3}, 400, grpc.StatusCode.INVALID_ARGUMENT, "invalid-parameter"),
    ]
    async with changeable(store) as kit:
        for verb, name, parameters, status, code, kind in refusals:
            if "/" not in name and name != "..":
                assert await over_http(kit, verb, name, **parameters) == (status, kind)
            assert await over_grpc(kit, verb, name, **parameters) == (code, kind)
        for body, refused in (b"[1]", (400, "malformed-request")), (b" " * 65_537, (413, "request-too-large")):
            response = await kit.http.post("/v2/repository/models/b0/load", content=body)
            assert (response.status_code, response.headers["effserve-error-kind"]) == refused
        assert changes(kit) == []
        assert await over_http(kit, "load", "b0", version="1") == (200, "")


async def test_the_last_variant_that_a_budget_can_choose_stays(tmp_path: Path) -> None:
    """Whether it were unloaded or took a version without a known accuracy; others may go."""
    store = tiny_store(tmp_path / "store", ["b0"])
    write_variant(store, "b1", trained=False)
    async with changeable(store) as kit:
        assert await over_http(kit, "unload", "b1") == (200, "")
        assert await over_http(kit, "load", "b1") == (200, "")
        assert await over_http(kit, "unload", "b0") == (409, "change-refused")
        write_variant(store, "b0", version=2, trained=False)
        assert await over_http(kit, "load", "b0") == (400, "load-failed")
        assert (await index(kit))["b0", "1"] == ("READY", "")
        assert (await kit.post(document([PHOTO]))).status_code == 200


async def test_a_network_is_not_changed_in_place(store: Path) -> None:
    """A version is one network; another one needs another number."""
    async with changeable(store) as kit:
        shutil.rmtree(store / "b0" / "1")
        write_variant(store, "b0", resolution=64)
        response = await kit.http.post("/v2/repository/models/b0/load")
        assert "it needs a new version" in response.json()["error"]
        assert (await kit.http.get("/v2/models/b0")).json()["inputs"][0]["shape"] == [-1, 32, 32, 3]


async def test_a_reload_makes_what_is_served_equal_to_the_store(store: Path) -> None:
    """New, newer, gone and broken ones; over HTTP, gRPC and from the command line."""
    async with changeable(store) as kit:
        write_variant(store, "b0", version=2)
        write_variant(store, "b2")
        shutil.rmtree(store / "b1")
        damage(write_variant(store, "b3"))
        found = (await kit.http.post("/reload")).raise_for_status().json()["changes"]
        assert [(one["change"], one["name"], one["version"]) for one in found] == [
            ("replaced", "b0", "2"), ("loaded", "b2", "1"), ("refused", "b3", "1"), ("unloaded", "b1", "1"),
        ]  # fmt: skip
        assert await names(kit) == ["b0", "b2", "efficientnet"]
        damage(store / "b0" / "2")
        said = await asyncio.to_thread(reloaded, f"grpc://127.0.0.1:{kit.ports[1]}")
        assert [(one["change"], one["name"], one["version"]) for one in said] == [
            ("kept", "b2", "1"), ("refused", "b0", "2"), ("refused", "b3", "1"),
        ]  # fmt: skip
        assert (await index(kit))["b0", "2"][0] == "READY"
        assert "checksum" in (await index(kit))["b0", "2"][1]
        shutil.rmtree(store)
        response = await kit.http.post("/reload")
        assert (response.status_code, response.json()["kind"]) == (409, "change-refused")


def reloaded(url: str) -> list[dict[str, str]]:
    """What `effserve reload` is told."""
    with Client(url) as asking:
        return [{"change": one.change, "name": one.name, "version": one.version} for one in asking.reload().changes]


async def test_a_newer_version_is_served_though_the_files_of_the_present_one_are_damaged(store: Path) -> None:
    """Only what is older never takes its place by itself."""
    async with changeable(store) as kit:
        write_variant(store, "b0", version=2)
        await kit.repository.load("b0")
        damage(store / "b0" / "2")
        await kit.repository.reload()
        assert (await index(kit))["b0", "2"][0] == "READY"
        write_variant(store, "b0", version=3)
        await kit.repository.reload()
        assert (await index(kit))["b0", "3"] == ("READY", "")


async def test_a_link_that_leads_nowhere_stops_nothing(store: Path) -> None:
    """Neither looking nor serving what it lies beside."""
    async with changeable(store) as kit:
        (write_variant(store, "b2") / "notes").symlink_to(store / "nowhere")
        for _ in range(2):
            found = (await kit.http.post("/reload")).raise_for_status().json()["changes"]
        assert [(one["change"], one["name"]) for one in found] == [("kept", "b0"), ("kept", "b1"), ("kept", "b2")]


async def test_a_refusal_goes_when_its_cause_has_gone(store: Path) -> None:
    """A broken version that was taken away, and files that were mended, are nothing to be alarmed by."""
    async with changeable(store) as kit:
        broken, graph = write_variant(store, "b0", version=2), store / "b1" / "1" / manifests.GRAPH_FILE
        damage(broken)
        intact = graph.read_bytes()
        damage(graph.parent)
        await kit.repository.reload()
        assert {(one.name, one.version) for one in kit.dataplane.refused()} == {("b0", "2"), ("b1", "1")}
        shutil.rmtree(broken)
        graph.write_bytes(intact)
        await kit.repository.reload()
        assert kit.dataplane.refused() == ()
        assert ("b0", "2") not in await index(kit)


async def test_loading_what_is_served_clears_its_refusal(store: Path) -> None:
    """Its files were damaged and are mended."""
    async with changeable(store) as kit:
        graph = store / "b1" / "1" / manifests.GRAPH_FILE
        intact = graph.read_bytes()
        damage(graph.parent)
        assert await over_http(kit, "load", "b1") == (400, "load-failed")
        graph.write_bytes(intact)
        assert await over_http(kit, "load", "b1") == (200, "")
        assert (await index(kit))["b1", "1"] == ("READY", "")


async def test_who_can_be_chosen_makes_room_for_who_cannot(tmp_path: Path) -> None:
    """Alone, a b0 of unknown accuracy would leave nothing to choose; beside a new b1 it may be served."""
    store = tiny_store(tmp_path / "store", ["b0"])
    async with changeable(store) as kit:
        write_variant(store, "b0", version=2, trained=False)
        assert [change.kind for change in await kit.repository.reload()] == [ChangeKind.REFUSED]
        write_variant(store, "b1")
        found = await kit.repository.reload()
        assert [(one.kind, one.name) for one in found] == [(ChangeKind.LOADED, "b1"), (ChangeKind.REPLACED, "b0")]
        assert kit.dataplane.refused() == ()


class Sabotaged:
    """An opener that fails in a way that nobody foresaw, for one variant."""

    def __init__(self, opener: Opener, name: str) -> None:
        self._opener, self._name = opener, name

    def open(self, entry: StoredVariant, known: Known, go_on: Callable[[], None]) -> Opened:
        """As the other one, but for that."""
        if entry.manifest.name == self._name:
            raise RuntimeError("boom")
        return self._opener.open(entry, known, go_on)


async def test_what_nobody_foresaw_concerns_one_variant(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The others are loaded all the same, and it is not tried at each look."""
    async with changeable(store, changes="poll") as kit:
        monkeypatch.setattr(kit.repository, "_opener", Sabotaged(kit.repository._opener, "b2"))
        for name in ("b2", "b3"):
            write_variant(store, name)
        following = asyncio.create_task(kit.repository.follow(0.01))
        async with asyncio.timeout(PATIENCE_S):
            while "b3" not in await names(kit):  # noqa: ASYNC110 - it comes by itself
                await asyncio.sleep(0.01)
        following.cancel()
        assert (await index(kit))["b2", "1"] == ("UNAVAILABLE", "it cannot be loaded: RuntimeError('boom')")
        assert [str(event.cause) for event in unread(kit)] == ["boom"]


async def test_each_new_reason_why_the_store_is_not_read_is_news(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And the same one again is none."""
    async with changeable(store, changes="poll") as kit:
        failures = iter([OSError("no disk"), OSError("no disk"), RuntimeError("boom")])

        def failing() -> None:
            raise next(failures, asyncio.CancelledError())

        monkeypatch.setattr(kit.repository._store, "scan", failing)
        following = asyncio.create_task(kit.repository.follow(0.0))
        await asyncio.wait([following], timeout=PATIENCE_S)
        assert [(event.reason, event.news) for event in unread(kit)] == [
            ("OSError('no disk')", True), ("OSError('no disk')", False), ("RuntimeError('boom')", True),
        ]  # fmt: skip


def unread(kit: Kit) -> list[StoreUnread]:
    """Looks that came to nothing."""
    return [event for event in kit.seen.events if isinstance(event, StoreUnread)]


async def test_the_command_says_what_became_of_each(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One line each, or JSON, and an exit status of its own for what is refused; a server that does not allow it is
    quoted."""
    async with changeable(store) as kit:
        url = f"http://127.0.0.1:{kit.ports[0]}"
        damage(write_variant(store, "b0", version=2))
        with pytest.raises(typer.Exit):
            await asyncio.to_thread(client.reload, url=url, as_json=False)
        assert "kept b1 version 1" in capsys.readouterr().out
        with pytest.raises(typer.Exit):
            await asyncio.to_thread(client.reload, url=url, as_json=True)
        assert json.loads(capsys.readouterr().out)["changes"][-1]["change"] == "refused"
    async with serving(store) as kit:
        with pytest.raises(CommandError, match=r"store\.changes is `none`"):
            await asyncio.to_thread(client.reload, url=f"grpc://127.0.0.1:{kit.ports[1]}", as_json=False)


async def test_a_store_that_is_polled_is_followed(store: Path) -> None:
    """What is broken is told once; nobody else may change anything but ask for a look."""
    async with changeable(store, changes="poll") as kit:
        following = asyncio.create_task(kit.repository.follow(0.02))
        assert await over_http(kit, "unload", "b1") == (403, "changes-forbidden")
        for body in (b"[1]", b'{"parameters": {"fast": true}}'):
            response = await kit.http.post("/v2/repository/models/efficientnet/load", content=body)
            assert (response.status_code, response.headers["effserve-error-kind"]) == (403, "changes-forbidden")
        for verb in ("load", "unload"):
            wrong = await over_grpc(kit, verb, "efficientnet", fast=True)
            assert wrong == (grpc.StatusCode.PERMISSION_DENIED, "changes-forbidden")
        resign(write_variant(store, "b2"))
        async with asyncio.timeout(PATIENCE_S):
            while (ChangeKind.REFUSED, "b2", "1") not in changes(kit):  # noqa: ASYNC110 - it comes by itself
                await asyncio.sleep(0.01)
        write_variant(store, "b2", version=2)
        shutil.rmtree(store / "b1")
        async with asyncio.timeout(PATIENCE_S):
            while await names(kit) != ["b0", "b2", "efficientnet"]:  # noqa: ASYNC110 - likewise
                await asyncio.sleep(0.01)
        shutil.rmtree(store)
        async with asyncio.timeout(PATIENCE_S):
            while not any("no variants in" in str(event) for event in kit.seen.events):  # noqa: ASYNC110 - likewise
                await asyncio.sleep(0.01)
        following.cancel()
        assert changes(kit).count((ChangeKind.REFUSED, "b2", "1")) == 1
        assert await names(kit) == ["b0", "b2", "efficientnet"]


async def test_a_reload_that_began_before_the_drain_ends_with_it(store: Path) -> None:
    """What is being opened is given up between two steps, and what is gone from the store stays."""
    async with changeable(store) as kit:
        write_variant(store, "b2")
        shutil.rmtree(store / "b1")
        change = asyncio.create_task(kit.repository.reload())
        async with asyncio.timeout(PATIENCE_S):
            while not kit.dataplane.loading:  # noqa: ASYNC110 - it comes by itself
                await asyncio.sleep(0)
        kit.dataplane.draining = True
        with pytest.raises(EffserveError, match="shutting down"):
            await change
        assert sorted(kit.dataplane.served()) == ["b0", "b1"]
        assert kit.dataplane.refused() == ()
        await kit.repository.close()


async def test_a_service_that_shuts_down_changes_nothing(store: Path) -> None:
    """What it serves stays until its end."""
    async with changeable(store) as kit:
        kit.dataplane.draining = True
        assert await over_http(kit, "unload", "b1") == (503, "draining")
        assert await over_grpc(kit, "load", "b1") == (grpc.StatusCode.UNAVAILABLE, "draining")


async def test_changes_come_one_after_the_other(store: Path) -> None:
    """However many ask at the same time; the index tells what is being loaded."""
    async with changeable(store) as kit:
        for name in ("b2", "b3"):
            write_variant(store, name)
        asked = [asyncio.create_task(kit.repository.load(name)) for name in ("b2", "b3", "b2")]
        async with asyncio.timeout(PATIENCE_S):
            while not kit.dataplane.loading:  # noqa: ASYNC110 - it comes by itself
                await asyncio.sleep(0)
        kit.dataplane.refuse([RefusedVariant("b2", "1", "it was damaged")])
        assert (await index(kit))["b2", "1"] == ("LOADING", "")
        assert [(one.name, one.version) for one in kit.dataplane.known()].count(("b2", "1")) == 1
        assert len(kit.dataplane.health().loading) == 1
        done = await asyncio.gather(*asked)
        assert [change.kind for change in done] == [ChangeKind.LOADED, ChangeKind.LOADED, ChangeKind.KEPT]


async def test_a_change_is_carried_through_when_whoever_asked_has_gone(store: Path) -> None:
    """Half a change would be none."""
    async with changeable(store) as kit:
        write_variant(store, "b2")
        asked = asyncio.create_task(kit.repository.load("b2"))
        await asyncio.sleep(0)
        asked.cancel()
        async with asyncio.timeout(PATIENCE_S):
            while "b2" not in kit.dataplane.served():  # noqa: ASYNC110 - it comes by itself
                await asyncio.sleep(0.01)


PAUSE_S = 0.05


async def test_nothing_is_lost_while_variants_come_and_go(store: Path) -> None:
    """Six clients on both protocols ask on and on; every answer of b0 is the same to the bit, whatever is loaded.

    They leave some time of the cores over, because opening takes no other.
    """
    async with changeable(store) as kit:
        expected, ended, answers = await logits(kit), asyncio.Event(), [0] * 6
        pixels = message(raw=lengths([PHOTO]), model="b0")
        files = message(raw=lengths([PHOTO, PHOTO]), shape=(2, 1))

        async def http_named(number: int) -> None:
            while not ended.is_set():
                await asyncio.sleep(PAUSE_S)
                assert await logits(kit) == expected
                answers[number] += 1

        async def http_routed(number: int) -> None:
            while not ended.is_set():
                await asyncio.sleep(PAUSE_S)
                response = await kit.http.post("/classify?budget_ms=60000&policy=p3", content=PHOTO, headers=IMAGE)
                assert response.status_code == 200
                answers[number] += 1

        async def grpc_named(number: int) -> None:
            while not ended.is_set():
                await asyncio.sleep(PAUSE_S)
                assert raw_scores(await kit.stub.ModelInfer(pixels))["logits"] == expected
                answers[number] += 1

        async def grpc_routed(number: int) -> None:
            while not ended.is_set():
                await asyncio.sleep(PAUSE_S)
                await kit.stub.ModelInfer(files)
                answers[number] += 1

        async with asyncio.TaskGroup() as clients:
            for number, ask in enumerate((http_named, http_routed, grpc_named, grpc_routed, http_named, grpc_named)):
                clients.create_task(ask(number))
            for version in (2, 3):
                write_variant(store, "b2", version=version, resolution=160 + 32 * version)
                assert await over_http(kit, "load", "b2") == (200, "")
                write_variant(store, "b1", version=version, resolution=64 * version)
                assert await over_grpc(kit, "load", "b1") == (grpc.StatusCode.OK, "")
                assert await over_http(kit, "unload", "b1") == (200, "")
            before = list(answers)
            while min(now - then for now, then in zip(answers, before, strict=True)) < 1:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
            ended.set()
        assert kit.seen.failed == []
        assert len(kit.runners) == 2


async def test_who_asked_before_is_answered_by_what_was_there(store: Path) -> None:
    """A request is on its way while its variant is unloaded, and one that came later is told that it is gone."""
    async with changeable(store) as kit:
        before = await logits(kit, "b1")
        batch = document([PHOTO] * 4)
        asked = [asyncio.create_task(kit.post(batch, "b1")) for _ in range(8)]
        async with asyncio.timeout(PATIENCE_S):
            while kit.dataplane.health().statistics.waiting < 4:  # noqa: ASYNC110 - they come by themselves
                await asyncio.sleep(0)
        change = asyncio.create_task(kit.repository.unload("b1"))
        responses = await asyncio.gather(*asked)
        await change
        late = [one for one in responses if one.status_code != 200]
        assert all(one.headers["effserve-error-kind"] == "unknown-variant" for one in late)
        assert len(late) < len(responses)
        assert all(scores(one)["logits"] == before * 4 for one in responses if one not in late)
        assert "b1" not in {variant.name for variant in kit.runners}


class Held:
    """A session whose runs wait until they may go on, and then fail, if that is wanted."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self.begun, self.may_go_on = threading.Event(), threading.Event()
        self.fails = False

    def run(self, pixels: npt.NDArray[np.uint8], stop: Stop | None = None) -> npt.NDArray[np.float32]:
        """See `Session.run`."""
        self.begun.set()
        assert self.may_go_on.wait(PATIENCE_S)
        if self.fails:
            raise EffserveError(ErrorKind.INTERNAL, "inference failed")
        return self._session.run(pixels, stop)

    def give_back(self) -> None:
        """See `Session.give_back`."""
        self._session.give_back()

    async def until_begun(self) -> None:
        """A run waits."""
        assert await asyncio.to_thread(self.begun.wait, PATIENCE_S)


def held(kit: Kit, name: str) -> Held:
    """From now on the runs of this variant, in the version that is served now, are held."""
    runners = cast("dict[Variant, Runner]", kit.runners)
    variant = next(variant for variant in runners if variant.name == name)
    made = Held(runners[variant].session)
    runners[variant] = replace(runners[variant], session=cast("Session", made))
    return made


async def anytime(kit: Kit) -> list[tuple[str, str, int, bool]]:
    """Event, variant, version, final: all answers to the photo."""
    response = await kit.http.post("/classify/anytime?budget_ms=60000", content=PHOTO, headers=IMAGE)
    found = []
    for block in response.raise_for_status().text.strip().split("\n\n"):
        name, data = (line.partition(": ")[2] for line in block.split("\n"))
        answer = json.loads(data)
        found.append((name, answer["decision"]["variant"], answer["decision"]["version"], answer["final"]))
    return found


@pytest.mark.skipif(not can_yield(), reason="no background lanes here")
@pytest.mark.parametrize("verb", ["load", "unload"])
async def test_a_better_answer_comes_from_what_began_it(store: Path, verb: str) -> None:
    """The variant that is running for an anytime request is replaced, or unloaded; it answers all the same, the next
    request is answered by what is served then, and only then is the change done."""
    async with changeable(store) as kit:
        run = held(kit, "b1")
        asked = asyncio.create_task(anytime(kit))
        await run.until_begun()
        write_variant(store, "b1", version=2)
        change = asyncio.create_task(over_http(kit, verb, "b1"))
        async with asyncio.timeout(PATIENCE_S):
            while kit.dataplane.health().loading or ("b1", 1) in served(kit):  # noqa: ASYNC110 - it comes by itself
                await asyncio.sleep(0.01)
        assert not change.done()
        run.may_go_on.set()
        assert await asked == [("answer", "b0", 1, False), ("final", "b1", 1, True)]
        assert await change == (200, "")
        # Which of two such small networks is the cheaper one, and answers first, is a matter of measurement.
        after = ("final", "b1", 2, True) if verb == "load" else ("final", "b0", 1, True)
        assert (await anytime(kit))[-1] == after
        assert kit.seen.failed == []


@pytest.mark.skipif(not can_yield(), reason="no background lanes here")
async def test_an_answer_that_is_kept_outlives_the_variant_that_gave_it(store: Path) -> None:
    """b0 has answered and is unloaded, b1 tries to do better and fails; with policy p2 the answer is b0's."""
    async with changeable(store) as kit:
        run = held(kit, "b1")
        asked = asyncio.create_task(kit.http.post("/classify?budget_ms=60000&policy=p2", content=PHOTO, headers=IMAGE))
        await run.until_begun()
        change = asyncio.create_task(over_http(kit, "unload", "b0"))
        async with asyncio.timeout(PATIENCE_S):
            while ("b0", 1) in served(kit):  # noqa: ASYNC110 - it comes by itself
                await asyncio.sleep(0.01)
        run.fails = True
        run.may_go_on.set()
        answer = (await asked).raise_for_status().json()
        assert (answer["decision"]["variant"], len(answer["predictions"])) == ("b0", 5)
        assert await change == (200, "")
        assert kit.seen.failed == []


def served(kit: Kit) -> set[tuple[str, int]]:
    """Names and versions."""
    return {(name, entry.manifest.version) for name, entry in kit.dataplane.served().items()}


async def test_nobody_waits_for_a_step_that_cannot_be_cut_short(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the service leaves, whoever asked for the change, or waits for its turn, is told at once, on both protocols,
    and the repository says that its thread is still at work."""
    opening, may_go_on = threading.Event(), threading.Event()

    def slow(self: Opener, *_: object) -> Opened:
        opening.set()
        assert may_go_on.wait(PATIENCE_S)
        raise SessionError("too late")

    monkeypatch.setattr(Opener, "open", slow)
    async with changeable(store) as kit:
        write_variant(store, "b2")
        asked = [asyncio.create_task(over_http(kit, "load", "b2")), asyncio.create_task(over_grpc(kit, "load", "b2"))]
        assert await asyncio.to_thread(opening.wait, PATIENCE_S)
        kit.repository.leave()
        kit.repository.leave()
        assert await asyncio.gather(*asked) == [(503, "draining"), (grpc.StatusCode.UNAVAILABLE, "draining")]
        assert await over_http(kit, "unload", "b1") == (503, "draining")
        assert kit.dataplane.health().loading == ()
        assert not await kit.repository.close()
        may_go_on.set()
        async with asyncio.timeout(PATIENCE_S):
            while not await kit.repository.close():  # noqa: ASYNC110 - the thread has no event for it
                await asyncio.sleep(0.01)
        assert changes(kit) == []


async def test_its_repr_shows_what_may_be_changed(store: Path) -> None:
    """And what is being loaded."""
    async with changeable(store) as kit:
        assert repr(kit.repository) == "<Repository changes=explicit loading=()>"
