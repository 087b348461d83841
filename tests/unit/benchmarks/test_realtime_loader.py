"""The loader keeps to its schedule, whatever the server does, and charges the server from the scheduled moments."""

import json
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from benchmarks.clients import Given, Reply
from benchmarks.realtime import loader
from benchmarks.realtime.loader import Sent, drive
from benchmarks.realtime.wires import CONNECTIONS, Answer, HttpWire
from benchmarks.server import Server
from service.simulation.traces import Recorded

PATIENCE_S = 60.0
"""Only a test that fails waits so long."""
TIMING = {
    "receive": 0.1, "queue": 0.2, "decode": 1.0, "inference": 2.0, "hold": 0.0, "respond": 0.3, "total": 3.6,
}  # fmt: skip
ANSWER = json.dumps(
    {"decision": {"variant": "b1", "terminated": "b4"}, "timing_ms": TIMING, "budget": {"met": True}}
).encode()


def schedule(*at_s: float, budget_s: float = 0.1) -> Recorded:
    """Requests with one budget."""
    return Recorded("made", np.array(at_s), np.full(len(at_s), budget_s))


class Stub:
    """A server whose requests wait until `release` is set."""

    def __init__(self) -> None:
        self.release = threading.Event()
        self.release_after: int | None = None
        """Requests that have to be there first."""
        self.status = 200
        self.in_pieces = False
        self.seen: list[tuple[str, bytes]] = []
        self.port = 0

    def take(self, path: str, body: bytes) -> None:
        """One request."""
        self.seen.append((path, body))
        if self.release_after is not None and len(self.seen) >= self.release_after:
            self.release.set()
        assert self.release.wait(PATIENCE_S)


@pytest.fixture(name="stub")
def _stub() -> Iterator[Stub]:
    stub = Stub()
    with _serving(stub):
        yield stub


@contextmanager
def _serving(stub: Stub) -> Iterator[None]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            """Answer it, unless the connection is to be dropped."""
            stub.take(self.path, self.rfile.read(int(self.headers["content-length"])))
            if stub.status == 0:
                self.close_connection = True
                return
            whole = b"HTTP/1.1 %d Said\r\nContent-Length: %d\r\n\r\n%b" % (stub.status, len(ANSWER), ANSWER)
            for piece in [bytes([byte]) for byte in whole] if stub.in_pieces else [whole]:
                self.wfile.write(piece)

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    class Many(ThreadingHTTPServer):
        request_queue_size = 4 * CONNECTIONS
        daemon_threads = True

    server = Many(("127.0.0.1", 0), Handler)
    stub.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield
    finally:
        stub.release.set()
        server.shutdown()
        thread.join()
        server.server_close()


@asynccontextmanager
async def wired(stub: Stub) -> AsyncIterator[HttpWire]:
    """Connections to it."""
    wire = HttpWire(stub.port)
    await wire.open()
    try:
        yield wire
    finally:
        await wire.close()


async def test_requests_are_sent_though_nothing_was_answered(stub: Stub) -> None:
    """This server answers nobody until all have asked: more than there are connections, each on time or later.

    So the first one waits for the last, and its latency counts from when it was to be sent.
    """
    at_s = [number / 400 for number in range(CONNECTIONS + 8)]
    stub.release_after = len(at_s)
    async with wired(stub) as wire:
        sent = await drive(wire, schedule(*at_s), [b"picture"], {})
    assert len(stub.seen) == len(at_s)
    assert all(one.lag_s >= 0 for one in sent)
    assert sent[0].latency_s >= at_s[-1]
    assert all(one.latency_s >= at_s[-1] - one.at_s for one in sent)


async def test_budget_parameters_and_bodies_are_the_schedules(stub: Stub) -> None:
    """Bodies in turn."""
    stub.release.set()
    async with wired(stub) as wire:
        for _ in range(2):
            await drive(wire, schedule(0.0, budget_s=0.05), [b"one", b"two"], {"policy": "k1"})
        await drive(wire, schedule(0.0, 0.001, 0.002, budget_s=0.4), [b"one", b"two"], {})
    assert stub.seen[0] == stub.seen[1] == ("/classify?budget_ms=50.0&policy=k1", b"one")
    assert sorted(body for _, body in stub.seen[2:]) == [b"one", b"one", b"two"]
    assert {path for path, _ in stub.seen[2:]} == {"/classify?budget_ms=400.0"}


