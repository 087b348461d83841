"""What perf_analyzer, Triton's load generator, makes of a running server. Needs nothing but the binary.

`python perf.py PROTOCOL HTTP_ADDRESS GRPC_ADDRESS IMAGE FOLDER` prints a line of JSON: each check with null, or the
reason why it failed. FOLDER holds what `make conformance` has installed. The figures mean nothing: that there are any,
and which, is what is checked.
"""

import base64
import csv
import json
import os
import re
import struct
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

WINDOW_MS = 500
PATIENCE_S = 120
RATE = 20
SERVER_TIMES = ("Server Queue", "Server Compute Input", "Server Compute Infer", "Server Compute Output")


@dataclass(frozen=True)
class Report:
    """What it printed, and its table."""

    text: str
    row: dict[str, str]


@dataclass(frozen=True)
class Subject:
    """One protocol of one server."""

    protocol: str
    address: str
    folder: Path
    input_file: Path

    def run(self, model: str, *options: str) -> Report:
        """A short measurement. Raises `AssertionError` when a request failed."""
        with tempfile.TemporaryDirectory() as folder:
            table = Path(folder) / "table.csv"
            command = [
                str(self.folder / "bin" / "perf_analyzer"), "-m", model, "-i", self.protocol, "-u", self.address,
                "--measurement-interval", str(WINDOW_MS), "--stability-percentage", "999", "--max-trials", "9",
                "--percentile", "95", "-v", "-f", str(table), *options,
            ]  # fmt: skip
            done = subprocess.run(
                command,
                env=os.environ | {"LD_LIBRARY_PATH": ":".join(map(str, self._libraries()))},
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                timeout=PATIENCE_S,
                check=False,
            )
            failed = done.returncode != 0 or "Failed" in done.stdout or "error" in done.stdout.lower()
            assert not failed, done.stdout[-300:]
            (row,) = csv.DictReader(table.read_text().splitlines())
            return Report(done.stdout, row)

    def _libraries(self) -> list[Path]:
        return [self.folder / "usr" / "lib", *self.folder.glob("lib/python*/site-packages/nvidia/cuda_runtime/lib")]

    @property
    def files(self) -> tuple[str, str]:
        """The photo as input."""
        return ("--input-data", str(self.input_file))

    def budget(self, budget_ms: int) -> tuple[str, ...]:
        """As a header, or where it can send parameters as one."""
        if self.protocol == "http":
            return ("-H", f"X-Latency-Budget-Ms: {budget_ms}")
        return ("--request-parameter", f"budget_ms:{budget_ms}:int")


POISSON = ("--request-rate-range", f"{RATE}:{RATE}", "--request-distribution", "poisson")


def encoded_images_at_random_moments(subject: Subject) -> None:
    """Files for the routed model, an open loop."""
    report = subject.run("efficientnet", *POISSON, *subject.files, *subject.budget(5_000))
    assert float(report.row["Inferences/Second"]) > 0


def pixels_at_random_moments(subject: Subject) -> None:
    """Made up by itself, from the model's metadata."""
    assert float(subject.run("b0", *POISSON).row["Inferences/Second"]) > 0


def several_at_once(subject: Subject) -> None:
    """A closed loop."""
    report = subject.run("efficientnet", "--concurrency-range", "4:4", *subject.files)
    assert report.row["Concurrency"] == "4"


def batches(subject: Subject) -> None:
    """Several images a request."""
    assert float(subject.run("b0", "-b", "2", "--concurrency-range", "1:1").row["Inferences/Second"]) > 0


def times_of_the_server(subject: Subject) -> None:
    """From the statistics extension: each stage took some time, and as many requests are counted as were sent."""
    report = subject.run("efficientnet", "--concurrency-range", "1:1", *subject.files)
    assert all(float(report.row[name]) > 0 for name in SERVER_TIMES), report.row
    client, server = (int(re.findall(pattern, report.text)[0]) for pattern in COUNTS)
    # It reads the server's counters a little before and after its own.
    assert 0 < client <= server, (client, server)


COUNTS = (r"Request count: (\d+)", r"Successful request count: (\d+)")


Check = Callable[[Subject], None]
CHECKS: tuple[Check, ...] = (
    encoded_images_at_random_moments, pixels_at_random_moments, several_at_once, batches, times_of_the_server,
)  # fmt: skip


def run(subject: Subject) -> dict[str, str | None]:
    """All checks; None for those that hold."""
    results: dict[str, str | None] = {}
    for check in CHECKS:
        try:
            check(subject)
        except Exception as error:
            results[check.__name__] = f"{type(error).__name__}: {error}"[:400]
        else:
            results[check.__name__] = None
    return results


def as_input(image: bytes) -> str:
    """The file that it reads: of a BYTES tensor, each element's length goes before it."""
    element = base64.b64encode(struct.pack("<I", len(image)) + image).decode()
    return json.dumps({"data": [{"image": {"b64": element}}]})


if __name__ == "__main__":
    _, protocol, over_http, over_grpc, photo, installed = sys.argv
    with tempfile.TemporaryDirectory() as made:
        data = Path(made) / "input.json"
        data.write_text(as_input(Path(photo).read_bytes()))
        address = over_http if protocol == "http" else over_grpc
        found = run(Subject(protocol, address, Path(installed), data))
    sys.stdout.write(json.dumps(found) + "\n")
