"""The client's side of the gRPC tests: requests, outcomes of calls, and playing a test on uvloop."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import grpc
import pytest
import uvloop

from service.wire import classifier_pb2 as pb
from tests.contract.grpc_kit import JPEG, Kit, serving

CLASSIFIER = "effserve.v1.Classifier"
Scenario = Callable[[Kit], Coroutine[Any, Any, None]]


def ask(**fields: object) -> pb.ClassifyRequest:
    """A request for the sample image unless `fields` bring another one."""
    return pb.ClassifyRequest(**{"image": JPEG, **fields})  # type: ignore[arg-type]


def _texts(metadata: grpc.aio.Metadata) -> dict[str, str]:
    return {key: value for key, value in metadata if isinstance(value, str)}


async def trailer(call: grpc.aio.Call) -> dict[str, str]:
    """Trailing metadata of a call."""
    return _texts(await call.trailing_metadata())


async def failure(call: Awaitable[object]) -> tuple[grpc.StatusCode, dict[str, str], str]:
    """Status, trailing metadata and details of a call that must fail."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    error = caught.value
    return error.code(), _texts(error.trailing_metadata()), error.details() or ""


def on_uvloop(scenario: Scenario) -> None:
    """Play a test on the event loop that the service runs on; pytest's own is asyncio's."""

    async def play() -> None:
        async with serving() as kit:
            await scenario(kit)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(play())
