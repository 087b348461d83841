"""Answers in hand: who is insured, what becomes of an insured request after its first run, until the delivery."""

from dataclasses import replace

import pytest

from service.core.actions import Action, Deliver, Start, Terminate
from service.core.latency import Observation
from service.core.scheduler import Scheduler
from service.core.simulator import Arrival, Outcome, simulate
from service.core.situation import Situation
from service.core.state import SystemState, Upgrade
from service.core.upgrading import HAND_OVER_S
from service.core.values import AccuracySource, Decision, Job, Mode, PolicyName, Reason, Variant, Verdict
from tests.builders import FAMILY, TIMES_S, FixedCosts, job, latency, policy, running, scheduler, state, variant

COSTS = FixedCosts(stop_s=0.002)
"""Tails: 31.2 ms for b1, 75.6 ms for b3, 172.8 ms for b4."""
UNKNOWN = Variant("u", 1, None, AccuracySource.NONE, trained=True)
"""Can be asked for by name only."""


def insured(number: int = 1, budget_s: float = 1.0, **asked: object) -> Job:
    """A job whose budget is spent on insurance."""
    return job(number, budget_s, **{"policy": PolicyName.P2, **asked})  # type: ignore[arg-type]


def holding(number: int = 1, budget_s: float = 1.0, name: str = "b0") -> Job:
    """One that has an answer in hand."""
    return replace(insured(number, budget_s), in_hand=variant(name))


def upgrading(held: Job, remaining_s: float, name: str = "b4") -> Upgrade:
    """A run for something better, on the second of two lanes."""
    return Upgrade(1, held, variant(name), remaining_s)


def kept(*jobs: Job, upgrades: tuple[Upgrade, ...] = (), idle: tuple[int, ...] = (1,), **more: object) -> SystemState:
    """One lane, with one lane behind it, and answers in hand."""
    first = state(**more)  # type: ignore[arg-type]
    return replace(first, insured=jobs, upgrades=upgrades, background_lanes=1, idle_background=idle)


def ran(name: str) -> Observation:
    """A run that took what was expected."""
    return Observation(name, "JPEG", 0.0, 0.0, TIMES_S[name])


def told(actions: list[Action]) -> list[tuple[str, int, str]]:
    """Kind of action, number of the job, and variant where one starts."""
    return [
        (type(one).__name__, one.job.id, one.decision.variant.name if isinstance(one, Start) else "") for one in actions
    ]


def chosen(action: Action | None) -> str | None:
    """The variant of the upgrade that starts, if one does."""
    return action.decision.variant.name if isinstance(action, Start) else None


# Who is insured, and what answers first.


def test_the_cheapest_answers_first_however_much_time_there_is() -> None:
    """The reason says so, and the explanation that others may follow."""
    decision = policy().decide(0.0, insured(), state(), COSTS)
    assert (decision.variant.name, decision.reason) == ("b0", Reason.INSURES)
    assert {c.verdict for c in decision.candidates if c.variant.name != "b0"} == {Verdict.MAY_FOLLOW}


def test_a_budget_that_fits_nothing_is_missed_as_ever() -> None:
    """There is nothing to insure."""
    decision = policy().decide(0.0, insured(budget_s=0.005), state(), COSTS)
    assert decision.reason is Reason.CHEAPEST_NONE_FITS


@pytest.mark.parametrize(
    ("asked", "first"), [({"variant": "b1"}, "b1"), ({"min_top1": 0.8}, "b2"), ({"variant": "u"}, "u")]
)
def test_a_named_variant_is_final(asked: dict[str, object], first: str) -> None:
    """By name or by accuracy, also one of unknown accuracy, to which nothing compares; the books are even."""
    times_s = latency(TIMES_S | {"u": 0.01})
    subject = Scheduler(policy=policy((*FAMILY, UNKNOWN)), latency=times_s, lanes=1, background_lanes=1)
    assert told(subject.submit(0.0, insured(1, 1.0, **asked))) == [("Start", 1, first)]
    assert subject.finish(0.1, 0, Observation(first, "JPEG", 0.0, 0.0, 0.1)) == []
    now = subject.statistics(0.1)
    assert (now.finished, now.insured) == (1, 0)


