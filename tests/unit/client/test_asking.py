"""One question and its attempts: the two times of a request, on a clock of the test's own."""

from dataclasses import dataclass
from typing import Any

import pytest

from service.client import NEVER, ClientError, LocalKind, Retries
from service.client.asking import TRANSPORT_S, UNKNOWN_BUDGET_S, Call, ClassifyOptions
from service.client.retrying import RetryBudget


@dataclass
class Clock:
    """Stands still until it is moved."""

    now_s: float = 100.0

    def __call__(self) -> float:
        """Seconds."""
        return self.now_s


def call(clock: Clock, retries: Retries | None = None, budget: RetryBudget | None = None, **options: object) -> Call:
    """A question."""
    asked: ClassifyOptions = options  # type: ignore[assignment]
    return Call(b"image", asked, clock=clock, retries=retries or Retries(), budget=budget or RetryBudget(10))


@pytest.mark.parametrize(
    ("options", "left_s", "budget_ms"),
    [
        ({"budget_ms": 50.0}, 0.05 + TRANSPORT_S, 50),
        ({"budget_ms": 50.0, "deadline_s": 1.0}, 1, 50),
        ({"budget_ms": 5000.0, "deadline_s": 1.0}, 1, 1000),
        ({"deadline_s": 1.0}, 1, None),
        ({}, UNKNOWN_BUDGET_S, None),
    ],
)
def test_the_deadline_follows_from_the_budget(options: dict[str, Any], left_s: float, budget_ms: float | None) -> None:
    """Unless it is named; the server is never asked for more than is left of it."""
    attempt = call(Clock(), **options).attempt()
    assert attempt.left_s == pytest.approx(left_s)
    assert attempt.parameters.get("budget_ms") == (None if budget_ms is None else pytest.approx(budget_ms))


def test_a_later_attempt_has_what_is_left() -> None:
    """Of the deadline, and of the budget where that is more."""
    clock = Clock()
    asking = call(clock, budget_ms=900.0, deadline_s=1.0)
    asking.attempt()
    clock.now_s += 0.4
    attempt = asking.attempt()
    assert attempt.left_s == pytest.approx(0.6)
    assert attempt.parameters["budget_ms"] == pytest.approx(600)


def test_there_is_no_attempt_without_time() -> None:
    """It would only come too late."""
    clock = Clock()
    asking = call(clock, deadline_s=1.0)
    clock.now_s += 1.0
    with pytest.raises(ClientError) as caught:
        asking.attempt()
    assert caught.value.kind == LocalKind.DEADLINE_OVER


def test_all_attempts_have_one_id() -> None:
    """The caller's, or one of their own; a failure without an answer tells it."""
    asking = call(Clock(), retries=NEVER)
    assert asking.attempt().request_id == asking.attempt().request_id != call(Clock()).attempt().request_id
    assert call(Clock(), request_id="mine").attempt().request_id == "mine"
    lost = ClientError(LocalKind.NO_ANSWER, "")
    with pytest.raises(ClientError):
        asking.failed(lost)
    assert lost.request_id == asking.attempt().request_id


def test_only_what_was_given_is_sent() -> None:
    """None is the server's default, and times and ids are no parameters."""
    attempt = call(Clock(), variant=None, top_k=3, explain=False, deadline_s=1.0, request_id="mine").attempt()
    assert attempt.parameters == {"top_k": 3, "explain": False}


def test_calls_share_the_budget_of_retries() -> None:
    """Many clients of a server that is down ask about once each, not three times."""
    budget, clock = RetryBudget(10), Clock()
    attempts = 0
    for _ in range(100):
        asking = call(clock, budget=budget)
        try:
            while True:
                asking.attempt()
                attempts += 1
                asking.failed(ClientError(LocalKind.NO_ANSWER, ""))
        except ClientError:
            continue
    assert 100 < attempts < 110


def test_successes_pay_for_retries() -> None:
    """A tenth of a retry each."""
    budget = RetryBudget(1)
    budget.failed()
    for _ in range(6):
        call(Clock(), budget=budget).answered()
    assert budget.allows
