"""One gRPC call with many images: outcomes, order, window, a client that leaves, a server that stops."""

import asyncio
import time
from collections.abc import AsyncIterator

import grpc
import pytest

from service.core.errors import ErrorKind
from service.wire import classifier_pb2 as pb
from tests.contract.grpc_client import CLASSIFIER, Scenario, ask, on_uvloop, trailer
from tests.contract.grpc_kit import PATIENCE_S, Kit, serving

RawStream = grpc.aio.StreamStreamMultiCallable[bytes, bytes]


@pytest.fixture
async def kit() -> AsyncIterator[Kit]:
    """One lane."""
    async with serving() as started:
        yield started


async def test_a_stream_answers_good_images_and_names_bad_ones(kit: Kit) -> None:
    """One outcome for each image, told apart by request id; the stream ends well."""
    stream = kit.stub.ClassifyStream(metadata=(("x-request-id", "s"),))
    for fields in ({"request_id": "first"}, {"image": b"bad"}, {"top_k": 0}, {}):
        await stream.write(ask(**fields))
    await stream.done_writing()
    outcomes = {r.request_id: r.error.kind or r.answer.request_id async for r in stream}
    assert outcomes == {"first": "first", "s-2": "undecodable-image", "s-3": "invalid-parameter", "s-4": "s-4"}
    assert await stream.code() is grpc.StatusCode.OK
    assert (await trailer(stream))["x-request-id"] == "s"


async def test_an_error_in_a_stream_brings_its_facts(kit: Kit) -> None:
    """Numbers stay numbers."""
    stream = kit.stub.ClassifyStream([ask(mode=pb.MODE_STRICT, budget_ms=1)])
    (response,) = [response async for response in stream]
    assert response.error.facts["budget_ms"] == 1
    assert response.error.facts["smallest_feasible_budget_ms"] > 1
    assert not response.error.HasField("retry_after_ms")


async def test_bytes_that_are_no_message_do_not_end_a_stream(kit: Kit) -> None:
    """They get an error of their own."""
    call: RawStream = kit.channel.stream_stream(f"/{CLASSIFIER}/ClassifyStream")
    requests = iter([b"\xff\xff", ask().SerializeToString()])
    responses = [pb.ClassifyStreamResponse.FromString(raw) async for raw in call(requests)]
    assert sorted(response.error.kind for response in responses) == ["", "malformed-request"]


async def test_a_streams_deadline_is_no_images_budget(kit: Kit) -> None:
    """It bounds the whole stream; each image has the default budget."""
    stream = kit.stub.ClassifyStream([ask()], timeout=PATIENCE_S)
    (response,) = [response async for response in stream]
    assert response.answer.budget.requested_ms == 100


async def test_a_stream_answers_in_the_order_of_completion(kit: Kit) -> None:
    """A bad image does not wait for the good one before it."""
    kit.gate.open = False
    stream = kit.stub.ClassifyStream()
    for fields in ({"request_id": "good"}, {"request_id": "bad", "image": b"bad"}):
        await stream.write(ask(**fields))
    assert (await stream.read()).request_id == "bad"
    kit.gate.release()
    assert (await stream.read()).request_id == "good"


async def test_a_full_window_is_not_read_beyond(kit: Kit) -> None:
    """Of eight images, two per lane are in hand; the others wait in the transport."""
    kit.gate.open = False
    stream = kit.stub.ClassifyStream([ask() for _ in range(8)])
    await kit.until_in_hand(2)
    await asyncio.sleep(0.05)
    assert kit.in_hand == 2
    kit.gate.release()
    assert len([response async for response in stream]) == 8


async def test_an_abandoned_stream_leaves_nothing_behind(kit: Kit) -> None:
    """Those of its images that wait are cancelled, and the one that runs; its lane is free in the end, and no task is
    left."""
    kit.gate.open = False
    stream = kit.stub.ClassifyStream()
    for _ in range(3):
        await stream.write(ask())
    await kit.until_in_hand(2)
    stream.cancel()
    await kit.until_in_hand(0)
    assert kit.scheduler.statistics(time.monotonic()).busy == 1
    kit.gate.release()
    async with asyncio.timeout(PATIENCE_S):
        while kit.scheduler.statistics(time.monotonic()).busy:  # noqa: ASYNC110 (the scheduler has no event for it)
            await asyncio.sleep(0.002)
    assert [event.kind for event in kit.seen.failed] == [ErrorKind.CANCELLED] * 2
    async with asyncio.timeout(PATIENCE_S):
        while any("Stream" in repr(task.get_coro()) for task in asyncio.all_tasks()):  # noqa: ASYNC110 (tasks of others)
            await asyncio.sleep(0.002)


async def test_stopping_ends_a_stream_after_the_images_it_has_read(kit: Kit) -> None:
    """They are answered; then the stream is unavailable, by name."""
    kit.gate.open = False
    stream = kit.stub.ClassifyStream()
    await stream.write(ask(request_id="read"))
    await kit.until_in_hand(1)
    stopping = asyncio.create_task(kit.server.stop(PATIENCE_S))
    await asyncio.sleep(0.02)
    kit.gate.release()
    assert (await stream.read()).request_id == "read"
    assert await stream.code() is grpc.StatusCode.UNAVAILABLE
    assert (await trailer(stream))["effserve-error-kind"] == "draining"
    await stopping


@pytest.mark.parametrize(
    "scenario",
    [
        test_a_stream_answers_good_images_and_names_bad_ones,
        test_a_full_window_is_not_read_beyond,
        test_an_abandoned_stream_leaves_nothing_behind,
        test_stopping_ends_a_stream_after_the_images_it_has_read,
    ],
)
def test_uvloop_makes_no_difference(scenario: Scenario) -> None:
    """What depends on the event loop is the same on the one that the service runs on."""
    on_uvloop(scenario)
