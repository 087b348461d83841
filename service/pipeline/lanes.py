"""Lanes: threads that each do everything for one request, and the asyncio shell that performs the scheduler's actions.

The event loop owns the scheduler: a request is submitted there, a lane's completion is posted there, and the actions
that come back (start this job on that lane, reject that job) are performed there. So no lock guards a decision. A
lane thread only executes: decode, resize and the session's run release the GIL.
"""

import asyncio
import queue
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import numpy.typing as npt

from service.core.actions import Action, Deliver, Reject, Start, Terminate
from service.core.errors import EffserveError
from service.core.grace import Grace
from service.core.latency import Observation
from service.core.policy import Policy
from service.core.scheduler import Scheduler
from service.core.trace import Attempt, Ending
from service.core.values import Decision, Job, Reason, Source, Variant
from service.pipeline.stop import Stop, Terminated

Logits = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class LaneRun:
    """What a lane did for one job. Times are on the clock of the process."""

    logits: Logits
    """[classes], float32."""
    started_s: float
    decode_s: float
    inference_s: float


@dataclass(frozen=True, slots=True)
class Served:
    """A finished job with the decision it was run by."""

    decision: Decision
    run: LaneRun
    dispatched_s: float
    """When the scheduler gave the job to its lane: the end of its wait in the queue."""
    hold_s: float = 0.0
    """Seconds it was kept in hand while something better was tried, in vain."""
    earlier: "Served | None" = None
    """The answer that it is to be averaged with."""


Execute = Callable[[Source, Variant, Stop], LaneRun]
"""Decode the image and run the variant on it. Called on a lane's thread; raises `EffserveError` or `Terminated`."""
OnAnswer = Callable[[Served], None]
"""Takes an answer that may be followed by a better one. Called on the event loop."""
OnAttempt = Callable[[Attempt], None]
"""Takes each run for a request when it has ended. Called on the event loop."""
Judge = Callable[[Variant, Logits], float]
"""How sure an answer is, from 0 to 1. Called on the event loop."""
Done = Callable[[LaneRun | BaseException], None]
"""Takes a lane's result. Called on the event loop."""


class Lane(Protocol):
    """Executes one job at a time."""

    def start(self, body: Source, variant: Variant, done: Done) -> None:
        """Begin; `done` is called on the event loop when it ends. Only called while the lane is idle."""

    def terminate(self) -> None:
        """End what runs soon; `done` then gets `Terminated`, or the result if it was there first."""

    def close(self) -> None:
        """End after the job in hand."""


class ThreadLane:
    """A lane on its own thread; `prepare` is called there first."""

    def __init__(
        self,
        number: int,
        execute: Execute,
        loop: asyncio.AbstractEventLoop,
        prepare: Callable[[], None] = lambda: None,
    ) -> None:
        self._prepare = prepare
        self._execute = execute
        self._loop = loop
        self._tasks: queue.SimpleQueue[tuple[Source, Variant, Done, Stop] | None] = queue.SimpleQueue()
        self._stop = Stop()
        self._thread = threading.Thread(target=self._work, name=f"lane-{number}", daemon=True)
        self._thread.start()

    def start(self, body: Source, variant: Variant, done: Done) -> None:
        """See `Lane.start`."""
        self._stop = Stop()
        self._tasks.put((body, variant, done, self._stop))

    def terminate(self) -> None:
        """See `Lane.terminate`."""
        self._stop.ask()

    def close(self) -> None:
        """See `Lane.close`; returns when the thread has ended."""
        self._tasks.put(None)
        self._thread.join()

    def _work(self) -> None:
        self._prepare()
        while task := self._tasks.get():
            body, variant, done, stop = task
            self._loop.call_soon_threadsafe(done, self._run(body, variant, stop))

    def _run(self, body: Source, variant: Variant, stop: Stop) -> LaneRun | BaseException:
        # The one broad catch of a lane: whatever a job raises belongs to its request, and the lane lives on.
        try:
            return self._execute(body, variant, stop)
        except BaseException as error:
            return error


