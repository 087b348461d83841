"""What a variant takes in memory, beside what the service expects of it: `python -m benchmarks.footprint --store …`.

Each variant is opened in a process of its own, whose resident set is read before, after the session is opened and run
once, and after runs two at a time. A small variant was run there before, so that what the runtime takes for itself
counts for nobody. Kept graphs are made beforehand: that takes more, for a moment.
"""

import multiprocessing
import os
import tempfile
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from pydantic import TypeAdapter

from benchmarks import machine, report
from benchmarks.machine import Machine, status_mb
from benchmarks.report import Table, say
from benchmarks.server import plain_store, variants
from service.pipeline.footprint import footprint
from service.pipeline.graphs import open_session
from service.pipeline.session import Session, SessionOptions
from service.pipeline.store import StoredVariant

RUNS = 2
TURNS = 3


@dataclass(frozen=True, slots=True)
class Taken:
    """By one variant. In MB (10⁶ bytes)."""

    variant: str
    kept: bool
    graph_file: float
    weights: float
    """Open, and run once by one lane, less what such a run takes."""
    runs: float
    """Of two at a time."""
    expected_weights: float
    expected_runs: float


@dataclass(frozen=True, slots=True)
class Results:
    """The sections of the JSON file."""

    machine: Machine
    taken: list[Taken]


def measure(store: Path, graphs: Path) -> Results:
    """Each variant, as graphs are kept and as they are."""
    here, entries = machine.describe(), variants(store)
    first, found = entries[0], list[Taken]()
    spawned = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=spawned, max_tasks_per_child=1) as alone:
        for kept in (graphs, None):
            for entry in entries:
                for _ in range(2 if kept else 1):
                    taken = alone.submit(_taken, first, entry, SessionOptions(graphs=kept)).result()
                found.append(taken)
    return Results(here, found)


def _taken(first: StoredVariant, entry: StoredVariant, options: SessionOptions) -> Taken:
    """In a fresh process. Of the memory of runs, what is not needed for a small variant is given back in between."""
    small = open_session(first, SessionOptions())
    small.give_back()
    before = _resident()
    session = open_session(entry, options)
    session.warm_up()
    small.give_back()
    weights = _resident() - before
    _run(session, entry.manifest.preprocessing.input_size_px)
    runs, expected = _resident() - before - weights, footprint(entry, options, RUNS)
    return Taken(
        variant=entry.manifest.name,
        kept=options.graphs is not None,
        graph_file=round(entry.manifest.graph_bytes / 1e6, 1),
        weights=round(weights, 1),
        runs=round(runs, 1),
        expected_weights=round(expected.weights_bytes / 1e6, 1),
        expected_runs=round(expected.runs_bytes / 1e6, 1),
    )


def _resident() -> float:
    return status_mb(os.getpid(), "VmRSS")


def _run(session: Session, size_px: int) -> None:
    pixels = np.zeros((1, size_px, size_px, 3), np.uint8)
    with ThreadPoolExecutor(RUNS) as lanes:
        list(lanes.map(lambda _: [session.run(pixels) for _ in range(TURNS)], range(RUNS)))


def read(path: Path) -> Results:
    """The file of an earlier run. Raises `ValueError`, `OSError`."""
    return TypeAdapter(Results).validate_json(path.read_bytes())


def tables(results: Results) -> list[Table]:
    """One for each way graphs are opened."""
    headings = ("", "graph file", "weights", "expected", f"{RUNS} runs at a time", "expected")
    titles = {True: "Kept graphs", False: "Graphs as they are"}
    return [
        *(Table(titles[kept], headings, [_row(o) for o in results.taken if o.kept is kept], "MB.") for kept in titles),
        report.machine_table(results.machine),
    ]


def _row(one: Taken) -> list[str]:
    figures = (one.graph_file, one.weights, one.expected_weights, one.runs, one.expected_runs)
    return [one.variant, *(f"{figure:.0f}" for figure in figures)]


def main(
    store: Annotated[Path, typer.Option(help="Model store with some of B0–B7.")],
    out: Annotated[Path | None, typer.Option(help="Result file (JSON); default: none.")] = None,
) -> None:
    """Measure, and print the tables."""
    with plain_store(store) as plain, tempfile.TemporaryDirectory() as graphs:
        results = measure(plain, Path(graphs))
    report.show(tables(results))
    if out is not None:
        report.write(out, asdict(results))
        say(f"written to {out}")


if __name__ == "__main__":
    typer.run(main)
