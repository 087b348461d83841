"""One trace in its course: what was offered, who answered, who missed, slice by slice."""

import math
from collections.abc import Sequence

import numpy as np

from benchmarks.scheduling.cells import Offer
from benchmarks.scheduling.contest import CONTESTANTS, Choice
from service.simulation.run import Played, World, play
from service.simulation.study import CellResult, Course, Series

SLICES = 100
DIGITS = 4


def course(result: CellResult, policies: Sequence[str], offer: Offer) -> Series:
    """The first seed's requests again, for these policies with the parameters found."""
    world = offer.judged(result.cell)[0]
    whole_s = float(world.arrivals_s[-1])
    slice_s = max(math.ceil(2 * whole_s / SLICES) / 2, 0.5)
    which = (world.arrivals_s / slice_s).astype(int)
    offered = np.bincount(which)
    per_lane_s = world.service_s(world.variants[0]) / (slice_s * world.lanes)
    courses = tuple(
        _course(name, play(_choice(name, result).policy(world.catalogue), world), world, which) for name in policies
    )
    return Series(result.cell, slice_s, np.round(offered * per_lane_s, DIGITS).tolist(), courses)


def _choice(policy: str, result: CellResult) -> Choice:
    """As it was tuned. Raises `ValueError` for who did not take part."""
    contestant, found = next(one for one in CONTESTANTS if one.name == policy), result.of(policy)
    if found is None:
        raise ValueError(f"{policy} did not take part in {result.cell}")
    return Choice.of(contestant, found.parameters)


def _course(name: str, played: Played, world: World, which: "np.ndarray[tuple[int], np.dtype[np.int_]]") -> Course:
    offered = np.maximum(np.bincount(which), 1)
    answered = {variant.name: np.zeros(len(offered)) for variant in world.variants}
    for outcome in played.outcomes:
        if outcome.met and outcome.decision is not None:
            answered[outcome.decision.variant.name][which[outcome.job.id]] += 1
    shares = {variant: np.round(counts / offered, DIGITS).tolist() for variant, counts in answered.items()}
    missed = np.round(1 - sum(answered.values()) / offered, DIGITS).tolist()
    return Course(name, shares, missed)
