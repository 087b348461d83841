"""Making room, case by case: who is terminated for whom, when, and when nobody is."""

from dataclasses import replace

import pytest

from service.core.actions import Terminate
from service.core.policy import MOST_WASTED
from service.core.state import Running, SystemState
from service.core.values import Decision, Job, Mode, PolicyName, Reason, Verdict
from tests.builders import FixedCosts, job, policy, running, state, variant

COSTS = FixedCosts(stop_s=0.002)
"""Tails: 19.2 ms for b0, 172.8 ms for b4."""
URGENT = job(1, 0.03)


def _terminated(snapshot: SystemState, costs: FixedCosts = COSTS, **options: object) -> int | None:
    """Number of the job that has to make room at time 0; None when nothing happens."""
    action = policy(**options).next_action(0.0, snapshot, costs)  # type: ignore[arg-type]
    assert action is None or isinstance(action, Terminate)
    return None if action is None else action.job.id


def _again(run: Running) -> Running:
    """A run of a job that had to make room before."""
    return replace(run, job=replace(run.job, terminated=variant("b4")))


# For whom.


def test_an_upgrade_makes_room_for_a_request_that_would_miss_by_waiting() -> None:
    """It would go on for 100 ms; 30 are left to the other one."""
    action = policy().next_action(0.0, state(URGENT, busy=(running(0, until_s=0.1, number=7),)), COSTS)
    assert isinstance(action, Terminate)
    assert (action.lane, action.job.id) == (0, 7)


def test_nobody_makes_room_while_waiting_is_enough() -> None:
    """The run ends in 9 ms, and 1.25 times 16 ms fit the 21 after it."""
    assert _terminated(state(URGENT, busy=(running(0, until_s=0.009),))) is None


@pytest.mark.parametrize(("until_s", "makes_room"), [(0.011, False), (0.014, True)])
def test_a_request_needs_a_quarter_more_than_its_expected_time(until_s: float, makes_room: bool) -> None:
    """32 ms for a request of 16: 20 after a run that ends in 11 ms, and not after one that ends in 14."""
    found = _terminated(state(job(1, 0.032), busy=(running(0, until_s=until_s, number=7),)))
    assert found == (7 if makes_room else None)


@pytest.mark.parametrize(("budget_s", "makes_room"), [(0.0181, True), (0.0179, False)])
def test_nobody_makes_room_for_a_request_that_could_not_make_it_anyway(budget_s: float, makes_room: bool) -> None:
    """2 ms until the run has stopped, 16 ms for the cheapest."""
    found = _terminated(state(job(1, budget_s), busy=(running(0, until_s=0.1, number=7),)))
    assert found == (7 if makes_room else None)


def test_nobody_makes_room_for_a_late_request() -> None:
    """It is late whatever is done."""
    assert _terminated(state(job(1, 0.01), busy=(running(0, until_s=0.2),))) is None


def test_the_reserve_for_the_response_counts() -> None:
    """Of 31 ms, 30.1 are enough to wait for the run in hand; with 2 to keep back they are not."""
    busy = (running(0, until_s=0.0101, number=7),)
    assert _terminated(state(job(1, 0.031), busy=busy)) is None
    assert _terminated(state(job(1, 0.031), busy=busy), replace(COSTS, reserve_s=0.002)) == 7


@pytest.mark.parametrize(("budget_s", "yields"), [(0.0195, 7), (0.0185, None)])
def test_room_is_made_as_long_as_there_is_hope(budget_s: float, yields: int | None) -> None:
    """2 ms to stop, 16 for b0, and responding usually takes 1, though it may take 4."""
    costs = replace(COSTS, reserve_s=0.004, usual_reserve_s=0.001)
    assert _terminated(state(job(1, budget_s), busy=(running(0, until_s=0.1, number=7),)), costs) == yields


def test_no_room_is_made_for_one_in_doubt_at_the_cost_of_another() -> None:
    """The second, which is not in doubt, can wait for the run in hand; behind the first it would have little to
    spare."""
    costs = replace(COSTS, reserve_s=0.004, usual_reserve_s=0.001)
    run = (running(0, until_s=0.0165, number=7),)
    assert _terminated(state(job(1, 0.0195), job(2, 0.06), busy=run), costs) == 7
    assert _terminated(state(job(1, 0.0195), job(2, 0.041), busy=run), costs) is None


