"""The state of queue and lanes, and the one place that changes it.

Synchronous and without a clock: the driver reports what happened (a job came, a lane finished, a client left) with
the time, and gets back the actions to perform. The asyncio shell and the simulator are two such drivers. Not
thread-safe: one driver owns it.
"""

import bisect
import math
from collections import deque
from dataclasses import dataclass, replace

from service.core.actions import Action, Deliver, Reject, Start, Terminate
from service.core.latency import LatencyModel, Observation
from service.core.messages import Plan
from service.core.policy import Policy
from service.core.state import Costs, Running, SystemState
from service.core.values import Deadline, Job, Question

FORGET_S = 5.0
"""When a request would be refused and nothing has run for so long, predictions go back to calibration. Otherwise one
bad moment could make every strict request look hopeless, nothing would run any more, and nothing could ever tell that
the moment has passed. Sparse requests that are served go on teaching, however long the pauses."""
WASTE_WINDOW_S = 10.0
"""Time over which the share of terminated work is taken."""
ARRIVAL_WINDOW_S = 1.0
"""Arrivals are counted over the last second: long enough for a rate, short enough to see a burst."""
CALM_WINDOW_S = 10.0
"""And over a longer time, of which the larger rate counts: a lull in bursty traffic is no calm."""


@dataclass(frozen=True, slots=True)
class SchedulerStatistics:
    """Live counts; metrics, `__repr__` and tests read the same ones."""

    waiting: int
    insured: int
    """Jobs with an answer in hand that wait for a better one."""
    running: int
    busy: int
    """Lanes at work, some perhaps for nobody any more."""
    lanes: int
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


