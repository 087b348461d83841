"""Asynchronous clients, as cheap as they get, so that the machine's cores are left to the server.

Answers are kept as they came, and read when the run is over.
"""

import asyncio
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Protocol
from urllib.parse import urlencode

import grpc

from benchmarks.clients import HOST, TIMEOUT_S, Given, Reply, grpc_reply, http_reply
from benchmarks.server import Server
from service.wire import classifier_pb2 as pb

CONNECTIONS = 32
"""Opened beforehand; more are opened when all of them wait for an answer."""
OK = 200
POLICIES = {"k1": pb.POLICY_K1, "p2": pb.POLICY_P2}

Answer = Callable[[float], Reply | str]
"""An answer as it came. Called with what it took the client, in milliseconds, it says what it is: a reply, or the
reason why there is none."""


class Wire(Protocol):
    """Sends any number of images at the same time."""

    async def open(self) -> None:
        """Connect."""

    async def ask(self, body: bytes, given: Given) -> Answer:
        """Raises `ConnectionError` when the connection is lost, `TimeoutError`."""

    async def close(self) -> None:
        """Hang up."""


class HttpWire:
    """HTTP/1.1 with keep-alive; a connection carries one request at a time."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._idle: list[_Connection] = []

    async def open(self) -> None:
        """See `Wire.open`."""
        self._idle = [await self._connect() for _ in range(CONNECTIONS)]

    async def ask(self, body: bytes, given: Given) -> Answer:
        """See `Wire.ask`."""
        connection = self._alive() or await self._connect()
        head = (
            f"POST /classify?{urlencode(given)} HTTP/1.1\r\nHost: {HOST}\r\nContent-Type: image/jpeg\r\n"
            f"Content-Length: {len(body)}\r\n\r\n"
        )
        async with asyncio.timeout(TIMEOUT_S):
            status, said = await connection.exchange(head.encode() + body)
        self._idle.append(connection)
        return partial(http_reply, said) if status == OK else _refusal(f"HTTP {status}")

    async def close(self) -> None:
        """See `Wire.close`."""
        for connection in self._idle:
            connection.close()

    def _alive(self) -> "_Connection | None":
        """The one used last: others may have been idle for so long that the server has closed them."""
        while self._idle:
            if not (connection := self._idle.pop()).lost:
                return connection
        return None

    async def _connect(self) -> "_Connection":
        _, connection = await asyncio.get_running_loop().create_connection(_Connection, HOST, self._port)
        return connection


class _Connection(asyncio.Protocol):
    def __init__(self) -> None:
        self.lost = False
        self._transport: asyncio.Transport | None = None
        self._received = bytearray()
        self._answer: asyncio.Future[tuple[int, bytes]] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        if isinstance(transport, asyncio.Transport):
            self._transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost = True
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(ConnectionError(f"the server closed the connection: {exc}"))

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, found, body = self._received.partition(b"\r\n\r\n")
        if found and len(body) >= _length(head) and self._answer is not None and not self._answer.done():
            self._answer.set_result((int(head.split(b" ", 2)[1]), bytes(body)))

    def exchange(self, request: bytes) -> "asyncio.Future[tuple[int, bytes]]":
        """Send; status and body come later."""
        if self._transport is None or self.lost:
            raise ConnectionError("not connected")
        self._received.clear()
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        return self._answer

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()


def _length(head: bytes | bytearray) -> int:
    for line in bytes(head).split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            return int(value)
    raise ValueError("an answer without a length")


class GrpcWire:
    """One channel with many streams."""

    def __init__(self, port: int) -> None:
        self._target = f"{HOST}:{port}"

    async def open(self) -> None:
        """See `Wire.open`."""
        self._channel = grpc.aio.insecure_channel(self._target)
        self._classify: Any = self._channel.unary_unary(
            "/effserve.v1.Classifier/Classify",
            request_serializer=pb.ClassifyRequest.SerializeToString,
            response_deserializer=pb.ClassifyResponse.FromString,
        )
        await self._channel.channel_ready()

    async def ask(self, body: bytes, given: Given) -> Answer:
        """See `Wire.ask`."""
        asked: dict[str, Any] = {name: POLICIES.get(str(value), value) for name, value in given.items()}
        try:
            said = await self._classify(pb.ClassifyRequest(image=body, **asked), timeout=TIMEOUT_S)
        except grpc.aio.AioRpcError as error:
            # What the service refuses carries its trailers.
            if error.code() is grpc.StatusCode.UNAVAILABLE and not error.trailing_metadata():
                raise ConnectionError(error.details()) from error
            return _refusal(f"gRPC {error.code().name}")
        return partial(grpc_reply, said)

    async def close(self) -> None:
        """See `Wire.close`."""
        await self._channel.close()


def _refusal(reason: str) -> Answer:
    return lambda _: reason


WIRES: Mapping[str, Callable[[int], Wire]] = {"http": HttpWire, "grpc": GrpcWire}
"""By protocol; they take its port."""


def port(server: Server, protocol: str) -> int:
    """Where a server listens."""
    return server.http_port if protocol == "http" else server.grpc_port


def to(server: Server, protocol: str) -> Wire:
    """Not connected yet."""
    return WIRES[protocol](port(server, protocol))