def test_room_is_made_for_a_strict_request_only_if_it_then_fits() -> None:
    """2 ms to stop, and 19.2 for b0 at worst."""
    busy = (running(0, until_s=0.1, number=7),)
    assert _terminated(state(job(1, 0.0215, mode=Mode.STRICT), busy=busy)) == 7
    assert _terminated(state(job(1, 0.0205, mode=Mode.STRICT), busy=busy)) is None


def test_who_cannot_be_saved_takes_no_place() -> None:
    """The first is in time neither by waiting for 17 ms nor in the room of a run; the second gets it by waiting."""
    busy = (running(0, until_s=0.017, number=7),)
    assert _terminated(state(job(1, 0.0175), job(2, 0.0385), busy=busy)) is None


def test_whoever_waits_behind_another_one_gets_room_too() -> None:
    """The first takes the lane that is free in 5 ms; the second would have to wait until 21."""
    busy = (running(0, until_s=0.005, name="b0"), running(1, until_s=0.3, number=7))
    assert _terminated(state(job(1, 0.035), lanes=2, busy=busy)) is None
    assert _terminated(state(job(1, 0.035), job(2, 0.042), lanes=2, busy=busy)) is None
    assert _terminated(state(job(1, 0.035), job(2, 0.040), lanes=2, busy=busy)) == 7


def test_a_request_for_a_named_variant_gets_room_for_that_variant() -> None:
    """b4 takes 144 ms and would not be done 200 ms from now if it began in 100."""
    busy = (running(0, until_s=0.1, number=7),)
    assert _terminated(state(job(1, 0.2, variant="b0"), busy=busy)) is None
    assert _terminated(state(job(1, 0.2, variant="b4"), busy=busy)) == 7


def test_a_strict_request_gets_room_instead_of_a_refusal() -> None:
    """As long as it can make it."""
    assert _terminated(state(job(1, 0.03, mode=Mode.STRICT), busy=(running(0, until_s=0.1, number=7),))) == 7


def test_a_lane_that_is_free_as_soon_as_a_terminated_run_leaves_nothing_to_gain() -> None:
    """It ends in 2 ms; so would the other one."""
    busy = (running(0, until_s=0.002, name="b0"), running(1, until_s=0.3))
    assert _terminated(state(job(1, 0.0185), lanes=2, busy=busy)) is None


# Who.


def test_the_upgrade_with_most_left_to_do_makes_room() -> None:
    """What it did so far is lost, so the least is lost with it."""
    busy = tuple(running(lane, until_s=until, number=lane) for lane, until in enumerate((0.1, 0.3, 0.2)))
    assert _terminated(state(URGENT, lanes=3, busy=busy)) == 1


def test_a_job_makes_room_only_once() -> None:
    """The second lane has less left to do, and the job on the first had to make room before."""
    busy = (_again(running(0, until_s=0.3, name="b3")), running(1, until_s=0.1, number=7))
    assert _terminated(state(URGENT, lanes=2, busy=busy)) == 7
    assert _terminated(state(URGENT, busy=busy[:1])) is None


@pytest.mark.parametrize(("budget_s", "makes_room"), [(0.055, True), (0.045, False)])
def test_the_cheapest_variant_makes_room_for_an_earlier_deadline(budget_s: float, makes_room: bool) -> None:
    """50 ms are left to the other one, and the run goes on for 35. One that is due before would only change places."""
    cheapest = running(0, until_s=0.035, name="b0", budget_s=budget_s, number=7)
    assert _terminated(state(job(1, 0.05), busy=(cheapest,))) == (7 if makes_room else None)


