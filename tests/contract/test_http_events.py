"""`GET /events` over a real socket: what is shown, to how many, and how it ends."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest

from service.edges.http.live import MOST
from tests.contract.grpc_kit import JPEG, PATIENCE_S
from tests.contract.http_kit import Kit, gated

JPEG_TYPE = {"Content-Type": "image/jpeg"}


async def states(response: httpx.Response) -> AsyncIterator[dict[str, Any]]:
    """Each as it comes."""
    assert response.status_code == 200, await response.aread()
    lines = response.aiter_lines()
    async for line in lines:
        assert line == "event: state"
        yield json.loads((await anext(lines)).removeprefix("data: "))
        assert await anext(lines) == ""


@asynccontextmanager
async def watching(kit: Kit) -> AsyncIterator[AsyncIterator[dict[str, Any]]]:
    """The states that a client sees."""
    async with kit.client.stream("GET", "/events") as response:
        yield states(response)


async def test_the_state_is_the_table_and_what_happens() -> None:
    """The first at once; what the other paths say, in the same words."""
    async with gated() as kit, watching(kit) as seen:
        state = await anext(seen)
        assert state["table"] == (await kit.client.get("/variants")).json()
        assert state["health"] == (await kit.client.get("/readyz")).json()
        assert state["health"]["status"] == "ready"
        assert state["last_minute"] == {"met": 0, "missed": 0, "refused": 0, "failed": 0, "answers": {}}
        assert (state["arrivals_per_s"], state["slowdown"]) == (0.0, 1.0)
        plan = (await kit.client.get("/plan")).json()
        assert state["plan"]["budget_ms"] == plan["budget_ms"] == 100.0
        assert state["plan"]["decision"]["candidates"] == plan["decision"]["candidates"]


async def test_what_happens_is_seen_by_everybody() -> None:
    """An answer and a refusal in between."""
    async with gated() as kit, watching(kit) as one, watching(kit) as other:
        assert await anext(one) == await anext(other)
        answer = await kit.client.post("/classify?budget_ms=500000", content=JPEG, headers=JPEG_TYPE)
        assert answer.status_code == 200
        refusal = await kit.client.post("/classify?mode=strict&budget_ms=1", content=JPEG, headers=JPEG_TYPE)
        assert refusal.status_code == 504
        state = await anext(one)
        assert state["last_minute"] == {"met": 1, "missed": 0, "refused": 1, "failed": 0, "answers": {"b4": 1}}
        assert state == await anext(other)


async def test_the_stream_is_not_kept_back_or_kept() -> None:
    """By anybody on the way."""
    async with gated() as kit, kit.client.stream("GET", "/events") as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        assert (response.headers["cache-control"], response.headers["x-accel-buffering"]) == ("no-store", "no")
        assert "x-request-id" in response.headers


async def test_watchers_leave_when_the_service_drains() -> None:
    """After a last event that says so; then nobody is let in, and the server stops at once."""
    async with gated() as kit:
        async with watching(kit) as seen:
            await anext(seen)
            kit.dataplane.ready, kit.dataplane.draining = False, True
            assert [state["health"]["status"] async for state in seen] == ["draining"]
        refusal = await kit.client.get("/events")
        assert (refusal.status_code, refusal.json()["kind"]) == (503, "draining")
        assert refusal.headers["connection"] == "close"


async def test_one_too_many_is_refused_and_who_leaves_makes_room() -> None:
    """A client that hangs up is noticed at once, not when the next state is due."""
    async with gated() as kit:
        watchers = [await _connected(kit) for _ in range(MOST)]
        refusal = await kit.client.get("/events")
        assert (refusal.status_code, refusal.json()["kind"], refusal.json()["limit"]) == (503, "queue-full", MOST)
        assert refusal.headers["retry-after"] == "5"
        _, writer = watchers.pop()
        writer.close()
        await asyncio.wait_for(_until_let_in(kit), PATIENCE_S)
        for _, writer in watchers:
            writer.close()


async def test_who_does_not_read_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """The connection itself ends, without an end of the stream."""
    monkeypatch.setattr("service.edges.http.live.PATIENCE", 0)
    async with gated() as kit:
        reader, writer = await _connected(kit)
        with pytest.raises(asyncio.IncompleteReadError):
            await asyncio.wait_for(reader.readuntil(b"\r\n0\r\n\r\n"), PATIENCE_S)
        writer.close()


async def _connected(kit: Kit) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """One watcher who has seen the beginning."""
    reader, writer = await asyncio.open_connection("127.0.0.1", kit.port)
    writer.write(b"GET /events HTTP/1.1\r\nHost: x\r\n\r\n")
    assert (await reader.readline()).startswith(b"HTTP/1.1 200")
    return reader, writer


async def _until_let_in(kit: Kit) -> None:
    while True:
        async with kit.client.stream("GET", "/events") as response:
            if response.status_code == 200:
                return
            await response.aread()


async def test_the_openapi_page_says_what_comes() -> None:
    """Events, and the two refusals."""
    async with gated() as kit:
        said = (await kit.client.get("/openapi.json")).json()["paths"]["/events"]["get"]["responses"]
        assert set(said) == {"200", "503"}
        assert said["200"]["content"]["text/event-stream"]["schema"]["properties"]["event"]["enum"] == ["state"]
