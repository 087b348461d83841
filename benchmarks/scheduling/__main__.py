"""`python -m benchmarks.scheduling [--quick] [--times NAME|FILE] [--trace FILE] [--out FILE] [--processes N]`."""

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated

import typer

from benchmarks import machine, report
from benchmarks.machine import ROOT
from benchmarks.report import say
from benchmarks.scheduling import cells, page
from benchmarks.scheduling.campaign import Campaign, run
from benchmarks.scheduling.cells import FULL, QUICK, Effort, Offer
from service.commands.simulate import unstored
from service.pipeline.cpus import usable_cores
from service.simulation import traces
from service.simulation.errors import SimulationError
from service.simulation.study import Study

TRAINING = 0.4
"""Requests to tune on, over those of a seed to judge by."""


def campaign(times: str, recorded: list[Path], effort: Effort, processes: int, kept: Path) -> Campaign:
    """Raises `SimulationError`, `OSError`."""
    catalogue, source = unstored(times)
    known = {path.stem: traces.read(path) for path in recorded}
    offer = Offer(catalogue, source, known, effort)
    wanted = cells.few() if effort == QUICK else cells.chosen(list(known))
    return Campaign(offer, wanted, processes, None if effort == QUICK else kept)


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
        Path | None, typer.Option(help="Default: benchmarks/results/scheduling-<date>-<commit>.json")
    ] = None,
    requests: Annotated[int, typer.Option(min=100, help="Of each cell and seed, at least.")] = FULL.requests,
    processes: Annotated[int | None, typer.Option(min=1, help="Default: one for each usable core.")] = None,
) -> None:
    """Play all cells, judge the goals, print tables, write JSON. What was stopped goes on where it was."""
    here = machine.describe()
    path = out or ROOT / "benchmarks" / "results" / f"scheduling-{here.date[:10]}-{here.commit}.json"
    effort = QUICK if quick else replace(FULL, requests=requests, training_requests=round(TRAINING * requests))
    try:
        wanted = campaign(times, trace or [], effort, processes or usable_cores(), path.with_suffix(".cells"))
    except (SimulationError, OSError) as error:
        say(" ".join(str(error).split()))
        raise typer.Exit(2) from error
    made = run(wanted, say)
    write(path, made)
    report.show(page.tables(made))
    say(f"written to {path}")


if __name__ == "__main__":
    typer.run(main)
