"""The rule, case by case. Each decision is a pure function of a snapshot and `now`.

Runs cannot be terminated here; what changes where they can is in `test_terminating`.
"""

import math
from dataclasses import replace

import pytest

from service.core.actions import Action, Reject, Start
from service.core.errors import EffserveError, ErrorKind
from service.core.situation import MOST_DEADLINES
from service.core.values import Decision, Mode, Reason, Verdict
from tests.builders import FAMILY, FixedCosts, job, policy, running, state, variant

COSTS = FixedCosts()


def test_takes_the_most_accurate_variant_that_fits() -> None:
    """50 ms buy b2 (36 ms, tail 43 ms), not b3 (63 ms)."""
    decision = policy().decide(0.0, job(budget_s=0.05), state(), COSTS)
    assert (decision.variant.name, decision.reason) == ("b2", Reason.MOST_ACCURATE_THAT_FITS)


def test_the_tail_has_to_fit_not_the_mean() -> None:
    """40 ms are above the mean of b2 and below its tail: b1."""
    assert policy().decide(0.0, job(budget_s=0.04), state(), COSTS).variant.name == "b1"


def test_time_already_spent_is_gone() -> None:
    """30 ms after the first byte, 50 ms are worth 20: b0."""
    assert policy().decide(0.030, job(budget_s=0.05), state(), COSTS).variant.name == "b0"


def test_the_response_reserve_is_kept_back() -> None:
    """With 10 ms needed to respond, 50 ms are worth 40: b1."""
    assert policy().decide(0.0, job(budget_s=0.05), state(), FixedCosts(reserve_s=0.01)).variant.name == "b1"


def test_decoding_is_part_of_the_price() -> None:
    """A photo that takes 20 ms to decode leaves room for b1 only... of 60 ms."""
    assert policy().decide(0.0, job(budget_s=0.06, decode_s=0.02), state(), COSTS).variant.name == "b1"


def test_best_effort_takes_the_cheapest_when_nothing_fits() -> None:
    """5 ms fit nothing: b0, and the decision says that it does not fit."""
    decision = policy().decide(0.0, job(budget_s=0.005), state(), COSTS)
    assert (decision.variant.name, decision.reason, decision.fits) == ("b0", Reason.CHEAPEST_NONE_FITS, False)


def test_strict_refuses_at_admission_and_names_the_smallest_budget() -> None:
    """19.2 ms are b0's tail on an idle machine, and half a millisecond is to spare."""
    error = policy().admit(0.0, job(budget_s=0.005, mode=Mode.STRICT), state(), COSTS)
    assert error is not None
    assert error.kind is ErrorKind.INFEASIBLE_BUDGET
    assert error.facts["smallest_feasible_budget_ms"] == pytest.approx(19.7)
    assert "19.7 ms would do" in error.detail


def test_a_budget_named_in_a_refusal_is_not_refused_by_a_hair() -> None:
    """The next request takes 0.4 ms longer until it is admitted than the refused one."""
    error = policy().admit(0.0, job(budget_s=0.005, mode=Mode.STRICT), state(), COSTS)
    assert error is not None
    named_s = float(error.facts["smallest_feasible_budget_ms"]) / 1e3
    assert policy().admit(0.0004, job(budget_s=named_s, mode=Mode.STRICT), state(), COSTS) is None


def test_the_smallest_feasible_budget_counts_the_wait() -> None:
    """One lane, busy for another 100 ms: the smallest budget is 119.2 ms."""
    busy = state(busy=(running(0, until_s=0.1),))
    assert policy().smallest_feasible_budget_s(0.0, job(), busy, COSTS) == pytest.approx(0.1192)


def test_strict_is_refused_at_its_turn_when_the_wait_ate_the_budget() -> None:
    """Feasible on arrival, not any more when a lane is free."""
    late = job(budget_s=0.05, mode=Mode.STRICT)
    action = policy().next_action(0.045, state(late), COSTS)
    assert isinstance(action, Reject)
    assert action.error.kind is ErrorKind.INFEASIBLE_BUDGET


def test_an_upgrade_that_would_starve_a_waiting_request_is_not_taken() -> None:
    """b4 (144 ms) fits, but then three requests of 16 ms each would not be done 175 ms from now."""
    first, *others = [job(1, 0.174), *(job(number, 0.175) for number in (2, 3, 4))]
    decision = policy().decide(0.0, first, state(first, *others), COSTS)
    assert (decision.variant.name, decision.reason) == ("b3", Reason.PROTECTS_WAITING)
    assert _verdict(decision, "b4") is Verdict.WOULD_STARVE_WAITING


