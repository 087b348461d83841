"""Lanes: threads that each do everything for one request, and the asyncio shell that performs the scheduler's actions.

The event loop owns the scheduler: a request is submitted there, a lane's completion is posted there, and the actions
that come back (start this job on that lane, reject that job) are performed there. So no lock guards a decision. A
lane thread only executes: decode, resize and the session's run release the GIL.
"""

import asyncio
import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from service.core.actions import Action, Start
from service.core.latency import Observation
from service.core.scheduler import Scheduler
from service.core.values import Decision, Job, Variant

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


Execute = Callable[[bytes, Variant], LaneRun]
"""Decode the image and run the variant on it. Called on a lane's thread; raises `EffserveError`."""
Done = Callable[[LaneRun | BaseException], None]
"""Takes a lane's result. Called on the event loop."""


class Lane(Protocol):
    """Executes one job at a time."""

    def start(self, body: bytes, variant: Variant, done: Done) -> None:
        """Begin; `done` is called on the event loop when it ends. Only called while the lane is idle."""

    def close(self) -> None:
        """End after the job in hand."""


class ThreadLane:
    """A lane on its own thread."""

    def __init__(self, number: int, execute: Execute, loop: asyncio.AbstractEventLoop) -> None:
        self._execute = execute
        self._loop = loop
        self._tasks: queue.SimpleQueue[tuple[bytes, Variant, Done] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name=f"lane-{number}", daemon=True)
        self._thread.start()

    def start(self, body: bytes, variant: Variant, done: Done) -> None:
        """See `Lane.start`."""
        self._tasks.put((body, variant, done))

    def close(self) -> None:
        """See `Lane.close`; returns when the thread has ended."""
        self._tasks.put(None)
        self._thread.join()

    def _work(self) -> None:
        while task := self._tasks.get():
            body, variant, done = task
            self._loop.call_soon_threadsafe(done, self._run(body, variant))

    def _run(self, body: bytes, variant: Variant) -> LaneRun | BaseException:
        # The one broad catch of a lane: whatever a job raises belongs to its request, and the lane lives on.
        try:
            return self._execute(body, variant)
        except BaseException as error:
            return error


class Lanes:
    """Takes jobs in, performs the scheduler's actions, hands results back. Belongs to one event loop."""

    def __init__(self, scheduler: Scheduler, lanes: list[Lane], clock: Callable[[], float]) -> None:
        self._scheduler = scheduler
        self._lanes = lanes
        self._clock = clock
        self._pending: dict[int, _Pending] = {}

    def __repr__(self) -> str:
        return f"<Lanes pending={len(self._pending)} {self._scheduler!r}>"

    async def run(self, job: Job, body: bytes) -> Served:
        """Queue a job and wait for its result.

        Raises `EffserveError` when the job is rejected or its image cannot be decoded. When the caller is cancelled,
        a job that still waits leaves the queue; one that runs ends its run, and the result is dropped.
        """
        pending = _Pending(body, asyncio.get_running_loop().create_future())
        self._pending[job.id] = pending
        try:
            self._perform(self._scheduler.submit(self._clock(), job))
            return await pending.future
        finally:
            del self._pending[job.id]
            if pending.future.cancelled():
                self._scheduler.cancel(job.id)

    def close(self) -> None:
        """Wait for the jobs in hand and end the lanes."""
        for lane in self._lanes:
            lane.close()

    def _perform(self, actions: list[Action]) -> None:
        for action in actions:
            pending = self._pending[action.job.id]
            if isinstance(action, Start):
                self._start(action, pending)
            elif not pending.future.done():
                pending.future.set_exception(action.error)

    def _start(self, action: Start, pending: "_Pending") -> None:
        dispatched_s = self._clock()

        def done(result: LaneRun | BaseException) -> None:
            self._finish(action, pending, dispatched_s, result)

        self._lanes[action.lane].start(pending.body, action.decision.variant, done)

    def _finish(self, start: Start, pending: "_Pending", dispatched_s: float, result: LaneRun | BaseException) -> None:
        # The lane gets its next job before this one's answer is built: lanes are what there is too little of.
        try:
            self._perform(self._scheduler.finish(self._clock(), start.lane, _observation(start, result)))
        finally:
            # Whatever the bookkeeping does, the request that is done gets its result.
            if not pending.future.done():
                _resolve(pending.future, start.decision, dispatched_s, result)


@dataclass(slots=True)
class _Pending:
    body: bytes
    future: asyncio.Future[Served]


def _resolve(
    future: asyncio.Future[Served], decision: Decision, dispatched_s: float, result: LaneRun | BaseException
) -> None:
    if isinstance(result, LaneRun):
        future.set_result(Served(decision, result, dispatched_s))
    else:
        future.set_exception(result)


def _observation(start: Start, result: LaneRun | BaseException) -> Observation | None:
    if not isinstance(result, LaneRun):
        return None
    job, variant = start.job, start.decision.variant.name
    return Observation(variant, job.image_format, job.decode_s, result.decode_s, result.inference_s)