class Scheduler:
    """Queue in deadline order and lanes. Invariant: submitted = finished + rejected + cancelled + waiting +
    insured + running."""

    def __init__(self, *, policy: Policy, latency: LatencyModel, lanes: int) -> None:
        if lanes < 1:
            raise ValueError(f"at least one lane is needed, got {lanes}")
        self._policy = policy
        self.latency = latency
        self._lanes = lanes
        self._waiting: list[Job] = []
        self._insured: list[Job] = []
        self._running: dict[int, Running] = {}
        self._arrivals, self._calm = _Window(ARRIVAL_WINDOW_S), _Window(CALM_WINDOW_S)
        self._wasted = _Window(WASTE_WINDOW_S)
        self._last_run_s = -math.inf
        self._submitted = self._finished = self._rejected = self._cancelled = self._terminated = 0

    def __repr__(self) -> str:
        return f"<Scheduler waiting={len(self._waiting)} running={len(self._running)}/{self._lanes}>"

    def submit(self, now_s: float, job: Job) -> list[Action]:
        """Take in a job, or reject it; start what can start. Raises `EffserveError` when nothing is eligible for it."""
        error = self._policy.admit(now_s, job, self.state(now_s), self._costs(coming=1))
        if error is not None and not self._running and now_s - self._last_run_s > FORGET_S:
            self.latency.forget()
            self._last_run_s = now_s
            error = self._policy.admit(now_s, job, self.state(now_s), self._costs(coming=1))
        self._arrivals.add(now_s, 1.0)
        self._calm.add(now_s, 1.0)
        self._submitted += 1
        if error is not None:
            self._rejected += 1
            return [Reject(job, error)]
        bisect.insort(self._waiting, job, key=_urgency)
        return self._dispatch(now_s)

    def finish(self, now_s: float, lane: int, run: Observation | None) -> list[Action]:
        """A lane is free again; `run` is what it took, or None when it failed and says nothing about speed.

        The answer is kept in hand until a `Deliver` when the job's policy insures; otherwise it is final.
        """
        ended = self._running.pop(lane)
        self._last_run_s = now_s
        if run is not None:
            self.latency.observe(run, busy=ended.busy, tail_s=ended.tail_end_s - ended.started_s)
        return [*self._settle(ended, answered=run is not None), *self._dispatch(now_s)]

    def _settle(self, ended: Running, *, answered: bool) -> list[Action]:
        """What becomes of a job whose run ended."""
        job = ended.job
        if ended.abandoned:
            return []
        if answered and job.question.insures:
            self._insure(replace(job, in_hand=ended.variant))
            return []
        self._finished += 1
        return [] if job.in_hand is None else [Deliver(job)]

    def terminated(self, now_s: float, lane: int) -> list[Action]:
        """The run on `lane` has stopped, as a `Terminate` asked for: its job waits again, for the cheapest variant, or
        with the answer it has in hand."""
        ended = self._running.pop(lane)
        if not ended.abandoned:
            self._terminated += 1
            self._wasted.add(now_s, now_s - ended.started_s)
            if ended.job.in_hand is None:
                bisect.insort(self._waiting, replace(ended.job, terminated=ended.variant), key=_urgency)
            else:
                self._insure(ended.job)
        return self._dispatch(now_s)

    def tick(self, now_s: float) -> list[Action]:
        """Nothing happened until `wake_s`: that may be news, too."""
        return self._dispatch(now_s)

    def wake_s(self, now_s: float) -> float | None:
        """When to call `tick` unless something happens before."""
        if not self._waiting and not self._insured and not any(run.job.in_hand for run in self._running.values()):
            return None
        return self._policy.wake_s(now_s, self.state(now_s), self._costs())

    def cancel(self, now_s: float, job_id: int) -> list[Action]:
        """The client of a job has gone: one that waits is forgotten, one that runs is terminated where that works."""
        for jobs in (self._waiting, self._insured):
            for position, job in enumerate(jobs):
                if job.id == job_id:
                    del jobs[position]
                    self._cancelled += 1
                    return []
        for lane, run in self._running.items():
            if run.job.id == job_id and not run.abandoned:
                self._cancelled += 1
                return self._abandon(now_s, lane)
        return []

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

    def state(self, now_s: float) -> SystemState:
        """The snapshot that policies see."""
        return SystemState(
            tuple(self._waiting),
            tuple(self._running.values()),
            self._lanes,
            max(self._arrivals.per_s(now_s), self._calm.per_s(now_s)),
            self._wasted.per_s(now_s) / self._lanes,
            tuple(self._insured),
        )

    def statistics(self, now_s: float) -> SchedulerStatistics:
        """Live counts."""
        state = self.state(now_s)
        return SchedulerStatistics(
            waiting=len(self._waiting),
            insured=len(self._insured),
            running=sum(not run.abandoned for run in self._running.values()),
            busy=len(self._running),
            lanes=self._lanes,
            backlog_s=self._policy.backlog_s(now_s, state, self._costs()),
            arrivals_per_s=self._arrivals.per_s(now_s),
            submitted=self._submitted,
            finished=self._finished,
            rejected=self._rejected,
            cancelled=self._cancelled,
            terminated=self._terminated,
            wasted_share=state.wasted_share,
        )

    def _dispatch(self, now_s: float) -> list[Action]:
        actions: list[Action] = []
        while action := self._policy.next_action(now_s, self.state(now_s), self._costs()):
            actions.append(action)
            actions += self._apply(now_s, action)
        return actions

    def _costs(self, coming: int = 0) -> Costs:
        """What runs cost that begin now."""
        return self.latency.at(self._busy(coming))

    def _busy(self, coming: int = 0) -> int:
        """Lanes at work once everybody has one who wants one now."""
        wanted = len(self._running) + len(self._waiting) + len(self._insured) + coming
        return min(max(wanted, 1), self._lanes)

    def _apply(self, now_s: float, action: Action) -> list[Action]:
        """Change the books; what else has to be done."""
        match action:
            case Start(lane, job, decision):
                busy = self._busy()
                (self._waiting if job.in_hand is None else self._insured).remove(job)
                ends_s, tail_s = now_s + decision.expected_s, now_s + decision.tail_s
                self._running[lane] = Running(lane, job, decision.variant, now_s, ends_s, tail_s, busy=busy)
            case Reject(job):
                self._waiting.remove(job)
                self._rejected += 1
            case Terminate():
                self._terminate(now_s, action)
            case _:
                return self._deliver(now_s, action.job)
        return []

    def _deliver(self, now_s: float, job: Job) -> list[Action]:
        """What a job has in hand is its answer; a run for a better one is nobody's any more."""
        self._finished += 1
        if job in self._insured:
            self._insured.remove(job)
            return []
        return self._abandon(now_s, next(lane for lane, run in self._running.items() if run.job == job))

    def _insure(self, job: Job) -> None:
        bisect.insort(self._insured, job, key=_urgency)

    def _abandon(self, now_s: float, lane: int) -> list[Action]:
        """Nobody waits for what runs on `lane` any more."""
        run = self._running[lane] = replace(self._running[lane], abandoned=True)
        stoppable = run.stops_s is None and self.latency.terminate_s() is not None
        return [self._terminate(now_s, Terminate(lane, run.job))] if stoppable else []

    def _terminate(self, now_s: float, action: Terminate) -> Terminate:
        stops_s = now_s + (self.latency.terminate_s() or 0.0)
        self._running[action.lane] = replace(self._running[action.lane], stops_s=stops_s)
        return action


def _urgency(job: Job) -> tuple[float, int]:
    """Earliest deadline first; equal deadlines in order of arrival."""
    return job.question.deadline.at_s, job.id


def _idle(state: SystemState) -> SystemState:
    return SystemState((), (), state.lanes, state.arrivals_per_s)


class _Window:
    """A sum over the last `length_s` seconds."""

    def __init__(self, length_s: float) -> None:
        self._length_s = length_s
        self._amounts: deque[tuple[float, float]] = deque()
        self._sum = 0.0

    def add(self, now_s: float, amount: float) -> None:
        self._amounts.append((now_s, amount))
        self._sum += amount

    def per_s(self, now_s: float) -> float:
        """The sum over the length of the window."""
        while self._amounts and self._amounts[0][0] <= now_s - self._length_s:
            self._sum -= self._amounts.popleft()[1]
        return max(self._sum, 0.0) / self._length_s