def test_a_second_lane_makes_room_for_the_upgrade() -> None:
    """The same requests with two lanes: those that wait have a lane of their own."""
    first, *others = [job(1, 0.174), *(job(number, 0.175) for number in (2, 3, 4))]
    assert policy().decide(0.0, first, state(first, *others, lanes=2), COSTS).variant.name == "b4"


def test_expected_arrivals_are_reserved_for() -> None:
    """With work waiting and many arrivals, the same decision gets more careful."""
    urgent, patient = job(2, 0.12), job(1, 0.09)
    calm = policy().decide(0.0, patient, state(urgent, patient), COSTS)
    rush = policy().decide(0.0, patient, state(urgent, patient, rate=40.0), COSTS)
    assert calm.variant.rank_top1 is not None
    assert rush.variant.rank_top1 is not None
    assert rush.variant.rank_top1 < calm.variant.rank_top1


def test_a_dear_request_that_is_late_does_not_hide_another_one() -> None:
    """Whoever named b4 has patience for 144 ms more; the one behind it has waited too long."""
    dear, other = job(1, 0.005, variant="b4"), job(2, 0.01)
    action = policy(patience_s=0.2).next_action(0.0, state(dear, other, busy=(running(0, until_s=0.1),)), COSTS)
    assert isinstance(action, Reject)
    assert action.job == other


def test_who_is_late_is_not_thought_to_go_first() -> None:
    """A strict request for 60 ms is taken in behind three that are late: they run after it."""
    queue = tuple(job(number, 0.01) for number in (1, 2, 3))
    snapshot = state(*queue, busy=(running(0, until_s=0.03),))
    assert policy().admit(0.0, job(9, 0.06, mode=Mode.STRICT), snapshot, COSTS) is None


def test_what_comes_is_not_as_dear_as_what_one_names() -> None:
    """30 requests a second leave a lane half of its time for late ones, whatever the late one needs."""
    snapshot = replace(state(job(1, 0.01, variant="b4"), busy=(running(0, until_s=0.01),)), calm_arrivals_per_s=30.0)
    assert policy(patience_s=0.2).next_action(0.0, snapshot, COSTS) is None


def test_a_request_in_doubt_does_not_overlook_those_beyond_a_crowd_in_doubt() -> None:
    """More are in doubt than a look-ahead counts, and behind them stands one that would lose its place."""
    costs = replace(COSTS, reserve_s=0.004, usual_reserve_s=0.001)
    doubtful = [job(number, 0.018) for number in range(1, MOST_DEADLINES + 10)]
    action = policy().next_action(0.0, state(*doubtful, job(999, 0.0205)), costs)
    assert isinstance(action, Start)
    assert action.job.id == 999


def test_a_strict_request_in_doubt_is_refused_at_once() -> None:
    """Nothing would be started for it: its answer may take longer than it allows."""
    costs = replace(COSTS, reserve_s=0.004, usual_reserve_s=0.001)
    waiting = state(job(1, 0.018, mode=Mode.STRICT), busy=(running(0, until_s=0.001),))
    action = policy().next_action(0.0, waiting, costs)
    assert isinstance(action, Reject)
    assert action.error.kind is ErrorKind.INFEASIBLE_BUDGET


def test_a_late_request_runs_after_one_that_can_still_make_it() -> None:
    """No domino: the overdue request, though its deadline is earlier, lets the other one go first."""
    overdue, timely = job(1, 0.01), job(2, 0.2)
    action = policy().next_action(0.05, state(overdue, timely), COSTS)
    assert isinstance(action, Start)
    assert action.job.id == 2


@pytest.mark.parametrize(("budget_s", "first"), [(0.2, 1), (0.035, 2)])
def test_one_in_doubt_has_its_turn_when_that_costs_nobody_a_place(budget_s: float, first: int) -> None:
    """18 ms are enough for b0 if responding takes 1 ms, as it usually does, and not if it takes 4. After it another
    would be done in 32, which is in time for 200 and too near to 35 less what its response may take."""
    costs = replace(COSTS, reserve_s=0.004, usual_reserve_s=0.001)
    action = policy().next_action(0.0, state(job(1, 0.018), job(2, budget_s)), costs)
    assert isinstance(action, Start)
    assert action.job.id == first


