"""What a policy sees when it decides: the waiting jobs, the lanes, the arrival rate. A frozen snapshot."""

import heapq
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from service.core.values import Job, Variant


class Costs(Protocol):
    """The part of the latency model a decision needs. All times in seconds."""

    @property
    def changes(self) -> int:
        """How often an answer may have changed so far: what follows from them holds until this does."""

    def expected_s(self, variant: str, decode_s: float) -> float:
        """Mean service time."""

    def tail_s(self, variant: str, decode_s: float) -> float:
        """Service time that all but a small share of runs keep."""

    def respond_s(self) -> float:
        """Time to keep back for the response, which all but a small share keep."""

    def expected_respond_s(self) -> float:
        """Mean time for the response."""

    def dispatch_s(self) -> float:
        """Mean time that a run keeps its lane beside running: until it begins, and until its end is noticed."""

    def terminate_s(self) -> float | None:
        """Time within which a terminated run stops; None where runs cannot be terminated."""


OVERRUN = 0.1
"""A run that is past its tail still takes such a share of what it took so far, as far as anybody knows."""


@dataclass(frozen=True, slots=True)
class Running:
    """One job on a lane of the foreground."""

    lane: int
    job: Job
    variant: Variant
    started_s: float
    expected_end_s: float
    tail_end_s: float
    """When all but a small share of such runs have ended."""
    stops_s: float | None = None
    """When the lane is free at the latest, once the run was asked to stop."""
    abandoned: bool = False
    """Whether nobody waits for the answer any more."""
    busy: int = 1
    """Lanes at work when it began, as its prediction counted them."""
    dispatch_s: float = 0.0
    """What both ends allow for beside running."""
    fits: bool = True
    """Whether its tail was within what was left of the budget when it began."""
    insured: bool = False
    """Whether its answer is kept in hand."""

    def remaining_s(self, now_s: float) -> float:
        """Expected seconds until the lane is free; never below zero, however late the run is.

        A run that is late already ends by its tail, as far as anybody knows; one that is later still takes a tenth of
        what it took so far.
        """
        if self.stops_s is not None:
            return max(min(self.stops_s, self.expected_end_s) - now_s, 0.0)
        if now_s < self.expected_end_s:
            return self.expected_end_s - now_s
        return max(self.tail_end_s - now_s, OVERRUN * (now_s - self.started_s))


@dataclass(frozen=True, slots=True)
class Upgrade:
    """One job on a background lane: an answer is in hand, and a better one is tried in time nobody else needs."""

    lane: int
    job: Job
    variant: Variant
    remaining_s: float
    """Expected lane time that it still needs, 0 when it is late; how long that takes depends on who else is at work."""


@dataclass(frozen=True, slots=True)
class SystemState:
    """A snapshot of queue and lanes."""

    waiting: tuple[Job, ...]
    """In deadline order."""
    running: tuple[Running, ...]
    lanes: int
    arrivals_per_s: float
    wasted_share: float = 0.0
    """Share of the lanes' recent time that went into runs which were then terminated."""
    lost_share: float = 0.0
    """Share of the last requests that was refused or late for want of a lane: alone they would have been in time."""
    insured: tuple[Job, ...] = ()
    """Jobs with an answer in hand, in deadline order; some are being upgraded."""
    upgrades: tuple[Upgrade, ...] = ()
    """Those, on the background lanes."""
    calm_arrivals_per_s: float = 0.0
    """Over a longer time, peaks and lulls together. `arrivals_per_s` is what to be prepared for."""
    burstiness: float = 1.0
    """Squared coefficient of variation of the gaps between arrivals: 1 for a Poisson process, more for bursts."""
    confidences: tuple[float, ...] = ()
    """Of the last first answers that a cascade asked for, ascending."""
    background_lanes: int = 0
    idle_background: tuple[int, ...] = ()
    """Background lanes that could start an upgrade now."""

    @property
    def idle_lanes(self) -> tuple[int, ...]:
        """Lanes that could start a job now, in ascending order."""
        busy = {run.lane for run in self.running}
        return tuple(lane for lane in range(self.lanes) if lane not in busy)


def free_lanes_s(state: SystemState, running_s: list[float]) -> list[float]:
    """Seconds until each lane is free, as a heap; `running_s` of those that run something."""
    free_s = running_s + [0.0] * len(state.idle_lanes)
    heapq.heapify(free_s)
    return free_s


def wait_s(free_s: list[float], ahead_s: Iterable[float]) -> float:
    """Expected wait of a job behind `ahead_s` (service times of the jobs before it, in order).

    List scheduling: each job ahead goes to the lane that is free first. Uses up `free_s`, a heap.
    """
    for service_s in ahead_s:
        heapq.heapreplace(free_s, free_s[0] + service_s)
    return free_s[0]