class Lanes:
    """Takes jobs in, performs the scheduler's actions, hands results back. Belongs to one event loop.

    `lanes` are in the scheduler's order: those of the foreground, then those of the background.
    """

    def __init__(
        self, scheduler: Scheduler, lanes: list[Lane], clock: Callable[[], float], judge: Judge = lambda *_: 0.0
    ) -> None:
        self.grace = Grace()
        """Requests and runs in hand."""
        self._scheduler = scheduler
        self._judge = judge
        self._lanes = lanes
        self._clock = clock
        self._pending: dict[int, _Pending] = {}
        self._alarm: asyncio.TimerHandle | None = None

    def __repr__(self) -> str:
        return f"<Lanes pending={len(self._pending)} {self._scheduler!r}>"

    async def run(
        self,
        job: Job,
        body: Source,
        on_answer: OnAnswer = lambda _: None,
        on_attempt: OnAttempt = lambda _: None,
    ) -> Served:
        """Queue a job and wait for its result; `on_answer` gets each that is kept in hand before.

        Raises `EffserveError` when the job is rejected or its image cannot be decoded. When the caller is cancelled,
        a job that still waits leaves the queue; one that runs is terminated where that works, and its result dropped.
        """
        pending = _Pending(body, on_answer, on_attempt, asyncio.get_running_loop().create_future())
        self._pending[job.id] = pending
        try:
            self._perform(self._scheduler.submit(self._clock(), job))
            return await pending.future
        finally:
            del self._pending[job.id]
            pending.give_up(self._clock())
            if pending.future.cancelled():
                self._perform(self._scheduler.cancel(self._clock(), job.id))

    def adopt(self, policy: Policy, confidences: Iterable[float] | None) -> None:
        """See `Scheduler.adopt`."""
        self._perform(self._scheduler.adopt(self._clock(), policy, confidences))

    def close(self) -> None:
        """Wait for the jobs in hand and end the lanes."""
        if self._alarm is not None:
            self._alarm.cancel()
        for lane in self._lanes:
            lane.close()

    def _perform(self, actions: list[Action]) -> None:
        for action in actions:
            match action:
                case Start(_, job):
                    self._start(action, self._pending[job.id])
                case Reject(job, error):
                    self._reject(self._pending[job.id].future, error)
                case Terminate(lane):
                    self._lanes[lane].terminate()
                case Deliver(job):
                    self._deliver(self._pending[job.id], action.reason)
        self._set_alarm()

    def _set_alarm(self) -> None:
        """Ask the scheduler again when it wants to be asked; a later change of plan sets another."""
        if self._alarm is not None:
            self._alarm.cancel()
        now_s = self._clock()
        wake_s = self._scheduler.wake_s(now_s)
        self._alarm = None
        if wake_s is not None:
            self._alarm = asyncio.get_running_loop().call_later(wake_s - now_s, self._tick)

    def _tick(self) -> None:
        self._perform(self._scheduler.tick(self._clock()))

    def _reject(self, future: "asyncio.Future[Served]", error: EffserveError) -> None:
        if not future.done():
            future.set_exception(error)

    def _deliver(self, pending: "_Pending", reason: Reason | None) -> None:
        served = pending.in_hand
        if served is not None and not pending.future.done():
            hold_s = 0.0 if pending.held_from_s is None else self._clock() - pending.held_from_s
            decision = served.decision if reason is None else replace(served.decision, reason=reason)
            pending.future.set_result(replace(served, decision=decision, hold_s=hold_s))

    def _start(self, action: Start, pending: "_Pending") -> None:
        dispatched_s = self._clock()
        pending.begun = action, dispatched_s
        # A run may outlive its request.
        period = self.grace.enter()

        def done(result: LaneRun | BaseException) -> None:
            try:
                self._finish(action, pending, dispatched_s, result)
            finally:
                self.grace.leave(period)

        self._lanes[action.lane].start(pending.body, action.decision.variant, done)

    def _finish(self, start: Start, pending: "_Pending", dispatched_s: float, result: LaneRun | BaseException) -> None:
        if not pending.future.done():
            pending.ended(self._clock(), result)
        if isinstance(result, Terminated):
            self._perform(self._scheduler.terminated(self._clock(), start.lane))
            return
        if start.job.in_hand is not None and isinstance(result, BaseException):
            self._upgrade_failed(start, result)
            return
        kept = isinstance(result, LaneRun) and start.job.question.insures
        if isinstance(result, LaneRun) and not pending.future.done():
            earlier = pending.in_hand if start.job.question.cascades else None
            pending.in_hand = Served(start.decision, result, dispatched_s, earlier=earlier)
            pending.held_from_s = None
        # The lane gets its next job before this one's answer is built: lanes are what there is too little of.
        try:
            self._perform(self._scheduler.finish(self._clock(), start.lane, self._observation(start, result)))
        except BaseException:
            # Then nothing will deliver what is kept.
            kept = False
            raise
        finally:
            # Whatever the bookkeeping does, the request that is done gets its result.
            if not pending.future.done():
                self._pass_on(pending, result, kept=kept)

    def _observation(self, start: Start, result: LaneRun | BaseException) -> Observation | None:
        if not isinstance(result, LaneRun):
            return None
        job, variant = start.job, start.decision.variant
        sure = self._judge(variant, result.logits) if job.question.cascades else 0.0
        return Observation(variant.name, job.image_format, job.decode_s, result.decode_s, result.inference_s, sure)

    def _upgrade_failed(self, start: Start, error: BaseException) -> None:
        """No failure of the request, which has its answer; told to whoever takes care of the loop's."""
        loop, name = asyncio.get_running_loop(), start.decision.variant.name
        loop.call_exception_handler({"message": f"an upgrade to {name} failed", "exception": error})
        self._perform(self._scheduler.finish(self._clock(), start.lane, None))

    def _pass_on(self, pending: "_Pending", result: LaneRun | BaseException, *, kept: bool) -> None:
        if isinstance(result, BaseException):
            pending.future.set_exception(result)
        elif pending.in_hand is not None and kept:
            pending.held_from_s = self._clock()
            pending.on_answer(pending.in_hand)
        elif pending.in_hand is not None:
            pending.future.set_result(pending.in_hand)