def test_when_everything_would_starve_somebody_the_cheapest_runs() -> None:
    """Of 37 ms on one lane the two who wait need 32: even b0 would make one of them late. Somebody has to be next."""
    asked, costs = job(1, 0.035), FixedCosts(stop_s=0.002)
    decision = policy().decide(0.0, asked, state(asked, job(2, 0.036), job(3, 0.037)), costs)
    assert (decision.variant.name, decision.reason) == ("b0", Reason.PROTECTS_WAITING)


def test_a_run_that_cannot_make_room_must_stand_a_burst() -> None:
    """100 ms hold b3, as steady arrivals go, and not when they come in bursts; 500 ms leave room to yield."""
    costs = replace(COSTS, stop_s=0.002)

    def chosen(budget_s: float, burstiness: float) -> str:
        snapshot = replace(state(lanes=1, rate=10.0), calm_arrivals_per_s=10.0, burstiness=burstiness)
        return policy().decide(0.0, job(budget_s=budget_s), snapshot, costs).variant.name

    assert (chosen(0.1, 0.5), chosen(0.1, 8.0)) == ("b3", "b2")
    assert chosen(0.5, 0.5) == chosen(0.5, 8.0) == "b4"


def test_nobody_is_upgraded_while_a_late_request_waits() -> None:
    """It is answered as soon as those are who can still make it, by their cheapest."""
    overdue, timely = job(1, 0.01), job(2, 5.0)
    alone, behind = (policy().decide(0.05, timely, state(*queue), COSTS) for queue in ((timely,), (overdue, timely)))
    assert alone.variant.name != "b0"
    assert (behind.variant.name, behind.reason) == ("b0", Reason.PROTECTS_WAITING)


def test_a_late_request_is_answered_when_nothing_else_waits() -> None:
    """Best effort means an answer, late or not."""
    action = policy().next_action(0.05, state(job(1, 0.01)), COSTS)
    assert isinstance(action, Start)
    assert action.decision.variant.name == "b0"


def test_nothing_starts_without_an_idle_lane() -> None:
    """A busy lane keeps its job."""
    assert policy().next_action(0.0, state(job(), busy=(running(0, until_s=1.0),)), COSTS) is None


def test_a_named_variant_is_taken_whatever_it_costs() -> None:
    """`variant=b4` with 5 ms: b4, and the decision says that it does not fit."""
    decision = policy().decide(0.0, job(budget_s=0.005, variant="b4"), state(), COSTS)
    assert (decision.variant.name, decision.reason, decision.fits) == ("b4", Reason.NAMED_BY_REQUEST, False)


def test_an_unknown_variant_is_named_with_what_there_is() -> None:
    """The error lists the served variants."""
    with pytest.raises(EffserveError, match=r"b9.*b0, b1") as caught:
        policy().admit(0.0, job(variant="b9"), state(), COSTS)
    assert caught.value.kind is ErrorKind.UNKNOWN_VARIANT


def test_min_accuracy_takes_the_cheapest_that_reaches_it() -> None:
    """80 % is b2, though b3 would fit the budget too."""
    decision = policy().decide(0.0, job(budget_s=1.0, min_top1=0.8), state(), COSTS)
    assert (decision.variant.name, decision.reason) == ("b2", Reason.CHEAPEST_AT_MIN_ACCURACY)


def test_an_accuracy_nobody_has_is_refused_with_the_best_there_is() -> None:
    """99 % is out of reach."""
    with pytest.raises(EffserveError, match=r"0\.8290") as caught:
        policy().admit(0.0, job(min_top1=0.99), state(), COSTS)
    assert caught.value.kind is ErrorKind.ACCURACY_UNAVAILABLE


def test_a_dominated_variant_is_not_on_the_front() -> None:
    """Slower and less accurate than b1: listed, never routed to."""
    slow = variant("slow", 0.78)
    costs = FixedCosts({**COSTS.times_s, "slow": 0.05})
    decision = policy((*FAMILY, slow)).decide(0.0, job(budget_s=0.07), state(), costs)
    assert _verdict(decision, "slow") is Verdict.DOMINATED


