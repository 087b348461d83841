"""Lanes: threads that each do everything for one request, and the asyncio shell that performs the scheduler's actions.

A request is submitted on the event loop. When a run has ended and somebody waits, its lane reports that itself and
takes what the scheduler gives it next, on its own thread: a way over the event loop would leave its core idle for a
tenth of the time. When nobody waits, the loop reports it, after the answer. So the scheduler, the books, has a lock,
which is held while it is asked or told something, and for nothing else. Whatever concerns a request, its answer or its
refusal, is done on the event loop.
[ADR 19](../../docs/decisions/0019-lanes-take-their-next-job.md)

Decoding, resizing and the session's run release the GIL.
"""

import asyncio
import queue
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import partial
from typing import Protocol

import numpy as np
import numpy.typing as npt

from service.core.actions import Action, Deliver, Reject, Start, Terminate
from service.core.errors import EffserveError, fault
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
"""How sure an answer is, from 0 to 1. Called on a lane's thread or the event loop."""
Done = Callable[[LaneRun | BaseException], None]
"""Takes a lane's result, and may start it anew. Called where the run was; does not raise."""


class Lane(Protocol):
    """Executes one job at a time."""

    def start(self, body: Source, variant: Variant, done: Done) -> None:
        """Begin; `done` is called when it ends. Only called while the lane is idle, which it is again within `done`."""

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
        prepare: Callable[[], None] = lambda: None,
    ) -> None:
        self._prepare = prepare
        self._execute = execute
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
            done(self._run(body, variant, stop))
            # Until the next one comes nothing is kept of it: an image has megabytes.
            del task, body, done, stop

    def _run(self, body: Source, variant: Variant, stop: Stop) -> LaneRun | BaseException:
        # The one broad catch of a lane: whatever a job raises belongs to its request, and the lane lives on.
        try:
            return self._execute(body, variant, stop)
        except StopIteration as error:
            # What waits for a result cannot be told this one.
            return fault(error)
        except BaseException as error:
            return error


