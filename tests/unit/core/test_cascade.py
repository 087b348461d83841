"""Policy P3: which answers in hand are upgraded, and which are sure enough."""

import math
import random
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.core.actions import Deliver, Start
from service.core.confidence import ENOUGH, WINDOW, Confidences, threshold
from service.core.latency import Observation
from service.core.scheduler import Scheduler
from service.core.simulator import Arrival, simulate
from service.core.state import SystemState
from service.core.values import Decision, Job, PolicyName, Reason
from tests.builders import TIMES_S, FixedCosts, job, latency, policy, scheduler, state, variant

COSTS = FixedCosts()
TWENTIETHS = tuple(number / 20 for number in range(1, 21))
EVALUATED = (0.4, 0.6)


def cascade(number: int = 1, budget_s: float = 1.0, at_s: float = 0.0) -> Job:
    """A job that wants one."""
    return job(number, budget_s, at_s=at_s, policy=PolicyName.P3)


def holding(confidence: float, budget_s: float = 1.0, name: str = "b0") -> Job:
    """Its first answer is in hand."""
    return replace(cascade(budget_s=budget_s), in_hand=variant(name), confidence=confidence)


def kept(held: Job, rate: float, confidences: tuple[float, ...] = TWENTIETHS) -> SystemState:
    """One lane with one lane behind it."""
    busy = replace(state(), calm_arrivals_per_s=rate, insured=(held,), background_lanes=1, idle_background=(1,))
    return replace(busy, confidences=confidences)


# The threshold.


@given(st.lists(st.floats(0, 1), min_size=ENOUGH, max_size=50, unique=True), st.floats(0, 2))
def test_no_larger_share_lies_below_the_threshold_than_is_wanted(found: list[float], share: float) -> None:
    """And with one more it would be larger."""
    below = sum(one <= threshold(sorted(found), share) for one in found)
    assert below <= share * len(found)
    assert below == len(found) or below + 1 > share * len(found)


def test_all_are_upgraded_while_little_is_known() -> None:
    """There are too few to be compared with."""
    assert threshold((), 0.1) == threshold(TWENTIETHS[1:], 0.1) == math.inf


def test_requests_take_the_place_of_what_an_evaluation_found() -> None:
    """After so many of them nothing of it is left."""
    known = Confidences(EVALUATED)
    assert known.ordered == EVALUATED
    for _ in range(WINDOW):
        known.add(0.9)
    assert known.ordered == (0.9,) * WINDOW


# Who is upgraded.


@pytest.mark.parametrize(("confidence", "upgraded"), [(0.1, True), (0.55, True), (0.6, False), (1.0, False)])
def test_the_least_confident_are_upgraded_as_far_as_time_goes(confidence: float, upgraded: bool) -> None:
    """Ten arrivals a second leave 0.81 of the lane, and b4 for all of them would take 1.44: there is time for half."""
    action = policy().next_upgrade(0.0, kept(holding(confidence), rate=10.0), COSTS)
    if upgraded:
        assert isinstance(action, Start)
        assert (action.decision.variant.name, action.decision.reason) == ("b4", Reason.CASCADES)
    else:
        assert action == Deliver(holding(confidence), Reason.CONFIDENT)


def test_under_little_load_all_are_upgraded() -> None:
    """At 5 a second there is time for each; so there is when nobody came for long."""
    assert isinstance(policy().next_upgrade(0.0, kept(holding(0.99), rate=5.0), COSTS), Start)
    assert isinstance(policy().next_upgrade(0.0, kept(holding(0.99), rate=0.0), COSTS), Start)


def test_under_full_load_none_is() -> None:
    """Arrivals leave nothing."""
    action = policy().next_upgrade(0.0, kept(holding(0.01), rate=60.0), COSTS)
    assert action == Deliver(holding(0.01), Reason.CONFIDENT)


def test_others_do_not_care_how_sure_an_answer_is() -> None:
    """P2 upgrades whatever it can."""
    insured = holding(0.99)
    insured = replace(insured, question=replace(insured.question, policy=PolicyName.P2))
    assert isinstance(policy().next_upgrade(0.0, kept(insured, rate=10.0), COSTS), Start)


# From the first run to the delivery.


def ran(name: str, confidence: float = 0.5) -> Observation:
    """As expected."""
    return Observation(name, "JPEG", 0.0, 0.0, TIMES_S[name], confidence)


def test_an_answer_is_upgraded_once() -> None:
    """Of 80 ms b2 is what fits; then there would be time for more."""
    subject = scheduler(background_lanes=1)
    subject.submit(0.0, cascade(budget_s=0.08))
    (upgrade,) = subject.finish(0.016, 0, ran("b0"))
    assert isinstance(upgrade, Start)
    assert upgrade.decision.variant.name == "b2"
    (delivery,) = subject.finish(0.017, 1, ran("b2"))
    assert isinstance(delivery, Deliver)
    assert (delivery.job.in_hand, delivery.reason) == (variant("b2"), None)


def test_confidences_of_first_answers_are_what_others_are_judged_by() -> None:
    """Beside those of the evaluation; not those of upgrades, nor of others than cascades."""
    model = latency()
    subject = Scheduler(policy=policy(), latency=model, lanes=1, background_lanes=1, confidences=EVALUATED)
    others = job(2, 1.0, at_s=1.0), job(3, 1.0, at_s=2.0, policy=PolicyName.P2)
    for number, asked in enumerate((cascade(1), *others)):
        (start,) = subject.submit(float(number), asked)
        assert isinstance(start, Start)
        for action in subject.finish(number + 0.2, 0, ran(start.decision.variant.name, 0.3)):
            assert isinstance(action, Start)
            subject.finish(number + 0.4, 1, ran("b4", 0.7))
    assert subject.state(9.0).confidences == (0.3, *EVALUATED)


def test_in_a_simulation_the_least_confident_get_the_better_answers() -> None:
    """Half of them at about 10 a second, more or less as arrivals come."""
    draw, at_s, arrivals, sure = random.Random(3), 0.0, [], []
    for number in range(400):
        at_s += draw.expovariate(10.0)
        arrivals.append(Arrival(at_s, cascade(number, 1.0, at_s)))
        sure.append(draw.random())

    def took(_: Job, decision: Decision) -> tuple[float, float]:
        return 0.0, TIMES_S[decision.variant.name]

    subject = scheduler(background_lanes=1)
    outcomes = simulate(subject, arrivals, took, lambda _: 0.0, lambda one, _: sure[one.id])
    better = [sure[o.job.id] for o in outcomes if o.decision and o.decision.variant.name != "b0"]
    others = [sure[o.job.id] for o in outcomes if o.decision and o.decision.variant.name == "b0"]
    assert 0.3 < len(better) / len(outcomes) < 0.7
    assert sum(better) / len(better) < 0.4 < 0.6 < sum(others) / len(others)