# Upgrades.


def test_an_idle_background_lane_tries_the_best_that_still_fits() -> None:
    """After 16 of 150 ms, b3 fits and b4 does not; the explanation is about the choice made now."""
    action = policy().next_upgrade(0.016, kept(holding(1, 0.15)), COSTS)
    assert isinstance(action, Start)
    assert (action.lane, action.decision.variant.name, action.decision.reason) == (1, "b3", Reason.UPGRADES)
    verdicts = {candidate.variant.name: candidate.verdict for candidate in action.decision.candidates}
    assert (verdicts["b4"], verdicts["b2"], verdicts["b0"]) == (
        Verdict.TOO_SLOW, Verdict.LESS_ACCURATE, Verdict.LESS_ACCURATE,
    )  # fmt: skip


def test_what_is_due_first_is_upgraded_first() -> None:
    """Two answers in hand."""
    action = policy().next_upgrade(0.0, kept(holding(1, 0.5), holding(2, 1.0)), COSTS)
    assert isinstance(action, Start)
    assert action.job.id == 1


def test_a_job_that_cannot_be_upgraded_now_is_no_obstacle_to_the_next() -> None:
    """35 ms are expected to be gone on who waits; of 50 the rest is not enough for b1, of 500 for b4 it is."""
    busy = kept(holding(1, 0.05), holding(2, 0.5), busy=(running(0, until_s=0.035),))
    action = policy().next_upgrade(0.0, busy, COSTS)
    assert isinstance(action, Start)
    assert (action.job.id, action.decision.variant.name) == (2, "b4")


def test_the_foreground_goes_on_meanwhile() -> None:
    """While somebody waits and all lanes are busy, spare time that is expected later is used when it comes."""
    both = kept(holding(1, 0.5), busy=(running(0, until_s=0.1),))
    assert chosen(policy().next_upgrade(0.0, replace(both, waiting=(job(2, 2.0),)), COSTS)) == "b4"
    assert policy().next_action(0.0, replace(both, waiting=(job(2, 2.0),)), COSTS) is None


def test_nobody_is_upgraded_without_an_idle_background_lane() -> None:
    """The answer stays in hand; there is time yet."""
    assert policy().next_upgrade(0.0, kept(holding(), idle=()), COSTS) is None


def test_an_upgrade_must_be_expected_to_finish() -> None:
    """An idle lane has time for b4; 30 arrivals a second, 16 ms each and a quarter more, leave 0.37 of it, and of
    300 ms enough for b3; 48 leave nothing."""
    calm, busy, rush = (kept(holding(1, 0.3), rate=rate) for rate in (0.0, 30.0, 48.0))
    assert [chosen(policy().next_upgrade(0.0, one, COSTS)) for one in (calm, busy, rush)] == ["b4", "b3", None]


def test_an_upgrade_must_leave_the_others_enough() -> None:
    """Two lanes' spare time: beside a run that needs 0.2 s of its 0.25 one more is fine, beside two there is none."""
    others = [holding(number, 0.25) for number in (8, 9)]
    runs = tuple(upgrading(one, 0.2) for one in others)
    one = replace(kept(holding(1, 0.5), others[0], upgrades=runs[:1]), lanes=2)
    two = replace(kept(holding(1, 0.5), *others, upgrades=runs), lanes=2)
    assert [chosen(policy().next_upgrade(0.0, beside, COSTS)) for beside in (one, two)] == ["b4", None]


def test_a_run_that_will_come_too_late_anyway_is_left_nothing() -> None:
    """It needs 0.2 s of 0.25, of which it would get half with the newcomer and too little without."""
    late = holding(9, 0.25)
    busy = kept(late, holding(1, 5.0), upgrades=(upgrading(late, 0.2),), busy=(running(0, until_s=0.1),))
    assert chosen(policy().next_upgrade(0.0, busy, COSTS)) == "b4"


