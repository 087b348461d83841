"""The service as users run it: `effserve serve` in a process of its own, on free ports, over B0–B7.

Settings are the defaults except where a figure needs another one. Latencies are measured at each start and not kept,
so that no run profits from an earlier one. Log lines are on and go to a file, as they would in production.
"""

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.machine import ROOT
from service.pipeline.store import StoredVariant, scan

START_TIMEOUT_S = 300.0
STOP_TIMEOUT_S = 30.0
SETTLE_S = 3.0
"""Of requests that do not count, before figures of a server that nobody asked for some seconds: a kernel may have taken
memory from it meanwhile, which comes back page by page (`python -m benchmarks.peers.pauses`)."""
PLAIN = re.compile(r"b[0-7]")
_PORTS = re.compile(r"http://\S+:(\d+) and grpc://\S+:(\d+),")


class ServerError(Exception):
    """The server did not start; the message ends with what it wrote."""


@dataclass(frozen=True, slots=True)
class Server:
    """A running one."""

    pid: int
    http_port: int
    grpc_port: int


@contextmanager
def plain_store(store: Path, wanted: Collection[str] | None = None) -> Iterator[Path]:
    """A store with B0–B7 of `store` and nothing else, by links; `wanted`: only these of them, and all of these.

    Raises `ValueError` when it has none of them, or not all that are wanted.
    """
    found = [folder.name for folder in store.iterdir() if PLAIN.fullmatch(folder.name)] if store.is_dir() else []
    names = found if wanted is None else list(wanted)
    if missing := set(names) - set(found):
        raise ValueError(f"no {', '.join(sorted(missing))} in {store}; `effserve build` puts them there")
    if not names:
        raise ValueError(f"none of B0–B7 in {store}; `effserve build` puts them there")
    with tempfile.TemporaryDirectory() as folder:
        for name in names:
            (Path(folder) / name).symlink_to((store / name).resolve())
        yield Path(folder)


def variants(store: Path) -> list[StoredVariant]:
    """What the store holds, B0 first."""
    return sorted(scan(store).entries, key=lambda entry: entry.manifest.name)


@contextmanager
def serving(
    store: Path,
    *,
    calibrate_s: float,
    lanes: int | None = None,
    settings: Mapping[str, str] | None = None,
    program: Sequence[str] = (),
) -> Iterator[Server]:
    """A ready server, stopped at the end. `calibrate_s` is the time spent on each variant at start-up; `settings` are
    more of them, as environment variables; `program` stands in the place of `effserve`.

    Raises `ServerError`.
    """
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                command(store, program),
                cwd=ROOT,
                env=_environment(calibrate_s, lanes) | dict(settings or {}),
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        try:
            yield ready(process, log)
        finally:
            _stop(process)


def command(store: Path, program: Sequence[str] = ()) -> list[str]:
    """How it is started. Latency does not depend on the weights, so untrained ones are routed to as well."""
    return [
        *(program or [str(Path(sys.executable).with_name("effserve"))]), "serve", "--store", str(store.resolve()),
        "--http-port", "0", "--grpc-port", "0", "--route-untrained",
    ]  # fmt: skip


def _environment(calibrate_s: float, lanes: int | None) -> dict[str, str]:
    ours = {
        "EFFSERVE_CALIBRATION_REUSE": "false",
        "EFFSERVE_CALIBRATION_SECONDS_PER_VARIANT": str(calibrate_s),
        "EFFSERVE_DRAIN_GRACE_S": "0",
        "EFFSERVE_LOG_FORMAT": "json",
    }
    if lanes is not None:
        ours["EFFSERVE_LANES_COUNT"] = str(lanes)
    return {name: value for name, value in os.environ.items() if not name.startswith("EFFSERVE_")} | ours


def ready(process: subprocess.Popen[bytes], log: Path) -> Server:
    """The server once it says so in its log. Raises `ServerError`."""
    until_s = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < until_s and process.poll() is None:
        ports = _ports(log.read_text())
        if ports is not None:
            return Server(process.pid, *ports)
        time.sleep(0.01)
    raise ServerError(f"the server did not get ready; the end of its output:\n{log.read_text()[-1000:]}")


def _ports(output: str) -> tuple[int, int] | None:
    """HTTP and gRPC port from the line that says `ready`, once it is there."""
    for line in output.splitlines():
        found = _PORTS.search(json.loads(line).get("detail", "")) if line.startswith("{") and "}" in line else None
        if found is not None:
            return int(found[1]), int(found[2])
    return None


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
