"""`python -m benchmarks.realtime --store DIR`: measure, simulate, compare, print tables, write JSON."""

from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated

import typer

from benchmarks import photos, report
from benchmarks.machine import ROOT
from benchmarks.realtime import page, pictures, plan
from benchmarks.realtime.measure import Folder, measure
from benchmarks.realtime.plan import QUICK, Setting
from benchmarks.realtime.validation import validate
from benchmarks.realtime.wires import WIRES
from benchmarks.report import say
from benchmarks.server import plain_store
from service.pipeline.cpus import usable_cores

DEFAULT = Setting()


def main(
    store: Annotated[Path, typer.Option(help="Model store; of B0–B7 the variants asked for are used.")],
    runs: Annotated[str, typer.Option(help="POLICY:TRACE,…; a policy is k1, p2 or a variant.")] = "k1:poisson,"
    "k1:gamma4,b0:poisson",
    variants: Annotated[str, typer.Option(help="Names, between commas.")] = ",".join(plan.VARIANTS),
    folder: Annotated[Path | None, typer.Option("--photos", help="Folder of JPEGs; default: made pictures.")] = None,
    lanes: Annotated[int | None, typer.Option(help="Default: one for each usable core.")] = None,
    load: Annotated[float, typer.Option(help="Of the cheapest variant alone.")] = DEFAULT.load,
    budgets: Annotated[str, typer.Option(help="MS:WEIGHT,…")] = DEFAULT.budgets,
    protocol: Annotated[str, typer.Option(help=", ".join(WIRES))] = DEFAULT.protocol,
    seconds: Annotated[float | None, typer.Option(help="Of each run, after the warm-up.")] = None,
    record: Annotated[float | None, typer.Option(help="Seconds for all recordings together.")] = None,
    seed: Annotated[int, typer.Option(help="Of arrivals, budgets and pictures.")] = DEFAULT.seed,
    work: Annotated[Path, typer.Option(help="Where recordings and runs are kept.")] = ROOT / ".realtime",
    again: Annotated[bool, typer.Option("--again", help="Measure nothing: simulate and compare what is kept.")] = False,
    out: Annotated[Path | None, typer.Option(help="Default: benchmarks/results/realtime-<date>-<commit>.json")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="A minute or so; the figures mean little.")] = False,
) -> None:
    """Exit status 1 when a run is not accepted."""
    if protocol not in WIRES:
        raise typer.BadParameter(f"a protocol is one of {', '.join(WIRES)}")
    base = QUICK if quick else DEFAULT
    setting = replace(
        base,
        runs=plan.parsed(runs),
        protocol=protocol,
        variants=tuple(variants.split(",")),
        lanes=lanes or usable_cores(),
        load=load,
        budgets=budgets,
        seed=seed,
        seconds=seconds or base.seconds,
        record_s=record or base.record_s,
    )
    kept = Folder(work)
    with plain_store(store, kept.measured().setting.variants if again else setting.variants) as plain:
        bodies = pictures.made(seed) if folder is None else photos.read(folder)
        measured = kept.measured() if again else measure(plain, bodies, setting, kept)
        say("simulating …")
        made = validate(plain, kept, measured)
    path = out or report.default_path(made.machine, "realtime")
    report.write(path, asdict(made))
    report.show(page.tables(made))
    say(f"written to {path}")
    raise typer.Exit(0 if made.accepted else 1)


if __name__ == "__main__":
    typer.run(main)
