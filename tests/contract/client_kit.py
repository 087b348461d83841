"""The Python clients in all four forms, and servers that fail as they are told, on real sockets."""

import asyncio
import contextlib
import http.server
import json
import socket
import struct
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent import futures
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any

import grpc

from service.client import Answer, AsyncClient, Client, ClientError, Retries
from service.client.values import Budget, Decision, Image, Prediction, Timing
from service.wire import classifier_pb2 as pb
from service.wire import classifier_pb2_grpc

PATIENCE_S = 60.0
FORMS = ("http", "http, asyncio", "grpc", "grpc, asyncio")
"""Protocol, and whether on an event loop."""
QUICK = Retries(attempts=3, pause_s=0.01)


def asked(form: str, url: str, image: bytes = b"image", retries: Retries = QUICK, **options: Any) -> Answer:  # noqa: ANN401
    """The answer to one question by a client of this form."""
    if not form.endswith("asyncio"):
        with Client(url, retries=retries) as client:
            return client.classify(image, **options)

    async def ask() -> Answer:
        async with AsyncClient(url, retries=retries) as client:
            return await client.classify(image, **options)

    return asyncio.run(ask())


def all_asked(form: str, url: str, image: bytes = b"image", retries: Retries = QUICK, **options: Any) -> list[Answer]:  # noqa: ANN401
    """All answers of an anytime question."""
    if not form.endswith("asyncio"):
        with Client(url, retries=retries) as client:
            return list(client.classify_anytime(image, **options))

    async def ask() -> list[Answer]:
        async with AsyncClient(url, retries=retries) as client:
            return [answer async for answer in client.classify_anytime(image, **options)]

    return asyncio.run(ask())


def failure(form: str, url: str, **options: Any) -> ClientError:  # noqa: ANN401
    """Why there is no answer."""
    try:
        answer = asked(form, url, **options)
    except ClientError as error:
        return error
    raise AssertionError(answer)


ANSWER = Answer(
    request_id="mine",
    final=True,
    predictions=(Prediction(3, "n3", "three", 0.5),),
    decision=Decision(
        "b0", 1, 0.77, "measured", True, 5.0, 7.0, 40.0, True, "most_accurate_that_fits", "it fits"
    ),
    timing_ms=Timing(1.0, 2.0, 3.0, 4.0, 0.0, 2.0, 12.0),
    budget=Budget(50.0, 12.0, True),
    image=Image("JPEG", 64, 48, 700),
    warnings=("untrained",),
    members=("b0",),
)  # fmt: skip


@dataclass(frozen=True)
class Refusal:
    """What a server says in place of an answer."""

    status: int
    code: grpc.StatusCode
    kind: str = ""
    detail: str = "not now"
    retry_after_s: float | None = None
    facts: dict[str, float] = field(default_factory=dict)


HANG = "hang"
Step = Refusal | str


@dataclass
class Scripted:
    """A server that plays a script, one step a request, and answers when it is through."""

    url: str
    seen: list[dict[str, Any]]
    """Parameters of each request."""


@contextmanager
def scripted(form: str, *steps: Step) -> Iterator[Scripted]:
    """Of the form's protocol."""
    with (_over_http if form.startswith("http") else _over_grpc)(list(steps)) as server:
        yield server


