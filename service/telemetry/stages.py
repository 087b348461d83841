"""The stages of a request as intervals: what spans are made of, without a word of any tracing library.

Receive, queue, decode, infer, hold and respond follow one another without a gap and add up to the whole. A run whose
result came to nothing (terminated, failed, given up) lies over the stage in which it happened: it cost its request no
time that the stage does not show, but a lane did work for it.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from service.core.events import RequestAnswered
from service.core.trace import Attempt, Ending, Journey


@dataclass(frozen=True, slots=True)
class Stage:
    """One interval, on the clock of the process."""

    name: str
    start_s: float
    end_s: float
    attempt: Attempt | None = None
    """The run that it is, or is part of."""


def of_answer(event: RequestAnswered, journey: Journey) -> Iterator[Stage]:
    """All of them, those that add up in their order."""
    timing, at_s = event.answer.timing, journey.started_s
    yield Stage("receive", at_s, at_s := at_s + timing.receive_s)
    waits = "queue"
    for run in _with_result(journey):
        yield Stage(waits, at_s, run.started_s)
        yield from _parts(run)
        waits, at_s = "hold", run.ended_s
    if timing.hold_s > 0:
        yield Stage("hold", at_s, at_s := at_s + timing.hold_s)
    yield Stage("respond", at_s, journey.started_s + timing.total_s)
    yield from _in_vain(journey)


def of_failure(journey: Journey) -> Iterator[Stage]:
    """What was run before it failed; how long it waited is not known apart."""
    for run in _with_result(journey):
        yield from _parts(run)
    yield from _in_vain(journey)


def _with_result(journey: Journey) -> Iterator[Attempt]:
    return (attempt for attempt in journey.attempts if attempt.ending is Ending.ANSWERED)


def _in_vain(journey: Journey) -> Iterator[Stage]:
    for run in journey.attempts:
        if run.ending is not Ending.ANSWERED:
            yield Stage("run", run.started_s, run.ended_s, run)


def _parts(run: Attempt) -> Iterator[Stage]:
    decoded_s = run.started_s + run.decode_s
    yield Stage("decode", run.started_s, decoded_s, run)
    yield Stage("infer", decoded_s, run.ended_s, run)
