"""The figures of the project on this machine: `python -m benchmarks.figures --store DIR [--photos DIR] [--out FILE]`.

Each figure is a module with `measure` and `table`. What is compared is measured in the same run and in turns. Two
figures have a target; the last table says whether this run reached it.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import typer

from benchmarks import budgets, inference, machine, memory, micro, overhead, photos, report
from benchmarks.budgets import BudgetFigures
from benchmarks.inference import Inference
from benchmarks.machine import Machine, Others
from benchmarks.memory import Memory
from benchmarks.micro import Micro
from benchmarks.overhead import Overhead
from benchmarks.report import say
from benchmarks.server import plain_store

OVERHEAD_P50_MS = 1.5
BUDGETS_MET = 0.99


@dataclass(frozen=True, slots=True)
class Effort:
    """How much is measured."""

    overhead_requests: int = 500
    """Over each protocol."""
    rounds: int = 6
    seconds_per_round: float = 1.0
    """For one side of one variant."""
    memory_requests: int = 50
    budget_requests: int = 200
    """For each budget and protocol."""
    micro_rounds: int = micro.ROUNDS
    calibrate_s: float = 0.5
    """For each variant at each start; the service's default."""


QUICK = Effort(
    overhead_requests=10, rounds=2, seconds_per_round=0.05, memory_requests=8, budget_requests=3, micro_rounds=3,
    calibrate_s=0.05,
)  # fmt: skip
"""Shows that everything works; the figures mean little."""


@dataclass(frozen=True, slots=True)
class Target:
    """What a figure has to reach."""

    name: str
    value: float
    limit: float
    reached: bool


@dataclass(frozen=True, slots=True)
class Results:
    """One run; the sections of the JSON file."""

    machine: Machine
    others: list[Others]
    overhead: list[Overhead]
    inference: list[Inference]
    memory: Memory
    budgets: list[BudgetFigures]
    micro: list[Micro]
    targets: list[Target]


def measure(store: Path, images: list[bytes], effort: Effort) -> Results:
    """Everything, one figure after the other."""
    here, others, calibrate_s = machine.describe(), list[Others](), effort.calibrate_s
    with _figure("overhead", others):
        overheads = overhead.measure(store, images, requests=effort.overhead_requests, calibrate_s=calibrate_s)
    with _figure("inference", others):
        compared = inference.measure(
            store,
            photos.middle(images),
            rounds=effort.rounds,
            seconds_per_round=effort.seconds_per_round,
            calibrate_s=calibrate_s,
        )
    with _figure("memory", others):
        resident = memory.measure(store, images, requests=effort.memory_requests, calibrate_s=calibrate_s)
    with _figure("budgets", others):
        budgeted = budgets.measure(store, images, requests=effort.budget_requests, calibrate_s=calibrate_s)
    with _figure("micro", others):
        single = micro.measure(images, rounds=effort.micro_rounds)
    return Results(here, others, overheads, compared, resident, budgeted, single, targets(overheads, budgeted))


@contextmanager
def _figure(name: str, others: list[Others]) -> Iterator[None]:
    say(f"measuring {name} …")
    with machine.watching(name, others):
        yield


def targets(overheads: Sequence[Overhead], budgeted: Sequence[BudgetFigures]) -> list[Target]:
    """What the project promises, beside what was measured. An infeasible budget is not promised anything."""
    added = [(f"overhead p50 over {one.protocol} (ms)", one.overhead.median) for one in overheads]
    met = [(f"{one.budget_ms:g} ms met over {one.protocol}", one.met) for one in budgeted if one.feasible]
    return [
        *(Target(name, value, OVERHEAD_P50_MS, value <= OVERHEAD_P50_MS) for name, value in added),
        *(Target(name, value, BUDGETS_MET, value >= BUDGETS_MET) for name, value in met),
    ]


def tables(results: Results) -> list[report.Table]:
    """In the order they are shown."""
    return [
        report.machine_table(results.machine),
        report.others_table(results.others),
        overhead.table(results.overhead),
        inference.table(results.inference),
        memory.table(results.memory),
        budgets.table(results.budgets),
        micro.table(results.micro),
        _targets_table(results.targets),
    ]


def _targets_table(judged: list[Target]) -> report.Table:
    rows = [(one.name, f"{one.value:.3f}", f"{one.limit:g}", "reached" if one.reached else "missed") for one in judged]
    return report.Table("Targets", ("", "value", "target", ""), rows)


def main(
    store: Annotated[Path, typer.Option(help="Model store with B0–B7.")],
    folder: Annotated[Path | None, typer.Option("--photos", help="Folder of JPEGs; default: made pictures.")] = None,
    out: Annotated[
        Path | None, typer.Option(help="Result file; default: benchmarks/results/<date>-<commit>.json")
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="A minute or so; the figures mean little.")] = False,
) -> None:
    """Measure, print tables, write JSON."""
    with plain_store(store) as plain:
        results = measure(plain, photos.read(folder), QUICK if quick else Effort())
    path = out or report.default_path(results.machine)
    report.write(path, asdict(results))
    report.show(tables(results))
    say(f"written to {path}")


if __name__ == "__main__":
    typer.run(main)
