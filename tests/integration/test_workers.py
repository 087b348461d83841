"""Several workers behind the same two ports, as processes: who answers, what is counted, and what dies and ends."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest

from service.telemetry.scrape import Scrape, read
from service.wire import classifier_pb2, classifier_pb2_grpc
from tests.fixtures import tiny_store
from tests.integration.process import PATIENCE_S, Server, serving
from tests.integration.test_serve import BUDGET_MS, HEADERS, PHOTO

TWO = {
    # More than lanes, so there are two.
    "EFFSERVE_WORKERS_COUNT": "3",
    "EFFSERVE_LANES_COUNT": "2",
    "EFFSERVE_STORE_CHANGES": "explicit",
    "EFFSERVE_DRAIN_GRACE_S": "0.5",
}


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Two workers with a lane each; tests do not stop it."""
    folder = tmp_path_factory.mktemp("pair")
    with serving(tiny_store(folder / "store"), folder, TWO) as running:
        yield running


def _health(client: httpx.Client) -> dict[str, Any]:
    document: dict[str, Any] = client.get("/healthz").raise_for_status().json()
    return document


def _ask(client: httpx.Client) -> None:
    client.post(f"/classify?budget_ms={BUDGET_MS}", content=PHOTO, headers=HEADERS).raise_for_status()


def _metrics(server: Server) -> Scrape:
    return read(httpx.get(f"{server.url}/metrics", timeout=PATIENCE_S).raise_for_status().text, 0.0)


def _pids(server: Server) -> list[int]:
    """Of the workers."""
    children = Path(f"/proc/{server.process.pid}/task/{server.process.pid}/children")
    return [int(pid) for pid in children.read_text().split()]


def _until_gone(pids: list[int]) -> None:
    until_s = time.monotonic() + PATIENCE_S
    while any(Path(f"/proc/{pid}").exists() for pid in pids):
        assert time.monotonic() < until_s
        time.sleep(0.05)


def _connected(server: Server, connections: int) -> list[httpx.Client]:
    return [httpx.Client(base_url=server.url, timeout=PATIENCE_S) for _ in range(connections)]


def test_connections_are_shared_out_evenly(pair: Server) -> None:
    """Four clients that keep their connection: two for each worker."""
    with ExitStack() as stack:
        clients = [stack.enter_context(client) for client in _connected(pair, 4)]
        assert Counter(_health(client)["worker"] for client in clients) == {1: 2, 2: 2}
        assert {(health["workers"], health["lanes"]) for health in map(_health, clients)} == {(2, 1)}


def test_any_worker_tells_the_counts_of_all(pair: Server) -> None:
    """Asked over either connection, as many answers as were sent to both, on both protocols."""
    before = _metrics(pair)
    with ExitStack() as stack:
        clients = [stack.enter_context(client) for client in _connected(pair, 2)]
        for client in clients * 3:
            _ask(client)
        _ask_over_grpc(pair, 4)
        scrapes = [read(client.get("/metrics").text, 0.0) for client in clients]
    for now in scrapes:
        answered = now.value("effserve_requests_total") - before.value("effserve_requests_total")
        timed = now.value("effserve_request_seconds_count") - before.value("effserve_request_seconds_count")
        assert (answered, timed) == (10, 10)
        assert [now.value(f"effserve_{name}") for name in ("lanes", "workers", "ready")] == [2, 2, 1]


def _ask_over_grpc(server: Server, times: int) -> None:
    """Each time on a connection of its own."""
    for _ in range(times):
        options = [("grpc.use_local_subchannel_pool", 1)]
        with grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}", options) as channel:
            stub = classifier_pb2_grpc.ClassifierStub(channel)  # type: ignore[no-untyped-call]
            stub.Classify(classifier_pb2.ClassifyRequest(image=PHOTO, budget_ms=BUDGET_MS))


