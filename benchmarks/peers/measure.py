"""All contenders at once, in short turns: in every round each is visited once, and asked by each number of clients.

Both orders are drawn anew in each round. A visit begins with requests that do not count, until what the kernel took
from a contender that stood still is back.
"""

import json
import math
import random
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from benchmarks import machine
from benchmarks.machine import Others
from benchmarks.peers import bare, loader, running
from benchmarks.peers.apps.work import Given, Work
from benchmarks.peers.contenders import BARE, OURS, OURS_MANNER, Contender, Manner
from benchmarks.peers.loader import Asked, Told
from benchmarks.peers.running import Graph, NotStarted
from benchmarks.peers.study import Compared, Latency, LeftOut, Setting, Study, Turn
from benchmarks.report import say
from benchmarks.server import serving, variants
from benchmarks.stats import Spread
from service import __version__
from service.pipeline.cpus import usable_cores

LOADER_TIMEOUT_S = 60.0
READY = Setting(warm_up_s=0.0, seconds=1.0)
"""A turn that shows whether a server answers."""
WARM = 8
"""Clients of turns that do not count: every worker gets something to do."""

Ask = Callable[[int, Setting], Told]
"""Some clients, for one turn."""


@dataclass(frozen=True)
class Ready:
    """A contender that waits for its turn, standing still."""

    contender: Contender
    pids: Callable[[int], Sequence[int]]
    """What has to run for so many clients."""
    ask: Ask


def measure(store: Path, photos: Sequence[bytes], setting: Setting, wanted: Sequence[Contender]) -> Study:
    """Everything. `store` holds one variant. Raises `ServerError`."""
    here, others = machine.describe(), list[Others]()
    with started(store, photos, setting, wanted) as (ready, left_out), machine.watching("all turns", others):
        taken = list(turns(ready, setting))
    return Study(
        machine=here,
        setting=setting,
        others=tuple(others),
        photos=len(photos),
        photo_bytes=round(sum(map(len, photos)) / len(photos)),
        compared=tuple(_compared(one.contender) for one in ready),
        left_out=tuple(left_out),
        turns=tuple(turn for turn, _ in taken),
        latencies=tuple(_latencies(taken)),
    )


@contextmanager
def started(
    store: Path, photos: Sequence[bytes], setting: Setting, wanted: Sequence[Contender]
) -> Iterator[tuple[list[Ready], list[LeftOut]]]:
    """All that can be had, each standing still, and the others with the reason. Raises `ServerError`."""
    with tempfile.TemporaryDirectory() as folder, ExitStack() as servers:
        bench = _Bench(store, photos, setting, Path(folder), servers)
        left_out = [LeftOut(*one) for one in dict.fromkeys(_missing(wanted))]
        there = [one for one in wanted if one.peer is None or not one.peer.missing]
        yield list(bench.start(there, left_out)), left_out


def _missing(wanted: Sequence[Contender]) -> Iterator[tuple[str, str]]:
    return ((one.peer.title, one.peer.missing) for one in wanted if one.peer is not None and one.peer.missing)


def _compared(contender: Contender) -> Compared:
    title, version = (
        (contender.peer.title, contender.peer.version) if contender.peer else (contender.server, __version__)
    )
    return Compared(contender.name, contender.server, title, version, contender.what)


