"""Answers in hand, and the runs on background lanes for better ones: a part of the scheduler's books.

Background lanes are numbered after those of the foreground. What runs there takes no lane from anybody, so nothing here
is part of the queue, of the backlog or of what the latency model learns from.
"""

import bisect
from collections.abc import Iterable
from dataclasses import dataclass, replace

from service.core.actions import Start, Terminate
from service.core.confidence import Confidences
from service.core.sharing import SharedTime
from service.core.state import Upgrade
from service.core.values import Job, Variant, urgency


@dataclass(frozen=True, slots=True)
class _Run:
    start: Start
    started_s: float
    wanted: bool = True
    """False when the answer in hand has gone out, or its client left."""


class Background:
    """`count` lanes behind `foreground` others."""

    def __init__(self, foreground: int, count: int, evaluated: Iterable[float]) -> None:
        self._numbers = range(foreground, foreground + count)
        self._insured: list[Job] = []
        self._runs: dict[int, _Run] = {}
        self._busy_s = 0.0
        self._shared = SharedTime(foreground)
        self._confidences = Confidences(evaluated)

    def __contains__(self, lane: int) -> bool:
        return lane in self._numbers

    @property
    def lanes(self) -> int:
        """How many there are."""
        return len(self._numbers)

    @property
    def insured(self) -> tuple[Job, ...]:
        """Jobs with an answer in hand, in deadline order."""
        return tuple(self._insured)

    @property
    def idle(self) -> tuple[int, ...]:
        """Lanes that could start something."""
        return tuple(lane for lane in self._numbers if lane not in self._runs)

    def upgrades(self, now_s: float) -> tuple[Upgrade, ...]:
        """What runs, and is wanted."""
        return tuple(self._upgrade(now_s, lane, run.start) for lane, run in self._runs.items() if run.wanted)

    def busy_s(self, now_s: float) -> float:
        """Time that these lanes ran something, since the start."""
        return self._busy_s + sum(now_s - run.started_s for run in self._runs.values())

    def occupy(self, now_s: float, busy: int) -> None:
        """From now on the foreground takes `busy` lanes."""
        self._shared.occupy(now_s, busy)

    @property
    def confidences(self) -> tuple[float, ...]:
        """Of first answers, ascending."""
        return self._confidences.ordered

    def expect(self, evaluated: Iterable[float]) -> None:
        """From now on another variant gives the first answers: those of the one before say nothing about it."""
        self._confidences = Confidences(evaluated)

    def keep(self, job: Job) -> None:
        """A first answer is in hand."""
        if job.question.cascades:
            self._confidences.add(job.confidence)
        bisect.insort(self._insured, job, key=urgency)

    def start(self, now_s: float, start: Start) -> None:
        """An upgrade begins."""
        self._runs[start.lane] = _Run(start, now_s)
        self._shared.begin(now_s, start.lane)

    def end(self, now_s: float, lane: int) -> tuple[Job, Variant] | None:
        """A run has ended: what it was for, or None when nobody wanted it any more."""
        self._shared.end(now_s, lane)
        run = self._runs.pop(lane)
        self._busy_s += now_s - run.started_s
        return (run.start.job, run.start.decision.variant) if run.wanted else None

    def better(self, job: Job, variant: Variant) -> None:
        """The answer in hand is replaced."""
        self._insured[self._insured.index(job)] = replace(job, in_hand=variant, upgraded=True)

    def release(self, job_id: int) -> list[Terminate] | None:
        """A job's answer is not kept any longer: the run to terminate, if there is one; None for an unknown job."""
        job = next((job for job in self._insured if job.id == job_id), None)
        if job is None:
            return None
        self._insured.remove(job)
        ended = [(lane, run) for lane, run in self._runs.items() if run.wanted and run.start.job.id == job_id]
        for lane, run in ended:
            self._runs[lane] = replace(run, wanted=False)
        return [Terminate(lane, job) for lane, _ in ended]

    def _upgrade(self, now_s: float, lane: int, start: Start) -> Upgrade:
        left_s = start.decision.expected_s - self._shared.got_s(now_s, lane)
        return Upgrade(lane, start.job, start.decision.variant, max(left_s, 0.0))
