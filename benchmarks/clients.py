"""One client per protocol, blocking and as cheap as it gets, so that what it measures is the server.

HTTP is written to a socket directly: a client library would add as much time as the server's own overhead. Both take
the time from sending to the whole answer; reading the JSON comes after.
"""

import json
import socket
import time
from dataclasses import dataclass
from typing import Any, Protocol
from urllib.parse import urlencode

import grpc

from benchmarks.server import Server
from service.wire import classifier_pb2 as pb

TIMEOUT_S = 60.0
HOST = "127.0.0.1"
Given = dict[str, float | str]
"""Parameters by name, as both protocols call them: `budget_ms`, `variant`."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What a figure needs of an answer. Milliseconds, the server's own except `client_ms`."""

    variant: str
    receive_ms: float
    queue_ms: float
    decode_ms: float
    inference_ms: float
    hold_ms: float
    respond_ms: float
    total_ms: float
    met: bool
    terminated: bool
    """Whether a run for this request had to make room before."""
    client_ms: float

    @property
    def overhead_ms(self) -> float:
        """What the service adds to the work itself."""
        return self.total_ms - self.decode_ms - self.inference_ms

    @property
    def client_overhead_ms(self) -> float:
        """The same as the client sees it: with both network stacks and the client's own time."""
        return self.client_ms - self.decode_ms - self.inference_ms


def http_reply(body: bytes, client_ms: float) -> Reply:
    """From the JSON of an answer."""
    answer = json.loads(body)
    timing = {f"{stage}_ms": spent for stage, spent in answer["timing_ms"].items()}
    decision, met = answer["decision"], answer["budget"]["met"]
    return Reply(decision["variant"], **timing, met=met, terminated=bool(decision["terminated"]), client_ms=client_ms)


def grpc_reply(answer: pb.ClassifyResponse, client_ms: float) -> Reply:
    """From the message of an answer."""
    timing = {field.name: spent for field, spent in answer.timing.ListFields()}
    stages = dict.fromkeys(pb.Timing.DESCRIPTOR.fields_by_name, 0.0) | timing
    decision, met = answer.decision, answer.budget.met
    return Reply(decision.variant, **stages, met=met, terminated=bool(decision.terminated), client_ms=client_ms)


class Client(Protocol):
    """Sends one image at a time over one connection."""

    name: str

    def classify(self, image: bytes, given: Given) -> Reply:
        """The answer. Raises when there is none."""

    def close(self) -> None:
        """Hang up."""


class HttpClient:
    """HTTP/1.1 with keep-alive."""

    name = "http"

    def __init__(self, server: Server) -> None:
        self._socket = socket.create_connection((HOST, server.http_port), TIMEOUT_S)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def classify(self, image: bytes, given: Given) -> Reply:
        """See `Client.classify`."""
        started_s = time.perf_counter()
        _, body = self.exchange("POST", f"/classify?{urlencode(given)}", image)
        client_ms = (time.perf_counter() - started_s) * 1e3
        return http_reply(body, client_ms)

    def smallest_feasible_ms(self, budget_ms: float) -> float:
        """What `GET /plan` says would do now."""
        plan = json.loads(self.exchange("GET", f"/plan?{urlencode({'budget_ms': budget_ms})}")[1])
        return float(plan["smallest_feasible_budget_ms"])

    def close(self) -> None:
        """See `Client.close`."""
        self._socket.close()

    def exchange(
        self, method: str, path: str, body: bytes = b"", header: str = "Content-Type: image/jpeg"
    ) -> tuple[bytes, bytes]:
        """Head and body of the answer. Raises `RuntimeError` when it is no good one."""
        head = f"{method} {path} HTTP/1.1\r\nHost: {HOST}\r\n{header}\r\nContent-Length: {len(body)}"
        self._socket.sendall(head.encode() + b"\r\n\r\n" + body)
        received = self._receive()
        while b"\r\n\r\n" not in received:
            received += self._receive()
        answer_head, _, answer = received.partition(b"\r\n\r\n")
        length = number(answer_head, b"content-length")
        while len(answer) < length:
            answer += self._receive()
        if not answer_head.startswith(b"HTTP/1.1 200 "):
            raise RuntimeError(answer.decode())
        return answer_head, answer

    def _receive(self) -> bytes:
        received = self._socket.recv(65536)
        if not received:
            raise ConnectionError("the server closed the connection")
        return received


def number(head: bytes, header: bytes) -> int:
    """Of a header, named in lower case. Raises `RuntimeError` when it is not there."""
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.lower() == header:
            return int(value)
    raise RuntimeError(f"an answer without {header.decode()}")


class GrpcClient:
    """One channel with a connection of its own; the blocking call, which needs no thread to hand over to."""

    name = "grpc"

    def __init__(self, server: Server) -> None:
        own = [("grpc.use_local_subchannel_pool", 1)]
        self._channel = grpc.insecure_channel(f"{HOST}:{server.grpc_port}", own)
        self._classify: Any = self._channel.unary_unary(
            "/effserve.v1.Classifier/Classify",
            request_serializer=pb.ClassifyRequest.SerializeToString,
            response_deserializer=pb.ClassifyResponse.FromString,
        )

    def classify(self, image: bytes, given: Given) -> Reply:
        """See `Client.classify`."""
        asked: dict[str, Any] = dict(given)
        started_s = time.perf_counter()
        answer: pb.ClassifyResponse = self._classify(pb.ClassifyRequest(image=image, **asked), timeout=TIMEOUT_S)
        return grpc_reply(answer, (time.perf_counter() - started_s) * 1e3)

    def close(self) -> None:
        """See `Client.close`."""
        self._channel.close()