class _Bench:
    """Starts contenders and asks them."""

    def __init__(
        self, store: Path, photos: Sequence[bytes], setting: Setting, folder: Path, servers: ExitStack
    ) -> None:
        self._store, self._photos, self._setting = store, photos, setting
        self._folder, self._servers = folder, servers
        (entry,) = variants(store)
        prepared = entry.manifest.preprocessing
        size_px = prepared.input_size_px
        self._graph = Graph(entry.graph.resolve(), size_px, math.floor(size_px / prepared.crop_pct))
        self._ours = list(map(bare.runner(entry), photos))
        work = Work(Given(str(self._graph.path), size_px, self._graph.resize_px, 0, 1, 1))
        self._theirs = [int(work(photo)["predictions"][0]["index"]) for photo in photos]

    def start(self, wanted: Sequence[Contender], left_out: list[LeftOut]) -> Iterator[Ready]:
        """One after the other; who does not get ready is left out."""
        for contender in wanted:
            say(f"starting {contender.name} …")
            try:
                ready = self._start(contender)
            except NotStarted as error:
                say(f"{contender.name} is left out: {error}")
                left_out.append(LeftOut(contender.name, str(error).partition(";")[0]))
                continue
            ready.ask(WARM, READY)
            running.pause(ready.pids(WARM))
            yield ready

    def _start(self, contender: Contender) -> Ready:
        if contender.name == BARE:
            return self._bare(contender)
        return self._service(contender) if contender.server == OURS else self._peer(contender)

    def _bare(self, contender: Contender) -> Ready:
        pictures = self._folder / "pictures"
        pictures.mkdir()
        for number, photo in enumerate(self._photos):
            (pictures / f"{number:04}.jpg").write_bytes(photo)
        loops = self._servers.enter_context(bare.running(self._store, pictures, usable_cores()))
        self._servers.callback(running.go_on, loops.pids(usable_cores()))

        def ask(clients: int, setting: Setting) -> Told:
            return Told(setting.seconds, loops.times_ms(clients, setting.warm_up_s, setting.seconds))

        return Ready(contender, loops.pids, ask)

    def _service(self, contender: Contender) -> Ready:
        server = self._servers.enter_context(
            serving(
                self._store,
                calibrate_s=self._setting.calibrate_s,
                lanes=_lanes(contender),
                settings={
                    "EFFSERVE_LANES_THREADS": str(contender.threads),
                    "EFFSERVE_WORKERS_COUNT": str(contender.workers),
                }
                if _lanes(contender)
                else None,
            )
        )
        self._servers.callback(running.go_on, [server.pid])
        ask = self._asking(contender, OURS_MANNER, self._ours)
        return Ready(
            contender, lambda _: [server.pid], lambda clients, setting: ask(server.http_port, clients, setting)
        )

    def _peer(self, contender: Contender) -> Ready:
        if contender.peer is None:
            raise ValueError(f"{contender.name} is nobody's configuration")
        ask = self._asking(contender, contender.peer.manner, self._theirs)

        def complaint(port: int) -> str:
            try:
                told = ask(port, 1, READY)
            except subprocess.CalledProcessError as error:
                return str(error.stderr).strip().rpartition("\n")[2]
            return ", ".join(told.errors) or ("" if told.latencies_ms else "no answer in time")

        pid, port = self._servers.enter_context(running.peer(contender, contender.peer, self._graph, complaint))
        return Ready(contender, lambda _: [pid], lambda clients, setting: ask(port, clients, setting))

    def _asking(
        self, contender: Contender, manner: Manner, classes: Sequence[int]
    ) -> Callable[[int, int, Setting], Told]:
        """Port, clients and setting → what the loader tells."""
        folder = self._folder / contender.name
        folder.mkdir()
        requests = []
        for number, photo in enumerate(self._photos):
            requests.append(folder / f"{number:04}")
            requests[-1].write_bytes(manner.request(photo))

        def ask(port: int, clients: int, setting: Setting) -> Told:
            asked = Asked(
                port,
                list(map(str, requests)),
                list(classes),
                manner.pattern,
                clients,
                setting.warm_up_s,
                setting.seconds,
            )
            path = folder / "asked.json"
            path.write_text(json.dumps(asdict(asked)), encoding="utf-8")
            told = running.load(Path(loader.__file__), path, LOADER_TIMEOUT_S)
            return Told(**json.loads(told))

        return ask


def _lanes(contender: Contender) -> int | None:
    """What the service is told; None for its own choice."""
    if contender.threads > 1:
        return 1
    return contender.workers if contender.workers > 1 else None


def turns(ready: Sequence[Ready], setting: Setting) -> Iterator[tuple[Turn, list[float]]]:
    """Each with the latencies it saw."""
    order = random.Random(setting.seed)
    for number in range(setting.rounds):
        say(f"round {number + 1} of {setting.rounds} …")
        for one in order.sample(ready, len(ready)):
            with awake(one.pids(WARM)):
                told_by(one, WARM, replace(setting, warm_up_s=0.0, seconds=setting.settle_s))
            for clients in order.sample(setting.clients, len(setting.clients)):
                yield _turn(one, clients, number, setting)


def told_by(one: Ready, clients: int, setting: Setting) -> Told:
    """One turn of a contender that is awake. One that breaks down has errors, and the others go on."""
    try:
        return one.ask(clients, setting)
    except subprocess.CalledProcessError as error:
        said = str(error.stderr).strip().rpartition("\n")[2]
        say(f"{one.contender.name}, {clients} clients: {said}")
        return Told(setting.seconds, errors={f"no turn: {said}": 1})


def _turn(one: Ready, clients: int, number: int, setting: Setting) -> tuple[Turn, list[float]]:
    seen = list[Others]()
    with awake(one.pids(clients)), machine.watching("one turn", seen):
        told = told_by(one, clients, setting)
    p50_ms, p99_ms = np.percentile(told.latencies_ms, (50, 99)) if told.latencies_ms else (math.inf, math.inf)
    return Turn(
        name=one.contender.name,
        clients=clients,
        number=number,
        per_s=round(len(told.latencies_ms) / told.seconds, 3),
        p50_ms=round(float(p50_ms), 3),
        p99_ms=round(float(p99_ms), 3),
        errors=told.errors,
        loader=round(told.cpu_s / told.seconds, 3),
        others=seen[0].share,
    ), told.latencies_ms


@contextmanager
def awake(pids: Sequence[int]) -> Iterator[None]:
    """They run; afterwards they stand still."""
    running.go_on(pids)
    try:
        yield
    finally:
        running.pause(pids)


def _latencies(taken: Sequence[tuple[Turn, list[float]]]) -> Iterator[Latency]:
    pooled: dict[tuple[str, int], list[float]] = {}
    for turn, latencies_ms in taken:
        pooled.setdefault((turn.name, turn.clients), []).extend(latencies_ms)
    return (Latency(*key, Spread.of(found)) for key, found in pooled.items() if found)
