"""The real side: recordings and runs, in turns, into a folder.

Each run has a freshly started server and is followed by a recording on it, and one comes before the first: where the
machine changes its speed over the minutes, the recording changes with the runs. All starts share one calibration.
"""

import math
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from pydantic import TypeAdapter

from benchmarks import machine
from benchmarks.machine import Machine, Others
from benchmarks.realtime import loader, record, simulated, wires
from benchmarks.realtime.loader import Load
from benchmarks.realtime.plan import Run, Setting
from benchmarks.realtime.record import Row
from benchmarks.realtime.simulated import Known
from benchmarks.report import say
from benchmarks.server import Server, serving
from service.core.values import ImageHeader
from service.pipeline import image
from service.simulation import traces
from service.simulation.run import World, make_world
from service.simulation.traces import Generated

ANSWERS_S = 120.0
"""Time for the last answers of a run, before it is given up."""


@dataclass(frozen=True, slots=True)
class Measured:
    """What a folder holds, beside its recordings and runs."""

    machine: Machine
    setting: Setting
    others: tuple[Others, ...]
    recording_cpu: float
    """Share of one core that the clients of the recordings took; loaders say it of theirs."""
    punctual: bool = False
    """Whether clients ran at real-time priority."""


_MEASURED = TypeAdapter(Measured)


@dataclass(frozen=True, slots=True)
class Folder:
    """Where everything of one validation lies."""

    path: Path

    @property
    def log(self) -> Path:
        """All recorded runs; `effserve simulate --times` reads it."""
        return self.path / "runs.csv"

    def around(self, run: Run) -> Path:
        """Those recorded before and after a run: what the machine could do then."""
        return self.path / f"{run}.runs.csv"

    @property
    def pictures(self) -> Path:
        """What requests carry."""
        return self.path / "pictures"

    @property
    def calibrations(self) -> Path:
        """What the server measured at its start."""
        return self.path / "calibration"

    def schedule(self, run: Run) -> Path:
        """When which budget comes; `effserve simulate --trace` reads it."""
        return self.path / f"{run}.csv"

    def load(self, run: Run) -> Path:
        """What became of it."""
        return self.path / f"{run}.json"

    def bodies(self) -> list[bytes]:
        """The pictures, in the order they are sent."""
        return [path.read_bytes() for path in sorted(self.pictures.iterdir())]

    def headers(self) -> list[ImageHeader]:
        """Of the pictures."""
        return [image.read_header(body, max_pixels=100_000_000) for body in self.bodies()]

    def measured(self) -> Measured:
        """What `measure` left. Raises `ValueError`, `OSError`."""
        return _MEASURED.validate_json((self.path / "measured.json").read_bytes())

    def keep(self, measured: Measured) -> None:
        """For `measured`."""
        (self.path / "measured.json").write_bytes(_MEASURED.dump_json(measured))

    def known(self, store: Path, lanes: int, run: Run | None = None) -> Known:
        """For simulations; of one run, or of all that was recorded. Raises `ValueError`, `OSError`."""
        log, calibrations = self.log if run is None else self.around(run), self.calibrations
        return simulated.known(store, log=log, calibrations=calibrations, headers=self.headers(), lanes=lanes)


def measure(store: Path, bodies: Sequence[bytes], setting: Setting, folder: Folder) -> Measured:
    """Everything; what the folder held before is removed."""
    _begin(folder, bodies)
    here = machine.describe()
    # The clients of recordings live in this process, those of runs in one of their own.
    punctual = machine.punctual()
    recorder = _Recorder(store, setting, folder, [])
    recorder.before()
    for run in setting.runs:
        recorder.run(run)
    done = Measured(here, setting, tuple(recorder.others), recorder.cpu_s / setting.record_s, punctual)
    folder.keep(done)
    return done


def _begin(folder: Folder, bodies: Sequence[bytes]) -> None:
    for kept in (folder.pictures, folder.calibrations):
        shutil.rmtree(kept, ignore_errors=True)
    for log in folder.path.glob("*runs.csv"):
        log.unlink()
    folder.pictures.mkdir(parents=True)
    for number, body in enumerate(bodies):
        (folder.pictures / f"{number:04}.jpg").write_bytes(body)


@dataclass(slots=True)
class _Recorder:
    store: Path
    setting: Setting
    folder: Folder
    others: list[Others]
    cpu_s: float = 0.0
    """Of recording, in this process."""
    latest: list[Row] = field(default_factory=list)
    """What was recorded last."""

    def before(self) -> None:
        with self._watching("recording"), self._server() as server:
            self._record(server)

    def run(self, run: Run) -> None:
        write_schedule(self.folder.schedule(run), self._world(run))
        with self._watching(str(run)), self._server() as server:
            self._send(run, server)
            record.append(self.folder.around(run), self.latest)
            self._record(server)
            record.append(self.folder.around(run), self.latest)

    def _record(self, server: Server) -> None:
        measured = simulated.calibrated(self.store, self.folder.calibrations, self.folder.headers(), self.setting.lanes)
        seconds = self.setting.record_s / (len(self.setting.runs) + 1)
        say(f"recording for {seconds:.0f} s …")
        started_s = time.process_time()
        rows = record.record(
            partial(wires.to, server, self.setting.protocol),
            self.folder.bodies(),
            measured.inference_s,
            lanes=self.setting.lanes,
            seconds=seconds,
            pid=server.pid,
        )
        self.cpu_s += time.process_time() - started_s
        record.append(self.folder.log, rows)
        self.latest = rows

    def _send(self, run: Run, server: Server) -> Load:
        length_s = self.setting.warm_up_s + self.setting.seconds
        say(f"sending {run} for {length_s:.0f} s …")
        return loader.send(
            server,
            self.folder.schedule(run),
            bodies=self.folder.pictures,
            protocol=self.setting.protocol,
            given=run.given,
            out=self.folder.load(run),
            timeout_s=2 * length_s + ANSWERS_S,
        )

    def _world(self, run: Run) -> World:
        """The requests, drawn as `effserve simulate` draws them."""
        setting, known = self.setting, self.folder.known(self.store, self.setting.lanes)
        cheapest_s = record.mean_s(record.read(self.folder.log), next(iter(known.ranks)), setting.lanes)
        rate_per_s = setting.load * setting.lanes / cheapest_s
        requests = math.ceil(rate_per_s * (setting.warm_up_s + setting.seconds))
        return make_world(
            known.catalogue,
            known.source,
            Generated(run.trace, requests),
            lanes=setting.lanes,
            load=setting.load,
            mix=traces.mix(setting.budgets),
            seed=setting.seed,
        )

    def _watching(self, what: str) -> AbstractContextManager[None]:
        return machine.watching(what, self.others)

    def _server(self) -> AbstractContextManager[Server]:
        kept = {
            "EFFSERVE_CALIBRATION_REUSE": "true",
            "EFFSERVE_CALIBRATION_DIR": str(self.folder.calibrations.resolve()),
        }
        return serving(self.store, calibrate_s=self.setting.calibrate_s, lanes=self.setting.lanes, settings=kept)


def write_schedule(path: Path, world: World) -> None:
    """A trace of `effserve simulate`; time begins with the first arrival."""
    path.write_text("".join(_lines(world)), encoding="utf-8")


def _lines(world: World) -> Iterator[str]:
    yield "arrival_s,budget_ms\n"
    for at_s, budget_s in zip(world.arrivals_s - world.arrivals_s[0], world.budgets_s, strict=True):
        yield f"{at_s:.6f},{budget_s * 1e3:g}\n"
