"""What the event loop's thread does for one request, step by step: `python -m benchmarks.loop --store DIR`.

Processor time of that thread, of B0 requests over HTTP from one client: the server runs with a stopwatch around the
functions of each step (`benchmarks.instrumented`), and none of its own code is changed. What no step has is the loop's:
it reads sockets, wakes up when a lane has ended, and calls what is next. Reading the clock takes time, too; it is told.
"""

import json
import tempfile
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from benchmarks import machine, photos, report
from benchmarks.clients import HttpClient
from benchmarks.instrumented import STEPS, through
from benchmarks.report import Table, say
from benchmarks.server import plain_store, serving
from benchmarks.stats import Spread

VARIANT = "b0"
WARM_UP = 50
"""Requests that do not count."""
REST, ALL = "the loop: sockets, waking up", "all"


def measure(store: Path, images: Sequence[bytes], *, requests: int, calibrate_s: float) -> dict[str, Spread]:
    """Microseconds of each step, and of all, over requests that come one after the other."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "steps.json"
        with (
            serving(store, calibrate_s=calibrate_s, program=through("steps", file)) as server,
            closing(HttpClient(server)) as client,
        ):
            for number in range(WARM_UP + requests):
                client.classify(images[number % len(images)], {"variant": VARIANT})
        taken = json.loads(file.read_text())[-requests:]
    spreads = {shown: Spread.of([one[shown] for one in taken]) for _, _, shown in STEPS}
    rest = [one[ALL] - sum(us for shown, us in one.items() if shown != ALL) for one in taken]
    return spreads | {REST: Spread.of(rest), ALL: Spread.of([one[ALL] for one in taken])}


def clock_us() -> float:
    """What reading the clock of a thread takes."""
    many, began_s = 20_000, time.thread_time()
    for _ in range(many):
        time.thread_time()
    return (time.thread_time() - began_s) / many * 1e6


def table(found: dict[str, Spread], clock: float) -> Table:
    """One row for each step."""
    whole = found[ALL].median
    rows = [
        [shown, f"{us.median:.0f}", f"{us.median / whole:.0%}", f"{us.p5:.0f} to {us.p95:.0f}"]
        for shown, us in found.items()
    ]
    note = (
        f"Microseconds of the thread's processor time, over {found[ALL].runs} requests. Medians do not add up quite. "
        f"Reading the clock takes {clock:.1f} µs, some thirty times a request, and is in the figures."
    )
    title = f"Steps of a {VARIANT} request on the event loop's thread, HTTP, one client (µs)"
    return Table(title, ("", "p50", "share", "p5 to p95"), rows, note)


def main(
    store: Annotated[Path, typer.Option(help="Model store with B0.")],
    requests: Annotated[int, typer.Option(min=1)] = 500,
    calibrate_s: Annotated[float, typer.Option(help="For each variant at the start.")] = 0.5,
    out: Annotated[Path | None, typer.Option(help="Result file (JSON); default: none.")] = None,
) -> None:
    """Measure, and print the table."""
    here, others = machine.describe(), list[machine.Others]()
    with plain_store(store, [VARIANT]) as plain, machine.watching("steps", others):
        found = measure(plain, photos.read(None), requests=requests, calibrate_s=calibrate_s)
    report.show([report.machine_table(here), report.others_table(others), table(found, clock_us())])
    if out is not None:
        steps = {shown: asdict(us) for shown, us in found.items()}
        report.write(out, {"machine": asdict(here), "others": [asdict(one) for one in others], "steps": steps})
        say(f"written to {out}")


if __name__ == "__main__":
    typer.run(main)
