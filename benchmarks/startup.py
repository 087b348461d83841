"""From the start of the process to ready: `python -m benchmarks.startup --store .store`.

Cold is a first start, with an empty folder for measurements and kept graphs; warm are the starts after it. With
`--plain`, graphs are not kept (`calibration.graphs` off), which is what a start was before they were; the two ways take
turns. A start ends when the log line is there that says so; its processor time is that of the whole process. The files
of the store have been read before, so no disk is measured.
"""

import os
import signal
import subprocess
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Annotated

import typer

from benchmarks import machine, report
from benchmarks.report import Table, say
from benchmarks.server import command, ready
from service.pipeline.store import scan


@dataclass(frozen=True, slots=True)
class Start:
    """One start."""

    kept: bool
    """Whether graphs are kept."""
    warm: bool
    seconds: float
    cpu_s: float
    resident_mb: float
    """When ready (VmRSS)."""
    anonymous_mb: float
    """Of that, what no file stands behind: it is not shared with other processes (RssAnon)."""


def measure(store: Path, *, warm: int, plain: bool) -> list[Start]:
    """Cold starts first, then `warm` of each way in turns."""
    scan(store)
    ways = (True, False) if plain else (True,)
    with tempfile.TemporaryDirectory() as folder:
        places = {kept: Path(folder) / f"kept-{kept}" for kept in ways}
        starts = [_start(store, places[kept], kept=kept, warm=False) for kept in ways]
        for _ in range(warm):
            starts += [_start(store, places[kept], kept=kept, warm=True) for kept in ways]
        return starts


def _start(store: Path, folder: Path, *, kept: bool, warm: bool) -> Start:
    """Raises `ServerError`."""
    own = {
        "EFFSERVE_CALIBRATION_DIR": str(folder),
        "EFFSERVE_CALIBRATION_GRAPHS": str(kept).lower(),
        "EFFSERVE_DRAIN_GRACE_S": "0",
        "EFFSERVE_LOG_FORMAT": "json",
    }
    environment = {name: value for name, value in os.environ.items() if not name.startswith("EFFSERVE_")} | own
    with tempfile.NamedTemporaryFile() as log:
        started_s = time.monotonic()
        process = subprocess.Popen(command(store), env=environment, stdout=log, stderr=subprocess.STDOUT)
        try:
            ready(process, Path(log.name))
            return Start(kept, warm, time.monotonic() - started_s, *_figures(process.pid))
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait()


def _figures(pid: int) -> tuple[float, float, float]:
    return machine.cpu_s(pid), machine.status_mb(pid, "VmRSS"), machine.status_mb(pid, "RssAnon")


def table(starts: list[Start]) -> Table:
    """One row for each way and kind, medians."""
    rows = []
    for kept in (True, False):
        for warm in (False, True):
            ones = [one for one in starts if (one.kept, one.warm) == (kept, warm)]
            if ones:
                rows.append([f"{'kept' if kept else 'plain'} graphs, {'warm' if warm else 'cold'}", *_row(ones)])
    headings = ("", "starts", "seconds", "least–most", "CPU seconds", "VmRSS", "RssAnon")
    return Table("From start to ready", headings, rows, "Medians; memory in MB, when ready.")


def _row(ones: list[Start]) -> list[str]:
    seconds = [one.seconds for one in ones]
    return [
        str(len(ones)), f"{median(seconds):.2f}", f"{min(seconds):.2f}–{max(seconds):.2f}",
        f"{median(one.cpu_s for one in ones):.2f}", f"{median(one.resident_mb for one in ones):.0f}",
        f"{median(one.anonymous_mb for one in ones):.0f}",
    ]  # fmt: skip


def main(
    store: Annotated[Path, typer.Option(help="Model store.")],
    warm: Annotated[int, typer.Option(min=1, help="Warm starts of each way.")] = 5,
    plain: Annotated[bool, typer.Option(help="Without kept graphs, too, in turns.")] = True,
    out: Annotated[Path | None, typer.Option(help="Result file (JSON); default: none.")] = None,
) -> None:
    """Measure, and print the table."""
    here, others = machine.describe(), list[machine.Others]()
    with machine.watching("startup", others):
        starts = measure(store, warm=warm, plain=plain)
    report.show([report.machine_table(here), report.others_table(others), table(starts)])
    if out is not None:
        report.write(
            out, {"machine": asdict(here), "others": list(map(asdict, others)), "starts": list(map(asdict, starts))}
        )
        say(f"written to {out}")


if __name__ == "__main__":
    typer.run(main)