def test_upgrades_do_not_need_that_runs_can_be_terminated() -> None:
    """Nobody would gain by it; nor does waste in the foreground forbid them."""
    for costs, wasted in ((FixedCosts(stop_s=None), 0.0), (COSTS, 0.2)):
        assert chosen(policy().next_upgrade(0.0, kept(holding(), wasted=wasted), costs)) == "b4"


# Deliveries.


def test_an_answer_that_nothing_can_better_is_delivered_at_once() -> None:
    """It is the best there is, or nothing better fits any more."""
    best, late = holding(1, 1.0, "b4"), holding(2, 0.03)
    for one in (best, late):
        assert policy().next_upgrade(0.0, kept(one, idle=()), COSTS) == Deliver(one)


def test_without_background_lanes_the_first_answer_is_the_last() -> None:
    """However much time there is."""
    assert policy().next_upgrade(0.0, replace(state(), insured=(holding(),)), COSTS) == Deliver(holding())


def test_an_answer_is_delivered_when_its_time_has_come_though_a_better_one_is_tried() -> None:
    """At the deadline, less the reserve for the response and for a late event loop."""
    held, costs = holding(1, 0.1), replace(COSTS, reserve_s=0.005)
    late = kept(held, upgrades=(upgrading(held, 0.0),), idle=())
    moment_s = 0.095 - HAND_OVER_S
    assert policy().next_upgrade(moment_s - 0.001, late, costs) is None
    assert policy().next_upgrade(moment_s, late, costs) == Deliver(held)


def test_an_upgrade_that_will_come_too_late_is_given_up() -> None:
    """Even if nobody else wanted the lane: 60 of 50 ms."""
    held = holding(1, 0.05 + HAND_OVER_S)
    for remaining_s, expected in ((0.049, None), (0.06, Deliver(held))):
        late = kept(held, upgrades=(upgrading(held, remaining_s),), idle=())
        assert policy().next_upgrade(0.0, late, COSTS) == expected


def test_the_moment_when_an_answer_in_hand_must_go_is_waited_for() -> None:
    """When b1, the least of the better ones, fits no longer; or when a run for something better is out of time."""
    held = holding(1, 0.1)
    waits, tried = kept(held, idle=()), kept(held, upgrades=(upgrading(held, 0.05),), idle=())
    assert policy().upgrade_wake_s(0.0, waits, COSTS) == pytest.approx(0.1 - HAND_OVER_S - 0.0312, abs=3e-4)
    assert policy().upgrade_wake_s(0.0, tried, COSTS) == pytest.approx(0.1 - HAND_OVER_S)
    assert policy().upgrade_wake_s(0.0, kept(), COSTS) is None


def test_a_background_lane_that_idles_is_thought_of_again() -> None:
    """Sixty requests in a second leave no time. They were the last: two seconds later there is."""
    subject = scheduler(background_lanes=1)
    for number in range(60):
        subject.submit(number / 60, job(number, 0.05, at_s=number / 60, variant="b0"))
        subject.finish(number / 60 + 0.016, 0, ran("b0"))
    subject.submit(1.0, insured(99, 10.0, at_s=1.0))
    assert subject.finish(1.016, 0, ran("b0")) == []
    now_s, actions = 1.016, list[Action]()
    while not actions:
        now_s = subject.wake_s(now_s) or pytest.fail("it is thought of no more")
        actions = subject.tick(now_s)
    assert [action[:2] for action in told(actions)] == [("Start", 99)]
    assert now_s < 3.0


def test_who_waits_is_asked_for_apart() -> None:
    """Answers in hand are no reason to look at them again."""
    assert policy().wake_s(0.0, kept(holding()), COSTS) is None


# From the first run to the delivery.


