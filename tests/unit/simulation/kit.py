"""Small worlds for tests of the simulation: service times that are known, and traces that are short."""

from collections.abc import Mapping

import numpy as np

from service.core.catalogue import Catalogue
from service.core.latency import Calibration, DecodeCost
from service.pipeline.calibration import STOP_MARGIN
from service.simulation.run import World, make_world
from service.simulation.times import Source, TrueTimes
from service.simulation.traces import Generated, Mix, Trace
from tests.builders import TIMES_S, variant

GENEROUS: Mix = ((1e6, 1.0),)
"""Budgets that nobody ever overdraws."""


def exact(times_s: Mapping[str, float], *, stop_s: float = 0.002) -> Source:
    """Every run of a variant takes the same time, and the latency model knows it."""
    calibration = Calibration(times_s, {"JPEG": DecodeCost(0.0, 0.0)}, (1.0,) * 200, stop_s * STOP_MARGIN)

    def draw(count: int, _: np.random.Generator) -> TrueTimes:
        return TrueTimes({1: {name: np.full(count, time_s) for name, time_s in times_s.items()}})

    return Source("exact", calibration, draw)


def world(
    trace: Trace | None = None,
    *,
    names: tuple[str, ...] = ("b0", "b1", "b4"),
    source: Source | None = None,
    lanes: int = 1,
    load: float | None = 0.5,
    mix: Mix | None = None,
    seed: int = 0,
) -> World:
    """The builders' variants at exact times, unless told otherwise."""
    return make_world(
        Catalogue(tuple(map(variant, names))),
        source or exact({name: TIMES_S[name] for name in names}),
        trace or Generated("poisson", 500),
        lanes=lanes,
        load=load,
        mix=mix,
        seed=seed,
    )
