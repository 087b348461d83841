"""What the scheduler tells its driver to do. The driver (asyncio shell or simulator) acts; the scheduler only says."""

from dataclasses import dataclass

from service.core.errors import EffserveError
from service.core.values import Decision, Job, Reason


@dataclass(frozen=True, slots=True)
class Start:
    """Run `job` on the idle `lane`, as decided."""

    lane: int
    job: Job
    decision: Decision


@dataclass(frozen=True, slots=True)
class Reject:
    """Answer `job` with this error; it leaves the queue."""

    job: Job
    error: EffserveError


@dataclass(frozen=True, slots=True)
class Terminate:
    """Stop what runs on `lane`: a more urgent request needs it, or nobody waits for the answer any more.

    The driver reports `Scheduler.terminated` when the run has stopped, `Scheduler.finish` when it ended by itself.
    """

    lane: int
    job: Job


@dataclass(frozen=True, slots=True)
class Deliver:
    """Answer `job` with what it has in hand: nothing better will come in time, or is needed."""

    job: Job
    reason: Reason | None = None
    """Why it is that answer, where that is not what was said when it was begun."""


Action = Start | Reject | Terminate | Deliver