def test_untrained_variants_are_not_chosen_by_budget() -> None:
    """Seeded b4 is passed over, and its verdict says why."""
    seeded = (*FAMILY[:-1], variant("b4", trained=False))
    decision = policy(seeded).decide(0.0, job(budget_s=1.0), state(), COSTS)
    assert decision.variant.name == "b3"
    assert _verdict(decision, "b4") is Verdict.UNTRAINED


def test_the_operator_can_route_to_untrained_variants() -> None:
    """Capacity planning: ranked by what the architecture could do."""
    seeded = (*FAMILY[:-1], variant("b4", trained=False))
    assert policy(seeded, route_untrained=True).decide(0.0, job(budget_s=1.0), state(), COSTS).variant.name == "b4"


def test_a_variant_of_unknown_accuracy_is_only_served_by_name() -> None:
    """Nothing to rank it by."""
    unknown = variant("custom")
    costs = FixedCosts({**COSTS.times_s, "custom": 0.001})
    decision = policy((*FAMILY, unknown)).decide(0.0, job(budget_s=1.0), state(), costs)
    assert _verdict(decision, "custom") is Verdict.UNKNOWN_ACCURACY


@pytest.mark.parametrize(("work_s", "per_s", "again_s"), [(3.0, 0.0, 2.75), (3.0, 31.25, 5.75), (0.27, 0.0, 0.1)])
def test_a_refusal_says_when_the_work_that_waits_is_done(work_s: float, per_s: float, again_s: float) -> None:
    """But for a quarter of a second, which the late may wait; twice as far away when half of the lane's time goes to
    who comes; and never at once."""
    snapshot = replace(state(busy=(running(0, until_s=work_s),)), calm_arrivals_per_s=per_s)
    error = policy().admit(0.0, job(budget_s=0.05), snapshot, COSTS)
    assert error is not None
    assert error.kind is ErrorKind.QUEUE_FULL
    assert error.retry_after_s == pytest.approx(again_s)


def test_nobody_is_sent_away_for_longer_than_arrivals_are_known() -> None:
    """Under overload the work that waits is never done."""
    snapshot = replace(state(busy=(running(0, until_s=3.0),)), calm_arrivals_per_s=70.0)
    error = policy().admit(0.0, job(), snapshot, COSTS)
    assert error is not None
    assert error.retry_after_s == 10.0


def test_a_request_that_will_be_in_time_is_taken_in_however_much_work_waits() -> None:
    """3 s of work, and a budget of 3.2 s."""
    busy = state(busy=(running(0, until_s=3.0),))
    assert policy().admit(0.0, job(budget_s=3.2), busy, COSTS) is None


def test_a_late_request_is_taken_in_while_little_work_waits() -> None:
    """It cannot be in time, and best effort means an answer."""
    busy = state(busy=(running(0, until_s=0.2),))
    assert policy().admit(0.0, job(budget_s=0.1), busy, COSTS) is None


def test_a_late_request_is_refused_when_its_answer_would_come_too_late() -> None:
    """Its client is told at once, and not after its patience."""
    busy = state(busy=(running(0, until_s=0.3),))
    error = policy().admit(0.0, job(budget_s=0.1), busy, COSTS)
    assert error is not None
    assert error.kind is ErrorKind.QUEUE_FULL
    assert policy().admit(0.0, job(budget_s=5.0), busy, COSTS) is None


@pytest.mark.parametrize(("per_s", "refused"), [(50.0, False), (70.0, True)])
def test_a_request_that_makes_another_late_is_refused_under_overload(per_s: float, *, refused: bool) -> None:
    """One lane does 62 b0 a second. Three wait, due in 50 ms: there is no time for a fourth, due before."""
    queue = tuple(job(number, 0.05) for number in (1, 2, 3))
    snapshot = replace(state(*queue, busy=(running(0, until_s=0.001),)), calm_arrivals_per_s=per_s)
    assert (policy().admit(0.0, job(9, 0.03), snapshot, COSTS) is not None) == refused
    assert policy().admit(0.0, job(9, 0.5), snapshot, COSTS) is None


@pytest.mark.parametrize(("spare_s", "refused"), [(0.007, False), (0.004, True)])
def test_who_was_let_in_keeps_its_place(spare_s: float, *, refused: bool) -> None:
    """After one that is due before, it would still be in time, as long as runs take what is expected of them. One that
    is due after it takes nothing from it."""
    waiting = job(1, 0.048 + spare_s)
    snapshot = replace(state(waiting, busy=(running(0, until_s=0.016),)), calm_arrivals_per_s=70.0)
    assert (policy().admit(0.0, job(9, 0.04), snapshot, COSTS) is not None) == refused
    assert policy().admit(0.0, job(9, 0.1), snapshot, COSTS) is None