def test_the_cheapest_variant_makes_no_room_where_it_could_not_be_run_again_in_time() -> None:
    """Twice the tail of b0 and 2 ms are 40.4 ms."""
    cheapest = running(0, until_s=0.015, name="b0", budget_s=0.0405, number=7)
    assert _terminated(state(URGENT, busy=(cheapest,))) == 7
    cheapest = running(0, until_s=0.015, name="b0", budget_s=0.0403, number=7)
    assert _terminated(state(URGENT, busy=(cheapest,))) is None


@pytest.mark.parametrize(("per_s", "makes_room"), [(60.0, True), (63.0, False)])
def test_the_cheapest_variant_makes_no_room_under_overload(per_s: float, makes_room: bool) -> None:
    """A lane does 62.5 b0 a second: when more come, a run that begins anew takes somebody's place."""
    cheapest = running(0, until_s=0.015, name="b0", number=7)
    snapshot = replace(state(URGENT, busy=(cheapest,)), calm_arrivals_per_s=per_s)
    assert _terminated(snapshot) == (7 if makes_room else None)


def test_who_asked_to_be_insured_makes_no_room() -> None:
    """Its first run is as sure as the cheapest alone would be."""
    cheapest = running(0, until_s=0.015, name="b0", number=7)
    insured = replace(cheapest, job=job(7, 10.0, policy=PolicyName.P2))
    assert _terminated(state(URGENT, busy=(insured,))) is None


def test_who_asked_to_be_insured_makes_no_room_either_when_something_cheaper_has_come() -> None:
    """b1 was the cheapest when the run began."""
    insured = replace(running(0, until_s=0.1, name="b1"), job=job(7, 10.0, policy=PolicyName.P2))
    assert _terminated(state(URGENT, busy=(insured,))) is None


def test_a_named_variant_never_makes_room() -> None:
    """Its client asked for exactly this one."""
    named = replace(running(0, until_s=0.1), job=job(7, 10.0, variant="b4"))
    assert _terminated(state(URGENT, busy=(named,))) is None


def test_an_accuracy_asked_for_never_makes_room() -> None:
    """b2 is the cheapest with 80 %."""
    asked = replace(running(0, until_s=0.1, name="b2"), job=job(7, 10.0, min_top1=0.8))
    assert _terminated(state(URGENT, busy=(asked,))) is None


@pytest.mark.parametrize(("budget_s", "makes_room"), [(0.041, True), (0.040, False)])
def test_a_job_makes_room_only_if_it_can_still_start_anew(budget_s: float, makes_room: bool) -> None:
    """Two cheapest tails of 19.2 ms, the urgent one's and its own, and 2 ms until it has stopped."""
    found = _terminated(state(URGENT, busy=(running(0, until_s=0.1, number=7, budget_s=budget_s),)))
    assert found == (7 if makes_room else None)


@pytest.mark.parametrize(("until_s", "makes_room"), [(0.0101, True), (0.0099, False)])
def test_a_run_that_is_nearly_done_is_left_alone(until_s: float, makes_room: bool) -> None:
    """Stopping it takes 2 ms, and half of the cheapest variant's time is 8."""
    found = _terminated(state(job(1, 0.0295), busy=(running(0, until_s=until_s, number=7),)))
    assert found == (7 if makes_room else None)


def test_a_run_that_stops_already_makes_room_for_one_only() -> None:
    """The first of the two takes the lane that is about to be free; the second needs another."""
    stopping = replace(running(0, until_s=0.3), stops_s=0.002)
    busy = (stopping, running(1, until_s=0.3, number=7))
    assert _terminated(state(job(1, 0.0185), lanes=2, busy=busy)) is None
    assert _terminated(state(job(1, 0.0185), job(2, 0.0185), lanes=2, busy=busy)) == 7


# Whether.


def test_nobody_makes_room_where_runs_cannot_be_terminated() -> None:
    """An execution provider that takes the graph as one node."""
    assert _terminated(state(URGENT, busy=(running(0, until_s=0.1),)), FixedCosts(stop_s=None)) is None


def test_nobody_makes_room_where_the_operator_does_not_want_it() -> None:
    """The rule without its fifth step."""
    assert _terminated(state(URGENT, busy=(running(0, until_s=0.1),)), terminates=False) is None