class Lanes:
    """Takes jobs in, performs the scheduler's actions, hands results back. Belongs to the event loop that it is made
    on.

    `lanes` are in the scheduler's order: those of the foreground, then those of the background.
    """

    def __init__(
        self, scheduler: Scheduler, lanes: list[Lane], clock: Callable[[], float], judge: Judge = lambda *_: 0.0
    ) -> None:
        self.books = threading.RLock()
        """To be held by whoever asks or tells the scheduler anything."""
        self.grace = Grace()
        """Requests and runs in hand."""
        self._scheduler = scheduler
        self._judge = judge
        self._lanes = lanes
        self._clock = clock
        self._loop, self._thread = asyncio.get_running_loop(), threading.get_ident()
        self._pending: dict[int, _Pending] = {}
        self._wake_s: float | None = None
        """When the scheduler wants to be asked again."""
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
        pending = _Pending(body, on_answer, on_attempt, self._loop.create_future(), self.grace.enter())
        try:
            with self.books:
                self._pending[job.id] = pending
                self._perform(self._scheduler.submit(self._clock(), job))
            return await pending.future
        finally:
            with self.books:
                del self._pending[job.id]
                pending.give_up(self._clock())
                if pending.future.cancelled() or not pending.future.done():
                    # Left; or was not taken in, whatever went wrong, and must not be given a lane later.
                    self._perform(self._scheduler.cancel(self._clock(), job.id))
                pending.over = True
                self._leave(pending)

    def adopt(self, policy: Policy, confidences: Iterable[float] | None) -> None:
        """See `Scheduler.adopt`."""
        with self.books:
            self._perform(self._scheduler.adopt(self._clock(), policy, confidences))

    def close(self) -> None:
        """Wait for the jobs in hand and end the lanes."""
        if self._alarm is not None:
            self._alarm.cancel()
        for lane in self._lanes:
            lane.close()

    # On any thread, with the books in hand.

    def _perform(self, actions: list[Action]) -> None:
        for action in actions:
            match action:
                case Start(_, job):
                    self._start(action, self._pending[job.id])
                case Reject(job, error):
                    self._on_loop(self._reject, self._pending[job.id].future, error)
                case Terminate(lane):
                    self._lanes[lane].terminate()
                case Deliver(job):
                    self._on_loop(self._deliver, self._pending[job.id], action.reason)
        self._plan_alarm()

    def _start(self, action: Start, pending: "_Pending") -> None:
        pending.run = run = _Run(action, pending, self._clock())
        pending.running += 1
        self._lanes[action.lane].start(pending.body, action.decision.variant, partial(self._ended, run))

    def _leave(self, pending: "_Pending") -> None:
        """A run may outlive its request."""
        if pending.over and not pending.running:
            self._on_loop(self.grace.leave, pending.period)

    def _plan_alarm(self) -> None:
        """Ask the scheduler again when it wants to be asked; a later change of plan sets another."""
        wake_s = self._scheduler.wake_s(self._clock())
        if wake_s != self._wake_s:
            self._wake_s = wake_s
            self._on_loop(self._set_alarm)

    # On the lane's thread; `_close_books` on either.

    def _ended(self, run: "_Run", result: LaneRun | BaseException) -> None:
        """The lane takes its next job at once if there is one. If there is none, the books can wait: the interpreter
        runs one thread at a time, and the answer goes first."""
        run.ended_s = self._clock()
        if run.start.lane >= self._scheduler.lanes:
            # A thread that the kernel may let stand for long must not stand with the books in hand.
            self._on_loop(self._take, run, result)
            self._on_loop(self._close_books, run, result)
        elif run.start.decision.insured:
            # What follows depends on what the scheduler says.
            self._on_loop(self._take, run, result)
            self._close_books(run, result)
        elif self._scheduler.has_waiting:
            # Looked at without the books: whatever comes in between, either way is right.
            self._on_loop(self._answer, run, result)
            self._close_books(run, result)
        else:
            self._on_loop(self._answer_first, run, result)

    def _close_books(self, run: "_Run", result: LaneRun | BaseException) -> None:
        """Whatever goes wrong, the lane is free and the request gets what is in its hand."""
        observed, error = self._observed(run.start, result)
        try:
            with self.books:
                self._perform(self._report(run, result, observed))
        except BaseException as failure:
            error = failure
        if error is not None:
            self._on_loop(self._salvage, run, error)
        elif run.start.decision.insured:
            self._on_loop(self._keep, run)
        with self.books:
            run.pending.running -= 1
            self._leave(run.pending)

    def _report(self, run: "_Run", result: LaneRun | BaseException, observed: Observation | None) -> list[Action]:
        now_s, lane = self._clock(), run.start.lane
        if isinstance(result, Terminated):
            return self._scheduler.terminated(now_s, lane)
        return self._scheduler.finish(now_s, lane, observed, run.ended_s)

    def _observed(
        self, start: Start, result: LaneRun | BaseException
    ) -> tuple[Observation | None, BaseException | None]:
        """And why not, where that is a fault."""
        try:
            return self._observation(start, result), None
        except Exception as error:
            return None, error

    def _observation(self, start: Start, result: LaneRun | BaseException) -> Observation | None:
        if not isinstance(result, LaneRun):
            return None
        job, variant = start.job, start.decision.variant
        sure = self._judge(variant, result.logits) if job.question.cascades else 0.0
        return Observation(variant.name, job.image_format, job.decode_s, result.decode_s, result.inference_s, sure)

    def _on_loop(self, do: Callable[..., None], *what: object) -> None:
        """In the order in which it is asked for, by whichever thread: what is kept in hand is there when it is to be
        delivered."""
        own = threading.get_ident() == self._thread
        (self._loop.call_soon if own else self._loop.call_soon_threadsafe)(do, *what)

    # On the event loop.

    def _tick(self) -> None:
        with self.books:
            self._wake_s = None
            self._perform(self._scheduler.tick(self._clock()))

    def _set_alarm(self) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
        wake_s = self._wake_s
        self._alarm = None if wake_s is None else self._loop.call_later(wake_s - self._clock(), self._tick)

    def _reject(self, future: "asyncio.Future[Served]", error: EffserveError) -> None:
        if not future.done():
            future.set_exception(error)

    def _deliver(self, pending: "_Pending", reason: Reason | None) -> None:
        served = pending.in_hand
        if served is not None and not pending.future.done():
            hold_s = 0.0 if pending.held_from_s is None else self._clock() - pending.held_from_s
            decision = served.decision if reason is None else replace(served.decision, reason=reason)
            pending.future.set_result(replace(served, decision=decision, hold_s=hold_s))

    def _answer_first(self, run: "_Run", result: LaneRun | BaseException) -> None:
        """What waits for the answer comes before what is asked for now."""
        try:
            self._answer(run, result)
        finally:
            self._loop.call_soon(self._close_books, run, result)

    def _answer(self, run: "_Run", result: LaneRun | BaseException) -> None:
        """The only answer there is to be."""
        self._take(run, result)
        if run.pending.in_hand is not None and not run.pending.future.done():
            run.pending.future.set_result(run.pending.in_hand)

    def _take(self, run: "_Run", result: LaneRun | BaseException) -> None:
        """Into the hand; or tell that it failed."""
        run.ended(self._clock(), result)
        pending, start = run.pending, run.start
        if pending.future.done() or isinstance(result, Terminated):
            return
        if isinstance(result, LaneRun):
            earlier = pending.in_hand if start.job.question.cascades else None
            pending.in_hand = Served(start.decision, result, run.dispatched_s, earlier=earlier)
            pending.held_from_s = None
        elif start.job.in_hand is None:
            pending.future.set_exception(result)
        else:
            # No failure of the request, which has its answer; told to whoever takes care of the loop's.
            message = f"an upgrade to {start.decision.variant.name} failed"
            self._loop.call_exception_handler({"message": message, "exception": result})

    def _keep(self, run: "_Run") -> None:
        """Show what a better one may follow, unless the scheduler has said that none will."""
        pending = run.pending
        if pending.in_hand is not None and pending.held_from_s is None and not pending.future.done():
            pending.held_from_s = self._clock()
            pending.on_answer(pending.in_hand)

    def _salvage(self, run: "_Run", error: BaseException) -> None:
        """Whatever the bookkeeping does, the request that is done gets its result: nothing else would deliver it."""
        self._deliver(run.pending, None)
        self._loop.call_exception_handler({"message": "bookkeeping failed", "exception": error})


