"""A discrete-event simulator that drives the very scheduler the server runs, in virtual time.

Events are arrivals and lane completions, in time order; everything else follows from the actions the scheduler
returns. What a run really takes is drawn by the caller, so measured times can be replayed. A run on a background lane
takes as much of what the foreground leaves over, so when it ends is known anew after each event.
"""

import heapq
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from service.core.actions import Action, Reject, Start, Terminate
from service.core.errors import EffserveError
from service.core.latency import Observation
from service.core.scheduler import Scheduler
from service.core.sharing import SharedTime
from service.core.values import Decision, Job

ServiceTime = Callable[[Job, Decision], tuple[float, float]]
"""Seconds a run takes in truth: (decode, inference)."""
Confidence = Callable[[Job, Decision], float]
"""How sure an answer is, in truth."""
StopTime = Callable[[Job], float]
"""Seconds from a termination until the lane is free, in truth."""


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


def simulate(
    scheduler: Scheduler,
    arrivals: Iterable[Arrival],
    service_time: ServiceTime,
    stop_time: StopTime = lambda _: 0.0,
    confidence: Confidence = lambda *_: 0.0,
    *,
    dispatch_s: float = 0.0,
) -> list[Outcome]:
    """Run a trace to its end and return the outcomes in the order they were reached. O(n log n) events.

    Each run keeps its lane for `dispatch_s` seconds more than it takes: to be handed to the lane, and to be noticed.
    An answer that a cascade averaged counts as one of the better variant.
    """
    return _Simulation(scheduler, service_time, stop_time, confidence, dispatch_s).run(arrivals)


class _Simulation:
    def __init__(
        self,
        scheduler: Scheduler,
        service_time: ServiceTime,
        stop_time: StopTime,
        confidence: Confidence,
        dispatch_s: float,
    ) -> None:
        self._confidence = confidence
        self._scheduler = scheduler
        self._service_time = service_time
        self._stop_time = stop_time
        self._dispatch_s = dispatch_s
        self._events: list[tuple[float, int, _Event]] = []
        self._lanes: dict[int, _End] = {}
        """How what runs on a lane will end, as things stand."""
        self._shared = SharedTime(scheduler.lanes)
        self._works: dict[int, float] = {}
        """Lane time that each background run takes."""
        self._alarm: _Wake | None = None
        self._answers: dict[int, Decision] = {}
        """In hand, by job."""
        self._outcomes: list[Outcome] = []
        self._sequence = 0

    def run(self, arrivals: Iterable[Arrival]) -> list[Outcome]:
        for arrival in arrivals:
            self._push(arrival.at_s, arrival)
        while self._events:
            now_s, _, event = heapq.heappop(self._events)
            if self._is_current(event):
                self._perform(now_s, self._step(now_s, event))
                self._share(now_s)
                self._set_alarm(now_s)
        return self._outcomes

    def _is_current(self, event: "_Event") -> bool:
        """Whether it still happens: no termination came before that end, and no other alarm was set since."""
        match event:
            case _End(start):
                return self._lanes.get(start.lane) is event
            case _Wake():
                return self._alarm is event
            case _:
                return True

    def _step(self, now_s: float, event: "_Event") -> list[Action]:
        match event:
            case Arrival(_, job):
                return self._scheduler.submit(now_s, job)
            case _Wake():
                return self._scheduler.tick(now_s)
            case _:
                return self._finish(now_s, event.start, event.run)

    def _finish(self, now_s: float, start: Start, run: Observation | None) -> list[Action]:
        """Nothing ran to its end when `run` is None."""
        del self._lanes[start.lane]
        if start.lane >= self._scheduler.lanes:
            self._works.pop(start.lane, None)
            self._shared.end(now_s, start.lane)
        if run is None:
            return self._scheduler.terminated(now_s, start.lane)
        self._answers[start.job.id] = start.decision
        if not start.decision.insured:
            self._deliver(now_s, start.job)
        return self._scheduler.finish(now_s, start.lane, run)

    def _perform(self, now_s: float, actions: list[Action]) -> None:
        for action in actions:
            match action:
                case Start():
                    self._start(now_s, action)
                case Reject(job, error):
                    self._outcomes.append(Outcome(job, None, now_s, error))
                case Terminate(lane):
                    self._stop(now_s, lane)
                case _:
                    self._deliver(now_s, action.job)

    def _start(self, now_s: float, start: Start) -> None:
        job, variant = start.job, start.decision.variant
        decode_s, inference_s = self._service_time(job, start.decision)
        sure = self._confidence(job, start.decision)
        end = _End(start, Observation(variant.name, job.image_format, job.decode_s, decode_s, inference_s, sure))
        if start.lane < self._scheduler.lanes:
            self._end(now_s + self._dispatch_s + decode_s + inference_s, end)
        else:
            self._end(math.inf, end)
            self._works[start.lane] = self._dispatch_s + decode_s + inference_s
            self._shared.begin(now_s, start.lane)

    def _share(self, now_s: float) -> None:
        """What the foreground leaves over may be more or less than it was."""
        self._shared.occupy(now_s, sum(lane < self._scheduler.lanes for lane in self._lanes))
        for lane, work_s in self._works.items():
            was = self._lanes[lane]
            self._end(self._shared.reaches_s(lane, work_s), _End(was.start, was.run))

    def _deliver(self, now_s: float, job: Job) -> None:
        self._outcomes.append(Outcome(job, self._answers.pop(job.id), now_s))

    def _stop(self, now_s: float, lane: int) -> None:
        """The run stops soon, unless it ends by itself before."""
        ending = self._lanes[lane]
        self._works.pop(lane, None)
        stopped_s = now_s + self._stop_time(ending.start.job)
        if stopped_s < ending.at_s:
            self._end(stopped_s, _End(ending.start, None))

    def _end(self, at_s: float, end: "_End") -> None:
        end.at_s = at_s
        self._lanes[end.start.lane] = end
        if at_s < math.inf:
            self._push(at_s, end)

    def _set_alarm(self, now_s: float) -> None:
        """The scheduler wants to be asked again, unless something happens before: that sets another."""
        wake_s = self._scheduler.wake_s(now_s)
        self._alarm = None
        if wake_s is not None:
            self._alarm = _Wake()
            self._push(max(wake_s, now_s), self._alarm)

    def _push(self, at_s: float, event: "_Event") -> None:
        heapq.heappush(self._events, (at_s, self._sequence, event))
        self._sequence += 1


@dataclass(eq=False, slots=True)
class _End:
    start: Start
    run: Observation | None
    """None when it was terminated."""
    at_s: float = 0.0


class _Wake:
    """Nothing happened."""


_Event = Arrival | _End | _Wake
