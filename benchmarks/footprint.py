"""What a variant takes in memory, beside what the service expects of it: `python -m benchmarks.footprint --store …`.

One process for each way of opening graphs opens all of them, the smallest first. Its resident set is read before, after
the session is opened and run once, and after runs two at a time. The smallest was opened there before, so that what the
runtime takes for itself counts for nobody, nor its weights where they are mapped.
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
from service import huge_pages
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
    """Open, and run once, less what a run takes."""
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
    """All variants, as graphs are kept and as they are."""
    here, entries = machine.describe(), variants(store)
    spawned = multiprocessing.get_context("spawn")
    # The processes begin as servers do.
    os.environ.update(huge_pages.environment(os.environ) or {})
    with ProcessPoolExecutor(1, mp_context=spawned, max_tasks_per_child=1) as alone:
        kept = SessionOptions(graphs=graphs)
        # Keeping a graph takes more than using it, for a moment.
        alone.submit(_taken, entries, kept).result()
        ways = [alone.submit(_taken, entries, options).result() for options in (kept, SessionOptions())]
    return Results(here, [taken for way in ways for taken in way])


def _taken(entries: list[StoredVariant], options: SessionOptions) -> list[Taken]:
    """In a fresh process. What runs took is given back after each."""
    small = open_session(entries[0], options)
    small.give_back()
    opened, found = [small], []
    for entry in entries:
        before = _resident()
        session = open_session(entry, options)
        session.warm_up()
        small.give_back()
        opened.append(session)
        weights = _resident() - before
        _run(session, entry.manifest.preprocessing.input_size_px)
        found.append(_compared(entry, options, weights, _resident() - before - weights))
        small.give_back()
    return found


def _compared(entry: StoredVariant, options: SessionOptions, weights: float, runs: float) -> Taken:
    expected = footprint(entry, options, RUNS)
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
        *(
            Table(title, headings, _rows([o for o in results.taken if o.kept is kept]), "MB.")
            for kept, title in titles.items()
        ),
        report.machine_table(results.machine),
    ]


def _rows(taken: list[Taken]) -> list[list[str]]:
    return [_row(one) for one in (*taken, _sum(taken))]


def _sum(taken: list[Taken]) -> Taken:
    """Weights add up; of runs the largest counts."""
    files, weights, expected = (
        sum(getattr(one, name) for one in taken) for name in ("graph_file", "weights", "expected_weights")
    )
    runs, expected_runs = max(one.runs for one in taken), max(one.expected_runs for one in taken)
    return Taken("all", taken[0].kept, files, weights, runs, expected, expected_runs)


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
