"""Thresholds on depth. With one lane and 200 ms: b4 0, b3 1, b2 4, b1 6, b0 11."""

import pytest

from service.core.actions import Start
from service.core.baselines.elastico import Elastico, threshold
from service.core.baselines.profile import Row
from service.core.catalogue import Catalogue
from service.core.policy import Policy
from tests.builders import FAMILY, FixedCosts, job, state

COSTS = FixedCosts()


def elastico(**parameters: float) -> Elastico:
    """Over the family."""
    return Elastico(Catalogue(FAMILY), **parameters)


def started(policy: Policy, now_s: float, waiting: int) -> str:
    """What the first of `waiting` patient jobs is started with."""
    jobs = [job(number, 5.0, at_s=now_s) for number in range(waiting)]
    action = policy.next_action(now_s, state(*jobs), COSTS)
    assert isinstance(action, Start)
    return action.decision.variant.name


@pytest.mark.parametrize(("lanes", "budget_s", "depth"), [(1, 0.2, 1), (2, 0.2, 3), (1, 0.07, -1)])
def test_a_threshold_is_how_many_may_be_ahead(lanes: int, budget_s: float, depth: int) -> None:
    """⌊lanes · (budget − 75.6 ms) ÷ 63 ms⌋ for b3."""
    assert threshold(Row("b3", 0.816, 0.063, 0.0756), lanes, budget_s) == depth


@pytest.mark.parametrize(("waiting", "name"), [(1, "b4"), (2, "b3"), (3, "b2"), (5, "b2"), (6, "b1"), (12, "b0")])
def test_depth_decides_at_once(waiting: int, name: str) -> None:
    """The most accurate whose threshold the queue behind the first does not exceed."""
    assert started(elastico(), 0.0, waiting) == name


def test_a_queue_too_deep_for_all_gets_the_cheapest() -> None:
    """Thirty wait."""
    assert started(elastico(), 0.0, 30) == "b0"


def test_up_goes_step_by_step_with_a_hold_between() -> None:
    """Down to b2 at once; then shallow: b2 for half a second, b3 for another, b4."""
    policy = elastico()
    assert started(policy, 0.0, 5) == "b2"
    seen = [started(policy, at_s, 1) for at_s in (0.1, 0.49, 0.5, 0.99, 1.0)]
    assert seen == ["b2", "b2", "b3", "b3", "b4"]


def test_a_queue_that_is_too_deep_for_the_next_starts_the_hold_anew() -> None:
    """Two behind the first are too many for b3, at 0.4 s."""
    policy = elastico()
    started(policy, 0.0, 5)
    started(policy, 0.4, 3)
    assert [started(policy, at_s, 1) for at_s in (0.8, 0.9)] == ["b2", "b3"]


def test_a_variant_that_alone_is_too_slow_is_never_taken() -> None:
    """With 150 ms in mind, b3 (75.6) at most."""
    policy = elastico(budget_s=0.15)
    assert [started(policy, float(at_s), 1) for at_s in range(5)] == ["b3"] * 5


def test_an_idle_machine_changes_nothing() -> None:
    """Nobody waits, nothing is looked at."""
    policy = elastico()
    started(policy, 0.0, 5)
    assert policy.next_action(9.0, state(), COSTS) is None
    assert policy.level.index == 2