async def test_an_answer_is_read(stub: Stub) -> None:
    """With the client's own time beside the server's."""
    stub.release.set()
    async with wired(stub) as wire:
        (sent,) = await drive(wire, schedule(0.0), [b"picture"], {})
    reply = sent.reply
    assert reply is not None
    assert (reply.variant, reply.terminated, reply.met, reply.total_ms) == ("b1", True, True, 3.6)
    assert reply.client_ms == pytest.approx(sent.latency_s * 1e3)


@pytest.mark.parametrize(("status", "failure", "lost"), [(503, "HTTP 503", False), (0, "lost: ", True)])
async def test_who_gets_no_answer_is_told_why(stub: Stub, status: int, failure: str, lost: bool) -> None:
    """Refused is not lost."""
    stub.status = status
    stub.release.set()
    async with wired(stub) as wire:
        (sent,) = await drive(wire, schedule(0.0), [b"picture"], {})
    assert sent.reply is None
    assert sent.failure.startswith(failure)
    assert sent.lost is lost


class Blocking:
    """Keeps the loader's own loop busy with the first request."""

    BUSY_S = 0.05

    def __init__(self) -> None:
        self._first = True

    async def open(self) -> None:
        """Nothing to connect."""

    async def ask(self, body: bytes, given: Given) -> Answer:
        """At once, but for the first."""
        if self._first:
            self._first = False
            time.sleep(self.BUSY_S)  # noqa: ASYNC251
        return lambda _: "refused"

    async def close(self) -> None:
        """Nothing to close."""


async def test_what_the_loader_is_late_counts_and_is_reported() -> None:
    """As lag, and in the latency."""
    sent = await drive(Blocking(), schedule(0.0, 0.01), [b"picture"], {})
    assert sent[1].lag_s >= Blocking.BUSY_S - 0.01
    assert sent[1].latency_s >= sent[1].lag_s


async def test_a_schedule_has_budgets() -> None:
    """Anything else is a mistake."""
    with pytest.raises(ValueError, match="no budgets"):
        await drive(Blocking(), Recorded("bare", np.zeros(1)), [b"picture"], {})


def test_a_process_of_its_own_sends_and_leaves_a_file(stub: Stub, tmp_path: Path) -> None:
    """Which is what `send` returns."""
    stub.release.set()
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    (pictures / "0.jpg").write_bytes(b"picture")
    trace = tmp_path / "schedule.csv"
    trace.write_text("arrival_s,budget_ms\n0.0,50\n0.02,800\n")
    load = loader.send(
        Server(0, stub.port, 0), trace, bodies=pictures, protocol="http", given={"variant": "b1"},
        out=tmp_path / "load.json", timeout_s=PATIENCE_S,
    )  # fmt: skip
    assert load == loader.read(tmp_path / "load.json")
    assert [(one.at_s, one.budget_s) for one in load.sent] == [(0.0, 0.05), (0.02, 0.8)]
    assert all(isinstance(one.reply, Reply) for one in load.sent)
    assert {path.partition("variant=")[2] for path, _ in stub.seen} == {"b1"}
    assert load.cpu_s > 0


def test_lost_is_what_the_server_said_nothing_about() -> None:
    """Whatever the reason."""
    assert Sent(0.0, 0.1, 0.0, 0.2, None, "lost: reset").lost
    assert not Sent(0.0, 0.1, 0.0, 0.2, None, "HTTP 504").lost


async def test_an_answer_in_pieces_is_put_together(stub: Stub) -> None:
    """Head and body may come in any."""
    stub.in_pieces = True
    stub.release.set()
    async with wired(stub) as wire:
        (sent,) = await drive(wire, schedule(0.0), [b"picture"], {})
    assert sent.reply is not None
