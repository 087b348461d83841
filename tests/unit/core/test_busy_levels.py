"""What a run is expected to cost depends on how many lanes are at work when it begins."""

import pytest

from service.core.actions import Action, Start
from service.core.latency import Calibration, DecodeCost, LatencyModel, Observation
from service.core.scheduler import Scheduler
from tests.builders import FAMILY, job, policy, question

RATIOS = (1.0,) * 190 + (1.1,) * 10
"""A tail of 1.1."""


def levels() -> Scheduler:
    """Two lanes; b0 takes 16 ms when both work and 10 ms alone."""
    costs = Calibration({"b0": 0.016}, {"JPEG": DecodeCost(0.0, 0.0)}, RATIOS, alone_s={"b0": 0.010}, lanes=2)
    return Scheduler(policy=policy(FAMILY[:1]), latency=LatencyModel(costs), lanes=2)


def expected_s(actions: list[Action]) -> list[float]:
    """Of what is started."""
    return [action.decision.expected_s for action in actions if isinstance(action, Start)]


def test_a_run_is_predicted_by_how_many_lanes_will_be_at_work() -> None:
    """The first has the machine for itself, the second does not, nor does a third that waits for the first's lane."""
    subject = levels()
    assert expected_s(subject.submit(0.0, job(1, 1.0))) == pytest.approx([0.010], rel=0.02)
    assert expected_s(subject.submit(0.001, job(2, 1.0))) == pytest.approx([0.016], rel=0.02)
    assert subject.submit(0.002, job(3, 1.0)) == []
    assert expected_s(subject.finish(0.010, 0, Observation("b0", "JPEG", 0.0, 0.0, 0.010))) == pytest.approx(
        [0.016], rel=0.02
    )


def test_a_hand_over_takes_as_long_however_many_lanes_are_at_work() -> None:
    """It is the event loop's."""
    latency = levels().latency
    latency.observe_dispatch(0.002)
    assert latency.at(1).dispatch_s() == latency.at(2).dispatch_s() == pytest.approx(0.002)


def test_a_request_that_is_asked_about_counts_as_one_more() -> None:
    """Alone on an idle machine; the second where one runs."""
    subject = levels()
    assert subject.plan(0.0, question(1.0), 0.0).decision.expected_s == pytest.approx(0.010, rel=0.02)
    subject.submit(0.0, job(1, 1.0))
    assert subject.plan(0.0, question(1.0), 0.0).decision.expected_s == pytest.approx(0.016, rel=0.02)


def test_a_run_teaches_at_the_level_it_began_at() -> None:
    """A lone run that takes its 10 ms makes the machine no quicker."""
    subject = levels()
    for number in range(20):
        subject.submit(1.0 * number, job(number, 1.0))
        subject.finish(1.0 * number + 0.010, 0, Observation("b0", "JPEG", 0.0, 0.0, 0.010))
    assert subject.latency.statistics().slowdown == pytest.approx(1.0, rel=0.02)


def test_a_run_beyond_the_bound_it_was_started_with_is_a_miss() -> None:
    """12 ms would do beside another; alone, 11 was the bound."""
    subject = levels()
    subject.submit(0.0, job(1, 1.0))
    subject.finish(0.012, 0, Observation("b0", "JPEG", 0.0, 0.0, 0.012))
    assert subject.latency.statistics().coverage == {"b0": 0.0}