@pytest.mark.parametrize(("wasted", "makes_room"), [(MOST_WASTED, True), (MOST_WASTED + 0.01, False)])
def test_nobody_makes_room_while_too_much_was_wasted(wasted: float, makes_room: bool) -> None:
    """A tenth of the lanes' time."""
    found = _terminated(state(URGENT, busy=(running(0, until_s=0.1, number=7),), wasted=wasted))
    assert found == (7 if makes_room else None)


# What is promised at the door.

STRICT = job(1, 0.03, mode=Mode.STRICT)
"""Needs 19.2 ms, 21.2 when somebody makes room and 34.2 when nobody does."""


def _refused(budget_s: float, *, per_s: float = 0.0, name: str = "b0") -> bool:
    """Whether the strict request is, during a run for a request of such a budget that goes on for 15 ms."""
    busy = (running(0, until_s=0.015, name=name, budget_s=budget_s),)
    return policy().admit(0.0, STRICT, replace(state(busy=busy), calm_arrivals_per_s=per_s), COSTS) is not None


@pytest.mark.parametrize(("budget_s", "refused"), [(0.041, False), (0.04, True), (0.029, True)])
def test_a_run_of_the_cheapest_is_room_for_who_is_due_before_if_it_can_start_anew(
    budget_s: float, refused: bool
) -> None:
    """Whoever else was let in would find it refused later."""
    assert _refused(budget_s) is refused


@pytest.mark.parametrize(("per_s", "refused"), [(60.0, False), (63.0, True)])
def test_a_run_of_the_cheapest_is_no_room_under_overload_though_nobody_waits(per_s: float, refused: bool) -> None:
    """It would not be stopped then."""
    assert _refused(10.0, per_s=per_s) is refused


@pytest.mark.parametrize("per_s", [0.0, 63.0])
def test_an_upgrade_is_room_in_any_case(per_s: float) -> None:
    """It takes less the second time."""
    assert not _refused(0.041, per_s=per_s, name="b4")


# When to look again.

RUN = (running(0, until_s=0.3),)


def _wake_s(now_s: float, *waiting: Job, costs: FixedCosts = COSTS, wasted: float = 0.0) -> float | None:
    return policy().wake_s(now_s, state(*waiting, busy=RUN, wasted=wasted), costs)


def test_the_last_moment_is_when_a_quarter_more_than_the_expected_time_is_left() -> None:
    """500 ms, less 20 for a request of 16, less 2 until the run has stopped."""
    assert _wake_s(0.0, job(1, 0.5)) == pytest.approx(0.478)


def test_the_earliest_of_all_moments_that_are_still_to_come_counts() -> None:
    """That of the first has passed."""
    assert _wake_s(0.05, job(1, 0.06), job(2, 0.4), job(3, 0.5)) == pytest.approx(0.378)


def test_there_is_nothing_to_look_for_once_all_moments_have_passed() -> None:
    """What could be done was done."""
    assert _wake_s(0.48, job(1, 0.5)) is None


def test_there_is_nothing_to_look_for_while_nobody_can_make_room() -> None:
    """Neither a variant that was named, nor anybody where runs cannot be terminated, nor after too much waste."""
    named = (replace(running(0, until_s=0.3), job=job(7, 10.0, variant="b4")),)
    assert policy().wake_s(0.0, state(job(1, 0.5), busy=named), COSTS) is None
    assert _wake_s(0.0, job(1, 0.5), costs=FixedCosts(stop_s=None)) is None
    assert _wake_s(0.0, job(1, 0.5), wasted=0.2) is None


# What is chosen.


def _decide(*waiting: Job, costs: FixedCosts = COSTS, **situation: object) -> Decision:
    snapshot = state(*waiting, **situation)  # type: ignore[arg-type]
    return policy().decide(0.0, waiting[0], snapshot, costs)


def test_a_lane_that_is_busy_with_an_upgrade_forbids_no_other_one() -> None:
    """Six wait for two lanes, and on one of them a run goes on for longer than they can wait. Where it can be
    terminated, it only counts by its own deadline; where it cannot, all six have to share the other lane with b4."""
    waiting = (job(1, 0.2), *(job(number, 0.22) for number in range(2, 8)))
    busy = (running(0, until_s=0.3),)
    assert _decide(*waiting, lanes=2, busy=busy).variant.name == "b4"
    assert _decide(*waiting, lanes=2, busy=busy, costs=FixedCosts(stop_s=None)).variant.name == "b3"


