"""Where a request stands in a trace that other services are part of, and what happened to it on the way.

Plain values: an edge sets them, the path carries them, and what is told of the request has them. Spans are made of them
elsewhere, by whoever subscribes to events. https://www.w3.org/TR/trace-context/
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum

from service.core.values import Decision


@dataclass(frozen=True, slots=True)
class Trace:
    """One request's place in a trace. Ids are lower-case hexadecimal digits, as they stand in headers."""

    trace_id: str
    """32 digits; the caller's where it sent one."""
    span_id: str
    """16 digits; that of the request here."""
    parent_id: str | None
    """The caller's span; None when the trace begins here."""
    sampled: bool
    """Whether spans are recorded."""
    state: str = ""
    """What other tracing systems pass along (`tracestate`)."""

    @property
    def header(self) -> str:
        """As `traceparent` is written: what the caller is told of the request's span."""
        return f"00-{self.trace_id}-{self.span_id}-{int(self.sampled):02x}"

    def part(self, number: int) -> "Trace":
        """Of the image with this number, from 0, of a request that has several: a span of its own beside the others.

        Span ids have to differ within their trace alone, so counting on from a random one will do.
        """
        return replace(self, span_id=f"{(int(self.span_id, 16) + number) % 2**64 or 1:016x}")


Tracer = Callable[[str | None, str | None], Trace | None]
"""What a caller sent as `traceparent` and `tracestate` → where its request stands; None when nothing is traced."""


def untraced(_: str | None, __: str | None) -> None:
    """The `Tracer` of a service that traces nothing."""


class Ending(StrEnum):
    """How a run ended."""

    ANSWERED = "answered"
    """It had a result; whether it became the answer depends on what followed."""
    TERMINATED = "terminated"
    """It made room for a more urgent request."""
    FAILED = "failed"
    GIVEN_UP = "given_up"
    """It still went on when its request was over: an upgrade in vain, or a client that left."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """One run for a request. Times are on the clock of the process."""

    decision: Decision
    upgrade: bool
    """Whether an answer was in hand already, so that it ran on a background lane."""
    ending: Ending
    started_s: float
    ended_s: float
    decode_s: float = 0.0
    """Of the time in between; 0 unless it answered."""


@dataclass(frozen=True, slots=True)
class Journey:
    """What a trace shows of a request beside its outcome."""

    trace: Trace
    started_s: float
    """First byte, on the clock of the process."""
    attempts: tuple[Attempt, ...] = ()
    """Every run for it, in the order in which they ended."""

    @property
    def sampled_id(self) -> str | None:
        """The trace's id, if spans lie under it."""
        return self.trace.trace_id if self.trace.sampled else None
