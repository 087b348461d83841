"""Another policy over other variants, while jobs wait and run: what becomes of them."""

from dataclasses import replace

import pytest

from service.core.actions import Deliver, Reject, Start, Terminate
from service.core.errors import ErrorKind
from service.core.latency import Calibration, DecodeCost, LatencyModel, Observation, VariantCost
from service.core.values import Mode, PolicyName
from tests.builders import FAMILY, TIMES_S, job, policy, scheduler, variant

SMALL = FAMILY[:2]
"""b0 and b1."""
B4 = variant("b4")


def ran(name: str, seconds: float | None = None, confidence: float = 0.0) -> Observation:
    """A run of as long as is expected, unless told otherwise."""
    return Observation(name, "JPEG", 0.0, 0.0, TIMES_S[name] if seconds is None else seconds, confidence)


def test_a_new_variant_is_chosen_from_then_on() -> None:
    """By the next decision."""
    subject = scheduler(variants=SMALL)
    subject.adopt(0.0, policy(FAMILY))
    (start,) = subject.submit(0.0, job(1, 1.0))
    assert isinstance(start, Start)
    assert start.decision.variant == B4


def test_who_waits_for_a_budget_gets_what_is_left() -> None:
    """Nothing is lost, and nothing that has gone is started."""
    subject = scheduler()
    subject.submit(0.0, job(1, 1.0))
    subject.submit(0.0, job(2, 1.0))
    assert subject.adopt(0.0, policy(SMALL)) == []
    (start,) = subject.finish(0.144, 0, ran("b4"))
    assert isinstance(start, Start)
    assert (start.job.id, start.decision.variant) == (2, SMALL[1])


def test_who_named_what_is_gone_is_answered_by_it() -> None:
    """By the very version that was served when the request came."""
    subject = scheduler()
    subject.submit(0.0, job(1, 1.0, variant="b0"))
    subject.submit(0.0, replace(job(2, 1.0, variant="b4"), named=B4))
    subject.adopt(0.0, policy((SMALL[0], replace(B4, version=2))))
    (start,) = subject.finish(0.016, 0, ran("b0"))
    assert isinstance(start, Start)
    assert start.decision.variant == B4


def test_a_strict_request_is_not_judged_by_the_cost_of_another_version() -> None:
    """144 ms for the one it named, of 400 it has; the one in its place takes a second."""
    subject = scheduler()
    subject.submit(0.0, job(1, 1.0, variant="b0"))
    subject.submit(0.0, replace(job(2, 0.4, variant="b4", mode=Mode.STRICT), named=B4))
    subject.latency.learn("b4", VariantCost(1.0))
    assert subject.adopt(0.0, policy((SMALL[0], replace(B4, version=2)))) == []
    (start,) = subject.finish(0.016, 0, ran("b0"))
    assert isinstance(start, Start)
    assert start.job.id == 2


def test_it_is_refused_once_its_deadline_has_passed() -> None:
    """Whatever it would cost."""
    subject = scheduler()
    subject.submit(0.0, job(1, 1.0, variant="b0"))
    subject.submit(0.0, replace(job(2, 0.4, variant="b4", mode=Mode.STRICT), named=B4))
    subject.adopt(0.0, policy((SMALL[0], replace(B4, version=2))))
    (rejected,) = subject.finish(0.5, 0, ran("b0", 0.5))
    assert isinstance(rejected, Reject)
    assert (rejected.job.id, rejected.error.kind) == (2, ErrorKind.INFEASIBLE_BUDGET)


def test_who_waits_for_an_accuracy_that_is_gone_is_refused() -> None:
    """At once, with its name; the books stay in balance."""
    subject = scheduler()
    subject.submit(0.0, job(1, 1.0))
    subject.submit(0.0, job(2, 1.0, min_top1=0.82))
    (rejected,) = subject.adopt(0.1, policy(SMALL))
    assert isinstance(rejected, Reject)
    assert (rejected.job.id, rejected.error.kind) == (2, ErrorKind.ACCURACY_UNAVAILABLE)
    now = subject.statistics(0.1)
    assert now.submitted == now.finished + now.rejected + now.cancelled + now.waiting + now.running


def test_who_had_to_make_room_meanwhile_is_refused_too() -> None:
    """Its run was asked to stop, then the accuracy went, then the run stopped."""
    subject = scheduler(stop_s=0.001)
    subject.submit(0.0, job(1, 10.0, min_top1=0.8))
    subject.latency.learn("b2", VariantCost(1.0))
    (stop,) = subject.submit(0.001, job(2, 0.03))
    assert isinstance(stop, Terminate)
    assert subject.adopt(0.0015, policy(SMALL)) == []
    rejected, start = subject.terminated(0.002, 0)
    assert isinstance(rejected, Reject)
    assert isinstance(start, Start)
    assert (rejected.job.id, start.job.id) == (1, 2)


def test_a_run_of_what_is_gone_goes_on() -> None:
    """It is not stopped for somebody more urgent: there is no telling what it is an upgrade of."""
    subject = scheduler(stop_s=0.001)
    subject.submit(0.0, job(1, 10.0))
    subject.adopt(0.0, policy(SMALL))
    assert subject.submit(0.001, job(2, 0.03)) == []
    assert [type(action) for action in subject.finish(0.144, 0, ran("b4"))] == [Start]


