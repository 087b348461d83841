"""`effserve serve` as a process of its own, on ports that the system chooses, over a small real store."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.fixtures import calibration_folder

START_TIMEOUT_S = 240.0
PATIENCE_S = 120.0
"""How long a client or a test waits for what should happen at once: only a test that fails waits so long."""
_PORTS = re.compile(r"http://127\.0\.0\.1:(\d+) and grpc://127\.0\.0\.1:(\d+),")


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
        return self.process.wait(PATIENCE_S)

    def log(self) -> list[dict[str, object]]:
        """Its log lines so far."""
        return _lines(self.log_file)


@contextmanager
def serving(store: Path, folder: Path, environment: Mapping[str, str] | None = None) -> Iterator[Server]:
    """A ready server; killed afterwards if it still runs. `folder` takes its log."""
    log_file = folder / "serve.log"
    settings = {
        "EFFSERVE_HTTP_PORT": "0",
        "EFFSERVE_GRPC_PORT": "0",
        "EFFSERVE_STORE_DIR": str(store),
        "EFFSERVE_CALIBRATION_DIR": str(calibration_folder()),
        "EFFSERVE_CALIBRATION_SECONDS_PER_VARIANT": "0.01",
        "EFFSERVE_DRAIN_GRACE_S": "0.5",
        "EFFSERVE_LOG_FORMAT": "json",
        **(environment or {}),
    }
    command = [sys.executable, "-m", "service", "serve"]
    with log_file.open("w") as log, (folder / "serve.err").open("w") as err:
        process = subprocess.Popen(command, stdout=log, stderr=err, text=True, env=os.environ | settings)
        try:
            yield Server(process, *_ports(process, log_file, folder / "serve.err"), log_file)
        finally:
            process.kill()
            process.wait()


def _ports(process: subprocess.Popen[str], log: Path, err: Path) -> tuple[int, int]:
    """Where it listens, once it is ready. Asked for beforehand, a free port might be somebody else's by then."""
    until_s = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < until_s:
        ended = process.poll()
        for line in _lines(log):
            if line.get("event") == "ready" and (found := _PORTS.search(str(line["detail"]))):
                return int(found[1]), int(found[2])
        if ended is not None:
            raise RuntimeError(f"the server ended with {ended}: {err.read_text()}")
        time.sleep(0.02)
    raise TimeoutError(f"the server was not ready within {START_TIMEOUT_S:g} s: {err.read_text()}")


def _lines(log: Path) -> list[dict[str, object]]:
    """Those that are whole: the last one may be on its way to the file."""
    return [json.loads(line) for line in log.read_text().splitlines(keepends=True) if line.endswith("\n")]
