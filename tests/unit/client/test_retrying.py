"""When a question is asked again: the rule, its pauses, and the budget that all calls share."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.client import NEVER, ClientError, ErrorKind, LocalKind, Retries
from service.client.errors import RETRYABLE
from service.client.retrying import LATER, RetryBudget

KINDS = st.sampled_from([*ErrorKind, *LocalKind, "of-a-newer-server"])
CHANCE = st.floats(0, 1, exclude_max=True)
LOST = ClientError(LocalKind.NO_ANSWER, "")


@given(
    kind=KINDS, attempt=st.integers(1, 9), left_s=st.floats(-1, 100), chance=CHANCE, named_s=st.none() | st.floats(0, 9)
)
def test_a_pause_is_for_failures_of_the_moment_and_ends_before_the_deadline(
    kind: str, attempt: int, left_s: float, chance: float, named_s: float | None
) -> None:
    """At most so many attempts; never earlier than the server said, and not much later."""
    rule = Retries()
    pause_s = rule.after(ClientError(kind, "", retry_after_s=named_s), attempt=attempt, left_s=left_s, chance=chance)
    if kind not in RETRYABLE or attempt >= rule.attempts or left_s <= 0:
        assert pause_s is None
    if pause_s is not None:
        assert 0 <= pause_s < left_s
        least_s, most_s = (named_s, named_s * (1 + LATER)) if named_s is not None else (0.0, rule.longest_pause_s)
        assert least_s <= pause_s <= most_s


def test_pauses_grow_to_their_limit() -> None:
    """Twice as long each time, at the same chance."""
    rule = Retries(attempts=9, pause_s=0.1, longest_pause_s=0.5)
    pauses = [rule.after(LOST, attempt=attempt, left_s=9, chance=0.5) for attempt in range(1, 6)]
    assert pauses == [0.05, 0.1, 0.2, 0.25, 0.25]


def test_never_is_never() -> None:
    """One attempt is none after the first."""
    assert NEVER.after(LOST, attempt=1, left_s=9, chance=0) is None


@pytest.mark.parametrize("kind", ["queue-full", "draining", "no-answer"])
def test_failures_of_the_moment(kind: str) -> None:
    """They may be gone the next time."""
    assert ClientError(kind, "").retryable


def test_the_budget_ends_retries_of_a_server_that_is_down() -> None:
    """After half of its tokens; successes bring them back, ten for one."""
    budget = RetryBudget(10)
    allowed = 0
    while budget.allows:
        budget.failed()
        allowed += 1
    assert allowed == 5
    for _ in range(9):
        budget.succeeded()
    assert repr(budget) == "<RetryBudget 5.9 of 10>"
    assert budget.allows


@given(st.lists(st.booleans(), max_size=60))
def test_the_budget_stays_within_its_limits(outcomes: list[bool]) -> None:
    """Whatever happens."""
    budget = RetryBudget(10)
    for good in outcomes:
        (budget.succeeded if good else budget.failed)()
    tokens = float(repr(budget).split()[1])
    assert 0 <= tokens <= 10
    assert budget.allows is (tokens > 5)
