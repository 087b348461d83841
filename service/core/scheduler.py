"""The state of queue and lanes, and the one place that changes it.

Synchronous and without a clock: the driver reports what happened (a job came, a lane finished, a client left) with
the time, and gets back the actions to perform. The asyncio shell and the simulator are two such drivers. Not
thread-safe: one driver owns it.
"""

import bisect
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from service.core.actions import Action, Deliver, Reject, Start, Terminate
from service.core.alone import best_alone
from service.core.background import Background
from service.core.errors import EffserveError
from service.core.latency import LatencyModel, Observation
from service.core.messages import Plan
from service.core.policy import Policy
from service.core.situation import SOONEST_S
from service.core.state import Costs, Running, SystemState
from service.core.values import Deadline, Job, Question, Variant, urgency
from service.core.window import CALM_WINDOW_S, Gaps, Window

FORGET_S = 5.0
"""When a request would be refused and nothing has run for so long, predictions go back to calibration. Otherwise one
bad moment could make every strict request look hopeless, nothing would run any more, and nothing could ever tell that
the moment has passed. Sparse requests that are served go on teaching, however long the pauses."""
LOSS_WINDOW_S = 30.0
"""Time over which the share of lost requests is taken: longer than most lulls between bursts."""
PRIOR_IN_TIME = 50
"""So many more are counted as in time: one lost of a few is no sign of load."""
WASTE_WINDOW_S = 10.0
"""Time over which the share of terminated work is taken."""
ARRIVAL_WINDOW_S = 1.0
"""Arrivals are counted over the last second: long enough for a rate, short enough to see a burst."""


@dataclass(frozen=True, slots=True)
class SchedulerStatistics:
    """Live counts; metrics, `__repr__` and tests read the same ones."""

    waiting: int
    insured: int
    """Jobs with an answer in hand."""
    upgrading: int
    """Those of them for which a better one is tried, on a background lane."""
    running: int
    busy: int
    """Lanes at work, some perhaps for nobody any more. Background lanes are not among them."""
    lanes: int
    background_lanes: int
    backlog_s: float
    """Predicted work per lane."""
    arrivals_per_s: float
    submitted: int
    finished: int
    rejected: int
    cancelled: int
    terminated: int
    """Runs that were stopped to make room; their jobs are among the others."""
    wasted_share: float
    """Share of the lanes' recent time that went into them."""
    lost_share: float
    """As policies see it: `SystemState.lost_share`."""
    busy_s: float
    """Time that lanes were at work since the start, what runs now counted until now."""
    background_busy_s: float
    """The same of background lanes, waiting for a core included."""