def test_who_was_let_in_by_a_hair_is_not_put_out_by_the_next() -> None:
    """It will be done in 32 ms of 34, and after one that is due in 33 it would not."""
    snapshot = replace(state(job(1, 0.034), busy=(running(0, until_s=0.016),)), calm_arrivals_per_s=70.0)
    assert policy().admit(0.0, job(9, 0.033), snapshot, COSTS) is not None


def test_a_newcomer_has_a_twentieth_to_spare() -> None:
    """It would be done in 32 ms; whoever has a place is to keep it with a tenth."""
    snapshot = replace(state(busy=(running(0, until_s=0.016),)), calm_arrivals_per_s=70.0)
    assert policy().admit(0.0, job(9, 0.0337), snapshot, COSTS) is None
    assert policy().admit(0.0, job(9, 0.0335), snapshot, COSTS) is not None


def test_a_refusal_says_how_late_it_would_have_been_too_late() -> None:
    """And how much work waits."""
    snapshot = replace(state(busy=(running(0, until_s=0.5),)), calm_arrivals_per_s=70.0)
    error = policy(patience_s=0.2).admit(0.0, job(9, 0.1), snapshot, COSTS)
    assert error is not None
    assert error.facts == {"backlog_ms": 500.0, "patience_ms": 200.0}
    assert "200 ms of `limits.patience_ms`" in error.detail


@pytest.mark.parametrize(("until_s", "refused"), [(0.105, False), (0.115, True)])
def test_patience_does_not_count_the_own_run(until_s: float, *, refused: bool) -> None:
    """Whoever names a variant that takes 144 ms does not mind that it does."""
    asked = job(1, 0.01, variant="b4")
    action = policy(patience_s=0.1).next_action(0.0, state(asked, busy=(running(0, until_s=until_s),)), COSTS)
    assert isinstance(action, Reject) == refused


def test_nothing_is_refused_while_a_lane_idles() -> None:
    """However much the other lane has to do."""
    busy = state(busy=(running(0, until_s=100.0),), lanes=2)
    assert policy().admit(0.0, job(), busy, COSTS) is None


def test_every_variant_gets_exactly_one_verdict_and_one_is_chosen() -> None:
    """The explanation is complete."""
    decision = policy().decide(0.0, job(budget_s=0.05), state(), COSTS)
    verdicts = [candidate.verdict for candidate in decision.candidates]
    assert (len(verdicts), verdicts.count(Verdict.CHOSEN)) == (len(FAMILY), 1)


def _verdict(decision: Decision, name: str) -> Verdict:
    return next(c.verdict for c in decision.candidates if c.variant.name == name)


def test_when_nothing_can_be_routed_a_budget_has_no_answer() -> None:
    """Only untrained variants, and the operator did not ask for them."""
    untrained = tuple(variant(name, trained=False) for name in ("b0", "b1"))
    with pytest.raises(EffserveError) as caught:
        policy(untrained).decide(0.0, job(), state(), FixedCosts())
    assert caught.value.kind is ErrorKind.ACCURACY_UNAVAILABLE


def test_the_budget_named_as_feasible_is_feasible() -> None:
    """Asked again with it at the same moment, the request is taken in, whoever else waits."""
    waiting = [job(n, 0.1 + 0.03 * n, at_s=0.0) for n in range(1, 6)]
    situation = state(*waiting, busy=(running(0, until_s=0.05),))
    error = policy().admit(0.0, job(99, 0.03, mode=Mode.STRICT), situation, COSTS)
    assert error is not None
    named_s = float(error.facts["smallest_feasible_budget_ms"]) / 1e3
    assert policy().admit(0.0, job(99, named_s, mode=Mode.STRICT), situation, COSTS) is None


def test_the_smallest_budget_is_found_when_it_is_a_hair_above_a_tenth_of_a_millisecond() -> None:
    """1.7 ms and the smallest fraction that a float can tell: 1.8, for 1.7 would not do."""
    costs = FixedCosts({"b0": math.nextafter(0.0017, 1.0)}, tail_factor=1.0)
    assert policy(FAMILY[:1]).smallest_feasible_budget_s(0.0, job(), state(), costs) == 0.0018


