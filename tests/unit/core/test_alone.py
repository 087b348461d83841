"""What a budget would have bought if nobody else had been there."""

import pytest

from service.core.alone import best_alone
from service.core.catalogue import Catalogue
from service.core.errors import EffserveError
from service.core.upgrading import HAND_OVER_S
from service.core.values import PolicyName
from tests.builders import FAMILY, TIMES_S, FixedCosts, job, scheduler

TAIL = 1.2


def bought(budget_s: float, *, now_s: float = 0.0, upgrades: bool = True, **asked: object) -> str | None:
    """Its name, for a job whose first byte came at 0."""
    wanted = job(1, budget_s, **asked)  # type: ignore[arg-type]
    best = best_alone(now_s, wanted, Catalogue(FAMILY), FixedCosts(tail_factor=TAIL), upgrades=upgrades)
    return None if best is None else best.name


@pytest.mark.parametrize(("budget_s", "best"), [(0.018, None), (0.02, "b0"), (0.08, "b3"), (0.3, "b4")])
def test_it_is_the_most_accurate_that_fits(budget_s: float, best: str | None) -> None:
    """By its tail."""
    assert bought(budget_s) == best


def test_time_that_receiving_took_is_nobody_elses() -> None:
    """After 200 of 300 ms, b3 (76 ms) fits and b4 (173 ms) does not."""
    assert bought(0.3, now_s=0.2) == "b3"


@pytest.mark.parametrize(("budget_s", "best"), [(0.2, "b1"), (0.02, None)])
def test_a_request_that_names_a_variant_gets_it_or_nothing(budget_s: float, best: str | None) -> None:
    """However much more the budget would buy."""
    assert bought(budget_s, variant="b1") == best


def test_a_request_for_an_accuracy_gets_the_cheapest_that_has_it() -> None:
    """As on a busy machine."""
    assert bought(0.5, min_top1=0.8) == "b2"


@pytest.mark.parametrize("policy", [PolicyName.P2, PolicyName.P3])
def test_an_insured_request_has_less_time_for_its_upgrade(policy: PolicyName) -> None:
    """The cheapest runs first; what follows has to fit the rest and the hand-over."""
    needed_s = TIMES_S["b0"] + TAIL * TIMES_S["b4"] + HAND_OVER_S
    assert bought(needed_s + 1e-6, policy=policy) == "b4"
    assert bought(needed_s - 1e-6, policy=policy) == "b3"
    assert bought(0.03, policy=policy) == "b0"


def test_without_background_lanes_nothing_follows() -> None:
    """The cheapest variant's answer is the last."""
    assert bought(10.0, policy=PolicyName.P2, upgrades=False) == "b0"


def test_a_variant_that_is_not_served_is_an_error() -> None:
    """As everywhere."""
    with pytest.raises(EffserveError):
        bought(1.0, variant="b9")


@pytest.mark.parametrize(("background_lanes", "best"), [(0, "b0"), (1, "b4")])
def test_a_scheduler_says_it_whoever_waits(background_lanes: int, best: str) -> None:
    """Three insured requests on one lane: for each, nobody else counts."""
    subject = scheduler(background_lanes=background_lanes)
    jobs = [job(number, 1.0, policy=PolicyName.P2) for number in range(3)]
    for one in jobs:
        subject.submit(0.0, one)
    assert {alone.name for alone in (subject.alone(0.0, one) for one in jobs) if alone is not None} == {best}
