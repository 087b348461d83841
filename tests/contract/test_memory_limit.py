"""Memory is limited: who is there, what a request for the others is told, and who makes room, on every protocol."""

import asyncio
import shutil
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest

from service import residency
from service.app import following
from service.client import Client, ClientError
from service.core.messages import ChangeKind
from service.core.residency import size_bytes
from service.pipeline.footprint import Footprint
from service.pipeline.store import StoredVariant, scan
from service.preparing import memory, prepare
from service.residency import MIB
from service.startup import StartupError
from service.wire import classifier_pb2 as pb
from service.wire import classifier_pb2_grpc
from service.wire import grpc_inference_pb2 as oip
from tests.contract.grpc_kit import PATIENCE_S, Recorder
from tests.contract.http_kit import settings_for
from tests.contract.oip_kit import ENOUGH, Kit, document, message, serving
from tests.contract.test_hot_loading import changes, index, names, over_grpc, over_http, resign, unread
from tests.fixtures import jpeg, tiny_store, write_variant

PHOTO = jpeg(160, 120)
IMAGE = {"Content-Type": "image/jpeg"}
ALL = ("b0", "b1", "b2")
MB = 10**6


def limit_mib(store: Path, wanted: Sequence[str]) -> float:
    """What these take."""
    taken = memory(settings_for(store))
    found = [taken.tenant(entry, 1.0) for entry in scan(store).entries if entry.manifest.name in wanted]
    return size_bytes(found) / MIB


@pytest.fixture(name="store")
def _store(tmp_path: Path) -> Path:
    return tiny_store(tmp_path / "store", ALL)


@asynccontextmanager
async def limited(store: Path, limit: float, *, changing: bool = True, loads: bool = True) -> AsyncIterator[Kit]:
    """A server with so many MiB; unless it `loads`, nobody brings what requests need."""
    told = {"dir": store, "memory_limit_mib": limit, "changes": "explicit" if changing else "none"}
    async with serving(store, store=told) as kit:
        follower = asyncio.create_task(kit.repository.keep_useful()) if loads else None
        try:
            yield kit
        finally:
            if follower is not None:
                follower.cancel()


async def classified(kit: Kit, variant: str) -> tuple[int, str]:
    """Status and kind of failure, if any."""
    response = await kit.http.post(f"/classify?variant={variant}&budget_ms=60000", content=PHOTO, headers=IMAGE)
    return response.status_code, response.json().get("kind", "")


async def until(holds: Callable[[], bool]) -> None:
    """Wait for it."""
    async with asyncio.timeout(PATIENCE_S):
        while not holds():  # noqa: ASYNC110 - it is somebody else who makes it so, and tells nobody
            await asyncio.sleep(0.01)


async def until_resident(kit: Kit, name: str) -> None:
    """Wait for a variant."""
    await until(lambda: name in kit.dataplane.served())


async def test_the_most_useful_are_resident_and_the_others_are_known(store: Path) -> None:
    """The table, the index and an explained decision say so; budgets choose among those that are there."""
    async with limited(store, limit_mib(store, ["b0", "b2"]), changing=False, loads=False) as kit:
        assert await names(kit) == ["b0", "b1", "efficientnet"]
        table = (await kit.http.get("/variants")).json()["variants"]
        assert {row["name"]: (row["resident"], row["routed"]) for row in table} == {
            "b0": (True, True), "b1": (True, True), "b2": (False, False),
        }  # fmt: skip
        assert "not in memory" in table[2]["not_routed"]
        assert all(row["memory_bytes"] > row["graph_bytes"] for row in table)
        assert table[2]["expected_ms"] > table[1]["expected_ms"]
        state, reason = (await index(kit))["b2", "1"]
        assert (state, reason) == ("UNAVAILABLE", table[2]["not_routed"])
        assert len((await kit.http.get("/variants/b2/labels")).json()["labels"]) == 10
        answer = await kit.http.post("/classify?budget_ms=60000&explain=true", content=PHOTO, headers=IMAGE)
        decision = answer.json()["decision"]
        assert decision["variant"] == "b1"
        assert {one["variant"]: one["verdict"] for one in decision["candidates"]}["b2"] == "not_resident"


