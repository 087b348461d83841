"""The same in virtual time, with the service times that each layout's server measured at its start."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from benchmarks.layouts.study import Limit, Setting
from benchmarks.realtime.simulated import DEFAULT_POLICY, Known
from service.core import baselines
from service.core.catalogue import Catalogue
from service.core.layout import Layout, Timed
from service.core.values import ImageHeader
from service.pipeline.session import SessionOptions
from service.simulation import times
from service.simulation.run import make_world, play
from service.simulation.score import Score, score
from service.simulation.times import IMAGE_FORMAT
from service.simulation.traces import Generated, Recorded
from service.startup import measured_before


def known(store: Path, layout: Layout, calibrations: Path, headers: Sequence[ImageHeader]) -> Known:
    """From the folder where the server keeps what it measured. Raises `ValueError` when it is not there."""
    # By default servers run graphs as they are kept, beside their calibration.
    options = SessionOptions(threads=layout.threads, graphs=calibrations / "graphs")
    found = measured_before(store, options=options, lanes=layout.lanes, folder=calibrations)
    if found is None:
        raise ValueError(f"{calibrations} has no calibration of {store} with {layout}")
    variants, calibration = found
    cost = calibration.decode[IMAGE_FORMAT]
    decode_s = float(np.mean([cost.expected_s(header.megapixels) for header in headers]))
    source = times.calibrated(calibration, lanes=layout.lanes, decode_s=decode_s)
    # What clients wait beyond the server's total is left out: it was not measured.
    return Known(Catalogue(variants, route_untrained=True), source, np.zeros(1), layout.lanes)


def usual(layout: Layout, known: Known) -> Timed:
    """Of the cheapest variant."""
    return Timed(layout, min(known.source.calibration.inference_s.values()) + known.source.decode_s)


def limits(worlds: Mapping[Layout, Known], setting: Setting) -> Iterator[Limit]:
    """One budget for all requests, which come alike on all layouts. The first of these has one thread a run."""
    first, reference = next(iter(worlds.items()))
    usual_s = usual(first, reference).usual_s
    per_s = setting.load * first.lanes / usual_s
    for shape in setting.traces:
        arrivals_s = Generated(shape, setting.requests).arrivals_s(per_s, np.random.default_rng(setting.seed))
        for many in setting.budgets:
            trace = Recorded(shape, arrivals_s, np.full(setting.requests, many * usual_s))
            for layout, world in worlds.items():
                figures = _played(world, trace, setting.seed)
                yield Limit(shape, many, layout, figures.attainment.value, figures.effective_accuracy)


def _played(known: Known, trace: Recorded, seed: int) -> Score:
    catalogue = known.catalogue
    world = make_world(catalogue, known.source, trace, lanes=known.lanes, load=None, mix=None, seed=seed)
    return score(DEFAULT_POLICY, play(baselines.create(DEFAULT_POLICY, catalogue), world), world)
