"""Answers in hand: what becomes of an insured request after its first run, until the delivery."""

from dataclasses import replace

import pytest

from service.core.actions import Action, Deliver, Start, Terminate
from service.core.latency import Observation
from service.core.simulator import Arrival, Outcome, simulate
from service.core.values import Decision, Job, Mode, PolicyName, Reason, Verdict
from tests.builders import TIMES_S, FixedCosts, job, policy, running, scheduler, state, variant

STOP_S = 0.002
COSTS = FixedCosts(stop_s=STOP_S)


def insured(number: int = 1, budget_s: float = 1.0, *, at_s: float = 0.0, mode: Mode = Mode.BEST_EFFORT) -> Job:
    """A job whose budget is spent on insurance."""
    return job(number, budget_s, at_s=at_s, mode=mode, policy=PolicyName.P2)


def holding(number: int = 1, budget_s: float = 1.0, name: str = "b0") -> Job:
    """One that has an answer in hand."""
    return replace(insured(number, budget_s), in_hand=variant(name))


def ran(name: str) -> Observation:
    """A run that took what was expected."""
    return Observation(name, "JPEG", 0.0, 0.0, TIMES_S[name])


def told(actions: list[Action]) -> list[tuple[str, int, str]]:
    """Kind of action, number of the job, and variant where one starts."""
    return [
        (type(one).__name__, one.job.id, one.decision.variant.name if isinstance(one, Start) else "") for one in actions
    ]


# What is chosen.


def test_the_cheapest_answers_first_however_much_time_there_is() -> None:
    """The reason says so."""
    decision = policy().decide(0.0, insured(), state(), COSTS)
    assert (decision.variant.name, decision.reason) == ("b0", Reason.INSURES)


def test_a_budget_that_fits_nothing_is_missed_as_ever() -> None:
    """There is nothing to insure."""
    decision = policy().decide(0.0, insured(budget_s=0.005), state(), COSTS)
    assert decision.reason is Reason.CHEAPEST_NONE_FITS


# Upgrades.


def test_an_idle_lane_tries_the_best_that_still_fits() -> None:
    """After 16 of 150 ms, b3 (63 ms) fits and b4 (144 ms) does not; the explanation is about the choice made now."""
    action = policy().next_action(0.016, replace(state(), insured=(holding(1, 0.15),)), COSTS)
    assert isinstance(action, Start)
    assert (action.decision.variant.name, action.decision.reason) == ("b3", Reason.UPGRADES)
    verdicts = {candidate.variant.name: candidate.verdict for candidate in action.decision.candidates}
    assert (verdicts["b4"], verdicts["b0"]) == (Verdict.TOO_SLOW, Verdict.LESS_ACCURATE)


def test_what_is_due_first_is_upgraded_first() -> None:
    """One lane, two answers in hand."""
    both = replace(state(), insured=(holding(1, 0.5), holding(2, 1.0)))
    action = policy().next_action(0.0, both, COSTS)
    assert isinstance(action, Start)
    assert action.job.id == 1


def test_nobody_is_upgraded_while_somebody_waits() -> None:
    """Whoever has no answer yet goes first."""
    both = replace(state(job(2, 2.0)), insured=(holding(1, 0.5),))
    action = policy().next_action(0.0, both, COSTS)
    assert isinstance(action, Start)
    assert action.job.id == 2


def test_nobody_is_upgraded_without_an_idle_lane() -> None:
    """The answer stays in hand; there is time yet."""
    busy = replace(state(busy=(running(0, until_s=0.1),)), insured=(holding(),))
    assert policy().next_action(0.0, busy, COSTS) is None


def test_an_upgrade_must_starve_nobody_who_may_come() -> None:
    """48 arrivals a second at 16 ms each and a quarter more take 0.96 of the lane: 1 % of 900 ms buys nothing."""
    calm, rush = (replace(state(rate=rate), insured=(holding(1, 0.9),)) for rate in (0.0, 48.0))
    assert isinstance(policy().next_action(0.0, calm, COSTS), Start)
    assert policy().next_action(0.0, rush, COSTS) is None


def test_there_are_no_upgrades_while_too_much_was_wasted() -> None:
    """They could not be terminated."""
    assert policy().next_action(0.0, replace(state(wasted=0.2), insured=(holding(),)), COSTS) is None