def test_a_run_with_an_accuracy_that_is_gone_goes_on() -> None:
    """Nor can be told what the cheapest would be for it; others are judged as ever."""
    subject = scheduler(stop_s=0.001)
    subject.submit(0.0, job(1, 10.0, min_top1=0.82))
    subject.adopt(0.0, policy(SMALL))
    assert subject.submit(0.001, job(2, 0.2)) == []
    (rejected,) = subject.submit(0.002, job(3, 0.03, mode=Mode.STRICT))
    assert isinstance(rejected, Reject)
    assert rejected.error.kind == ErrorKind.INFEASIBLE_BUDGET
    assert [type(action) for action in subject.finish(0.144, 0, ran("b4"))] == [Start]


def test_a_run_of_what_is_gone_teaches_nothing() -> None:
    """Another version of the same name may take longer or shorter."""
    subject = scheduler()
    subject.submit(0.0, job(1, 10.0))
    subject.adopt(0.0, policy((*SMALL, replace(B4, version=2))))
    subject.finish(1.44, 0, ran("b4", 1.44))
    assert subject.latency.statistics().coverage == {}


def test_nobody_knows_what_an_accuracy_that_is_gone_would_have_bought() -> None:
    """The answer was on its way when it went."""
    subject = scheduler(variants=SMALL)
    assert subject.alone(0.0, job(1, 1.0, min_top1=0.82)) is None


def test_other_first_answers_are_judged_by_their_own_confidences() -> None:
    """Those of the variant before say nothing about the cheapest of now."""
    subject = scheduler(background_lanes=1, confidences=(0.1,) * 50)
    subject.adopt(0.0, policy(FAMILY), (0.9,) * 50)
    assert subject.state(0.0).confidences == (0.9,) * 50
    subject.adopt(0.0, policy(FAMILY))
    assert subject.state(0.0).confidences == (0.9,) * 50


def test_an_answer_in_hand_goes_out_when_nothing_better_is_left() -> None:
    """What might have followed is gone."""
    subject = scheduler(background_lanes=1)
    subject.submit(0.0, job(1, 10.0, policy=PolicyName.P2))
    subject.finish(0.016, 0, ran("b0"))
    actions = subject.adopt(0.02, policy(FAMILY[:1]))
    assert [type(action) for action in actions] == []
    assert [type(action) for action in subject.finish(0.2, 1, ran("b4"))] == [Deliver]


def model(alone: bool = False) -> LatencyModel:
    """Of b0 and b4 on two lanes, at which a lone run takes half as long, if that is measured."""
    alone_s = {"b0": 0.008, "b4": 0.072} if alone else {}
    calibration = Calibration(
        {"b0": 0.016, "b4": 0.144}, {"JPEG": DecodeCost(0.0, 0.0)}, (1.0,) * 200, 0.004, alone_s, lanes=2
    )
    return LatencyModel(calibration)


def test_a_model_learns_a_variant() -> None:
    """Its tail is that of the others."""
    subject = model()
    subject.learn("b1", VariantCost(0.026))
    assert subject.expected_s("b1", 0.0) == pytest.approx(0.026)
    assert subject.calibrated("b1") == VariantCost(0.026, None, 0.004)
    subject.observe(ran("b1"))
    assert subject.statistics().coverage == {"b1": 1.0}


def test_what_a_model_has_learnt_stays_when_it_forgets() -> None:
    """It is calibration's, not the moment's."""
    subject = model()
    subject.learn("b1", VariantCost(0.026))
    subject.forget()
    assert subject.expected_s("b1", 0.0) == pytest.approx(0.026)


def test_a_model_learns_another_version() -> None:
    """What runs of the one before have shown is not held against it."""
    subject = model()
    for _ in range(20):
        subject.observe(ran("b4", 0.2))
    subject.learn("b4", VariantCost(0.1))
    assert subject.calibrated("b4").inference_s == 0.1
    assert subject.statistics().coverage == {}


def test_a_lone_run_may_be_quicker() -> None:
    """As of those that were calibrated at the start; where it is not known, it is as with all lanes at work."""
    subject = model(alone=True)
    subject.learn("b1", VariantCost(0.026, 0.013))
    subject.learn("b2", VariantCost(0.036))
    assert [subject.at(1).expected_s(name, 0.0) for name in ("b1", "b2")] == pytest.approx([0.013, 0.036])


@pytest.mark.parametrize(("stop_s", "known_s"), [(None, 0.004), (0.002, 0.004), (0.009, 0.009)])
def test_the_time_to_stop_is_the_longest(stop_s: float | None, known_s: float) -> None:
    """The rule counts on it for whatever runs."""
    subject = model()
    subject.learn("b1", VariantCost(0.026, terminate_s=stop_s))
    assert subject.terminate_s() == known_s


def test_where_runs_cannot_be_stopped_a_new_one_changes_nothing() -> None:
    """It takes all of them."""
    subject = LatencyModel(Calibration(TIMES_S, {}))
    subject.learn("b9", VariantCost(1.0, terminate_s=0.001))
    assert subject.terminate_s() is None


def test_a_model_forgets_a_variant_for_good() -> None:
    """Nobody will ask."""
    subject = model(alone=True)
    subject.drop("b4")
    with pytest.raises(KeyError):
        subject.expected_s("b4", 0.0)
    subject.forget()
    with pytest.raises(KeyError):
        subject.calibrated("b4")
    assert subject.at(1).expected_s("b0", 0.0) == pytest.approx(0.008)


def test_decisions_follow_what_is_learnt() -> None:
    """A variant that turns out dear is not on the front."""
    catalogue, subject = policy(FAMILY).catalogue, scheduler().latency
    assert B4 in catalogue.front(subject)
    subject.learn("b3", VariantCost(0.5))
    assert [v.name for v in catalogue.front(subject)] == ["b4", "b2", "b1", "b0"]