def test_a_change_reaches_every_worker(pair: Server) -> None:
    """Unloaded and loaded again by whoever is asked; what is refused is refused by name."""
    with ExitStack() as stack:
        clients = [stack.enter_context(client) for client in _connected(pair, 2)]
        assert {_health(client)["worker"] for client in clients} == {1, 2}

        def served() -> list[set[str]]:
            tables = [client.get("/variants").json()["variants"] for client in clients]
            return [{variant["name"] for variant in table} for table in tables]

        clients[1].post("/v2/repository/models/b0/unload").raise_for_status()
        assert served() == [{"b1"}] * 2
        refused = clients[0].post("/v2/repository/models/b1/unload")
        assert (refused.status_code, served()) == (409, [{"b1"}] * 2)
        clients[0].post("/v2/repository/models/b0/load").raise_for_status()
        assert served() == [{"b0", "b1"}] * 2
        changes = clients[1].post("/reload").raise_for_status().json()["changes"]
        assert {change["change"] for change in changes} == {"kept"}


def test_a_worker_that_is_killed_comes_back(tmp_path: Path) -> None:
    """Meanwhile the other one answers; then there are two again that serve the same, and nothing that was counted is
    forgotten. When the supervisor is killed, all of them end."""
    with serving(tiny_store(tmp_path / "store"), tmp_path, TWO) as server:
        with httpx.Client(base_url=server.url, timeout=PATIENCE_S) as client:
            _ask(client)
            client.post("/v2/repository/models/b0/unload").raise_for_status()
        counted = _metrics(server).value("effserve_requests_total")
        os.kill(_pids(server)[0], signal.SIGKILL)
        until_s = time.monotonic() + PATIENCE_S
        restarts = 0.0
        while restarts == 0 and time.monotonic() < until_s:
            # Until the supervisor has noticed, it hands connections to the dead one, too: these are reset.
            with suppress(httpx.TransportError):
                with httpx.Client(base_url=server.url, timeout=PATIENCE_S) as client:
                    _ask(client)
                counted += 1
                restarts = _metrics(server).value("effserve_worker_restarts_total")
        now = _metrics(server)
        assert now.value("effserve_workers") == 2
        assert now.value("effserve_requests_total") == counted
        with ExitStack() as stack:
            clients = [stack.enter_context(client) for client in _connected(server, 2)]
            assert {_health(client)["worker"] for client in clients} == {1, 2}
            assert {_health(client)["variants"] for client in clients} == {1}
        ended = [line for line in server.log() if line["event"] == "worker ended"]
        assert [(line["worker"], "killed by signal 9" in str(line["detail"])) for line in ended] == [(1, True)]
        workers = _pids(server)
        server.stop(signal.SIGKILL)
        _until_gone(workers)


def test_more_workers_than_lanes_are_not_started(pair: Server) -> None:
    """The first line of the log says so."""
    assert len(_pids(pair)) == 2
    first = pair.log()[0]
    assert (first["event"], "3 workers were asked for" in str(first["detail"])) == ("starting", True)


@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_a_port_that_somebody_has_is_not_shared(protocol: str, tmp_path: Path) -> None:
    """Even by somebody who would not mind."""
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        other.bind(("127.0.0.1", 0))
        other.listen()
        taken = str(other.getsockname()[1])
        environment = os.environ | TWO | {
            "EFFSERVE_HTTP_PORT": "0",
            "EFFSERVE_GRPC_PORT": "0",
            "EFFSERVE_STORE_DIR": str(tiny_store(tmp_path / "store")),
            f"EFFSERVE_{protocol.upper()}_PORT": taken,
        }  # fmt: skip
        ended = subprocess.run(
            [sys.executable, "-m", "service", "serve"], env=environment, capture_output=True, text=True, check=False
        )
    assert (ended.returncode, "Address already in use" in ended.stderr) == (2, True)


def test_what_keeps_a_worker_from_starting_is_told(tmp_path: Path) -> None:
    """In one line, as a single process does."""
    environment = os.environ | TWO | {
        "EFFSERVE_HTTP_PORT": "0",
        "EFFSERVE_GRPC_PORT": "0",
        "EFFSERVE_STORE_DIR": str(tmp_path / "nothing"),
    }  # fmt: skip
    ended = subprocess.run(
        [sys.executable, "-m", "service", "serve"], env=environment, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 2
    assert "no variants in" in ended.stderr.splitlines()[-1]
