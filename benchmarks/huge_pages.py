"""What pages of 2 MB are worth: `python -m benchmarks.huge_pages --store .store-untrained`.

Bare loops of decoding and running B0, a process each, with and without them in turns (`service/huge_pages.py`): alone,
and as many at a time as there are cores.
"""

import os
import tempfile
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import Annotated

import typer

from benchmarks import machine, photos, report
from benchmarks.peers import bare
from benchmarks.peers.__main__ import SIZE_PX
from benchmarks.realtime import pictures
from benchmarks.report import Table
from benchmarks.server import SETTLE_S, plain_store
from service.huge_pages import KERNEL, TUNABLE, VARIABLE
from service.pipeline.cpus import usable_cores

WAYS = {"4 kB": "0", "2 MB": "1"}


def measure(store: Path, folder: Path, *, rounds: int, seconds: float) -> dict[int, list[dict[str, float]]]:
    """Medians of a round in ms by way, by processes at a time."""
    many, taken = (1, usable_cores()), dict[int, list[dict[str, float]]]()
    with ExitStack() as stack:
        loops = {
            way: stack.enter_context(
                bare.running(store, folder, max(many), {**os.environ, VARIABLE: f"{TUNABLE}={decided}"})
            )
            for way, decided in WAYS.items()
        }
        for number in range(rounds):
            ways = list(loops) if number % 2 else list(reversed(loops))
            for processes in many:
                figures = {way: median(loops[way].times_ms(processes, SETTLE_S, seconds)) for way in ways}
                taken.setdefault(processes, []).append(figures)
    return taken


def table(taken: dict[int, list[dict[str, float]]]) -> Table:
    """One row for each number of processes."""
    headings = ("processes", *(f"pages of {way}, ms" for way in WAYS), "ratio, median (range)")
    rows = []
    for processes, rounds in taken.items():
        small, huge = WAYS
        ratios = sorted(figures[small] / figures[huge] for figures in rounds)
        times = [f"{median(figures[way] for figures in rounds):.2f}" for way in WAYS]
        rows.append([str(processes), *times, f"{median(ratios):.3f} ({ratios[0]:.3f} to {ratios[-1]:.3f})"])
    note = "One image decoded and run, B0; medians of rounds. Ratios are taken round by round."
    return Table("Huge pages", headings, rows, note)


def main(
    store: Annotated[Path, typer.Option(help="Model store with B0.")],
    folder: Annotated[Path | None, typer.Option("--photos", help="Folder of JPEGs; default: made pictures.")] = None,
    rounds: Annotated[int, typer.Option(min=1)] = 6,
    seconds: Annotated[float, typer.Option(min=0.1, help="Of each turn.")] = 2.0,
) -> None:
    """Measure and print."""
    if not KERNEL.exists():
        raise typer.BadParameter(f"this kernel has no huge pages: there is no {KERNEL}")
    bodies = pictures.made(0, size_px=SIZE_PX) if folder is None else photos.read(folder)
    others: list[machine.Others] = []
    with tempfile.TemporaryDirectory() as written, plain_store(store, ["b0"]) as plain:
        for number, body in enumerate(bodies):
            (Path(written) / f"{number:04}.jpg").write_bytes(body)
        with machine.watching("all turns", others):
            taken = measure(plain, Path(written), rounds=rounds, seconds=seconds)
    report.show([table(taken), report.machine_table(machine.describe()), report.others_table(others)])


if __name__ == "__main__":
    typer.run(main)
