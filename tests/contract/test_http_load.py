"""The HTTP edge while requests wait: disconnects, full queues, slow uploads, faults, shutting down."""

import asyncio
import time

import pytest

from service.core.errors import EffserveError, ErrorKind
from tests.builders import TIMES_S
from tests.contract.grpc_kit import IMAGE_BYTES, JPEG, SLOW_S
from tests.contract.http_kit import Kit, gated

HEADERS = {"Content-Type": "image/jpeg"}
HEAD = (
    f"POST /classify?budget_ms=10000 HTTP/1.1\r\nHost: x\r\nContent-Type: image/jpeg\r\nContent-Length: {len(JPEG)}\r\n"
)


async def begun(kit: Kit) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """An upload whose head the service has read, which waits for the body."""
    reader, writer = await asyncio.open_connection("127.0.0.1", kit.port)
    writer.write(HEAD.encode() + b"Expect: 100-continue\r\nConnection: close\r\n\r\n")
    assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
    return reader, writer


async def send(kit: Kit, query: str = "budget_ms=10000") -> int:
    """One request; its status."""
    return (await kit.client.post(f"/classify?{query}", content=JPEG, headers=HEADERS)).status_code


async def test_a_client_that_leaves_while_waiting_leaves_the_queue() -> None:
    """Nothing is run for nobody; the outcome is counted once."""
    async with gated() as kit:
        kit.gate.open = False
        first = asyncio.create_task(send(kit))
        await kit.until_in_hand(1)
        _, writer = await asyncio.open_connection("127.0.0.1", kit.port)
        writer.write(HEAD.encode() + b"\r\n" + JPEG)
        await kit.until_in_hand(2)
        writer.close()
        await kit.until_in_hand(1)
        kit.gate.release()
        assert await first == 200
        assert [event.kind for event in kit.seen.failed] == [ErrorKind.CANCELLED]


async def test_a_client_that_leaves_during_its_upload_is_counted_as_gone() -> None:
    """It never reached the queue."""
    async with gated() as kit:
        _, writer = await begun(kit)
        writer.write(JPEG[:50])
        writer.close()
        await kit.seen.until(failed=1)
        assert [event.kind for event in kit.seen.failed] == [ErrorKind.CANCELLED]
        assert kit.dataplane.health().statistics.submitted == 0


async def test_the_budget_runs_from_the_first_byte() -> None:
    """A slow upload is paid from the budget."""
    async with gated() as kit:
        reader, writer = await begun(kit)
        begun_s = time.monotonic()
        await asyncio.sleep(0.1)
        took_s = time.monotonic() - begun_s
        writer.write(JPEG)
        await reader.read()
        writer.close()
        assert kit.seen.answered[0].answer.timing.receive_s >= took_s


async def test_a_full_queue_refuses_with_the_time_to_come_back() -> None:
    """`Retry-After` in whole seconds, the exact figure in the body."""
    # Runs that are expected to take minutes, so that what waits stands still while the test runs.
    async with gated(times_s=dict.fromkeys(TIMES_S, 100.0), patience_s=1.0) as kit:
        kit.gate.open = False
        held = asyncio.create_task(send(kit))
        await kit.until_in_hand(1)
        refused = await kit.client.post("/classify?budget_ms=10000", content=JPEG, headers=HEADERS)
        kit.gate.release()
        assert await held == 200
    problem = refused.json()
    assert (refused.status_code, problem["kind"]) == (503, "queue-full")
    assert 0 <= 1000 * int(refused.headers["retry-after"]) - problem["retry_after_ms"] <= 1000


async def test_a_strict_request_is_told_the_budget_that_would_do() -> None:
    """Refused, it asks again with what it was told, and as much more for a machine that is busy; then it is served."""
    async with gated() as kit:
        refused = await kit.client.post("/classify?mode=strict&budget_ms=1", content=JPEG, headers=HEADERS)
        named_ms = refused.json()["smallest_feasible_budget_ms"]
        assert named_ms > 1000 * SLOW_S["b0"]
        assert await send(kit, f"mode=strict&budget_ms={2 * named_ms}") == 200


async def test_a_fault_of_ours_is_a_500_that_hides_its_cause() -> None:
    """The cause goes to the observer, under the request id the client gets."""
    async with gated() as kit:
        kit.gate.error = RuntimeError("secret detail")
        response = await kit.client.post("/classify", content=JPEG, headers=HEADERS)
        failed = kit.seen.failed[0]
    assert (response.status_code, response.json()["kind"]) == (500, "internal")
    assert "secret" not in response.text
    assert str(failed.cause) == "secret detail"
    assert failed.request_id == response.json()["request_id"]


async def test_a_lane_survives_its_job() -> None:
    """The next request is served."""
    async with gated() as kit:
        kit.gate.error = EffserveError(ErrorKind.UNDECODABLE_IMAGE, "damaged")
        assert await send(kit) == 400
        kit.gate.error = None
        assert await send(kit) == 200


async def test_while_draining_requests_are_served_and_asked_to_go_elsewhere() -> None:
    """Readiness is off, liveness on, answers close their connection."""
    async with gated() as kit:
        kit.dataplane.ready, kit.dataplane.draining = False, True
        response = await kit.client.post("/classify", content=JPEG, headers=HEADERS)
        assert (response.status_code, response.headers["connection"]) == (200, "close")
        assert (await kit.client.get("/readyz")).status_code == 503
        assert (await kit.client.get("/healthz")).json()["status"] == "draining"


async def test_before_it_is_ready_readiness_says_starting() -> None:
    """Liveness does not wait for it."""
    async with gated() as kit:
        kit.dataplane.ready = False
        assert (await kit.client.get("/readyz")).json()["status"] == "starting"
        assert (await kit.client.get("/healthz")).status_code == 200


@pytest.mark.parametrize("lanes", [1, 2])
async def test_many_clients_are_all_answered(lanes: int) -> None:
    """Nothing is lost between sockets, queue and lanes."""
    async with gated(lanes=lanes) as kit:
        assert set(await asyncio.gather(*(send(kit) for _ in range(100)))) == {200}
        assert len(kit.seen.answered) == 100


async def test_an_upload_that_stalls_is_ended() -> None:
    """Its connection does not stay open for ever."""
    async with gated(upload_timeout_s=0.1) as kit:
        reader, writer = await asyncio.open_connection("127.0.0.1", kit.port)
        writer.write(HEAD.encode() + b"\r\n" + JPEG[:10])
        assert b" 408 " in await reader.readline()
        writer.close()
        assert [event.kind for event in kit.seen.failed] == [ErrorKind.UPLOAD_TIMEOUT]


async def test_bodies_in_hand_are_bounded_and_their_room_comes_back() -> None:
    """Eleven uploads of the largest size do not fit where ten do; once the others are answered, they do."""
    async with gated() as kit:
        kit.gate.open = False
        large = JPEG + bytes(IMAGE_BYTES - len(JPEG))
        held = [
            asyncio.create_task(kit.client.post("/classify?budget_ms=9000", content=large, headers=HEADERS))
            for _ in range(10)
        ]
        await kit.until_in_hand(10)
        refused = await kit.client.post("/classify?budget_ms=9000", content=large, headers=HEADERS)
        kit.gate.release()
        assert {response.status_code for response in await asyncio.gather(*held)} == {200}
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
        assert await send(kit) == 200
