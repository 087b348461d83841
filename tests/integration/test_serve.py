"""The whole service as a process: both protocols over one queue, and shutting down without losing a request."""

import asyncio
import re
import signal
import socket
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest

from service.wire import classifier_pb2, classifier_pb2_grpc
from tests.fixtures import jpeg, tiny_store
from tests.integration.process import PATIENCE_S, Server, serving

PHOTO = jpeg(160, 120)
HEADERS = {"Content-Type": "image/jpeg"}
BUDGET_MS = 60_000
"""Enough for every variant, however busy the machine is."""
LIFE = ["starting", "ready", "draining", "closing", "stopped"]
LOADED = 50
"""Answers over each protocol after which a server is under load."""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """A ready server over two small variants."""
    with serving(tiny_store(tmp_path / "store"), tmp_path) as running:
        yield running


@pytest.fixture(params=["1", "2"], ids=["one-process", "two-workers"])
def patient_server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Server]:
    """The same with the default grace period: long enough for each client to be told that the service ends."""
    settings = {"EFFSERVE_DRAIN_GRACE_S": "2", "EFFSERVE_WORKERS_COUNT": request.param, "EFFSERVE_LANES_COUNT": "2"}
    with serving(tiny_store(tmp_path / "store"), tmp_path, settings) as running:
        yield running


def test_the_first_request_of_the_readme_is_answered(server: Server) -> None:
    """A photo in, the most accurate variant for its budget out."""
    assert _classified(server)["decision"]["variant"] == "b1"


def test_both_protocols_give_the_same_predictions(server: Server) -> None:
    """One dataplane under two edges."""
    over_http = _classified(server)
    with grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}") as channel:
        stub = classifier_pb2_grpc.ClassifierStub(channel)  # type: ignore[no-untyped-call]
        over_grpc = stub.Classify(classifier_pb2.ClassifyRequest(image=PHOTO, budget_ms=BUDGET_MS))
    assert [p.index for p in over_grpc.predictions] == [p["index"] for p in over_http["predictions"]]
    assert [p.probability for p in over_grpc.predictions] == pytest.approx(
        [p["probability"] for p in over_http["predictions"]]
    )


def test_each_request_writes_one_line(server: Server) -> None:
    """With the id that the client got."""
    identity = _classified(server)["request_id"]
    server.stop()
    assert [line["event"] for line in server.log() if line.get("request_id") == identity] == ["request answered"]


def test_the_life_of_a_server_is_in_its_log(server: Server) -> None:
    """Starting, ready, draining, closing, stopped; exit status 0."""
    assert server.stop() == 0
    events = [line["event"] for line in server.log()]
    assert [e for e in events if e in LIFE] == LIFE


def test_an_operator_reads_what_the_drain_does(server: Server) -> None:
    """Which signal came, what is still done and for how long, what is in hand, and how it ended."""
    _classified(server)
    server.stop(signal.SIGINT)
    told = {line["event"]: line.get("detail") for line in server.log() if line["event"] in LIFE[2:]}
    assert told["draining"] == (
        "SIGINT came: readiness is off, requests are answered for 0.5 s more, or until a second signal"
    )
    assert told["closing"] == "nothing new is taken in; requests in hand: 0, to be finished within 30 s"
    assert re.fullmatch(r"\d+\.\d s after SIGINT; all requests are finished", str(told["stopped"]))


def test_the_line_that_says_ready_tells_the_layout_and_why(server: Server) -> None:
    """Neither lanes nor threads are set here."""
    (ready,) = (line for line in server.log() if line["event"] == "ready")
    assert re.search(r"\d+ lanes? of 1 thread \(.+\) and \d+ background lanes", str(ready["detail"]))


def test_a_second_signal_cuts_the_grace_period_short(tmp_path: Path) -> None:
    """The operator is in a hurry."""
    patient = {"EFFSERVE_DRAIN_GRACE_S": "600"}
    with serving(tiny_store(tmp_path / "store"), tmp_path, patient) as server:
        server.process.send_signal(signal.SIGTERM)
        while httpx.get(f"{server.url}/readyz", timeout=PATIENCE_S).status_code == 200:
            pass
        assert server.stop(signal.SIGINT) == 0


