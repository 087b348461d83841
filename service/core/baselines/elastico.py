"""Elastico, the controller of Compass (arXiv 2603.20821): one variant for all, by thresholds on the queue's depth.

The rule. A queueing model gives each configuration of the Pareto front the depth N up to which it keeps the objective:
here Nᵥ = ⌊lanes · (budget − tailᵥ) ÷ meanᵥ⌋, so that who arrives behind N others is still done in time. A deeper queue
switches down at once; one that has been shallow enough for the next better configuration for a hold time switches up
one step.

Reduced. One common budget to compute thresholds with, as the paper has; with budgets by request, no request gets more
than its own buys. Depth counts who waits behind the job whose turn it is.
"""

import math
from dataclasses import dataclass
from functools import cached_property

from service.core.actions import Action
from service.core.baselines.base import Baseline
from service.core.baselines.profile import Row, profile
from service.core.catalogue import rank
from service.core.situation import Situation
from service.core.state import Costs, SystemState
from service.core.values import Job, Variant


@dataclass
class _Level:
    """Where on the front the controller stands: 0 is the most accurate."""

    index: int = 0
    pressed_s: float = -math.inf
    """When the queue was last too deep for the next better variant, or the level last changed."""


@dataclass(frozen=True)
class Elastico(Baseline):
    """Down at once when the queue is deep, up a step when it has been shallow for a while."""

    budget_s: float = 0.2
    """The common budget that thresholds are computed with."""
    hold_s: float = 0.5
    """How long the queue has to be shallow before a step up."""

    @cached_property
    def level(self) -> _Level:
        """Its memory."""
        return _Level()

    def next_action(self, now_s: float, state: SystemState, costs: Costs) -> Action | None:
        """As ever, after a look at the queue."""
        if state.waiting and self.catalogue.routed():
            self._look(now_s, self._situation(now_s, state, costs))
        return super().next_action(now_s, state, costs)

    def allows(self, situation: Situation, job: Job, variant: Variant) -> bool:
        """Whether the controller has gone so high."""
        front = situation.front
        return rank(variant) <= rank(front[min(self.level.index, len(front) - 1)])

    def _look(self, now_s: float, situation: Situation) -> None:
        depth, level = len(situation.state.waiting) - 1, self.level
        limits = self._limits(situation)
        index = min(level.index, len(limits) - 1)
        if depth > limits[index]:
            level.index, level.pressed_s = _highest(limits, depth), now_s
        elif index == 0 or depth > limits[index - 1]:
            level.index, level.pressed_s = index, now_s
        elif now_s - level.pressed_s >= self.hold_s:
            level.index, level.pressed_s = index - 1, now_s

    def _limits(self, situation: Situation) -> list[int]:
        rows = profile(situation, situation.state.waiting[0])
        return [threshold(row, situation.state.lanes, self.budget_s) for row in rows]


def threshold(row: Row, lanes: int, budget_s: float) -> int:
    """How many may be ahead of a request that is to be done within `budget_s`; below zero when that is too short."""
    return math.floor(lanes * (budget_s - row.tail_s) / row.expected_s)


def _highest(limits: list[int], depth: int) -> int:
    """The most accurate level for this depth; the cheapest when it is too deep for all."""
    return next((index for index, limit in enumerate(limits) if depth <= limit), len(limits) - 1)
