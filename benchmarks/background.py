"""What upgrades on background lanes cost those in front: `python -m benchmarks.background --store STORE`.

Requests for the cheapest variant come at random to one lane for each core, while the background lanes of the service
run a large one without a pause: not at all, at idle priority as served, and at the priority of those in front, which is
what idle priority is worth. A fourth kind has nothing behind and lanes that do not give way to the event loop, which is
what `lanes.nice` is worth. Turns are short and alternate, so that a disturbance hits all. Lanes, decoding and event
loop are the service's; measured is the foreground alone:

- *run*: decoding and inference;
- *hand-over*: the rest from the loop's order to the loop's notice of the end: waking the lane's thread, and taking the
  interpreter's lock twice, which a background thread may hold without a core to go on with (priority inversion);
- *late*: how late a timer of the event loop rings.
"""

import asyncio
import itertools
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import typer
import uvloop

from benchmarks import photos, report
from benchmarks.stats import Spread
from service.core.events import Fanout
from service.core.values import Variant
from service.pipeline.cpus import usable_cores
from service.pipeline.executor import Executor
from service.pipeline.lanes import LaneRun, ThreadLane
from service.pipeline.priority import give_way, yield_to_all
from service.pipeline.session import SessionOptions
from service.settings import Lanes
from service.startup import check, load

TICK_S = 0.005
NICE = Lanes().nice
Prepare = Callable[[], None]


def _gives_way() -> None:
    give_way(NICE)


KINDS: dict[str, tuple[Prepare, Prepare | None]] = {
    "nothing": (_gives_way, None),
    "idle priority": (_gives_way, yield_to_all),
    "same priority": (_gives_way, _gives_way),
    "nothing, lanes not nice": (lambda: None, None),
}
"""What the lanes in front do first, and those behind."""
PERCENTILES = "p50", "p95", "p99"


@dataclass
class Samples:
    """In milliseconds."""

    run: list[float] = field(default_factory=list)
    hand_over: list[float] = field(default_factory=list)
    late: list[float] = field(default_factory=list)


class Turns:
    """The foreground's lanes, and two sets of lanes behind them. Belongs to one event loop."""

    def __init__(self, execute: Executor, body: bytes, front: Variant, behind: Variant, *, load: float) -> None:
        cores = usable_cores()
        numbers = itertools.count()

        def lanes(prepare: Prepare | None) -> list[ThreadLane]:
            return [] if prepare is None else [ThreadLane(next(numbers), execute, prepare) for _ in range(cores)]

        self._front = {kind: lanes(prepare) for kind, (prepare, _) in KINDS.items()}
        self._behind = {kind: lanes(prepare) for kind, (_, prepare) in KINDS.items()}
        self._body, self._variants, self._load = body, (front, behind), load
        self._draw = random.Random(0)
        self._over = False
        self.samples = {kind: Samples() for kind in KINDS}
        self.upgrades = dict.fromkeys(KINDS, 0)

    async def take(self, kind: str, seconds: float) -> None:
        """One turn."""
        self._over = False
        behind = [asyncio.create_task(self._upgrades(lane, kind)) for lane in self._behind[kind]]
        front = [asyncio.create_task(self._requests(lane, self.samples[kind])) for lane in self._front[kind]]
        ticks = asyncio.create_task(self._ticks(self.samples[kind]))
        await asyncio.sleep(seconds)
        self._over = True
        for lane in self._behind[kind]:
            lane.terminate()
        await asyncio.gather(ticks, *front, *behind)

    def close(self) -> None:
        """End all threads."""
        for lane in itertools.chain(*self._front.values(), *self._behind.values()):
            lane.close()

    async def _requests(self, lane: ThreadLane, samples: Samples) -> None:
        """One after the other, with pauses that make the wanted load."""
        while not self._over:
            began_s = time.monotonic()
            run = await self._done(lane, self._variants[0])
            took_s = time.monotonic() - began_s
            if isinstance(run, LaneRun):
                worked_s = run.decode_s + run.inference_s
                samples.run.append(worked_s * 1e3)
                samples.hand_over.append((took_s - worked_s) * 1e3)
            await asyncio.sleep(self._draw.expovariate(1.0) * took_s * (1 / self._load - 1))

    async def _upgrades(self, lane: ThreadLane, kind: str) -> None:
        while not self._over:
            self.upgrades[kind] += isinstance(await self._done(lane, self._variants[1]), LaneRun)

    async def _ticks(self, samples: Samples) -> None:
        while not self._over:
            due_s = time.monotonic() + TICK_S
            await asyncio.sleep(TICK_S)
            samples.late.append((time.monotonic() - due_s) * 1e3)

    def _done(self, lane: ThreadLane, variant: Variant) -> "asyncio.Future[LaneRun | BaseException]":
        loop = asyncio.get_running_loop()
        ended: asyncio.Future[LaneRun | BaseException] = loop.create_future()

        def done(result: LaneRun | BaseException) -> None:
            loop.call_soon_threadsafe(ended.set_result, result)

        lane.start(self._body, variant, done)
        return ended


def measure(store: Path, *, front: str, behind: str, load_share: float, rounds: int, turn_s: float) -> Turns:
    """`rounds` turns of each kind, in an order drawn anew each time."""
    options = SessionOptions()
    loaded = load(check(store, options.provider), options, usable_cores(), Fanout(), lambda _: None)
    execute = Executor(loaded.runners.__getitem__, time.monotonic)
    named = {name: entry.variant() for name, entry in loaded.entries.items()}

    async def all_turns() -> Turns:
        body = photos.middle(photos.read(None))
        turns = Turns(execute, body, named[front], named[behind], load=load_share)
        order = random.Random(0)
        for _ in range(rounds):
            for kind in order.sample(list(KINDS), len(KINDS)):
                await turns.take(kind, turn_s)
        await asyncio.to_thread(turns.close)
        return turns

    return uvloop.run(all_turns())


def table(turns: Turns) -> report.Table:
    """One row for each kind of background."""
    figures = (f"{what} {percentile}" for what in ("run", "hand-over", "late") for percentile in PERCENTILES)
    headings = ("behind", "runs", "upgrades", *figures)
    note = "ms of the foreground; upgrades: runs behind that ended."
    return report.Table("The foreground with upgrades behind it", headings, list(_rows(turns)), note)


def _rows(turns: Turns) -> Iterator[list[str]]:
    for kind, samples in turns.samples.items():
        spreads = [Spread.of(taken) for taken in (samples.run, samples.hand_over, samples.late)]
        figures = [report.ms(value) for one in spreads for value in (one.median, one.p95, one.p99)]
        yield [kind, str(len(samples.run)), str(turns.upgrades[kind]), *figures]


def main(
    store: Annotated[Path, typer.Option(help="Model store.")],
    front: Annotated[str, typer.Option(help="Variant of the requests.")] = "b0",
    behind: Annotated[str, typer.Option(help="Variant of the upgrades.")] = "b7",
    load_share: Annotated[float, typer.Option("--load", help="Share of the time that the front's lanes work.")] = 0.5,
    rounds: Annotated[int, typer.Option(help="Turns of each kind.")] = 20,
    turn_s: Annotated[float, typer.Option(help="Length of a turn, in seconds.")] = 1.0,
) -> None:
    """Measure and print."""
    turns = measure(store, front=front, behind=behind, load_share=load_share, rounds=rounds, turn_s=turn_s)
    report.show([table(turns)])


if __name__ == "__main__":
    typer.run(main)
