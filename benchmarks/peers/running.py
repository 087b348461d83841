"""Starting contenders, and taking them out of each other's way: who is not asked is stopped by a signal, so that what
servers do without requests (heartbeats, polls) is not done in somebody else's turn."""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from benchmarks.machine import ROOT, began_at, family
from benchmarks.peers.contenders import Contender, Peer

START_TIMEOUT_S = 120.0
STOP_TIMEOUT_S = 15.0


class NotStarted(Exception):
    """A contender did not get ready; the message ends with what it wrote."""


@dataclass(frozen=True)
class Graph:
    """What is served."""

    path: Path
    size_px: int
    resize_px: int


def pause(pids: Sequence[int]) -> None:
    """Processes with all that came of them stand still, parents first: those watch over their children."""
    _tell(signal.SIGSTOP, [pid for root in pids for pid in family(root)])


def go_on(pids: Sequence[int]) -> None:
    """The opposite, in the opposite order."""
    _tell(signal.SIGCONT, [pid for root in pids for pid in reversed(family(root))])


def _tell(number: signal.Signals, pids: Sequence[int]) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, number)


@contextmanager
def peer(contender: Contender, of: Peer, graph: Graph, answers: Callable[[int], str]) -> Iterator[tuple[int, int]]:
    """Its process id and port, once `answers`, which is given the port, has nothing to complain of.

    Raises `NotStarted`.
    """
    with tempfile.TemporaryDirectory() as folder, (Path(folder) / "log").open("wb") as output:
        port, *others = _free_ports(3)
        process = subprocess.Popen(
            of.command(of, port),
            cwd=folder,
            env=_environment(contender, of, graph, port, others, folder),
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            _wait(process, lambda: answers(port), Path(folder) / "log")
            yield process.pid, port
        finally:
            _end(process)


def _environment(
    contender: Contender, of: Peer, graph: Graph, port: int, others: Sequence[int], folder: str
) -> dict[str, str]:
    given = {
        "PEER_GRAPH": str(graph.path),
        "PEER_SIZE_PX": str(graph.size_px),
        "PEER_RESIZE_PX": str(graph.resize_px),
        "PEER_PORT": str(port),
        "PEER_SECOND_PORT": str(others[0]),
        "PEER_THIRD_PORT": str(others[1]),
        "PEER_WORKERS": str(contender.workers),
        "PEER_THREADS": str(contender.threads),
        "PEER_FOLDER": folder,
        "PYTHONPATH": str(ROOT),
        "PATH": f"{of.bin}{os.pathsep}{os.environ.get('PATH', '')}",
    }
    return {**os.environ, **given, **of.settings, **contender.settings}


def _free_ports(many: int) -> list[int]:
    """Free a moment ago: most servers cannot be told to take any."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(many)]
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def _wait(process: "subprocess.Popen[bytes]", complaint: Callable[[], str], log: Path) -> None:
    until_s, said = time.monotonic() + START_TIMEOUT_S, "nothing yet"
    while time.monotonic() < until_s and process.poll() is None:
        if not (said := complaint()):
            return
        time.sleep(0.5)
    why = f"not ready: {said}" if process.poll() is None else "it ended"
    tail = log.read_text(encoding="utf-8", errors="replace")[-2000:]
    raise NotStarted(f"{why}; the end of its output:\n{tail}")


def _end(process: "subprocess.Popen[bytes]") -> None:
    """Also what does not end with its parent."""
    began = {pid: began_at(pid) for pid in family(process.pid)}
    go_on([process.pid])
    process.terminate()
    with suppress(subprocess.TimeoutExpired):
        process.wait(STOP_TIMEOUT_S)
    _tell(signal.SIGKILL, [pid for pid, moment in began.items() if moment and began_at(pid) == moment])
    process.wait()


def load(script: Path, asked: Path, timeout_s: float) -> str:
    """What the clients print. Raises `subprocess.SubprocessError`."""
    command = [sys.executable, "-I", str(script), str(asked)]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=timeout_s)
    return done.stdout