def test_where_runs_cannot_be_terminated_upgrades_must_block_nobody() -> None:
    """Nobody waits, so nobody is blocked."""
    action = policy().next_action(0.0, replace(state(), insured=(holding(),)), FixedCosts(stop_s=None))
    assert isinstance(action, Start)
    assert action.decision.variant.name == "b4"


# Deliveries.


def test_an_answer_that_nothing_can_better_is_delivered_at_once() -> None:
    """It is the best there is, or nothing better fits any more."""
    best, late = holding(1, 1.0, "b4"), holding(2, 0.03)
    for one in (best, late):
        assert policy().next_action(0.0, replace(state(), insured=(one,)), COSTS) == Deliver(one)


def test_an_answer_is_delivered_when_its_time_has_come_though_a_better_one_is_tried() -> None:
    """At the deadline, less the reserve for the response."""
    upgrade = replace(running(0, until_s=0.2), job=holding(1, 0.1))
    costs = replace(COSTS, reserve_s=0.005)
    assert policy().next_action(0.0949, state(busy=(upgrade,)), costs) is None
    assert policy().next_action(0.095, state(busy=(upgrade,)), costs) == Deliver(upgrade.job)
    assert policy().next_action(0.095, state(busy=(replace(upgrade, abandoned=True),)), costs) is None


def test_the_moment_when_an_answer_in_hand_must_go_is_waited_for() -> None:
    """When b1, the least of the better ones (tail 31.2 ms), fits no longer; or when a run for it is out of time."""
    idle = replace(state(busy=(running(0, until_s=0.1),)), insured=(holding(1, 0.1),))
    assert policy().wake_s(0.0, idle, COSTS) == pytest.approx(0.1 - 0.0312, abs=3e-4)
    upgrade = replace(running(0, until_s=0.2), job=holding(1, 0.1))
    assert policy().wake_s(0.0, state(busy=(upgrade,)), COSTS) == pytest.approx(0.1)
    assert policy().wake_s(0.0, state(busy=(replace(upgrade, abandoned=True),)), COSTS) is None


def test_an_upgrade_always_makes_room() -> None:
    """Its job has an answer: however near its deadline, and however often it had to before."""
    upgrade = replace(running(0, until_s=0.1), job=holding(7, 0.11))
    action = policy().next_action(0.0, state(job(1, 0.03), busy=(upgrade,)), COSTS)
    assert action == Terminate(0, upgrade.job)


def test_an_upgrade_takes_no_time_from_anybody() -> None:
    """100 ms are left to it; they count for a run without an answer in hand (b3), and not for one with (b4)."""
    plain, upgrade = running(0, until_s=0.1, budget_s=0.2), replace(running(0, until_s=0.1), job=holding(99, 0.2))
    chosen = [policy().decide(0.0, job(1, 0.2), state(busy=(run,)), COSTS).variant.name for run in (plain, upgrade)]
    assert chosen == ["b3", "b4"]


# From the first run to the delivery.


def test_an_answer_gets_better_until_there_is_no_better_one() -> None:
    """b0, then b4, which is the best."""
    subject = scheduler(stop_s=STOP_S)
    assert told(subject.submit(0.0, insured())) == [("Start", 1, "b0")]
    assert told(subject.finish(0.016, 0, ran("b0"))) == [("Start", 1, "b4")]
    assert told(subject.finish(0.160, 0, ran("b4"))) == [("Deliver", 1, "")]
    assert subject.statistics(0.160).finished == 1


def test_an_upgrade_that_makes_room_leaves_the_answer_in_hand() -> None:
    """It is tried again later, and may have to make room again."""
    subject = scheduler(stop_s=STOP_S)
    subject.submit(0.0, insured())
    subject.finish(0.016, 0, ran("b0"))
    for at_s, number in ((0.02, 2), (0.06, 3)):
        assert told(subject.submit(at_s, job(number, 0.03, at_s=at_s))) == [("Terminate", 1, "")]
        assert told(subject.terminated(at_s + 0.002, 0)) == [("Start", number, "b0")]
        assert subject.statistics(at_s + 0.002).insured == 1
        assert told(subject.finish(at_s + 0.018, 0, ran("b0"))) == [("Start", 1, "b4")]
    assert subject.statistics(0.08).terminated == 2