def test_a_request_in_hand_when_the_signal_comes_is_answered(server: Server) -> None:
    """Half its body came before the signal, half after the service stopped accepting."""
    head = (
        f"POST /classify?budget_ms={BUDGET_MS} HTTP/1.1\r\nHost: x\r\nContent-Type: image/jpeg\r\n"
        f"Content-Length: {len(PHOTO)}\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", server.http_port), PATIENCE_S) as client:
        client.sendall(head.encode() + PHOTO[:100])
        server.process.send_signal(signal.SIGTERM)
        _until_refused(server.http_port)
        client.sendall(PHOTO[100:])
        assert client.recv(100).startswith(b"HTTP/1.1 200 OK")
    assert server.process.wait(PATIENCE_S) == 0


@dataclass
class Tally:
    """What became of the requests of a load."""

    answered: int = 0
    refused: int = 0
    """Turned away at the door: nothing was sent."""
    lost: list[str] = field(default_factory=list)
    """Sent, and never answered."""


@pytest.mark.slow
async def test_no_request_is_lost_when_the_service_stops_under_load(patient_server: Server) -> None:
    """Eight clients on each protocol keep asking through SIGTERM; every request that was taken in is answered."""
    server, over_http, over_grpc = patient_server, Tally(), Tally()
    clients = [asyncio.create_task(_ask_over_http(server, over_http)) for _ in range(8)]
    clients += [asyncio.create_task(_ask_over_grpc(server, over_grpc)) for _ in range(8)]
    async with asyncio.timeout(PATIENCE_S):
        while min(over_http.answered, over_grpc.answered) < LOADED:  # noqa: ASYNC110 - both count by themselves
            await asyncio.sleep(0.01)
    before = over_http.answered, over_grpc.answered
    server.process.send_signal(signal.SIGTERM)
    await asyncio.wait_for(asyncio.gather(*clients), PATIENCE_S)
    assert (over_http.lost, over_grpc.lost) == ([], [])
    assert (over_http.refused, over_grpc.refused) == (8, 8)
    # The grace period: served on after the signal.
    assert (over_http.answered, over_grpc.answered) > before
    assert await asyncio.to_thread(server.process.wait, PATIENCE_S) == 0


async def _ask_over_http(server: Server, tally: Tally) -> None:
    """One keep-alive client until it is turned away."""
    async with httpx.AsyncClient(base_url=server.url, timeout=PATIENCE_S) as client:
        while True:
            try:
                response = await client.post(f"/classify?budget_ms={BUDGET_MS}", content=PHOTO, headers=HEADERS)
            except httpx.ConnectError:
                tally.refused += 1
                return
            except httpx.HTTPError as error:
                tally.lost.append(repr(error))
                return
            if response.status_code != 200:
                tally.lost.append(response.text)
            tally.answered += 1


async def _ask_over_grpc(server: Server, tally: Tally) -> None:
    """One client with a channel of its own until it is turned away."""
    options = [("grpc.use_local_subchannel_pool", 1)]
    async with grpc.aio.insecure_channel(f"127.0.0.1:{server.grpc_port}", options=options) as channel:
        stub = classifier_pb2_grpc.ClassifierStub(channel)  # type: ignore[no-untyped-call]
        while True:
            try:
                await stub.Classify(classifier_pb2.ClassifyRequest(image=PHOTO, budget_ms=BUDGET_MS))
            except grpc.aio.AioRpcError as error:
                if error.code() is grpc.StatusCode.UNAVAILABLE:
                    tally.refused += 1
                else:
                    tally.lost.append(repr(error))
                return
            tally.answered += 1


def _until_refused(port: int) -> None:
    """Until nobody listens. A connection that was made in the very moment in which the listener closed is reset."""
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), PATIENCE_S).close()
        except ConnectionError:
            return


def _classified(server: Server) -> dict[str, Any]:
    """The answer to a photo over HTTP."""
    url = f"{server.url}/classify?budget_ms={BUDGET_MS}"
    answer = httpx.post(url, content=PHOTO, headers=HEADERS, timeout=PATIENCE_S).raise_for_status()
    document: dict[str, Any] = answer.json()
    return document