def test_an_answer_gets_better_until_there_is_no_better_one() -> None:
    """b0, then b4, which is the best; the lane of the foreground is free meanwhile."""
    subject = scheduler(background_lanes=1)
    assert told(subject.submit(0.0, insured())) == [("Start", 1, "b0")]
    assert told(subject.finish(0.016, 0, ran("b0"))) == [("Start", 1, "b4")]
    now = subject.statistics(0.016)
    assert (now.busy, now.upgrading, now.insured, now.backlog_s) == (0, 1, 1, 0.0)
    assert told(subject.finish(0.160, 1, ran("b4"))) == [("Deliver", 1, "")]
    assert subject.statistics(0.160).finished == 1


def test_how_long_an_upgrade_took_teaches_nothing() -> None:
    """It waited for others. What would be learned is that b4 takes a second."""
    subject = scheduler(background_lanes=1)
    subject.submit(0.0, insured(budget_s=5.0))
    subject.finish(0.016, 0, ran("b0"))
    known = repr(subject.latency), subject.latency.expected_s("b4", 0.0)
    subject.finish(1.0, 1, Observation("b4", "JPEG", 0.0, 0.0, 1.0))
    assert (repr(subject.latency), subject.latency.expected_s("b4", 0.0)) == known


def test_nothing_makes_room_for_an_urgent_request_because_nothing_has_to() -> None:
    """It has the lane at once, and gets what it would get on an idle machine."""
    subject = scheduler(background_lanes=1, stop_s=0.002)
    subject.submit(0.0, insured())
    subject.finish(0.016, 0, ran("b0"))
    assert told(subject.submit(0.02, job(2, 0.2, at_s=0.02))) == [("Start", 2, "b4")]


def test_an_answer_that_is_delivered_ends_the_run_for_a_better_one() -> None:
    """The job is finished; what the lane stops is nobody's any more."""
    subject = scheduler(background_lanes=1)
    subject.submit(0.0, insured(budget_s=0.25))
    subject.finish(0.016, 0, ran("b0"))
    wake_s = subject.wake_s(0.016) or 0.0
    assert wake_s == pytest.approx(0.25 - 0.0005 - HAND_OVER_S)
    assert told(subject.tick(wake_s)) == [("Deliver", 1, ""), ("Terminate", 1, "")]
    now = subject.statistics(wake_s)
    assert (now.finished, now.insured, now.upgrading) == (1, 0, 0)
    assert subject.terminated(wake_s + 0.002, 1) == []
    now = subject.statistics(wake_s + 0.002)
    assert (now.finished, now.terminated, now.wasted_share) == (1, 0, 0.0)


def test_a_background_lane_serves_the_next_when_its_run_has_stopped() -> None:
    """Or when it ended by itself, for nobody."""
    for ends in ("terminated", "finish"):
        subject = scheduler(background_lanes=1)
        for number, budget_s in ((1, 0.25), (2, 5.0)):
            subject.submit(0.0, insured(number, budget_s))
            subject.finish(0.016, 0, ran("b0"))
        wake_s = subject.wake_s(0.016) or 0.0
        assert told(subject.tick(wake_s)) == [("Deliver", 1, ""), ("Terminate", 1, "")]
        freed = subject.terminated(0.3, 1) if ends == "terminated" else subject.finish(0.3, 1, ran("b4"))
        assert told(freed) == [("Start", 2, "b4")]


def test_a_failed_upgrade_leaves_the_answer_in_hand_good_enough() -> None:
    """It is delivered; trying again would fail again."""
    subject = scheduler(background_lanes=1)
    subject.submit(0.0, insured())
    subject.finish(0.016, 0, ran("b0"))
    assert told(subject.finish(0.1, 1, None)) == [("Deliver", 1, "")]
    assert subject.statistics(0.1).finished == 1