async def test_a_request_that_names_another_has_it_loaded(store: Path) -> None:
    """It is told when to come again, and answered then; who makes room goes before."""
    limit = limit_mib(store, ["b0", "b2"])
    async with limited(store, limit, changing=False) as kit:
        response = await kit.http.post("/classify?variant=b2", content=PHOTO, headers=IMAGE)
        assert (response.status_code, response.json()["kind"]) == (503, "not-resident")
        assert float(response.headers["retry-after"]) >= 1
        await until_resident(kit, "b2")
        assert await classified(kit, "b2") == (200, "")
        assert sorted(kit.dataplane.served()) == sorted(variant.name for variant in kit.runners) == ["b0", "b2"]
        await until(lambda: len(changes(kit)) == 2)
        assert changes(kit) == [(ChangeKind.UNLOADED, "b1", "1"), (ChangeKind.LOADED, "b2", "1")]
        assert limit_mib(store, list(kit.dataplane.served())) <= limit


async def test_who_was_just_loaded_is_not_taken_away_again(store: Path) -> None:
    """Requests that name now this and now that cannot keep the service loading."""
    async with limited(store, limit_mib(store, ["b0", "b2"]), changing=False) as kit:
        await classified(kit, "b2")
        await until_resident(kit, "b2")
        assert await classified(kit, "b1") == (503, "not-resident")
        await asyncio.sleep(0.2)
        assert sorted(kit.dataplane.served()) == ["b0", "b2"]


async def test_an_accuracy_that_only_another_has_is_named_likewise(store: Path) -> None:
    """There is a variant that would do."""
    async with limited(store, limit_mib(store, ["b0", "b2"]), changing=False) as kit:
        asked = "/classify?min_accuracy=0.8&budget_ms=60000"
        response = await kit.http.post(asked, content=PHOTO, headers=IMAGE)
        assert (response.status_code, response.json()["kind"]) == (503, "not-resident")
        await until_resident(kit, "b2")
        assert (await kit.http.post(asked, content=PHOTO, headers=IMAGE)).json()["decision"]["variant"] == "b2"


async def test_who_only_asks_has_nothing_loaded(store: Path) -> None:
    """A plan runs nothing and changes nothing."""
    async with limited(store, limit_mib(store, ["b0", "b2"]), changing=False) as kit:
        assert (await kit.http.get("/plan?variant=b2")).status_code == 503
        assert (await kit.http.get("/variants/b2")).json()["resident"] is False
        await asyncio.sleep(0.2)
        assert "b2" not in kit.dataplane.served()


async def test_grpc_says_the_same(store: Path) -> None:
    """UNAVAILABLE, with the time to wait; the Open Inference Protocol too, on both protocols, and readiness is off."""
    async with limited(store, limit_mib(store, ["b0", "b2"]), changing=False, loads=False) as kit:
        stub: Any = classifier_pb2_grpc.ClassifierStub(kit.channel)  # type: ignore[no-untyped-call]
        asked: tuple[tuple[Any, Any], ...] = (
            (stub.Classify, pb.ClassifyRequest(image=PHOTO, variant="b2", budget_ms=60_000)),
            (kit.stub.ModelInfer, message(model="b2", contents={"bytes_contents": [PHOTO]})),
        )
        for method, request in asked:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await method(request)
            metadata = dict(caught.value.trailing_metadata() or ())
            found = caught.value.code(), metadata["effserve-error-kind"]
            assert found == (grpc.StatusCode.UNAVAILABLE, "not-resident")
        refused = await kit.post(document([PHOTO]), "b2")
        assert (refused.status_code, refused.headers["effserve-error-kind"]) == (503, "not-resident")
        assert "retry-after" in refused.headers
        assert not (await kit.stub.ModelReady(oip.ModelReadyRequest(name="b2"))).ready


async def test_the_client_comes_again_by_itself(store: Path) -> None:
    """As long as its budget lasts."""
    async with limited(store, limit_mib(store, ["b0", "b2"]), changing=False) as kit:

        def ask() -> str:
            with Client(f"http://127.0.0.1:{kit.ports[0]}") as client:
                return client.classify(PHOTO, variant="b2", budget_ms=60_000).variant

        assert await asyncio.to_thread(ask) == "b2"


async def test_what_the_operator_loads_makes_room_and_stays(store: Path) -> None:
    """Who names what does not fit beside it is told that it does not fit."""
    async with limited(store, limit_mib(store, ["b0", "b2"])) as kit:
        assert await over_http(kit, "load", "b2") == (200, "")
        assert sorted(kit.dataplane.served()) == ["b0", "b2"]
        assert await classified(kit, "b1") == (507, "memory-limit")
        assert await over_grpc(kit, "load", "b1") == (grpc.StatusCode.RESOURCE_EXHAUSTED, "memory-limit")
        assert await over_grpc(kit, "unload", "b1") == (grpc.StatusCode.OK, "")
        assert await classified(kit, "b1") == (404, "unknown-variant")
        assert await over_http(kit, "unload", "b2") == (200, "")
        assert await over_http(kit, "load", "b1") == (200, "")