def test_a_late_strict_job_is_refused_at_once_even_while_all_lanes_are_busy() -> None:
    """It is not passed over until the queue is empty."""
    late = job(1, 0.01, mode=Mode.STRICT)
    action = policy().next_action(0.02, state(late, job(2, 5.0), busy=(running(0, until_s=1.0),)), COSTS)
    assert isinstance(action, Reject)
    assert action.job == late


def test_nobody_waits_for_ever() -> None:
    """A request that can expect no answer within a quarter of a second after its deadline is refused, while all lanes
    are busy."""
    late = job(1, 0.01)

    def action(now_s: float) -> Action | None:
        busy = (running(0, until_s=now_s + 0.1, started_s=now_s),)
        return policy().next_action(now_s, state(late, job(2, 2.0, at_s=now_s), busy=busy), COSTS)

    assert action(0.13) is None
    refusal = action(0.17)
    assert isinstance(refusal, Reject)
    assert (refusal.job, refusal.error.kind) == (late, ErrorKind.QUEUE_FULL)


def test_an_idle_lane_answers_however_late() -> None:
    """An upload that took three seconds has spent its budget; nobody else wants the lane."""
    action = policy().next_action(3.0, state(job(1, 0.05)), COSTS)
    assert isinstance(action, Start)
    assert action.decision.reason is Reason.CHEAPEST_NONE_FITS


def test_an_idle_lane_takes_a_timely_request_before_one_that_is_long_overdue() -> None:
    """The other one gets it when nobody timely waits any more."""
    overdue, timely = job(1, 0.01), job(2, 5.0)
    first = policy().next_action(3.0, state(overdue, timely), COSTS)
    then = policy().next_action(3.0, state(overdue), COSTS)
    assert isinstance(first, Start)
    assert isinstance(then, Start)
    assert (first.job, then.job) == (timely, overdue)


def test_a_waiting_job_is_not_thought_to_run_on_two_lanes() -> None:
    """One lane is busy for 55 ms, b1 on the other takes 26: the waiter (16 ms) then ends at 42, not sooner."""
    tight, loose = job(2, 0.040), job(2, 0.045)
    busy = (running(1, until_s=0.055),)
    asked = job(1, 0.035)
    assert policy().decide(0.0, asked, state(asked, tight, lanes=2, busy=busy), COSTS).variant.name == "b0"
    assert policy().decide(0.0, asked, state(asked, loose, lanes=2, busy=busy), COSTS).variant.name == "b1"


def test_the_smallest_budget_counts_the_response() -> None:
    """19.2 ms of tail and 5 ms to hand the answer over."""
    costs = FixedCosts(reserve_s=0.005)
    assert policy().smallest_feasible_budget_s(0.0, job(), state(), costs) == pytest.approx(0.0242)


def test_the_look_ahead_keeps_its_share_of_the_lanes_free() -> None:
    """The waiter would end at 42 of 43 ms: in time, and not with a tenth to spare."""
    asked, waiter = job(1, 0.035), job(2, 0.043)
    full, spare = policy(utilisation=1.0), policy(utilisation=0.9)
    assert full.decide(0.0, asked, state(asked, waiter), COSTS).variant.name == "b1"
    assert spare.decide(0.0, asked, state(asked, waiter), COSTS).variant.name == "b0"


def test_a_strict_job_whose_tail_does_not_fit_at_its_turn_is_refused() -> None:
    """18 ms are left: enough for b0's mean of 16, not for its tail of 19.2."""
    action = policy().next_action(0.007, state(job(1, 0.025, mode=Mode.STRICT)), COSTS)
    assert isinstance(action, Reject)
    assert action.error.kind is ErrorKind.INFEASIBLE_BUDGET


def test_those_who_wait_need_their_lane_for_the_hand_over_too() -> None:
    """Four runs of 16 ms fit 70 ms one after the other, but not with 4 ms between them."""
    waiting = [job(number, 0.07, decode_s=0.0) for number in range(1, 4)]
    last = job(4, 0.07, mode=Mode.STRICT)
    for hand_over_s, late in ((0.0, False), (0.004, True)):
        costs = FixedCosts(tail_factor=1.0, hand_over_s=hand_over_s)
        refused = policy().admit(0.0, last, state(*waiting), costs)
        assert (refused is not None) is late