@dataclass(slots=True)
class _Pending:
    body: Source
    on_answer: OnAnswer
    on_attempt: OnAttempt
    future: asyncio.Future[Served]
    in_hand: Served | None = None
    held_from_s: float | None = None
    """None until something better is tried: the way here from the lane's thread is no holding, but part of every
    response."""
    begun: tuple[Start, float] | None = None
    """What runs for it, and since when."""

    def ended(self, now_s: float, result: LaneRun | BaseException) -> None:
        """Tell how the run went."""
        if isinstance(result, LaneRun):
            ended_s = result.started_s + result.decode_s + result.inference_s
            self._tell(Ending.ANSWERED, ended_s, result.started_s, result.decode_s)
        else:
            self._tell(Ending.TERMINATED if isinstance(result, Terminated) else Ending.FAILED, now_s)

    def give_up(self, now_s: float) -> None:
        """The request is over; what runs for it runs for nobody."""
        self._tell(Ending.GIVEN_UP, now_s)

    def _tell(self, ending: Ending, ended_s: float, started_s: float | None = None, decode_s: float = 0.0) -> None:
        if self.begun is None:
            return
        (start, dispatched_s), self.begun = self.begun, None
        began_s = dispatched_s if started_s is None else started_s
        upgrade = start.job.in_hand is not None
        self.on_attempt(Attempt(start.decision, upgrade, ending, began_s, ended_s, decode_s))
