"""The one exception of the clients: a failure that the server named, or one that kept its answer away."""

from dataclasses import dataclass, field
from enum import StrEnum

from service.core.errors import ErrorKind


class LocalKind(StrEnum):
    """What can go wrong without the server's saying so."""

    NO_ANSWER = "no-answer"
    """There is no connection, or it ended before the answer."""
    DEADLINE_OVER = "deadline-over"
    """The caller's time was up."""
    NOT_EFFSERVE = "not-effserve"
    """What came is no answer of effserve: the address is somebody else's, or versions do not fit."""


RETRYABLE = frozenset({LocalKind.NO_ANSWER, ErrorKind.QUEUE_FULL, ErrorKind.DRAINING, ErrorKind.NOT_RESIDENT})
"""Failures of the moment. All questions can be repeated, those too whose connection broke with an unknown outcome:
answering one changes nothing in the server but its counters."""


@dataclass(eq=False)
class ClientError(Exception):
    """A question without an answer."""

    kind: str
    """A value of `ErrorKind`, of `LocalKind`, or a name that a newer server has."""
    detail: str
    """One sentence."""
    facts: dict[str, float | int | str] = field(default_factory=dict)
    """Figures to act on, for example `smallest_feasible_budget_ms`."""
    retry_after_s: float | None = None
    """Set where trying again later makes sense; the client has done so as long as it was allowed to."""
    request_id: str = ""
    """Under which the server's log has it."""

    def __str__(self) -> str:
        return f"{self.kind}: {self.detail}"

    @property
    def retryable(self) -> bool:
        """Whether it may be otherwise the next time."""
        return self.kind in RETRYABLE
