"""What is offered: the cells, and the requests of each.

The whole product of traces, loads, budgets and lanes would take hours and say little more. Taken are all traces and
loads at two lanes with mixed budgets, and from there one factor at a time is varied: lanes, budgets, overload.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product

import numpy as np

from service.core.catalogue import Catalogue
from service.core.latency import LatencyModel
from service.simulation import traces
from service.simulation.run import World, make_world
from service.simulation.study import Cell
from service.simulation.times import Source
from service.simulation.traces import DEFAULT_MIX, Generated, Mix, Recorded, Trace

MIXED, UNIFORM = "mixed", "log-uniform"
COMMON = {"1.5x": 1.5, "3x": 3.0, "6x": 6.0}
"""One budget for all, in tail latencies of the cheapest variant."""
MIX_REFERENCE_S = 0.034
"""Tail latency of the cheapest variant for which the mix is 50 to 800 ms."""
UNIFORM_STEPS = 33
"""Budgets in even steps of their logarithm, as good as a continuum."""
TRAINING_SEED = 1000
"""Far from those that are judged."""
FULL_LOAD = 1.0
"""Above it somebody has to be refused, whatever the policy."""
WARM_UP = 0.1
"""Share of the requests, at the beginning, that do not count."""
PERIOD_S = traces.CALM_S + traces.BURST_S
"""Of a step trace, which is to be seen whole in training, and twice when it counts."""
LEAST_S = 20.0
"""Of other traces, half of it in training: some rules look at the last 10 s."""


@dataclass(frozen=True, slots=True)
class Effort:
    """How much is simulated."""

    requests: int
    training_requests: int
    seeds: tuple[int, ...]
    least: bool = True
    """Whether traces are as long as they need to be, whatever `requests` says."""


FULL = Effort(2500, 1000, (4, 5, 6))
"""K1's constants were chosen on others, 1 to 3."""
QUICK = Effort(300, 150, (1, 2), least=False)
"""Shows that everything works; the figures mean little."""


def chosen(recorded: Sequence[str] = ()) -> list[Cell]:
    """All cells of the campaign; those of recorded traces, by name, in addition."""
    return list(dict.fromkeys([*_two_lanes(recorded), *_other_budgets(), *_other_lanes()]))


def few() -> list[Cell]:
    """Some of each kind."""
    return [
        Cell("poisson", 0.4, MIXED, 2), Cell("gamma4", 0.8, MIXED, 2), Cell("poisson", 1.1, MIXED, 2),
        Cell("poisson", 0.4, MIXED, 8), Cell("poisson", 0.4, "3x", 2),
    ]  # fmt: skip


def of_a_store(lanes: int) -> list[Cell]:
    """For service times of this machine, which were measured on so many lanes."""
    mixed = [Cell(trace, load, MIXED, lanes) for load, trace in product((0.4, 0.8), ("poisson", "gamma4", "step"))]
    return [*mixed, Cell("poisson", 0.4, "3x", lanes), Cell("poisson", 1.1, MIXED, lanes)]


def _two_lanes(recorded: Sequence[str]) -> Iterator[Cell]:
    for load, trace in product((0.4, 0.8, 0.2, 1.1, 0.6), traces.SHAPES):
        yield Cell(trace, load, MIXED, 2)
    for trace, load in (("poisson", 1.3), ("poisson", 1.5), ("gamma4", 1.5)):
        yield Cell(trace, load, MIXED, 2)
    for trace, load in product(recorded, (0.4, 0.8)):
        yield Cell(trace, load, MIXED, 2)


def _other_lanes() -> Iterator[Cell]:
    for trace, load in product(("poisson", "gamma4"), (0.4, 0.8)):
        yield Cell(trace, load, MIXED, 1)
    for trace, load in product(("poisson", "gamma4", "gamma8"), (0.4, 0.2, 0.8)):
        yield Cell(trace, load, MIXED, 8)
    for trace in ("step", "ramp"):
        yield Cell(trace, 0.4, MIXED, 8)


