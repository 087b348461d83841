"""What the scheduler tells its driver to do. The driver (asyncio shell or simulator) acts; the scheduler only says."""

from dataclasses import dataclass

from service.core.errors import EffserveError
from service.core.values import Decision, Job


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


Action = Start | Reject
"""Terminating a running upgrade (policy K1) will be a third kind."""