class Scheduler:
    """Queue in deadline order, lanes, and background lanes, which are numbered after the others.

    `confidences` are those that an evaluation found for the cheapest variant, until requests show others.
    Invariant: submitted = finished + rejected + cancelled + waiting + running + insured.
    """

    def __init__(
        self,
        *,
        policy: Policy,
        latency: LatencyModel,
        lanes: int,
        background_lanes: int = 0,
        confidences: Iterable[float] = (),
    ) -> None:
        if lanes < 1:
            raise ValueError(f"at least one lane is needed, got {lanes}")
        self._policy = policy
        self.latency = latency
        self._lanes = lanes
        self._waiting: list[Job] = []
        self._running: dict[int, Running] = {}
        self._background = Background(lanes, background_lanes, confidences)
        self._arrivals, self._calm = Window(ARRIVAL_WINDOW_S), Window(CALM_WINDOW_S)
        self._gaps = Gaps(CALM_WINDOW_S)
        self._wasted = Window(WASTE_WINDOW_S)
        self._came, self._lost = Window(LOSS_WINDOW_S), Window(LOSS_WINDOW_S)
        self._busy_s = 0.0
        self._last_run_s = -math.inf
        self._look_again_s = math.inf
        """When those who wait have to be looked at again, though nothing happened."""
        self._submitted = self._finished = self._rejected = self._cancelled = self._terminated = 0

    def __repr__(self) -> str:
        return f"<Scheduler waiting={len(self._waiting)} running={len(self._running)}/{self._lanes}>"

    @property
    def lanes(self) -> int:
        """Those of the foreground."""
        return self._lanes

    @property
    def has_waiting(self) -> bool:
        """Whether anybody waits for a lane."""
        return bool(self._waiting)

    def submit(self, now_s: float, job: Job) -> list[Action]:
        """Take in a job, or reject it; start what can start. Raises `EffserveError` when nothing is eligible for it."""
        job = replace(job, submitted_s=now_s)
        error = self._policy.admit(now_s, job, self.state(now_s), self._costs(coming=1))
        if error is not None and not self._running and now_s - self._last_run_s > FORGET_S:
            self.latency.forget()
            self._last_run_s = now_s
            error = self._policy.admit(now_s, job, self.state(now_s), self._costs(coming=1))
        self._arrivals.add(now_s, 1.0)
        self._calm.add(now_s, 1.0)
        self._gaps.add(now_s)
        self._came.add(now_s, 1.0)
        self._submitted += 1
        if error is not None:
            self._rejected += 1
            self._lose(now_s, job)
            return [Reject(job, error)]
        bisect.insort(self._waiting, job, key=urgency)
        return self._dispatch(now_s)

    def finish(self, now_s: float, lane: int, run: Observation | None, ended_s: float | None = None) -> list[Action]:
        """A lane is free again; `run` is what it took, or None when it failed and says nothing about speed. `ended_s`:
        when that was, if the driver tells it later.

        The answer is kept in hand until a `Deliver` when the decision was to insure; otherwise it is final.
        """
        if lane in self._background:
            return [*self._finish_upgrade(now_s, lane, answered=run is not None), *self._dispatch_upgrades(now_s)]
        ended_s = now_s if ended_s is None else ended_s
        ended = self._end(ended_s, lane)
        self._last_run_s = now_s
        if run is not None and ended.variant in self._policy.catalogue.variants:
            held_s, tail_s = ended_s - ended.started_s, ended.tail_end_s - ended.started_s - ended.dispatch_s
            self.latency.observe(run, busy=ended.busy, tail_s=tail_s)
            self.latency.observe_dispatch(held_s - run.seconds)
        if run is not None and not ended.abandoned and not ended.fits and ended_s > self._due_s(ended.job):
            self._lose(now_s, ended.job)
        if run is not None and not ended.abandoned and ended.insured:
            self._background.keep(replace(ended.job, in_hand=ended.variant, confidence=run.confidence))
        else:
            self._finished += not ended.abandoned
        return self._dispatch(now_s)

    def _due_s(self, job: Job) -> float:
        """When its run has to have ended."""
        return job.question.deadline.at_s - self._costs().expected_respond_s()

    def _lose(self, now_s: float, job: Job) -> None:
        """It is not answered in time, which counts if it would have been had nobody else been there: a budget that is
        too small for this machine says nothing about load."""
        if self.alone(job.submitted_s, job) is not None:
            self._lost.add(now_s, 1.0)

    def _lost_share(self, now_s: float) -> float:
        return self._lost.total(now_s) / (self._came.total(now_s) + PRIOR_IN_TIME)

    def _end(self, now_s: float, lane: int) -> Running:
        ended = self._running.pop(lane)
        self._busy_s += now_s - ended.started_s
        return ended

    def _finish_upgrade(self, now_s: float, lane: int, *, answered: bool) -> list[Action]:
        """How long it took is nothing to learn from: its thread waited for others, as long as they liked."""
        ended = self._background.end(now_s, lane)
        if ended is None:
            return []
        job, variant = ended
        if answered:
            self._background.better(job, variant)
            return []
        return [Deliver(job), *self._deliver(job)]

    def terminated(self, now_s: float, lane: int) -> list[Action]:
        """The run on `lane` has stopped, as a `Terminate` asked for: its job waits again, for the cheapest variant."""
        if lane in self._background:
            self._background.end(now_s, lane)
            return self._dispatch_upgrades(now_s)
        ended = self._end(now_s, lane)
        if not ended.abandoned:
            self._terminated += 1
            self._wasted.add(now_s, now_s - ended.started_s)
            bisect.insort(self._waiting, replace(ended.job, terminated=ended.variant), key=urgency)
        # Between asking it to stop and now, what its job wants may have gone.
        return [*self._refuse_stranded(now_s), *self._dispatch(now_s)]

    def tick(self, now_s: float) -> list[Action]:
        """Nothing happened until `wake_s`: that may be news, too."""
        return self._dispatch(now_s) if now_s >= self._look_again_s - SOONEST_S else self._dispatch_upgrades(now_s)

    def wake_s(self, now_s: float) -> float | None:
        """When to call `tick` unless something happens before. A `tick` before the moment that the foreground wanted,
        as told last, is for those with an answer in hand."""
        if not self._waiting and not self._background.insured:
            return None
        state, costs = self.state(now_s), self._costs()
        foreground_s = self._policy.wake_s(now_s, state, costs)
        background_s = self._policy.upgrade_wake_s(now_s, state, costs)
        self._look_again_s = math.inf if foreground_s is None else foreground_s
        return min((moment for moment in (foreground_s, background_s) if moment is not None), default=None)

    def cancel(self, now_s: float, job_id: int) -> list[Action]:
        """The client of a job has gone: one that waits is forgotten, one that runs is terminated where that works."""
        hopeless = self._hopeless(job_id)
        actions = self._leave(now_s, job_id)
        if actions is None:
            return []
        self._cancelled += 1
        if hopeless is not None and now_s > self._due_s(hopeless):
            # As good as answered late: many clients wait for as long as their budget, and no longer.
            self._lose(now_s, hopeless)
        return actions

    def _hopeless(self, job_id: int) -> Job | None:
        """A job that waits, or that nothing fitted any more when its run began."""
        late = (run.job for run in self._running.values() if not (run.fits or run.abandoned))
        return next((job for job in (*self._waiting, *late) if job.id == job_id), None)

    def adopt(self, now_s: float, policy: Policy, confidences: Iterable[float] | None = None) -> list[Action]:
        """From now on this policy decides: what is served has changed. Latencies of all it knows have been learnt.

        What runs goes on. `confidences` as at the beginning, where another variant is the cheapest now.
        """
        self._policy = policy
        if confidences is not None:
            self._background.expect(confidences)
        return [*self._refuse_stranded(now_s), *self._dispatch(now_s)]

    def _refuse_stranded(self, now_s: float) -> list[Action]:
        """Whoever waits for an accuracy that no variant has any more. The others have something to run on."""
        front = self._policy.catalogue.front(self._costs())
        stranded: list[Action] = []
        for job in self._waiting:
            try:
                self._policy.catalogue.eligible(job, front, self._costs())
            except EffserveError as error:
                stranded.append(Reject(job, error))
        for reject in stranded:
            self._apply(now_s, reject)
        return stranded

    def _leave(self, now_s: float, job_id: int) -> list[Action] | None:
        """What to do for a job that goes from wherever it is; None when it is nowhere."""
        for position, job in enumerate(self._waiting):
            if job.id == job_id:
                del self._waiting[position]
                return []
        for lane, run in self._running.items():
            if run.job.id == job_id and not run.abandoned:
                return self._abandon(now_s, lane)
        stopped = self._background.release(job_id)
        return None if stopped is None else [*stopped]

    def plan(self, now_s: float, question: Question, decode_s: float) -> Plan:
        """What a request would get if it came now and its turn came as expected. Changes nothing."""
        state, costs = self.state(now_s), self._costs(coming=1)
        job = Job(id=-1, question=question, decode_s=decode_s)
        smallest_s = self._policy.smallest_feasible_budget_s(now_s, job, state, costs)
        alone_s = self._policy.smallest_feasible_budget_s(now_s, job, _idle(state), costs)
        # The wait is over when the decision falls: the same as a budget that started that much earlier.
        after_wait = Deadline(question.deadline.started_s - (smallest_s - alone_s), question.deadline.budget_s)
        waited = Job(id=-1, question=replace(question, deadline=after_wait), decode_s=decode_s)
        decision = self._policy.decide(now_s, waited, _idle(state), costs)
        return Plan(decision, question.deadline.budget_s, smallest_s)

    def alone(self, now_s: float, job: Job) -> Variant | None:
        """What the budget of a job that came at `now_s` would have bought had nobody else been there; None: nothing."""
        upgrades = self._background.lanes > 0
        try:
            return best_alone(now_s, job, self._policy.catalogue, self.latency.at(1), upgrades=upgrades)
        except EffserveError:
            # The accuracy that it asked for left while it was answered.
            return None

    def state(self, now_s: float) -> SystemState:
        """The snapshot that policies see."""
        calm_per_s = self._calm.others_per_s(now_s)
        return SystemState(
            waiting=tuple(self._waiting),
            running=tuple(self._running.values()),
            lanes=self._lanes,
            arrivals_per_s=max(self._arrivals.others_per_s(now_s), calm_per_s),
            wasted_share=self._wasted.per_s(now_s) / self._lanes,
            lost_share=self._lost_share(now_s),
            insured=self._background.insured,
            upgrades=self._background.upgrades(now_s),
            calm_arrivals_per_s=calm_per_s,
            burstiness=self._gaps.variation,
            confidences=self._background.confidences,
            background_lanes=self._background.lanes,
            idle_background=self._background.idle,
        )

    def statistics(self, now_s: float) -> SchedulerStatistics:
        """Live counts."""
        state = self.state(now_s)
        return SchedulerStatistics(
            waiting=len(self._waiting),
            insured=len(state.insured),
            upgrading=len(state.upgrades),
            running=sum(not run.abandoned for run in self._running.values()),
            busy=len(self._running),
            lanes=self._lanes,
            background_lanes=state.background_lanes,
            backlog_s=self._policy.backlog_s(now_s, state, self._costs()),
            arrivals_per_s=self._arrivals.per_s(now_s),
            submitted=self._submitted,
            finished=self._finished,
            rejected=self._rejected,
            cancelled=self._cancelled,
            terminated=self._terminated,
            wasted_share=state.wasted_share,
            lost_share=state.lost_share,
            busy_s=self._busy_s + sum(now_s - run.started_s for run in self._running.values()),
            background_busy_s=self._background.busy_s(now_s),
        )

    def _dispatch(self, now_s: float) -> list[Action]:
        """After what may matter to those who wait."""
        actions = self._decide(now_s, self._policy.next_action) if self._waiting else []
        self._background.occupy(now_s, len(self._running))
        return actions + self._dispatch_upgrades(now_s)

    def _dispatch_upgrades(self, now_s: float) -> list[Action]:
        """After what matters only to those with an answer in hand: nobody else notices."""
        return self._decide(now_s, self._policy.next_upgrade) if self._background.insured else []

    def _decide(self, now_s: float, ask: Callable[[float, SystemState, Costs], Action | None]) -> list[Action]:
        actions: list[Action] = []
        while (self._waiting or self._background.insured) and (action := ask(now_s, self.state(now_s), self._costs())):
            actions.append(action)
            actions += self._apply(now_s, action)
        return actions

    def _costs(self, coming: int = 0) -> Costs:
        """What runs cost that begin now."""
        return self.latency.at(self._busy(coming))

    def _busy(self, coming: int = 0) -> int:
        """Lanes at work once everybody has one who wants one now."""
        wanted = len(self._running) + len(self._waiting) + coming
        return min(max(wanted, 1), self._lanes)

    def _apply(self, now_s: float, action: Action) -> list[Action]:
        """Change the books; what else has to be done."""
        match action:
            case Start(lane) if lane in self._background:
                self._background.start(now_s, action)
            case Start(lane, job):
                self._running[lane] = self._begun(now_s, action)
                self._waiting.remove(job)
            case Reject(job):
                self._waiting.remove(job)
                self._rejected += 1
                self._lose(now_s, job)
            case Terminate():
                self._terminate(now_s, action)
            case _:
                return self._deliver(action.job)
        return []

    def _begun(self, now_s: float, start: Start) -> Running:
        decision, dispatch_s = start.decision, self.latency.dispatch_s()
        return Running(
            start.lane, start.job, decision.variant, now_s,
            expected_end_s=now_s + dispatch_s + decision.expected_s,
            tail_end_s=now_s + dispatch_s + decision.tail_s,
            busy=self._busy(), dispatch_s=dispatch_s, fits=decision.fits, insured=decision.insured,
        )  # fmt: skip

    def _deliver(self, job: Job) -> list[Action]:
        """What a job has in hand is its answer; a run for a better one is nobody's any more."""
        self._finished += 1
        return [*(self._background.release(job.id) or ())]

    def _abandon(self, now_s: float, lane: int) -> list[Action]:
        """Nobody waits for what runs on `lane` any more."""
        run = self._running[lane] = replace(self._running[lane], abandoned=True)
        stoppable = run.stops_s is None and self.latency.terminate_s() is not None
        return [self._terminate(now_s, Terminate(lane, run.job))] if stoppable else []

    def _terminate(self, now_s: float, action: Terminate) -> Terminate:
        stops_s = now_s + (self.latency.terminate_s() or 0.0)
        self._running[action.lane] = replace(self._running[action.lane], stops_s=stops_s)
        return action


def _idle(state: SystemState) -> SystemState:
    """Nobody is there, and all that is known of those who come holds."""
    return replace(state, waiting=(), running=(), insured=(), upgrades=())
