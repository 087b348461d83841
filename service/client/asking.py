"""One question and its attempts: what is sent, how long the caller waits, and whether to ask again.

Two times are kept apart. The *budget* is what the server may use, from the first byte of the request to its answer.
The *deadline* is how long the caller waits in all, with connecting, both ways, and further attempts. An attempt asks
for what is left of the deadline where that is less than the budget.
"""

import random
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from os import PathLike
from typing import Literal, TypedDict

from service.client.errors import ClientError, LocalKind
from service.client.retrying import Retries, RetryBudget
from service.core.values import Deadline

TRANSPORT_S = 5.0
"""What the way there and back may take beside the budget, when no deadline is given."""
RELOAD_S = 600.0
"""Deadline of a reload: a large variant takes seconds on a machine that does nothing else, and longer on one that does.
"""
UNKNOWN_BUDGET_S = 60.0
"""Deadline where neither it nor a budget is given: the server's own default budget is not known here."""

ImageFile = bytes | str | PathLike[str]
"""An encoded image, or the path of its file."""
Parameters = Mapping[str, float | int | str | bool]


class PlanOptions(TypedDict, total=False):
    """What can be asked of the router. None, like leaving it out, is the server's default."""

    budget_ms: float | None
    mode: Literal["best_effort", "strict"] | str | None
    policy: Literal["k1", "p2", "p3"] | str | None
    variant: str | None
    min_accuracy: float | None
    deadline_s: float | None
    """How long the caller waits in all; default: the budget and `TRANSPORT_S`."""


class ClassifyOptions(PlanOptions, total=False):
    """What can be asked about an image."""

    top_k: int | None
    explain: bool | None
    request_id: str | None


@dataclass(frozen=True, slots=True)
class Attempt:
    """What a transport needs to send a question once."""

    image: bytes
    parameters: Parameters
    """Those that were given, by name."""
    request_id: str
    left_s: float
    """How long the caller still waits."""


class Call:
    """A question from its first attempt to its end."""

    def __init__(
        self,
        image: bytes,
        options: ClassifyOptions | PlanOptions,
        *,
        clock: Callable[[], float],
        retries: Retries,
        budget: RetryBudget,
    ) -> None:
        given = {name: value for name, value in options.items() if value is not None}
        self._request_id = str(given.pop("request_id", uuid.uuid4().hex))
        deadline_s = given.pop("deadline_s", None)
        self._parameters: Parameters = given  # type: ignore[assignment]
        self._budget_ms = options.get("budget_ms")
        self._image = image
        self._clock = clock
        self._deadline = Deadline(clock(), _waits_s(self._budget_ms) if deadline_s is None else float(deadline_s))  # type: ignore[arg-type]
        self._retries = retries
        self._retry_budget = budget
        self._attempts = 0

    def attempt(self) -> Attempt:
        """The next one. Raises `ClientError(DEADLINE_OVER)` when there is no time for it."""
        left_s = self._left_s()
        if left_s <= 0:
            raise ClientError(LocalKind.DEADLINE_OVER, "no time was left to ask", request_id=self._request_id)
        self._attempts += 1
        parameters = dict(self._parameters)
        if self._budget_ms is not None:
            parameters["budget_ms"] = min(self._budget_ms, left_s * 1e3)
        return Attempt(self._image, parameters, self._request_id, left_s)

    def answered(self) -> None:
        """The attempt was good."""
        self._retry_budget.succeeded()

    def failed(self, error: ClientError) -> float:
        """Seconds to wait before the next attempt. Raises `error` when there is none."""
        error.request_id = error.request_id or self._request_id
        if error.retryable:
            self._retry_budget.failed()
        pause_s = self._retries.after(
            error,
            attempt=self._attempts,
            left_s=self._left_s(),
            chance=random.random(),
        )
        if pause_s is None or not self._retry_budget.allows:
            raise error
        return pause_s

    def _left_s(self) -> float:
        return self._deadline.remaining_s(self._clock())


def _waits_s(budget_ms: float | None) -> float:
    return UNKNOWN_BUDGET_S if budget_ms is None else budget_ms / 1e3 + TRANSPORT_S