async def test_what_is_there_can_be_loaded_by_name_to_stay(store: Path) -> None:
    """Nothing is loaded; but for others there is no room any more, and whoever asks for them is told."""
    async with limited(store, limit_mib(store, ["b0", "b2"]), loads=False) as kit:
        assert await classified(kit, "b2") == (503, "not-resident")
        assert (await kit.repository.load("b1")).kind is ChangeKind.KEPT
        assert await classified(kit, "b2") == (507, "memory-limit")
        assert await over_http(kit, "unload", "b1") == (200, "")
        assert await classified(kit, "b2") == (503, "not-resident")


async def test_what_cannot_be_loaded_changes_nothing_of_who_stays(store: Path) -> None:
    """Not whether the version stays that is served, be it that it did or not."""
    async with limited(store, limit_mib(store, ["b0", "b2"]), loads=False) as kit:
        resign(write_variant(store, "b1", version=2))
        assert (await over_http(kit, "load", "b1"))[1] == "load-failed"
        assert await classified(kit, "b2") == (503, "not-resident")
        assert await over_http(kit, "load", "b1", version=1) == (200, "")
        assert (await over_http(kit, "load", "b1"))[1] == "load-failed"
        assert await classified(kit, "b2") == (507, "memory-limit")


async def test_what_cannot_be_unloaded_stays_as_before(store: Path) -> None:
    """It was loaded by name, so others still do not get its room."""
    async with limited(store, limit_mib(store, ["b0", "b2"]), loads=False) as kit:
        assert await over_http(kit, "unload", "b0") == (200, "")
        assert await over_http(kit, "load", "b1") == (200, "")
        assert (await over_http(kit, "unload", "b1"))[1] == "change-refused"
        assert await over_http(kit, "load", "b0") == (200, "")
        assert await classified(kit, "b2") == (507, "memory-limit")


async def test_what_is_too_large_by_itself_is_refused(store: Path) -> None:
    """Whoever asks; the client is told the figures."""
    async with limited(store, limit_mib(store, ["b0", "b1"])) as kit:
        assert await over_http(kit, "load", "b2") == (507, "memory-limit")

        def ask() -> str:
            with Client(f"http://127.0.0.1:{kit.ports[0]}") as client, pytest.raises(ClientError) as caught:
                client.classify(PHOTO, variant="b2")
            return caught.value.kind

        assert await asyncio.to_thread(ask) == "memory-limit"
        assert sorted(kit.dataplane.served()) == ["b0", "b1"]


async def test_a_reload_keeps_to_the_limit(store: Path) -> None:
    """Who is there stays; what is new is known, what is gone is not; a new version takes the place of the old one."""
    async with limited(store, limit_mib(store, ["b0", "b2"]), loads=False) as kit:
        write_variant(store, "b3")
        write_variant(store, "b0", version=2)
        shutil.rmtree(store / "b2")
        assert [(change.kind, change.name) for change in await kit.repository.reload()] == [
            (ChangeKind.REPLACED, "b0"), (ChangeKind.KEPT, "b1"),
        ]  # fmt: skip
        assert (sorted(kit.dataplane.served()), sorted(kit.dataplane.absent())) == (["b0", "b1"], ["b3"])
        assert kit.dataplane.variant("b3").expected_ms > kit.dataplane.variant("b1").expected_ms