def test_a_lane_whose_run_makes_no_room_counts_until_it_ends() -> None:
    """0.97 · 2 · 220 ms, less 300 for the named run and 96 for six who wait: 30.8 ms buy b1."""
    waiting = (job(1, 0.2), *(job(number, 0.22) for number in range(2, 8)))
    named = replace(running(0, until_s=0.3), job=job(99, 10.0, variant="b4"))
    decision = _decide(*waiting, lanes=2, busy=(named,))
    assert (decision.variant.name, decision.reason) == ("b1", Reason.PROTECTS_WAITING)


def test_a_running_upgrade_counts_by_its_own_deadline() -> None:
    """0.97 · 200 ms are left of one lane, 100 of them for the run that would start anew: no b4, but b3."""
    busy = (running(0, until_s=0.1, budget_s=0.2),)
    assert _decide(job(1, 0.2), lanes=1, busy=busy).variant.name == "b3"
    assert _decide(job(1, 0.2), lanes=1, busy=(running(0, until_s=0.1, budget_s=0.4),)).variant.name == "b4"


def test_arrivals_take_their_share_of_the_time_until_each_deadline() -> None:
    """20 a second at 16 ms each and a quarter more take 0.4 of the lane: 0.57 · 200 = 114 ms buy b3."""
    assert _decide(job(1, 0.2)).variant.name == "b4"
    assert _decide(job(1, 0.2), rate=20.0).variant.name == "b3"


def test_while_too_much_was_wasted_there_are_no_upgrades() -> None:
    """A cheapest run is never terminated."""
    decision = _decide(job(1, 1.0), wasted=0.2)
    assert (decision.variant.name, decision.reason) == ("b0", Reason.PROTECTS_WAITING)


def test_the_rule_without_termination_ignores_what_was_wasted() -> None:
    """There was nothing to waste."""
    snapshot = state(job(1, 1.0), wasted=0.2)
    assert policy(terminates=False).decide(0.0, job(1, 1.0), snapshot, COSTS).variant.name == "b4"


def test_in_a_crowd_the_cheapest_answers() -> None:
    """66 wait: whether an upgrade would harm one of them is not even asked."""
    crowd = [job(number, 10.0 + number) for number in range(66)]
    assert _decide(*crowd[:65]).variant.name == "b0"
    assert _decide(*crowd[:64]).variant.name == "b4"


def test_a_job_that_made_room_takes_the_cheapest() -> None:
    """It must block nobody, for it does not make room again; the explanation says why nothing else was chosen."""
    decision = _decide(replace(job(1, 1.0), terminated=variant("b3")))
    verdicts = {candidate.variant.name: candidate.verdict for candidate in decision.candidates}
    assert verdicts == {"b0": Verdict.CHOSEN} | dict.fromkeys(("b1", "b2", "b3", "b4"), Verdict.TERMINATED)
    assert decision.terminated == variant("b3")


def test_a_job_that_made_room_still_gets_what_it_asked_for() -> None:
    """b3 was the cheapest with 80 % until b2 became quicker; what the request wants has not changed."""
    asked = replace(job(1, 1.0, min_top1=0.8), terminated=variant("b3"))
    assert _decide(asked).variant.name == "b2"


def test_a_request_feasible_by_terminating_is_taken_in() -> None:
    """The lane is busy for 100 ms; a strict request of 30 ms would be refused where that run cannot be terminated."""
    strict, busy = job(1, 0.03, mode=Mode.STRICT), state(busy=(running(0, until_s=0.1),))
    assert policy().admit(0.0, strict, busy, COSTS) is None
    assert policy().admit(0.0, strict, busy, FixedCosts(stop_s=None)) is not None
    assert policy().smallest_feasible_budget_s(0.0, strict, busy, COSTS) == pytest.approx(0.0212)
