"""`python -m benchmarks.peers --store DIR`: measure what is installed, print tables, write JSON."""

from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated

import typer

from benchmarks import photos, report
from benchmarks.peers import contenders, page
from benchmarks.peers.measure import measure
from benchmarks.peers.study import QUICK, Setting
from benchmarks.realtime import pictures
from benchmarks.report import say
from benchmarks.server import plain_store
from service.pipeline.cpus import usable_cores

SIZE_PX = (768, 576)
"""Of made pictures: their files then have about 100 kB. One size, so that latencies differ by what servers do."""


def main(
    store: Annotated[Path, typer.Option(help="Model store with B0.")],
    only: Annotated[str | None, typer.Option(help="Contenders or servers, between commas; default: all.")] = None,
    folder: Annotated[Path | None, typer.Option("--photos", help="Folder of JPEGs; default: made pictures.")] = None,
    rounds: Annotated[int | None, typer.Option(help="In each, every contender meets every number of clients.")] = None,
    seconds: Annotated[float | None, typer.Option(help="Of each turn, after the warm-up.")] = None,
    out: Annotated[Path | None, typer.Option(help="Default: benchmarks/results/peers-<date>-<commit>.json")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Shows that it works; the figures mean little.")] = False,
) -> None:
    """B0 by the service, by other servers, and by a bare loop."""
    base = QUICK if quick else Setting()
    setting = replace(base, rounds=rounds or base.rounds, seconds=seconds or base.seconds)
    every = contenders.contenders(usable_cores())
    try:
        wanted = every if only is None else contenders.chosen(every, only.split(","))
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    bodies = pictures.made(setting.seed, size_px=SIZE_PX) if folder is None else photos.read(folder)
    with plain_store(store, ["b0"]) as plain:
        study = measure(plain, bodies, setting, wanted)
    path = out or report.default_path(study.machine, "peers")
    report.write(path, asdict(study))
    report.show(page.tables(study))
    say(f"written to {path}")


if __name__ == "__main__":
    typer.run(main)
