"""What is served changes while `effserve serve` runs as a process: because its store does, or not, as it has to end."""

import os
import shutil
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Event

import httpx

from model_store import manifest as manifests
from tests.fixtures import jpeg, tiny_store, write_variant
from tests.integration.process import PATIENCE_S, Server, serving

PHOTO = jpeg(160, 120)
HEADERS = {"Content-Type": "image/jpeg"}
BUDGET_MS = 60_000
"""Enough for every variant, however busy the machine is."""
POLLING = {"EFFSERVE_STORE_CHANGES": "poll", "EFFSERVE_STORE_POLL_S": "0.1"}
CLIENTS, PAUSE_S = 2, 0.02


def classified(client: httpx.Client) -> str:
    """Which variant and version the budget bought."""
    response = client.post(f"/classify?budget_ms={BUDGET_MS}", content=PHOTO, headers=HEADERS)
    decision = response.raise_for_status().json()["decision"]
    return f"{decision['variant']} {decision['version']}"


def until(true: Callable[[], bool]) -> None:
    """Wait for what comes by itself."""
    end_s = time.monotonic() + PATIENCE_S
    while not true():
        assert time.monotonic() < end_s
        time.sleep(0.02)


@contextmanager
def asking(server: Server) -> Iterator[list[str]]:
    """Clients that ask on and on meanwhile; a request that fails fails the test. Yields the answers."""
    answers, over = list[str](), Event()

    def ask() -> None:
        with httpx.Client(base_url=server.url, timeout=PATIENCE_S) as client:
            # What is loaded is loaded in time that nobody needs.
            while not over.wait(PAUSE_S):
                answers.append(classified(client))

    with ThreadPoolExecutor(CLIENTS) as clients:
        asked = [clients.submit(ask) for _ in range(CLIENTS)]
        try:
            yield answers
        finally:
            over.set()
        for one in asked:
            one.result()


@contextmanager
def written(pipe: Path) -> Iterator[None]:
    """Somebody has begun to read it, and waits for what never comes."""
    opened: list[int] = []

    def is_read() -> bool:
        with suppress(OSError):
            opened.append(os.open(pipe, os.O_WRONLY | os.O_NONBLOCK))
        return bool(opened)

    until(is_read)
    try:
        yield
    finally:
        os.close(opened[0])


def place(store: Path, folder: Path, name: str, version: int, *, damaged: bool = False) -> None:
    """Put a version into the store, whole from the first moment."""
    made = write_variant(folder, name, version=version)
    if damaged:
        (made / manifests.GRAPH_FILE).write_bytes(b"damaged")
    (store / name).mkdir(exist_ok=True)
    shutil.move(made, store / name / str(version))


def test_a_store_that_is_polled_is_followed_without_losing_a_request(tmp_path: Path) -> None:
    """A better variant, a newer version of it and a damaged one are dropped into the store under load: the first two
    are served, the third is told, and the second goes on."""
    store = tiny_store(tmp_path / "store")
    with serving(store, tmp_path, POLLING) as server:
        with asking(server) as answers:
            until(lambda: "b1 1" in answers)
            for version in (1, 2):
                place(store, tmp_path / "made", "b2", version)
                until(lambda expected=f"b2 {version}": expected in answers)  # type: ignore[misc]
            place(store, tmp_path / "made", "b2", 3, damaged=True)
            until(lambda: any(line["event"] == "variant refused" for line in server.log()))
            told = len(answers)
            until(lambda: len(answers) >= told + 2 * CLIENTS)
        assert set(answers[told + CLIENTS :]) == {"b2 2"}
        rows = httpx.post(f"{server.url}/v2/repository/index", timeout=PATIENCE_S).json()
        (refused,) = (row for row in rows if (row["name"], row["version"]) == ("b2", "3"))
        assert (refused["state"], "damaged" in refused["reason"]) == ("UNAVAILABLE", True)
        assert server.stop() == 0
        events = [str(line["event"]) for line in server.log()]
    assert list(dict.fromkeys(answers)) == ["b1 1", "b2 1", "b2 2"]
    assert [event for event in events if event.startswith(("variant", "request failed", "store"))] == [
        "variant loaded", "variant replaced", "variant refused",
    ]  # fmt: skip


def test_a_signal_while_something_is_loaded_ends_the_process(tmp_path: Path) -> None:
    """With success, although the step in hand never ends; the request that is in hand is answered, and who waits for
    the load is told."""
    store = tiny_store(tmp_path / "store")
    with serving(store, tmp_path, {"EFFSERVE_STORE_CHANGES": "explicit"}) as server, ThreadPoolExecutor(1) as clients:
        endless = store / "b2" / "1" / manifests.MANIFEST_FILE
        endless.parent.mkdir(parents=True)
        os.mkfifo(endless)
        load = clients.submit(httpx.post, f"{server.url}/v2/repository/models/b2/load", timeout=PATIENCE_S)
        head = (
            f"POST /classify?budget_ms={BUDGET_MS} HTTP/1.1\r\nHost: x\r\nContent-Type: image/jpeg\r\n"
            f"Content-Length: {len(PHOTO)}\r\n\r\n"
        )
        with socket.create_connection(("127.0.0.1", server.http_port), PATIENCE_S) as client:
            client.sendall(head.encode() + PHOTO[:100])
            with written(endless):
                server.process.terminate()
                assert load.result(PATIENCE_S).headers["effserve-error-kind"] == "draining"
                client.sendall(PHOTO[100:])
                assert client.recv(100).startswith(b"HTTP/1.1 200 OK")
                assert server.process.wait(PATIENCE_S) == 0
        lines = server.log()
    assert lines[-1]["event"] == "stopped"
    assert [line["kind"] for line in lines if line["event"] == "request failed"] == ["draining"]
