"""A discrete-event simulator that drives the very scheduler the server runs, in virtual time.

Events are arrivals and lane completions, in time order; everything else follows from the actions the scheduler
returns. What a run really takes is drawn by the caller, so measured times can be replayed.
"""

import heapq
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from service.core.actions import Action, Start
from service.core.errors import EffserveError
from service.core.latency import Observation
from service.core.scheduler import Scheduler
from service.core.values import Decision, Job

ServiceTime = Callable[[Job, Decision], tuple[float, float]]
"""Seconds a run takes in truth: (decode, inference)."""


@dataclass(frozen=True, slots=True)
class Arrival:
    """One request of a trace."""

    at_s: float
    job: Job


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one request."""

    job: Job
    decision: Decision | None
    """None when it was rejected."""
    finished_s: float
    error: EffserveError | None = None

    @property
    def met(self) -> bool:
        """Answered by its deadline."""
        return self.error is None and self.finished_s <= self.job.question.deadline.at_s


def simulate(scheduler: Scheduler, arrivals: Iterable[Arrival], service_time: ServiceTime) -> list[Outcome]:
    """Run a trace to its end and return the outcomes in the order they were reached. O(n log n) events."""
    return _Simulation(scheduler, service_time).run(arrivals)


class _Simulation:
    def __init__(self, scheduler: Scheduler, service_time: ServiceTime) -> None:
        self._scheduler = scheduler
        self._service_time = service_time
        self._events: list[tuple[float, int, Arrival | _Completion]] = []
        self._outcomes: list[Outcome] = []
        self._sequence = 0

    def run(self, arrivals: Iterable[Arrival]) -> list[Outcome]:
        for arrival in arrivals:
            self._push(arrival.at_s, arrival)
        while self._events:
            now_s, _, event = heapq.heappop(self._events)
            self._perform(now_s, self._step(now_s, event))
        return self._outcomes

    def _step(self, now_s: float, event: "Arrival | _Completion") -> list[Action]:
        if isinstance(event, Arrival):
            return self._scheduler.submit(now_s, event.job)
        self._outcomes.append(Outcome(event.start.job, event.start.decision, now_s))
        return self._scheduler.finish(now_s, event.start.lane, event.run)

    def _perform(self, now_s: float, actions: list[Action]) -> None:
        for action in actions:
            if isinstance(action, Start):
                decode_s, inference_s = self._service_time(action.job, action.decision)
                run = Observation(
                    action.decision.variant.name, action.job.image_format, action.job.decode_s, decode_s, inference_s
                )
                self._push(now_s + decode_s + inference_s, _Completion(action, run))
            else:
                self._outcomes.append(Outcome(action.job, None, now_s, action.error))

    def _push(self, at_s: float, event: "Arrival | _Completion") -> None:
        heapq.heappush(self._events, (at_s, self._sequence, event))
        self._sequence += 1


@dataclass(frozen=True, slots=True)
class _Completion:
    start: Start
    run: Observation
