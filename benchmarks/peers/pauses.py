"""How long a server takes to be itself again after it stood still: `python -m benchmarks.peers.pauses --store DIR`.

A kernel may take memory from processes that have not touched it for some seconds, and it comes back page by page with
the first requests. In the comparison whoever is not asked stands still, so that has to be over before anything counts
(`Setting.settle_s`). Here each contender stands still for a while and is then asked without a warm-up; answers are
sorted by when they came.
"""

import itertools
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from benchmarks import report
from benchmarks.peers import contenders
from benchmarks.peers.__main__ import SIZE_PX
from benchmarks.peers.loader import Told
from benchmarks.peers.measure import Ready, awake, started, told_by
from benchmarks.peers.study import Setting
from benchmarks.realtime import pictures
from benchmarks.report import Table, say
from benchmarks.server import plain_store
from service.pipeline.cpus import usable_cores

EDGES_S = (0.0, 0.25, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0)
"""Parts of the time after a pause; the last one shows what is usual."""
SECONDS = EDGES_S[-1]


@dataclass(frozen=True, slots=True)
class Part:
    """Of the time after a pause, over all rounds."""

    per_s: float
    p50_ms: float
    worst_ms: float


def measure(ready: Sequence[Ready], *, clients: int, pause_s: float, rounds: int) -> dict[str, list[Told]]:
    """By contender, for each round."""
    told: dict[str, list[Told]] = {one.contender.name: [] for one in ready}
    for number in range(rounds):
        for one in ready:
            say(f"round {number + 1} of {rounds}: {one.contender.name} stands still …")
            time.sleep(pause_s)
            with awake(one.pids(clients)):
                told[one.contender.name].append(told_by(one, clients, Setting(warm_up_s=0.0, seconds=SECONDS)))
    return told


def parts(told: Sequence[Told]) -> Iterator[Part]:
    """One after the other."""
    came_s = np.array([one for round_ in told for one in round_.answered_s])
    latencies_ms = np.array([one for round_ in told for one in round_.latencies_ms])
    for begin_s, end_s in itertools.pairwise(EDGES_S):
        within = latencies_ms[(came_s >= begin_s) & (came_s < end_s)]
        per_s = len(within) / (end_s - begin_s) / len(told)
        p50_ms, worst_ms = (float(np.median(within)), float(within.max())) if len(within) else (0.0, 0.0)
        yield Part(per_s, p50_ms, worst_ms)


def tables(told: dict[str, list[Told]], what: str) -> Iterator[Table]:
    """Rates beside the last one, and latencies."""
    spans = [f"{begin_s:g} to {end_s:g} s" for begin_s, end_s in itertools.pairwise(EDGES_S)]
    found = {name: list(parts(rounds)) for name, rounds in told.items()}
    rates = [[name, *(f"{one.per_s:.0f}" for one in those)] for name, those in found.items()]
    latencies = [[name, *(f"{one.p50_ms:.0f} ({one.worst_ms:.0f})" for one in those)] for name, those in found.items()]
    yield Table(f"Answers a second, {what}", ("", *spans), rates)
    yield Table("Latency: median and worst, ms", ("", *spans), latencies)


def main(
    store: Annotated[Path, typer.Option(help="Model store with B0.")],
    only: Annotated[str, typer.Option(help="Contenders or servers, between commas.")] = "effserve,fastapi-pool",
    clients: Annotated[int, typer.Option(min=1)] = 4,
    pause: Annotated[float, typer.Option(help="Seconds.")] = 20.0,
    rounds: Annotated[int, typer.Option(min=1)] = 4,
) -> None:
    """Measure and print."""
    every = contenders.chosen(contenders.contenders(usable_cores()), only.split(","))
    # The loop tells no moments.
    wanted = [one for one in every if one.name != contenders.BARE]
    bodies, setting = pictures.made(0, size_px=SIZE_PX), replace(Setting(), clients=(clients,))
    with plain_store(store, ["b0"]) as plain, started(plain, bodies, setting, wanted) as (ready, _):
        told = measure(ready, clients=clients, pause_s=pause, rounds=rounds)
    report.show(tables(told, f"{clients} clients, after {pause:g} s of standing still"))


if __name__ == "__main__":
    typer.run(main)
