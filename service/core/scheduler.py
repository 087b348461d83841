"""The state of queue and lanes, and the one place that changes it.

Synchronous and without a clock: the driver reports what happened (a job came, a lane finished, a client left) with
the time, and gets back the actions to perform. The asyncio shell and the simulator are two such drivers. Not
thread-safe: one driver owns it.
"""

import bisect
import math
from collections import deque
from dataclasses import dataclass, replace

from service.core.actions import Action, Reject, Start
from service.core.latency import LatencyModel, Observation
from service.core.messages import Plan
from service.core.policy import Policy
from service.core.state import Running, SystemState
from service.core.values import Deadline, Job, Question

FORGET_S = 5.0
"""When a request would be refused and nothing has run for so long, predictions go back to calibration. Otherwise one
bad moment could make every strict request look hopeless, nothing would run any more, and nothing could ever tell that
the moment has passed. Sparse requests that are served go on teaching, however long the pauses."""
ARRIVAL_WINDOW_S = 1.0
"""Arrivals are counted over the last second: long enough for a rate, short enough to see a burst."""


@dataclass(frozen=True, slots=True)
class SchedulerStatistics:
    """Live counts; metrics, `__repr__` and tests read the same ones."""

    waiting: int
    running: int
    lanes: int
    backlog_s: float
    """Predicted work per lane."""
    arrivals_per_s: float
    submitted: int
    finished: int
    rejected: int
    cancelled: int


class Scheduler:
    """Queue in deadline order and lanes. Invariant: submitted = finished + rejected + cancelled + waiting + running."""

    def __init__(self, *, policy: Policy, latency: LatencyModel, lanes: int) -> None:
        if lanes < 1:
            raise ValueError(f"at least one lane is needed, got {lanes}")
        self._policy = policy
        self.latency = latency
        self._lanes = lanes
        self._waiting: list[Job] = []
        self._running: dict[int, Running] = {}
        self._arrivals_s: deque[float] = deque()
        self._last_run_s = -math.inf
        self._submitted = self._finished = self._rejected = self._cancelled = 0

    def __repr__(self) -> str:
        return f"<Scheduler waiting={len(self._waiting)} running={len(self._running)}/{self._lanes}>"

    def submit(self, now_s: float, job: Job) -> list[Action]:
        """Take in a job, or reject it; start what can start. Raises `EffserveError` when nothing is eligible for it."""
        error = self._policy.admit(now_s, job, self.state(now_s), self.latency)
        if error is not None and not self._running and now_s - self._last_run_s > FORGET_S:
            self.latency.forget()
            self._last_run_s = now_s
            error = self._policy.admit(now_s, job, self.state(now_s), self.latency)
        self._arrivals_s.append(now_s)
        self._submitted += 1
        if error is not None:
            self._rejected += 1
            return [Reject(job, error)]
        bisect.insort(self._waiting, job, key=_urgency)
        return self._dispatch(now_s)

    def finish(self, now_s: float, lane: int, run: Observation | None) -> list[Action]:
        """A lane is free again; `run` is what it took, or None when it failed and says nothing about speed."""
        del self._running[lane]
        self._finished += 1
        self._last_run_s = now_s
        if run is not None:
            self.latency.observe(run)
        return self._dispatch(now_s)

    def cancel(self, job_id: int) -> bool:
        """Forget a waiting job. False when it is not waiting (any more); a running one runs to its end."""
        for position, job in enumerate(self._waiting):
            if job.id == job_id:
                del self._waiting[position]
                self._cancelled += 1
                return True
        return False

    def plan(self, now_s: float, question: Question, decode_s: float) -> Plan:
        """What a request would get if it came now and its turn came as expected. Changes nothing."""
        state = self.state(now_s)
        job = Job(id=-1, question=question, decode_s=decode_s)
        smallest_s = self._policy.smallest_feasible_budget_s(now_s, job, state, self.latency)
        alone_s = self._policy.smallest_feasible_budget_s(now_s, job, _idle(state), self.latency)
        # The wait is over when the decision falls: the same as a budget that started that much earlier.
        after_wait = Deadline(question.deadline.started_s - (smallest_s - alone_s), question.deadline.budget_s)
        waited = Job(id=-1, question=replace(question, deadline=after_wait), decode_s=decode_s)
        decision = self._policy.decide(now_s, waited, _idle(state), self.latency)
        return Plan(decision, question.deadline.budget_s, smallest_s)

    def state(self, now_s: float) -> SystemState:
        """The snapshot that policies see."""
        return SystemState(tuple(self._waiting), tuple(self._running.values()), self._lanes, self._arrival_rate(now_s))

    def statistics(self, now_s: float) -> SchedulerStatistics:
        """Live counts."""
        state = self.state(now_s)
        return SchedulerStatistics(
            waiting=len(self._waiting),
            running=len(self._running),
            lanes=self._lanes,
            backlog_s=self._policy.backlog_s(now_s, state, self.latency),
            arrivals_per_s=state.arrivals_per_s,
            submitted=self._submitted,
            finished=self._finished,
            rejected=self._rejected,
            cancelled=self._cancelled,
        )

    def _dispatch(self, now_s: float) -> list[Action]:
        actions: list[Action] = []
        while action := self._policy.next_action(now_s, self.state(now_s), self.latency):
            self._apply(now_s, action)
            actions.append(action)
        return actions

    def _apply(self, now_s: float, action: Action) -> None:
        self._waiting.remove(action.job)
        if isinstance(action, Start):
            end_s = now_s + action.decision.expected_s
            self._running[action.lane] = Running(action.lane, action.job, action.decision.variant, now_s, end_s)
        else:
            self._rejected += 1

    def _arrival_rate(self, now_s: float) -> float:
        while self._arrivals_s and self._arrivals_s[0] <= now_s - ARRIVAL_WINDOW_S:
            self._arrivals_s.popleft()
        return len(self._arrivals_s) / ARRIVAL_WINDOW_S


def _urgency(job: Job) -> tuple[float, int]:
    """Earliest deadline first; equal deadlines in order of arrival."""
    return job.question.deadline.at_s, job.id


def _idle(state: SystemState) -> SystemState:
    return SystemState((), (), state.lanes, state.arrivals_per_s)
