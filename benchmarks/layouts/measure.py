"""The real side: a server for each layout, all of them there all the time, and turns between them.

A server that nobody asks takes no time: its threads wait. So no turn pays for a start, and turns can be short.
"""

import asyncio
import itertools
import math
import random
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks import machine
from benchmarks.layouts import simulated
from benchmarks.layouts.study import Capacity, Setting, Study, Turn
from benchmarks.machine import Others
from benchmarks.realtime import loader, record, wires
from benchmarks.realtime.compare import Figures, mean_of, real
from benchmarks.realtime.loader import Load
from benchmarks.realtime.measure import ANSWERS_S, write_schedule
from benchmarks.realtime.plan import Run
from benchmarks.realtime.record import Done
from benchmarks.realtime.simulated import DEFAULT_POLICY, Known, replays
from benchmarks.report import say
from benchmarks.server import Server, serving
from benchmarks.stats import Spread
from service.core.layout import Layout, layouts
from service.pipeline import image
from service.pipeline.cpus import usable_cores
from service.simulation import traces
from service.simulation.run import make_world
from service.simulation.traces import Generated

PROTOCOL = "http"
REPLAYS = range(3)
"""Seeds of the simulations of each turn."""


@dataclass(frozen=True, slots=True)
class _Side:
    """One layout: its server, and what is known of it for simulations."""

    layout: Layout
    server: Server
    known: Known


def measure(store: Path, bodies: Sequence[bytes], setting: Setting) -> Study:
    """Everything. Raises `ServerError`, `ValueError`."""
    here, others = machine.describe(), list[Others]()
    with tempfile.TemporaryDirectory() as folder, machine.watching("all turns", others), ExitStack() as servers:
        sides = _start(store, bodies, setting, Path(folder), servers)
        bench = _Bench(setting, sides, Path(folder), random.Random(setting.seed))
        turns, done = list[Turn](), dict[tuple[str, Layout], list[list[Done]]]()
        for number in range(setting.rounds):
            turns += bench.round(number)
            for key, runs in bench.capacity(list(itertools.islice(itertools.cycle(bodies), 64))):
                done.setdefault(key, []).append(runs)
    say("simulating single budgets …")
    worlds = {side.layout: side.known for side in sides}
    return Study(
        machine=here,
        setting=setting,
        others=tuple(others),
        cheapest=next(iter(sides[0].known.ranks)),
        usual=tuple(simulated.usual(side.layout, side.known) for side in sides),
        turns=tuple(turns),
        capacities=tuple(_capacity(*key, rounds, setting) for key, rounds in done.items()),
        limits=tuple(simulated.limits(worlds, setting)),
    )


def _start(
    store: Path, bodies: Sequence[bytes], setting: Setting, folder: Path, servers: ExitStack
) -> tuple[_Side, ...]:
    pictures, calibrations = folder / "pictures", folder / "calibration"
    pictures.mkdir()
    for number, body in enumerate(bodies):
        (pictures / f"{number:04}.jpg").write_bytes(body)
    headers = [image.read_header(body, max_pixels=100_000_000) for body in bodies]
    sides = []
    for layout in layouts(usable_cores()):
        say(f"starting {layout} …")
        kept = {
            "EFFSERVE_LANES_THREADS": str(layout.threads),
            "EFFSERVE_CALIBRATION_REUSE": "true",
            "EFFSERVE_CALIBRATION_DIR": str(calibrations),
        }
        server = servers.enter_context(
            serving(store, calibrate_s=setting.calibrate_s, lanes=layout.lanes, settings=kept)
        )
        sides.append(_Side(layout, server, simulated.known(store, layout, calibrations, headers)))
    return tuple(sides)


@dataclass(frozen=True, slots=True)
class _Bench:
    setting: Setting
    sides: tuple[_Side, ...]
    folder: Path
    order: random.Random
    """Of the turns."""

    def round(self, number: int) -> Iterator[Turn]:
        """Each trace and mix on each layout."""
        for trace, mix in itertools.product(self.setting.traces, self.setting.mixes):
            say(f"round {number + 1} of {self.setting.rounds}: {trace}, {mix}")
            schedule = self._schedule(trace, mix, number)
            for side in self.order.sample(self.sides, len(self.sides)):
                yield self._turn(Run(DEFAULT_POLICY, trace), mix, side, number, schedule)

    def capacity(self, bodies: Sequence[bytes]) -> Iterator[tuple[tuple[str, Layout], list[Done]]]:
        """Each variant with all lanes busy: twice as many clients as lanes. A warm-up goes before: meanwhile others had
        their turns."""
        for name in self.order.sample(self.setting.variants, len(self.setting.variants)):
            for side in self.order.sample(self.sides, len(self.sides)):
                pairs = ((name, body) for body in itertools.cycle(bodies))
                wire = wires.to(side.server, PROTOCOL)
                clients, seconds = 2 * side.layout.lanes, self.setting.capacity_s
                asyncio.run(record.busy(wire, pairs, clients=clients, seconds=self.setting.warm_up_s))
                yield (name, side.layout), asyncio.run(record.busy(wire, pairs, clients=clients, seconds=seconds))

    def _schedule(self, trace: str, mix: str, number: int) -> Path:
        """Drawn as `effserve simulate` draws; the rate is that of the first layout's load."""
        setting, first = self.setting, self.sides[0]
        per_s = setting.load * first.layout.lanes / simulated.usual(first.layout, first.known).usual_s
        world = make_world(
            first.known.catalogue,
            first.known.source,
            Generated(trace, math.ceil(per_s * (setting.warm_up_s + setting.seconds))),
            lanes=first.layout.lanes,
            load=setting.load,
            mix=traces.mix(mix),
            seed=setting.seed + number,
        )
        path = self.folder / "schedule.csv"
        write_schedule(path, world)
        return path

    def _turn(self, run: Run, mix: str, side: _Side, number: int, schedule: Path) -> Turn:
        load = self._send(run, side.server, schedule)
        ours = [one for one in load.sent if one.at_s >= self.setting.warm_up_s]
        played = replays(run, load.sent, side.known, seeds=REPLAYS)
        ranks = side.known.ranks
        figures = Figures.of([real(one) for one in ours], ranks)
        return Turn(
            trace=run.trace,
            mix=mix,
            layout=side.layout,
            number=number,
            requests=len(ours),
            per_s=figures.attainment * len(ours) / (load.sent[-1].at_s - self.setting.warm_up_s),
            real=figures,
            simulated=mean_of([Figures.of(fates[-len(ours) :], ranks) for fates in played]),
            lag_p99_s=float(np.percentile([one.lag_s for one in ours], 99)),
            lost=sum(one.lost for one in ours),
        )

    def _send(self, run: Run, server: Server, schedule: Path) -> Load:
        return loader.send(
            server,
            schedule,
            bodies=self.folder / "pictures",
            protocol=PROTOCOL,
            given=run.given,
            out=self.folder / "load.json",
            timeout_s=2 * (self.setting.warm_up_s + self.setting.seconds) + ANSWERS_S,
        )


def _capacity(name: str, layout: Layout, rounds: Sequence[Sequence[Done]], setting: Setting) -> Capacity:
    runs = [done.run_s * 1e3 for one in rounds for done in one]
    return Capacity(name, layout, tuple(len(one) / setting.capacity_s for one in rounds), Spread.of(runs))
