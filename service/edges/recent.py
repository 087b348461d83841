"""What became of the requests of the last minute, on all protocols. Told by events.

Mistakes of clients and requests that were cancelled say nothing about budgets, so they do not count.
"""

from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass

from service.core.errors import ErrorKind
from service.core.events import Event, RequestAnswered, RequestFailed

OVER_S = 60
REFUSED = frozenset({ErrorKind.QUEUE_FULL, ErrorKind.INFEASIBLE_BUDGET, ErrorKind.DRAINING})


@dataclass(frozen=True, slots=True)
class Outcomes:
    """Counts over the last minute."""

    met: int
    missed: int
    """Answered after the deadline."""
    refused: int
    """Told that there is no answer in time, or no room."""
    failed: int
    """Faults of the service."""
    answers: dict[str, int]
    """By variant."""


class Recent:
    """One count a second, the last sixty of them. An `Observer`; belongs to the event loop."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._seconds: deque[tuple[int, Counter[str], Counter[str]]] = deque()

    def observe(self, event: Event) -> None:
        """See `Observer.observe`."""
        match event:
            case RequestAnswered(answer=answer):
                outcomes, answers = self._now()
                outcomes["met" if answer.budget_met else "missed"] += 1
                answers[answer.decision.variant.name] += 1
            case RequestFailed(kind=kind) if kind in REFUSED:
                self._now()[0]["refused"] += 1
            case RequestFailed(kind=ErrorKind.INTERNAL):
                self._now()[0]["failed"] += 1

    def outcomes(self) -> Outcomes:
        """The last sixty seconds, the one that runs among them."""
        self._forget(int(self._clock()))
        outcomes, answers = Counter[str](), Counter[str]()
        for _, ended, answered in self._seconds:
            outcomes += ended
            answers += answered
        return Outcomes(outcomes["met"], outcomes["missed"], outcomes["refused"], outcomes["failed"], dict(answers))

    def _now(self) -> tuple[Counter[str], Counter[str]]:
        second = int(self._clock())
        if not self._seconds or self._seconds[-1][0] != second:
            self._seconds.append((second, Counter(), Counter()))
            self._forget(second)
        return self._seconds[-1][1:]

    def _forget(self, second: int) -> None:
        while self._seconds and self._seconds[0][0] <= second - OVER_S:
            self._seconds.popleft()