def test_an_answer_that_is_delivered_ends_the_run_for_a_better_one() -> None:
    """The job is finished; what the lane stops is nobody's any more."""
    subject = scheduler(stop_s=STOP_S)
    subject.submit(0.0, insured(budget_s=0.25))
    subject.finish(0.016, 0, ran("b0"))
    assert subject.wake_s(0.016) == pytest.approx(0.25 - 0.0005)
    wake_s = subject.wake_s(0.016) or 0.0
    assert told(subject.tick(wake_s)) == [("Deliver", 1, ""), ("Terminate", 1, "")]
    now = subject.statistics(wake_s)
    assert (now.finished, now.running, now.busy) == (1, 0, 1)
    assert subject.terminated(wake_s + 0.002, 0) == []
    now = subject.statistics(wake_s + 0.002)
    assert (now.finished, now.terminated, now.insured, now.busy) == (1, 0, 0, 0)


def test_a_failed_upgrade_leaves_the_answer_in_hand_good_enough() -> None:
    """It is delivered; trying again would fail again."""
    subject = scheduler(stop_s=STOP_S)
    subject.submit(0.0, insured())
    subject.finish(0.016, 0, ran("b0"))
    assert told(subject.finish(0.1, 0, None)) == [("Deliver", 1, "")]
    assert subject.statistics(0.1).finished == 1


def test_a_client_may_leave_while_its_answer_is_in_hand() -> None:
    """The job is cancelled, whether it is being upgraded or not."""
    subject = scheduler(stop_s=STOP_S)
    subject.submit(0.0, insured())
    subject.finish(0.016, 0, ran("b0"))
    assert told(subject.cancel(0.02, 1)) == [("Terminate", 1, "")]
    subject.terminated(0.022, 0)
    subject.submit(0.03, insured(2, at_s=0.03))
    subject.finish(0.046, 0, ran("b0"))
    subject.submit(0.05, job(3, 0.03, at_s=0.05))
    subject.terminated(0.052, 0)
    assert subject.statistics(0.052).insured == 1
    assert subject.cancel(0.06, 2) == []
    now = subject.statistics(0.06)
    assert (now.cancelled, now.insured, now.finished, now.running) == (2, 0, 0, 1)


def test_nothing_is_waited_for_when_no_answer_is_in_hand() -> None:
    """And nobody waits."""
    subject = scheduler(stop_s=STOP_S)
    subject.submit(0.0, insured())
    assert subject.wake_s(0.0) is None


# Simulated.


def _simulated(b4_s: float, stop_s: float | None = STOP_S, budget_s: float = 0.25) -> Outcome:
    def times(_: Job, decision: Decision) -> tuple[float, float]:
        return 0.0, b4_s if decision.variant.name == "b4" else TIMES_S[decision.variant.name]

    arrivals = [Arrival(0.0, insured(budget_s=budget_s))]
    (outcome,) = simulate(scheduler(stop_s=stop_s), arrivals, times, lambda _: STOP_S)
    return outcome


def test_the_better_answer_is_the_outcome_when_it_comes_in_time() -> None:
    """16 ms for b0, 144 for b4."""
    outcome = _simulated(0.144)
    assert outcome.decision is not None
    assert outcome.decision.variant.name == "b4"
    assert outcome.finished_s == pytest.approx(0.160)


@pytest.mark.parametrize("stop_s", [STOP_S, None])
def test_the_answer_in_hand_is_the_outcome_when_nothing_better_comes_in_time(stop_s: float | None) -> None:
    """b4 hangs; at the last moment b0's answer goes out, and the request is met. Whatever comes later is nobody's."""
    outcome = _simulated(1.0, stop_s)
    assert outcome.met
    assert outcome.decision is not None
    assert outcome.decision.variant.name == "b0"
    assert outcome.finished_s == pytest.approx(0.2495)


def test_a_strict_insured_request_is_refused_when_nothing_fits() -> None:
    """As any other."""
    arrivals = [Arrival(0.0, insured(budget_s=0.005, mode=Mode.STRICT))]
    (outcome,) = simulate(scheduler(), arrivals, lambda *_: (0.0, 0.016))
    assert outcome.error is not None
