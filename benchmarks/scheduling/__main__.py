"""`python -m benchmarks.scheduling [--quick] [--times NAME|FILE] [--trace FILE] [--out FILE] [--processes N]`."""

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated

import typer

from benchmarks import report
from benchmarks.machine import ROOT
from benchmarks.report import say
from benchmarks.scheduling import cells, page
from benchmarks.scheduling.campaign import Campaign, run
from benchmarks.scheduling.cells import FULL, QUICK, Effort, Offer
from benchmarks.scheduling.labels import evaluated
from model_store.images import ImagesError
from service.commands import simulate as simulating
from service.commands.console import CommandError
from service.evaluation.plan import EvaluationError
from service.pipeline.cpus import usable_cores
from service.pipeline.session import SessionError
from service.pipeline.store import StoreError
from service.simulation import traces
from service.simulation.errors import SimulationError
from service.simulation.study import Cell, Study

EVALUATION_ERRORS = (CommandError, EvaluationError, ImagesError, StoreError, SessionError)
TRAINING = 0.4
"""Requests to tune on, over those of a seed to judge by."""


def published(times: str, recorded: list[Path], effort: Effort) -> tuple[Offer, list[Cell]]:
    """Raises `SimulationError`, `OSError`."""
    catalogue, source = simulating.unstored(times)
    known = {path.stem: traces.read(path) for path in recorded}
    return Offer(catalogue, source, known, effort), cells.few() if effort == QUICK else cells.chosen(list(known))


def of_store(store: Path, lanes: int, effort: Effort) -> tuple[Offer, list[Cell]]:
    """Raises `SimulationError`, `OSError`."""
    asked = simulating.Asked("poisson", (), lanes, store=store)
    catalogue, source = simulating.stored(asked, store)
    return Offer(catalogue, source, {}, effort), cells.of_a_store(lanes)


def write(path: Path, study: Study) -> None:
    """One line for each cell: the file is committed, and read by people who compare two."""
    path.parent.mkdir(parents=True, exist_ok=True)
    sections = [f"{json.dumps(name)}: {_section(value)}" for name, value in asdict(study).items()]
    path.write_text("{\n" + ",\n".join(sections) + "\n}\n", encoding="utf-8")


def _section(value: object) -> str:
    if isinstance(value, tuple):
        return "[\n" + ",\n".join(json.dumps(one, ensure_ascii=False) for one in value) + "\n]"
    return json.dumps(value, ensure_ascii=False, indent=1)


def main(
    quick: Annotated[bool, typer.Option("--quick", help="Few cells, few requests: shows that it works.")] = False,
    times: Annotated[str, typer.Option(help="`proteus`, `ramsis`, or a file of measured runs.")] = "proteus",
    trace: Annotated[list[Path] | None, typer.Option(help="A recorded trace besides: CSV with arrival_s.")] = None,
    out: Annotated[
        Path | None, typer.Option(help="Default: benchmarks/results/scheduling.json, which docs/scheduling.md shows.")
    ] = None,
    requests: Annotated[int, typer.Option(min=100, help="Of each cell and seed, at least.")] = FULL.requests,
    store: Annotated[Path | None, typer.Option(help="Variants and costs of this model store, on this machine.")] = None,
    labels: Annotated[
        Path | None, typer.Option(help="With --store: labelled images; answers are right or wrong.")
    ] = None,
    lanes: Annotated[int, typer.Option(min=1, help="With --store.")] = 2,
    processes: Annotated[int | None, typer.Option(min=1, help="Default: one for each usable core.")] = None,
) -> None:
    """Play all cells, judge the goals, print tables, write JSON. What was stopped goes on where it was."""
    path = out or ROOT / "benchmarks" / "results" / "scheduling.json"
    effort = QUICK if quick else replace(FULL, requests=requests, training_requests=round(TRAINING * requests))
    try:
        offer, wanted = of_store(store, lanes, effort) if store else published(times, trace or [], effort)
        known = evaluated(store, labels) if store and labels else None
    except (SimulationError, OSError, *EVALUATION_ERRORS) as error:
        say(" ".join(str(error).split()))
        raise typer.Exit(2) from error
    # What variants of a store cost is measured anew each time.
    kept = None if quick or store else path.with_suffix(".cells")
    read = [file for file in (Path(times), *(trace or [])) if file.is_file()]
    made = run(Campaign(offer, wanted, processes or usable_cores(), known, kept, read), say)
    write(path, made)
    report.show(page.tables(made))
    say(f"written to {path}")


if __name__ == "__main__":
    typer.run(main)
