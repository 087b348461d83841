"""Opening a variant while others are served: all that takes time, on a thread that takes nothing from anybody.

Reading and checking files, building the session and running it release the interpreter's lock for all but moments, so
what is left to share is the cores. The thread therefore has idle priority, like background lanes. Where runs leave
their thread, the runtime's own threads are started here and would inherit that for good; there it only gives way as
lanes do.

What a run costs is known from an earlier calibration of the same graph, or measured in turns with a variant that is
served and much like it: by the processor time of the thread, which being put aside hardly changes, the smallest of a
few runs each. The ratio of the two, times what calibration found for the other, is what calibration would find for this
one on a quiet machine, whatever this one does just now. [ADR 11](../../docs/decisions/0011-hot-loading.md)
"""

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from service.core.errors import EffserveError
from service.core.events import VariantLoaded
from service.core.latency import VariantCost
from service.pipeline.calibration import CalibrationFile
from service.pipeline.executor import Runner
from service.pipeline.graphs import open_session
from service.pipeline.priority import give_way, yield_to_all
from service.pipeline.session import Session, SessionError, SessionOptions, runtime_fingerprint
from service.pipeline.store import StoredVariant

LEAST_TURNS, MOST_TURNS = 3, 20
"""Runs of each variant; the first of a turn finds the other's data in the caches."""
ENOUGH_S = 0.1
"""Of work, after which no more turns are taken than there have to be."""


@dataclass(frozen=True, slots=True)
class Known:
    """A variant that is served, with what calibration found for it."""

    runner: Runner
    cost: VariantCost


@dataclass(frozen=True, slots=True)
class Opened:
    """A variant that is ready to be served."""

    entry: StoredVariant
    runner: Runner
    cost: VariantCost
    load_s: float
    """To open the session, without its first run."""


class Opener:
    """Opens one variant at a time, on a thread that was prepared for it (`prepare`)."""

    def __init__(self, options: SessionOptions, lanes: int, calibrations: Path | None) -> None:
        self._options = options
        self._lanes = lanes
        self._calibrations = calibrations
        self._seen: dict[str, VariantCost] = {}
        """By graph: so that who is unloaded and loaded again is measured once."""

    def prepare(self) -> None:
        """From now on the calling thread is one for opening."""
        if not self._options.on_caller:
            give_way(self._options.nice)
            return
        # Where there is no such priority, loading takes its share of the cores.
        with suppress(OSError):
            yield_to_all()

    def open(self, entry: StoredVariant, known: Known, go_on: Callable[[], None] = lambda: None) -> Opened:
        """A session after its first run, and what a run costs. Raises `SessionError`.

        `go_on` is called between the steps, none of which can be cut short; what it raises ends the work.
        """
        manifest, started_s = entry.manifest, time.perf_counter()
        session = open_session(entry, self._options)
        load_s = time.perf_counter() - started_s
        go_on()
        session.warm_up()
        runner = Runner(session, manifest.preprocessing)
        return Opened(entry, runner, self._cost(manifest.graph_sha256, runner, known, go_on), load_s)

    def _cost(self, graph_sha256: str, runner: Runner, known: Known, go_on: Callable[[], None]) -> VariantCost:
        cost = self._calibrated(graph_sha256) or self._seen.get(graph_sha256)
        if cost is None:
            cost = beside(runner, known, time.thread_time if self._options.on_caller else time.perf_counter, go_on)
        self._seen[graph_sha256] = cost
        return cost

    def _calibrated(self, graph_sha256: str) -> VariantCost | None:
        if self._calibrations is None:
            return None
        return CalibrationFile(self._calibrations, runtime_fingerprint(self._options, self._lanes)).cost(graph_sha256)


def loaded_event(entry: StoredVariant, session: Session, load_s: float) -> VariantLoaded:
    """What observers are told of a session that took so long to open."""
    variant, manifest = entry.variant(), entry.manifest
    return VariantLoaded(
        name=variant.name,
        version=variant.version,
        load_s=load_s,
        macs=manifest.macs,
        params=manifest.params,
        rank_top1=variant.rank_top1,
        trained=variant.trained,
        left_to_cpu=tuple(f"{count} {operator}" for operator, count in session.left_to_cpu.items()),
    )


def beside(
    runner: Runner, known: Known, clock: Callable[[], float], go_on: Callable[[], None] = lambda: None
) -> VariantCost:
    """What calibration would find, by how it compares with a variant of which that is known. Raises `SessionError` when
    one of the two does not run."""
    own_s, others_s = list[float](), list[float]()
    while len(own_s) < LEAST_TURNS or (len(own_s) < MOST_TURNS and sum(own_s) < ENOUGH_S):
        go_on()
        others_s.append(_timed(known.runner, clock))
        own_s.append(_timed(runner, clock))
    ratio = min(own_s) / min(others_s)
    alone_s = known.cost.alone_s
    return VariantCost(known.cost.inference_s * ratio, None if alone_s is None else alone_s * ratio)


def _timed(runner: Runner, clock: Callable[[], float]) -> float:
    size_px = runner.preprocessing.input_size_px
    pixels = np.random.default_rng(0).integers(0, 256, (1, size_px, size_px, 3), np.uint8)
    started_s = clock()
    try:
        runner.session.run(pixels)
    except EffserveError as error:
        raise SessionError(f"it cannot be measured: {error.detail}") from error
    return clock() - started_s
