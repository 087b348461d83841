"""`effserve serve` of the service's own environment, over a store that is built here."""

import json
import os
import re
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
EFFSERVE = ROOT / ".venv" / "bin" / "effserve"
START_TIMEOUT_S = 240.0
_PORT = re.compile(r"http://127\.0\.0\.1:(\d+) and grpc:")


def build(store: Path, *arguments: str) -> Path:
    """A store of its own; `arguments` as for `effserve build`."""
    subprocess.run([EFFSERVE, "build", *arguments, "--store", store], check=True, capture_output=True)
    return store


@contextmanager
def serving(store: Path, folder: Path, *arguments: str) -> Iterator[str]:
    """A ready server's address; `folder` takes its log and what it measures."""
    folder.mkdir()
    settings = {
        "EFFSERVE_HTTP_PORT": "0",
        "EFFSERVE_GRPC_PORT": "0",
        "EFFSERVE_LOG_FORMAT": "json",
        "EFFSERVE_CALIBRATION_DIR": str(folder),
        "EFFSERVE_DRAIN_GRACE_S": "0",
    }
    log = folder / "serve.log"
    with log.open("w") as out:
        command = [str(EFFSERVE), "serve", "--store", str(store), *arguments]
        process = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT, env=os.environ | settings)
    try:
        yield f"http://127.0.0.1:{_port(process, log)}/"
    finally:
        process.terminate()
        process.wait()


def _port(process: subprocess.Popen[bytes], log: Path) -> str:
    until_s = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < until_s and process.poll() is None:
        for line in log.read_text().splitlines():
            if '"ready"' in line and (found := _PORT.search(json.loads(line)["detail"])):
                return found[1]
        time.sleep(0.1)
    raise RuntimeError(f"the server is not ready: {log.read_text()}")
