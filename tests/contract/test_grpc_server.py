"""The gRPC server's life: its port, health, reflection, and stopping without losing what is in hand."""

import asyncio
import socket
from collections.abc import AsyncIterator

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from service.core.errors import ErrorKind
from service.draining import close
from service.wire import classifier_pb2 as pb
from tests.contract.grpc_client import CLASSIFIER, Scenario, ask, failure, on_uvloop
from tests.contract.grpc_kit import PATIENCE_S, STOP_S, Kit, composed, made, serving


@pytest.fixture
async def kit() -> AsyncIterator[Kit]:
    """One lane."""
    async with serving() as started:
        yield started


@pytest.mark.parametrize("service", ["", CLASSIFIER])
async def test_health_says_what_it_was_told(kit: Kit, service: str) -> None:
    """NOT_SERVING at first, then what `set_serving` said last."""
    stub = health_pb2_grpc.HealthStub(kit.channel)
    seen = []
    for serving_now in (None, True, False):
        if serving_now is not None:
            await kit.server.set_serving(serving_now)
        seen.append((await stub.Check(health_pb2.HealthCheckRequest(service=service))).status)
    states = health_pb2.HealthCheckResponse
    assert seen == [states.NOT_SERVING, states.SERVING, states.NOT_SERVING]


async def _services(kit: Kit) -> list[str]:
    requests = [reflection_pb2.ServerReflectionRequest(list_services="")]
    call = reflection_pb2_grpc.ServerReflectionStub(kit.channel).ServerReflectionInfo(requests)
    return [s.name async for response in call for s in response.list_services_response.service]


async def test_reflection_lists_the_services(kit: Kit) -> None:
    """The classifier, health, itself, and the Open Inference Protocol."""
    assert sorted(await _services(kit)) == [
        CLASSIFIER, "grpc.health.v1.Health", "grpc.reflection.v1alpha.ServerReflection",
        "inference.GRPCInferenceService",
    ]  # fmt: skip


async def test_reflection_describes_the_contract_under_its_public_name(kit: Kit) -> None:
    """What grpcurl needs to call the service without a file."""
    requests = [reflection_pb2.ServerReflectionRequest(file_by_filename="effserve/v1/classifier.proto")]
    call = reflection_pb2_grpc.ServerReflectionStub(kit.channel).ServerReflectionInfo(requests)
    (response,) = [response async for response in call]
    assert pb.DESCRIPTOR.serialized_pb in response.file_descriptor_response.file_descriptor_proto


async def test_reflection_can_be_off() -> None:
    """Then nobody may list the services."""
    async with serving(reflection=False) as kit:
        call = reflection_pb2_grpc.ServerReflectionStub(kit.channel).ServerReflectionInfo()
        assert await call.code() is grpc.StatusCode.UNIMPLEMENTED


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_a_taken_port_is_an_os_error(kit: Kit, host: str) -> None:
    """Named with its address, also when another address of the same name is free."""
    dataplane, _ = composed(kit.gate, kit.seen, 1)
    with pytest.raises(OSError, match=rf"cannot listen on {host}:{kit.port}: Address already in use"):
        made(dataplane).bind(host, kit.port)


async def test_an_address_of_another_machine_is_an_os_error(kit: Kit) -> None:
    """192.0.2.0/24 is for documentation: no machine has it."""
    dataplane, _ = composed(kit.gate, kit.seen, 1)
    with pytest.raises(OSError, match=r"cannot listen on 192\.0\.2\.1:"):
        made(dataplane).bind("192.0.2.1", 0)


@pytest.mark.skipif(not socket.has_ipv6, reason="no IPv6 here")
async def test_an_ipv6_address_is_bracketed(kit: Kit) -> None:
    """`::1` is a host, not a host and a port."""
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("no IPv6 loopback here")
    dataplane, _ = composed(kit.gate, kit.seen, 1)
    server = made(dataplane)
    port = server.bind("::1", 0)
    await server.start()
    async with grpc.aio.insecure_channel(f"[::1]:{port}") as channel:
        await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest())
    await server.stop(STOP_S)


async def test_stopping_finishes_what_is_in_hand(kit: Kit) -> None:
    """The accepted request is answered; stop returns after it."""
    kit.gate.open = False
    call = asyncio.ensure_future(kit.stub.Classify(ask(request_id="last")))
    await kit.until_in_hand(1)
    stopping = asyncio.create_task(kit.server.stop(PATIENCE_S))
    await asyncio.sleep(0.05)
    assert not stopping.done()
    kit.gate.release()
    assert (await call).request_id == "last"
    await stopping


async def test_stopping_cuts_what_takes_too_long(kit: Kit) -> None:
    """After the timeout the call is cancelled, and its work with it."""
    kit.gate.open = False
    calls = [asyncio.ensure_future(kit.stub.Classify(ask())) for _ in range(2)]
    await kit.until_in_hand(2)
    await kit.server.stop(0.05)
    await kit.until_in_hand(0)
    for call in calls:
        status, _, _ = await failure(call)
        assert status in (grpc.StatusCode.CANCELLED, grpc.StatusCode.UNAVAILABLE)


class Nobody:
    """The server of a protocol that is not asked."""

    async def stop(self) -> None:
        """It has nothing in hand."""


async def test_what_is_cut_is_not_told_as_left_by_its_client(kit: Kit) -> None:
    """Whoever reads the log learns who ended it."""
    kit.gate.open = False
    call = asyncio.ensure_future(kit.stub.Classify(ask()))
    await kit.until_in_hand(1)
    late = await close(kit.dataplane, Nobody(), kit.server, count=lambda: 1, timeout_s=0.05)
    await failure(call)
    assert late == 1
    assert [(event.kind, event.detail) for event in kit.seen.failed] == [
        (ErrorKind.DRAINING, "cut off: the service shut down before it was answered")
    ]


async def test_open_watches_do_not_hold_up_stopping(kit: Kit) -> None:
    """A health watch and a reflection call that the client keeps open end at once, as unavailable."""
    watch = health_pb2_grpc.HealthStub(kit.channel).Watch(health_pb2.HealthCheckRequest())
    listing = reflection_pb2_grpc.ServerReflectionStub(kit.channel).ServerReflectionInfo()
    await listing.write(reflection_pb2.ServerReflectionRequest(list_services=""))
    await asyncio.gather(watch.read(), listing.read())
    async with asyncio.timeout(PATIENCE_S):
        await kit.server.stop(10 * PATIENCE_S)
    codes = [await watch.code(), await listing.code()]
    assert codes == [grpc.StatusCode.UNAVAILABLE] * 2


@pytest.mark.parametrize(
    "scenario",
    [
        test_stopping_finishes_what_is_in_hand,
        test_stopping_cuts_what_takes_too_long,
        test_open_watches_do_not_hold_up_stopping,
    ],
)
def test_uvloop_makes_no_difference(scenario: Scenario) -> None:
    """What depends on the event loop is the same on the one that the service runs on."""
    on_uvloop(scenario)