@contextmanager
def _over_http(steps: list[Step]) -> Iterator[Scripted]:
    seen: list[dict[str, Any]] = []
    ended = threading.Event()

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            query = self.path.partition("?")[2]
            seen.append(dict(pair.split("=") for pair in query.split("&") if pair))
            step = steps.pop(0) if steps else None
            if step == HANG:
                ended.wait(PATIENCE_S)
            elif isinstance(step, Refusal):
                self._say(step.status, _problem(step), step.retry_after_s)
            else:
                self._say(200, asdict(ANSWER))

        def _say(self, status: int, document: object, retry_after_s: float | None = None) -> None:
            content = json.dumps(document).encode() if document else b"<html>"
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            if retry_after_s is not None:
                self.send_header("Retry-After", str(max(round(retry_after_s), 1)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: object) -> None:
            """Quiet."""

    with _listening(Handler) as url:
        try:
            yield Scripted(url, seen)
        finally:
            ended.set()


@contextmanager
def endless(form: str) -> Iterator[str]:
    """The address of a server that has a better answer every few milliseconds, and never a last one."""
    ended = threading.Event()
    event = f"event: answer\ndata: {json.dumps(asdict(ANSWER) | {'final': False})}\n\n".encode()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(200)
            self.send_header("Content-Type", "text/event-stream")
            self.end_headers()
            with contextlib.suppress(ConnectionError):
                while not ended.wait(0.01):
                    self.wfile.write(event)

        def log_message(self, format: str, *args: object) -> None:
            """Quiet."""

    class Servicer(classifier_pb2_grpc.ClassifierServicer):
        def ClassifyAnytime(self, request: pb.ClassifyRequest, context: Any) -> Iterator[pb.ClassifyResponse]:  # noqa: ANN401
            while not ended.wait(0.01) and context.is_active():
                yield _message()

    try:
        with _listening(Handler) if form.startswith("http") else _serving(Servicer()) as url:
            yield url
            ended.set()
    finally:
        ended.set()


@contextmanager
def _listening(handler: type[http.server.BaseHTTPRequestHandler]) -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


@contextmanager
def _serving(servicer: classifier_pb2_grpc.ClassifierServicer) -> Iterator[str]:
    server = grpc.server(futures.ThreadPoolExecutor(4))
    classifier_pb2_grpc.add_ClassifierServicer_to_server(servicer, server)  # type: ignore[no-untyped-call]
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield f"grpc://127.0.0.1:{port}"
    finally:
        server.stop(None).wait(PATIENCE_S)


def _problem(refusal: Refusal) -> dict[str, Any]:
    if not refusal.kind:
        return {}
    said = {"kind": refusal.kind, "detail": refusal.detail, "status": refusal.status, "request_id": "its"}
    pause = {} if refusal.retry_after_s is None else {"retry_after_ms": refusal.retry_after_s * 1e3}
    return said | pause | refusal.facts


@contextmanager
def _over_grpc(steps: list[Step]) -> Iterator[Scripted]:
    seen: list[dict[str, Any]] = []
    ended = threading.Event()

    class Servicer(classifier_pb2_grpc.ClassifierServicer):
        def Classify(self, request: pb.ClassifyRequest, context: Any) -> pb.ClassifyResponse:  # noqa: ANN401
            seen.append({one.name: value for one, value in request.ListFields()} | {"left": context.time_remaining()})
            step = steps.pop(0) if steps else None
            if step == HANG:
                ended.wait(PATIENCE_S)
            if isinstance(step, Refusal):
                context.set_trailing_metadata(_trailers(step))
                context.abort(step.code, step.detail)
            return _message()

    with _serving(Servicer()) as url:
        try:
            yield Scripted(url, seen)
        finally:
            ended.set()


def _trailers(refusal: Refusal) -> tuple[tuple[str, str], ...]:
    if not refusal.kind:
        return ()
    pause = (
        () if refusal.retry_after_s is None else (("grpc-retry-pushback-ms", str(round(refusal.retry_after_s * 1e3))),)
    )
    facts = ((f"effserve-{name.replace('_', '-')}", str(value)) for name, value in refusal.facts.items())
    return ("effserve-error-kind", refusal.kind), ("x-request-id", "its"), *pause, *facts


def _message() -> pb.ClassifyResponse:
    said = asdict(ANSWER)
    decision = {name: value for name, value in said["decision"].items() if value is not None}
    timing = {f"{stage}_ms": value for stage, value in said.pop("timing_ms").items()}
    return pb.ClassifyResponse(**{**said, "decision": decision, "timing": timing})


@contextmanager
def unreliable(port: int, faults: Sequence[str]) -> Iterator[tuple[int, list[float]]]:
    """A port that leads to another one, but for the first connections; its number, and when connections came.

    Faults: `reset` ends a connection with its first bytes, as a server that crashes does; `hang` never says anything;
    `half` ends it after the first bytes of the server's answer.
    """
    left, came = list(faults), list[float]()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0.05)
        ending = threading.Event()
        threads: list[threading.Thread] = []

        def accept() -> None:
            while not ending.is_set():
                with contextlib.suppress(TimeoutError):
                    connection, _ = listener.accept()
                    came.append(time.monotonic())
                    fault = left.pop(0) if left else ""
                    threads.append(threading.Thread(target=_pass_on, args=(connection, port, fault, ending)))
                    threads[-1].start()

        accepting = threading.Thread(target=accept)
        accepting.start()
        try:
            yield listener.getsockname()[1], came
        finally:
            ending.set()
            for thread in (accepting, *threads):
                thread.join()


def _pass_on(connection: socket.socket, port: int, fault: str, ending: threading.Event) -> None:
    with connection, socket.create_connection(("127.0.0.1", port)) as server:
        for one in (connection, server):
            one.settimeout(0.01)
        while not ending.is_set():
            sent = _received(connection)
            if sent and fault == "reset":
                return _reset(connection)
            if sent and fault != "hang":
                server.sendall(sent)
            answered = _received(server)
            if answered and fault == "half":
                connection.sendall(answered[:20])
                return _reset(connection)
            if answered:
                connection.sendall(answered)
            if b"" in (sent, answered):
                return None


def _received(connection: socket.socket) -> bytes | None:
    """What came; nothing when the other side has ended; None when it is silent."""
    try:
        return connection.recv(65_536)
    except TimeoutError:
        return None
    except ConnectionError:
        return b""


def _reset(connection: socket.socket) -> None:
    """Close without a goodbye: the other side sees `ECONNRESET`."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
