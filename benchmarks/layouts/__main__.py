"""`python -m benchmarks.layouts --store DIR`: measure, simulate, print tables, write JSON."""

from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated

import typer

from benchmarks import photos, report
from benchmarks.layouts import page
from benchmarks.layouts.measure import measure
from benchmarks.layouts.study import QUICK, Setting
from benchmarks.realtime import pictures
from benchmarks.report import say
from benchmarks.server import plain_store

DEFAULT = Setting()


def main(
    store: Annotated[Path, typer.Option(help="Model store; of B0–B7 the variants asked for are used.")],
    variants: Annotated[str, typer.Option(help="Names, between commas.")] = ",".join(DEFAULT.variants),
    folder: Annotated[Path | None, typer.Option("--photos", help="Folder of JPEGs; default: made pictures.")] = None,
    rounds: Annotated[int | None, typer.Option(help="Each has a schedule of its own.")] = None,
    seconds: Annotated[float | None, typer.Option(help="Of each turn, after the warm-up.")] = None,
    load: Annotated[float, typer.Option(help="Of the cheapest variant alone, on lanes of one thread.")] = DEFAULT.load,
    seed: Annotated[int, typer.Option(help="Of arrivals, budgets and pictures.")] = DEFAULT.seed,
    out: Annotated[Path | None, typer.Option(help="Default: benchmarks/results/layouts-<date>-<commit>.json")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="A minute or so; the figures mean little.")] = False,
) -> None:
    """The layouts are all that use every core."""
    base = QUICK if quick else DEFAULT
    setting = replace(
        base,
        variants=tuple(variants.split(",")),
        rounds=rounds or base.rounds,
        seconds=seconds or base.seconds,
        load=load,
        seed=seed,
    )
    bodies = pictures.made(seed) if folder is None else photos.read(folder)
    with plain_store(store, setting.variants) as plain:
        study = measure(plain, bodies, setting)
    path = out or report.default_path(study.machine, "layouts")
    report.write(path, asdict(study))
    report.show(page.tables(study))
    say(f"written to {path}")


if __name__ == "__main__":
    typer.run(main)
