"""What a policy sees when it decides: the waiting jobs, the lanes, the arrival rate. A frozen snapshot."""

import heapq
from dataclasses import dataclass
from typing import Protocol

from service.core.values import Job, Variant


class Costs(Protocol):
    """The part of the latency model a decision needs. All times in seconds."""

    def expected_s(self, variant: str, decode_s: float) -> float:
        """Mean service time."""

    def tail_s(self, variant: str, decode_s: float) -> float:
        """Service time that all but a small share of runs keep."""

    def respond_s(self) -> float:
        """Time to keep back for the response."""


@dataclass(frozen=True, slots=True)
class Running:
    """One job on a lane."""

    lane: int
    job: Job
    variant: Variant
    started_s: float
    expected_end_s: float

    def remaining_s(self, now_s: float) -> float:
        """Expected seconds until the lane is free; never below zero, however late the run is."""
        return max(self.expected_end_s - now_s, 0.0)


@dataclass(frozen=True, slots=True)
class SystemState:
    """A snapshot of queue and lanes."""

    waiting: tuple[Job, ...]
    """In deadline order."""
    running: tuple[Running, ...]
    lanes: int
    arrivals_per_s: float

    @property
    def idle_lanes(self) -> tuple[int, ...]:
        """Lanes that could start a job now, in ascending order."""
        busy = {run.lane for run in self.running}
        return tuple(lane for lane in range(self.lanes) if lane not in busy)


def free_lanes_s(now_s: float, state: SystemState) -> list[float]:
    """Seconds until each lane is free, as a heap."""
    free_s = [run.remaining_s(now_s) for run in state.running] + [0.0] * len(state.idle_lanes)
    heapq.heapify(free_s)
    return free_s


def wait_s(now_s: float, state: SystemState, ahead_s: list[float]) -> float:
    """Expected wait of a job behind `ahead_s` (service times of the jobs before it, in order), on all lanes.

    List scheduling: each job ahead goes to the lane that is free first.
    """
    free_s = free_lanes_s(now_s, state)
    for service_s in ahead_s:
        heapq.heapreplace(free_s, free_s[0] + service_s)
    return free_s[0]