def _other_budgets() -> Iterator[Cell]:
    for trace, load, budgets in product(("poisson", "gamma4"), (0.4, 0.8), (*COMMON, UNIFORM)):
        yield Cell(trace, load, budgets, 2)


@dataclass(frozen=True, slots=True)
class Offer:
    """What cells are made of: the variants, their service times, the recorded traces by name, and how much."""

    catalogue: Catalogue
    source: Source
    recorded: dict[str, Recorded]
    effort: Effort

    @property
    def reference_s(self) -> float:
        """Tail latency of the cheapest variant, as a server would know it after its start."""
        latency, routed = LatencyModel(self.source.calibration), self.catalogue.routed()
        return min(latency.tail_s(variant.name, self.source.decode_s) for variant in routed)

    @property
    def scale(self) -> float:
        """Budgets here, over those of a machine on which the mix is 50 to 800 ms."""
        return self.reference_s / MIX_REFERENCE_S

    def budget_s(self, cell: Cell) -> float | None:
        """The budget that all have in common, if they have."""
        factor = COMMON.get(cell.budgets)
        return None if factor is None else factor * self.reference_s

    def shown(self, budgets: str) -> str:
        """These budgets, in milliseconds."""
        mix = self.budgets(budgets)
        if budgets == UNIFORM:
            return f"{mix[0][0] * 1e3:.1f} to {mix[-1][0] * 1e3:.1f}"
        return ", ".join(
            f"{budget_s * 1e3:.1f}" + (f" ({weight:.0%})" if len(mix) > 1 else "") for budget_s, weight in mix
        )

    def budgets(self, budgets: str) -> Mix:
        """What requests draw their budgets from."""
        mix = traces.mix(DEFAULT_MIX)
        if budgets in COMMON:
            return [(COMMON[budgets] * self.reference_s, 1.0)]
        if budgets == UNIFORM:
            shortest, longest = mix[0][0] * self.scale, mix[-1][0] * self.scale
            return [(budget_s, 1.0) for budget_s in np.geomspace(shortest, longest, UNIFORM_STEPS).tolist()]
        return [(budget_s * self.scale, weight) for budget_s, weight in mix]

    def training(self, cell: Cell) -> World:
        """Requests to tune on: of another seed, or the beginning of a recorded trace."""
        count = max(self.effort.training_requests, self._least(cell) // 2)
        return self._world(cell, self._trace(cell, count, 0), TRAINING_SEED)

    def judged(self, cell: Cell) -> list[World]:
        """Requests to compare on, by seed; of a recorded trace, one part after the other."""
        count = max(self.effort.requests, self._least(cell))
        return [
            self._world(cell, self._trace(cell, count, part), seed) for part, seed in enumerate(self.effort.seeds, 1)
        ]

    def _least(self, cell: Cell) -> int:
        """Requests of a trace that is as long as it needs to be."""
        if not self.effort.least:
            return 0
        calibration = self.source.calibration
        cheapest_s = min(calibration.inference_s[variant.name] for variant in self.catalogue.routed())
        per_s = cell.load * cell.lanes / (cheapest_s + self.source.decode_s)
        return round(per_s * (2 * PERIOD_S if cell.trace == "step" else LEAST_S))

    def _trace(self, cell: Cell, count: int, part: int) -> Trace:
        """`part` 0 is for tuning."""
        recorded = self.recorded.get(cell.trace)
        if recorded is None:
            return Generated(cell.trace, count)
        length = len(recorded.times_s) // (len(self.effort.seeds) + 1)
        times_s = recorded.times_s[part * length : (part + 1) * length][:count]
        return replace(recorded, times_s=times_s - times_s[0], budgets_s=None)

    def _world(self, cell: Cell, trace: Trace, seed: int) -> World:
        return make_world(
            self.catalogue,
            self.source,
            trace,
            lanes=cell.lanes,
            load=cell.load,
            mix=self.budgets(cell.budgets),
            seed=seed,
        )