@dataclass(slots=True)
class _Pending:
    body: Source
    on_answer: OnAnswer
    on_attempt: OnAttempt
    future: asyncio.Future[Served]
    period: int
    """See `Grace`."""
    in_hand: Served | None = None
    held_from_s: float | None = None
    """None until something better is tried: the way here from the lane's thread is no holding, but part of every
    response."""
    run: "_Run | None" = None
    """The latest."""
    running: int = 0
    over: bool = False

    def give_up(self, now_s: float) -> None:
        """The request is over; what runs for it runs for nobody."""
        if self.run is not None:
            self.run.tell(Ending.GIVEN_UP, now_s)


@dataclass(slots=True)
class _Run:
    start: Start
    pending: _Pending
    dispatched_s: float
    ended_s: float = 0.0
    """When its lane was free again."""
    told: bool = False

    def ended(self, now_s: float, result: LaneRun | BaseException) -> None:
        """Tell how it went."""
        if isinstance(result, LaneRun):
            ended_s = result.started_s + result.decode_s + result.inference_s
            self.tell(Ending.ANSWERED, ended_s, result.started_s, result.decode_s)
        else:
            self.tell(Ending.TERMINATED if isinstance(result, Terminated) else Ending.FAILED, now_s)

    def tell(self, ending: Ending, ended_s: float, started_s: float | None = None, decode_s: float = 0.0) -> None:
        """Once: what is told of a request that is over stays."""
        if self.told:
            return
        self.told = True
        began_s = self.dispatched_s if started_s is None else started_s
        upgrade = self.start.job.in_hand is not None
        self.pending.on_attempt(Attempt(self.start.decision, upgrade, ending, began_s, ended_s, decode_s))