async def test_a_reload_keeps_what_was_loaded_by_name_and_tells_who_goes(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The new version of the cheapest leaves room for one of two, and the other one would be more useful."""
    monkeypatch.setattr("service.preparing.footprint", growing)
    async with limited(store, 85 * MB / MIB, loads=False) as kit:
        assert sorted(kit.dataplane.served()) == ["b0", "b1", "b2"]
        assert (await kit.repository.load("b2")).kind is ChangeKind.KEPT
        write_variant(store, "b0", version=2)
        found = [(change.kind, change.name, change.version) for change in await kit.repository.reload()]
        gone, new = (ChangeKind.UNLOADED, "b1", "1"), (ChangeKind.REPLACED, "b0", "2")
        assert found == [gone, new, (ChangeKind.KEPT, "b2", "1")]
        assert changes(kit) == [gone, new]
        assert sorted(kit.dataplane.served()) == ["b0", "b2"]


def growing(entry: StoredVariant, **_: object) -> Footprint:
    """B0 by its version."""
    weights_mb = {"b0": 10 * entry.manifest.version, "b1": 30, "b2": 35}
    return Footprint(weights_mb[entry.manifest.name] * MB, 10 * MB)


async def test_a_store_that_cannot_be_read_for_a_moment_ends_nothing(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The observer is told, and who asks again has it loaded."""
    async with limited(store, limit_mib(store, ["b0", "b2"]), changing=False) as kit:
        with monkeypatch.context() as patch:
            patch.setattr(kit.repository._store, "find", failing(OSError("stale handle")))
            assert await classified(kit, "b2") == (503, "not-resident")
            await until(lambda: bool(unread(kit)))
        assert [event.reason for event in unread(kit)] == ["OSError('stale handle')"]
        assert await classified(kit, "b2") == (503, "not-resident")
        await until_resident(kit, "b2")


async def test_a_look_that_fails_ends_nothing(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What requests need is loaded all the same; the observer is told of ours."""
    monkeypatch.setattr("service.residency.CHECK_S", 0.05)
    monkeypatch.setattr("service.residency.step", failing(RuntimeError("boom")))
    async with limited(store, limit_mib(store, ["b0", "b2"]), changing=False) as kit:
        await until(lambda: len(unread(kit)) > 1)
        assert await classified(kit, "b2") == (503, "not-resident")
        await until_resident(kit, "b2")
        assert [event.news for event in unread(kit)][:2] == [True, False]


def failing(error: Exception) -> Callable[..., None]:
    """Whatever it is asked."""

    def fail(*_: object, **__: object) -> None:
        raise error

    return fail


async def test_an_end_that_nobody_foresaw_is_told(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the event loop; that it is over when the service is, is not."""
    told: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context))
    limit = limit_mib(store, ["b0", "b2"])
    settings = settings_for(store, store={"dir": store, "memory_limit_mib": limit})
    async with limited(store, limit, changing=False, loads=False) as kit:
        async with following(settings, kit.repository):
            await asyncio.sleep(0)
        assert not told
        monkeypatch.setattr(kit.repository._observer, "observe", failing(RuntimeError("boom")))
        monkeypatch.setattr(kit.repository._residency, "turn", failing(OSError("stale handle")))
        async with following(settings, kit.repository):
            await until(lambda: bool(told))
    assert [(str(context["exception"]), context["message"]) for context in told] == [
        ("boom", "keeping what is useful in memory has ended, and is not done any more")
    ]


async def test_what_is_decided_for_one_request_is_not_decided_for_each(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who is refused again and again costs the event loop nothing; whether others are more useful is seldom asked."""
    asked: list[str] = []
    async with limited(store, limit_mib(store, ["b0", "b2"]), changing=False) as kit:
        await classified(kit, "b2")
        await until_resident(kit, "b2")
        for name in ("most_useful", "step"):
            monkeypatch.setattr(f"service.residency.{name}", counting(name, asked))
        for _ in range(10):
            assert await classified(kit, "b1") == (503, "not-resident")
        assert asked == ["most_useful"]


def counting(name: str, calls: list[str]) -> Callable[..., Any]:
    """The rule, and each time it is asked."""
    rule: Callable[..., Any] = getattr(residency, name)

    def counted(*asked: object, **more: object) -> object:
        calls.append(name)
        return rule(*asked, **more)

    return counted


async def test_what_is_gone_from_the_store_is_not_known_any_more(store: Path) -> None:
    """It cannot be loaded, and the observer is told why."""
    async with limited(store, limit_mib(store, ["b0", "b2"]), changing=False) as kit:
        shutil.rmtree(store / "b2")
        assert await classified(kit, "b2") == (503, "not-resident")
        await until(lambda: not kit.dataplane.absent())
        assert await classified(kit, "b2") == (404, "unknown-variant")
        assert changes(kit)[-1] == (ChangeKind.REFUSED, "b2", "1")


async def test_what_is_asked_for_comes_by_itself(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Budgets that would have bought another one have it loaded, though nobody names it."""
    monkeypatch.setattr("service.residency.CHECK_S", 0.05)
    async with limited(store, limit_mib(store, ["b0", "b2"]), changing=False) as kit:
        for _ in range(30):
            answer = await kit.http.post("/classify", params=ENOUGH, content=PHOTO, headers=IMAGE)
            assert answer.status_code == 200
        await until_resident(kit, "b2")
        assert sorted(kit.dataplane.served()) == ["b0", "b2"]


def test_a_limit_below_the_cheapest_ends_the_start(store: Path) -> None:
    """With one line that says what it takes."""
    settings = settings_for(store, store={"dir": store, "memory_limit_mib": 1.0})
    with pytest.raises(StartupError, match=r"store\.memory_limit_mib is 1, and the cheapest .* takes \d+"):
        prepare(settings, Recorder())
