"""`effserve serve` as a process of its own, on free ports, over a small real store."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

START_TIMEOUT_S = 60.0


@dataclass
class Server:
    """A running server."""

    process: subprocess.Popen[str]
    http_port: int
    grpc_port: int
    log_file: Path

    @property
    def url(self) -> str:
        """Base address over HTTP."""
        return f"http://127.0.0.1:{self.http_port}"

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Signal the server and wait; its exit status."""
        self.process.send_signal(number)
        return self.process.wait(START_TIMEOUT_S)

    def log(self) -> list[dict[str, object]]:
        """Its log lines so far."""
        return [json.loads(line) for line in self.log_file.read_text().splitlines()]


@contextmanager
def serving(store: Path, folder: Path, environment: Mapping[str, str] | None = None) -> Iterator[Server]:
    """A ready server; killed afterwards if it still runs. `folder` takes its log and calibration."""
    http_port, grpc_port = _free_ports()
    log_file = folder / "serve.log"
    settings = {
        "EFFSERVE_HTTP_PORT": str(http_port),
        "EFFSERVE_GRPC_PORT": str(grpc_port),
        "EFFSERVE_STORE_DIR": str(store),
        "EFFSERVE_CALIBRATION_DIR": str(folder),
        "EFFSERVE_CALIBRATION_SECONDS_PER_VARIANT": "0.01",
        "EFFSERVE_DRAIN_GRACE_S": "0.5",
        "EFFSERVE_LOG_FORMAT": "json",
        **(environment or {}),
    }
    command = [sys.executable, "-m", "service", "serve"]
    with log_file.open("w") as log, (folder / "serve.err").open("w") as err:
        process = subprocess.Popen(command, stdout=log, stderr=err, text=True, env=os.environ | settings)
        try:
            _until_ready(process, f"http://127.0.0.1:{http_port}/readyz", folder / "serve.err")
            yield Server(process, http_port, grpc_port, log_file)
        finally:
            process.kill()
            process.wait()


def _free_ports() -> tuple[int, int]:
    with socket.socket() as one, socket.socket() as other:
        one.bind(("127.0.0.1", 0))
        other.bind(("127.0.0.1", 0))
        return one.getsockname()[1], other.getsockname()[1]


def _until_ready(process: subprocess.Popen[str], url: str, err: Path) -> None:
    until_s = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < until_s:
        if process.poll() is not None:
            raise RuntimeError(f"the server ended with {process.returncode}: {err.read_text()}")
        try:
            if httpx.get(url).status_code == 200:
                return
        except httpx.TransportError:
            time.sleep(0.05)
    raise TimeoutError(f"{url} was not ready within {START_TIMEOUT_S:g} s")