def test_a_client_may_leave_while_its_answer_is_in_hand() -> None:
    """The job is cancelled, whether it is being upgraded or not."""
    subject = scheduler(background_lanes=1)
    for number in (1, 2):
        subject.submit(0.0, insured(number))
        subject.finish(0.016, 0, ran("b0"))
    assert subject.cancel(0.02, 2) == []
    assert told(subject.cancel(0.02, 1)) == [("Terminate", 1, "")]
    now = subject.statistics(0.02)
    assert (now.cancelled, now.insured, now.finished) == (2, 0, 0)


def test_nothing_is_waited_for_when_no_answer_is_in_hand() -> None:
    """And nobody waits."""
    subject = scheduler(background_lanes=1)
    subject.submit(0.0, insured())
    assert subject.wake_s(0.0) is None


# Simulated.


def _simulated(*arrivals: Arrival, b4_s: float = 0.144, background_lanes: int = 1) -> dict[int, Outcome]:
    def times(_: Job, decision: Decision) -> tuple[float, float]:
        return 0.0, b4_s if decision.variant.name == "b4" else TIMES_S[decision.variant.name]

    outcomes = simulate(scheduler(background_lanes=background_lanes), arrivals, times, lambda _: 0.002)
    return {outcome.job.id: outcome for outcome in outcomes}


def _answered(outcome: Outcome) -> tuple[str, float]:
    assert outcome.decision is not None
    return outcome.decision.variant.name, round(outcome.finished_s, 6)


def test_the_better_answer_is_the_outcome_when_it_comes_in_time() -> None:
    """16 ms for b0, 144 for b4."""
    found = _simulated(Arrival(0.0, insured(budget_s=0.3)))
    assert _answered(found[1]) == ("b4", 0.160)


def test_an_upgrade_stands_still_while_the_foreground_works() -> None:
    """A request that needs the only lane for 16 ms comes in between: b4 is ready 16 ms later, and nobody else."""
    found = _simulated(Arrival(0.0, insured(budget_s=0.3)), Arrival(0.05, job(2, 0.02, at_s=0.05)))
    assert _answered(found[2]) == ("b0", 0.066)
    assert _answered(found[1]) == ("b4", 0.176)


def test_upgrades_share_what_is_left() -> None:
    """Two on one lane, of which the second begins when 16 ms are gone; together they take 288 ms, and the last ends
    then."""
    both = (Arrival(0.0, insured(1, 0.6)), Arrival(0.0, insured(2, 0.6)))
    found = _simulated(*both, background_lanes=2)
    assert _answered(found[1]) == ("b4", 0.32)
    assert _answered(found[2]) == ("b4", 0.32)


def test_the_answer_in_hand_is_the_outcome_when_nothing_better_comes_in_time() -> None:
    """b4 hangs; at the last moment b0's answer goes out, and the request is met."""
    found = _simulated(Arrival(0.0, insured(budget_s=0.25)), b4_s=1.0)
    assert found[1].met
    assert _answered(found[1]) == ("b0", round(0.2495 - HAND_OVER_S, 6))


def test_a_strict_insured_request_is_refused_when_nothing_fits() -> None:
    """As any other."""
    found = _simulated(Arrival(0.0, insured(budget_s=0.005, mode=Mode.STRICT)))
    assert found[1].error is not None


def test_a_stopped_run_is_asked_for_once() -> None:
    """The simulator is told to stop what it was told to run."""
    subject = scheduler(background_lanes=1)
    subject.submit(0.0, insured())
    (start,) = subject.finish(0.016, 0, ran("b0"))
    assert subject.cancel(0.02, 1) == [Terminate(1, start.job)]
    assert subject.cancel(0.02, 1) == []


def test_who_had_to_make_room_has_nothing_better_to_expect_and_does_not_speak_for_others() -> None:
    """All that it asks is the same."""
    able, held = policy(), holding()
    situation = Situation(able.catalogue, 0.0, kept(held), COSTS)
    assert situation.better_s(replace(held, terminated=variant("b4"))) == ()
    assert [one.name for one, _ in situation.better_s(held)] == ["b4", "b3", "b2", "b1"]
