"""The same schedule in the simulator: recorded times, recorded overheads, and what the server itself began with.

Requests come when the loader really sent them. The latency model begins with the calibration of the server's start;
decoding counts as part of a run on both sides of it, because all pictures are of a size. What a client waits beyond the
server's total is drawn from the recording like everything else around a run.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from benchmarks.realtime import record
from benchmarks.realtime.compare import Fate
from benchmarks.realtime.loader import Sent
from benchmarks.realtime.plan import Run
from service.core import baselines
from service.core.catalogue import Catalogue, rank
from service.core.latency import Calibration, DecodeCost
from service.core.simulator import Outcome
from service.core.values import ImageHeader, PolicyName, Variant
from service.evaluation.measures import Floats
from service.pipeline.session import SessionOptions
from service.simulation import times
from service.simulation.run import World, play
from service.simulation.times import IMAGE_FORMAT, Source
from service.startup import measured_before

DEFAULT_POLICY = str(PolicyName.K1)
"""The rule that serves, whatever a request asks of it."""


@dataclass(frozen=True, slots=True)
class Known:
    """What a simulation needs beside the schedule."""

    catalogue: Catalogue
    source: Source
    outside_s: Floats
    """What clients waited beyond the server's total, with all lanes busy."""
    lanes: int

    @property
    def ranks(self) -> dict[str, float]:
        """Accuracy by variant, cheapest first."""
        costs_s = self.source.calibration.inference_s
        return {v.name: rank(v) for v in sorted(self.catalogue.routed(), key=lambda v: costs_s[v.name])}


def known(store: Path, *, log: Path, calibrations: Path, headers: Sequence[ImageHeader], lanes: int) -> Known:
    """From the store, the recording, and the folder where the server keeps what it measured at its start.

    Raises `ValueError` when that is not there.
    """
    variants, calibration = _measured(store, calibrations, lanes)
    source = replace(times.logged(log), calibration=whole(calibration, headers))
    rows = record.read(log)
    crowded = max(row.busy for row in rows)
    outside_s = np.array([row.outside_s for row in rows if row.busy == crowded])
    return Known(Catalogue(variants, route_untrained=True), source, outside_s, lanes)


def calibrated(store: Path, calibrations: Path, headers: Sequence[ImageHeader], lanes: int) -> Calibration:
    """What the server measured at its start, with decoding in the runs. Raises `ValueError` when it is not there."""
    return whole(_measured(store, calibrations, lanes)[1], headers)


def _measured(store: Path, calibrations: Path, lanes: int) -> tuple[tuple[Variant, ...], Calibration]:
    # By default servers run graphs as they are kept, beside their calibration.
    options = SessionOptions(graphs=calibrations / "graphs")
    found = measured_before(store, options=options, lanes=lanes, folder=calibrations)
    if found is None:
        raise ValueError(f"{calibrations} has no calibration of {store} with {lanes} lanes")
    return found


def whole(calibration: Calibration, headers: Sequence[ImageHeader]) -> Calibration:
    """The same with the decoding of such images in the runs."""
    cost = calibration.decode[IMAGE_FORMAT]
    decode_s = float(np.mean([cost.expected_s(header.megapixels) for header in headers]))
    together = {name: seconds + decode_s for name, seconds in calibration.inference_s.items()}
    return replace(calibration, inference_s=together, decode={IMAGE_FORMAT: DecodeCost(0.0, 0.0)})


def replays(run: Run, sent: Sequence[Sent], known: Known, *, seeds: Iterable[int]) -> list[list[Fate]]:
    """What becomes of the requests; once for each seed, with service times drawn by it."""
    return [_replay(run, sent, known, np.random.default_rng(seed)) for seed in seeds]


def _replay(run: Run, sent: Sequence[Sent], known: Known, chance: np.random.Generator) -> list[Fate]:
    source = known.source
    world = World(
        catalogue=known.catalogue,
        source=source,
        times=source.draw(len(sent), chance),
        lanes=known.lanes,
        arrivals_s=np.array([one.at_s + one.lag_s for one in sent]),
        budgets_s=np.array([one.budget_s for one in sent]),
        confidences=chance.random(len(sent)),
        overheads=None if source.overheads is None else source.overheads(len(sent), chance),
        question=run.question,
    )
    played = play(baselines.create(DEFAULT_POLICY, known.catalogue), world)
    outside_s = chance.choice(known.outside_s, len(sent))
    by_number: Mapping[int, Outcome] = {outcome.job.id: outcome for outcome in played.outcomes}
    return [_fate(by_number[number], one, float(outside_s[number])) for number, one in enumerate(sent)]


def _fate(outcome: Outcome, sent: Sent, outside_s: float) -> Fate:
    decision = outcome.decision
    if decision is None:
        return Fate(sent.budget_s, None, math.inf, met_for_server=False, terminated=False)
    return Fate(
        budget_s=sent.budget_s,
        variant=decision.variant.name,
        latency_s=outcome.finished_s + outside_s - sent.at_s,
        met_for_server=outcome.met,
        terminated=decision.terminated is not None,
    )
