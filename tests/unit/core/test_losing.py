"""Insurance that nobody asked for: what counts as lost to load, and what becomes of requests while too many are."""

from dataclasses import replace

import pytest

from service.core.actions import Deliver, Reject, Start, Terminate
from service.core.baselines import create
from service.core.catalogue import Catalogue
from service.core.latency import Observation
from service.core.policy import MOST_LOST
from service.core.scheduler import LOSS_WINDOW_S, PRIOR_IN_TIME, Scheduler
from service.core.state import SystemState
from service.core.upgrading import LONGEST_HOLD
from service.core.values import Deadline, Decision, Job, Mode, PolicyName, Question, Reason, Verdict
from tests.builders import FAMILY, TIMES_S, FixedCosts, job, policy, scheduler, state, variant

COSTS = FixedCosts(stop_s=0.002)
ABOVE = MOST_LOST + 0.001


def losing(share: float = ABOVE, *waiting: Job, behind: int = 1) -> SystemState:
    """A moment at which that share was lost lately; `behind` lanes of the background."""
    return replace(state(*waiting), lost_share=share, background_lanes=behind)


def decided(asked: Job, snapshot: SystemState, **options: object) -> Decision:
    """What a lane that is free would run."""
    return policy(**options).decide(0.0, asked, snapshot, COSTS)  # type: ignore[arg-type]


def ran(name: str, seconds: float | None = None) -> Observation:
    """A run that took what was expected, unless told otherwise."""
    return Observation(name, "JPEG", 0.0, 0.0, TIMES_S[name] if seconds is None else seconds)


# The rule.


def test_while_many_are_lost_the_cheapest_answers_first() -> None:
    """Its answer is kept, and the explanation says what may follow."""
    decision = decided(job(1, 1.0), losing())
    assert (decision.variant.name, decision.reason, decision.insured) == ("b0", Reason.INSURES_UNDER_LOAD, True)
    assert {c.verdict for c in decision.candidates if c.variant.name != "b0"} == {Verdict.MAY_FOLLOW}


@pytest.mark.parametrize(
    ("snapshot", "options"),
    [(losing(MOST_LOST), {}), (losing(behind=0), {}), (losing(), {"insures": False})],
    ids=["few are lost", "no background lanes", "switched off"],
)
def test_otherwise_a_budget_buys_one_run(snapshot: SystemState, options: dict[str, object]) -> None:
    """As ever."""
    decision = decided(job(1, 1.0), snapshot, **options)
    assert (decision.variant.name, decision.reason, decision.insured) == ("b4", Reason.MOST_ACCURATE_THAT_FITS, False)


@pytest.mark.parametrize(("asked", "chosen"), [({"variant": "b1"}, "b1"), ({"min_top1": 0.8}, "b2")])
def test_who_asks_for_one_variant_gets_it(asked: dict[str, object], chosen: str) -> None:
    """Nothing better may follow, so nothing is kept."""
    decision = decided(job(1, 1.0, **asked), losing())  # type: ignore[arg-type]
    assert (decision.variant.name, decision.insured) == (chosen, False)


@pytest.mark.parametrize(
    ("budget_s", "reason"), [(0.02, Reason.MOST_ACCURATE_THAT_FITS), (0.005, Reason.CHEAPEST_NONE_FITS)]
)
def test_where_nothing_better_fits_nothing_is_kept(budget_s: float, reason: Reason) -> None:
    """The tail of b0 is 19.2 ms, that of b1 31.2."""
    decision = decided(job(1, budget_s), losing())
    assert (decision.variant.name, decision.reason, decision.insured) == ("b0", reason, False)


def test_who_asks_to_be_insured_has_that_as_the_reason() -> None:
    """Load is no news to it."""
    assert decided(job(1, 1.0, policy=PolicyName.P2), losing()).reason is Reason.INSURES


def test_published_rules_do_not_insure() -> None:
    """What they are compared by is their own choice."""
    rule = create("greedy", Catalogue(FAMILY))
    assert rule.decide(0.0, job(1, 1.0), losing(), COSTS).variant.name == "b4"


# What counts as lost.


def crowded(requests: int = 100, budget_s: float = 0.06, mode: Mode = Mode.STRICT) -> Scheduler:
    """All come at once, to one lane."""
    subject = scheduler(background_lanes=1)
    for number in range(requests):
        subject.submit(0.0, job(number, budget_s, mode=mode))
    return subject


def share_lost(subject: Scheduler, now_s: float = 0.0) -> float:
    """As policies see it."""
    return subject.state(now_s).lost_share


def late_start() -> tuple[Scheduler, Start]:
    """A run took longer than expected; the next one, of job 2 with 90 ms, starts at 85."""
    subject = scheduler()
    subject.submit(0.0, job(1, 0.2, variant="b3"))
    subject.submit(0.0, job(2, 0.09))
    [started] = subject.finish(0.085, 0, ran("b3", 0.085))
    assert isinstance(started, Start)
    return subject, started


def test_who_is_refused_for_want_of_a_lane_is_lost() -> None:
    """60 ms are little more than two runs, so two of a hundred are let in."""
    subject = crowded()
    rejected = subject.statistics(0.0).rejected
    assert rejected == 98
    assert share_lost(subject) == pytest.approx(rejected / (100 + PRIOR_IN_TIME))
    assert subject.statistics(0.0).lost_share == share_lost(subject)


def test_a_budget_that_an_idle_machine_could_not_keep_is_not_lost_to_load() -> None:
    """Strict ones are refused at once, and the next is served as ever."""
    subject = crowded(budget_s=0.01)
    assert subject.statistics(0.0).rejected == 100
    assert share_lost(subject) == 0.0


def test_a_slow_upload_is_not_lost_to_load() -> None:
    """Of a second 10 ms were left when it came to the queue."""
    subject = scheduler()
    [refused] = subject.submit(0.99, job(1, 1.0, at_s=0.0, mode=Mode.STRICT))
    assert isinstance(refused, Reject)
    assert share_lost(subject, 0.99) == 0.0


def test_who_is_refused_while_it_waits_is_lost() -> None:
    """The run before it takes longer than it has."""
    subject = scheduler()
    subject.submit(0.0, job(1, 0.2, variant="b3"))
    subject.submit(0.0, job(2, 0.09, mode=Mode.STRICT))
    actions = subject.finish(0.085, 0, ran("b3", 0.085))
    assert [type(one) for one in actions] == [Reject]
    assert share_lost(subject, 0.085) == pytest.approx(1 / (2 + PRIOR_IN_TIME))


def test_who_is_answered_late_for_want_of_a_lane_is_lost() -> None:
    """It began when nothing fitted any more."""
    subject, started = late_start()
    assert not started.decision.fits
    subject.finish(0.101, 0, ran("b0"))
    assert share_lost(subject, 0.101) == pytest.approx(1 / (2 + PRIOR_IN_TIME))


def test_who_is_just_in_time_is_not_lost() -> None:
    """The run took less than anybody could know."""
    subject, _ = late_start()
    subject.finish(0.088, 0, ran("b0", 0.003))
    assert share_lost(subject, 0.088) == 0.0


def test_a_run_that_fitted_and_took_long_is_not_lost_to_load() -> None:
    """That is what the tail's quantile is for."""
    subject = scheduler()
    subject.submit(0.0, job(1, 0.2))
    subject.finish(0.5, 0, ran("b4", 0.5))
    assert share_lost(subject, 0.5) == 0.0


def test_a_late_run_that_fails_is_not_lost_to_load() -> None:
    """Its image cannot be decoded, in time or not."""
    subject, _ = late_start()
    subject.finish(0.101, 0, None)
    assert share_lost(subject, 0.101) == 0.0


@pytest.mark.parametrize(("left_s", "lost"), [(0.086, 0), (0.0901, 1)])
def test_who_leaves_once_it_is_late_is_lost(left_s: float, lost: int) -> None:
    """Many clients wait as long as their budget. Who leaves before has other reasons. Its late run counts no more."""
    subject, _ = late_start()
    subject.cancel(left_s, 2)
    subject.cancel(left_s, 2)
    subject.finish(0.101, 0, ran("b0"))
    assert share_lost(subject, 0.101) == pytest.approx(lost / (2 + PRIOR_IN_TIME))


def test_who_leaves_the_queue_once_it_is_late_is_lost() -> None:
    """The lane was not free in time."""
    subject = scheduler()
    subject.submit(0.0, job(1, 0.2, variant="b3"))
    subject.submit(0.0, job(2, 0.09))
    subject.cancel(0.095, 2)
    assert share_lost(subject, 0.095) == pytest.approx(1 / (2 + PRIOR_IN_TIME))


def test_who_leaves_a_run_that_fitted_is_not_lost_to_load() -> None:
    """It takes longer than its tail."""
    subject = scheduler()
    subject.submit(0.0, job(1, 0.2))
    subject.cancel(0.21, 1)
    assert share_lost(subject, 0.21) == 0.0


def test_losses_are_forgotten() -> None:
    """After half a minute."""
    subject = crowded()
    assert share_lost(subject, LOSS_WINDOW_S - 0.001) > 0.5
    assert share_lost(subject, LOSS_WINDOW_S) == 0.0


@pytest.mark.parametrize(("requests", "insured"), [(3, False), (4, True)])
def test_one_of_a_few_is_no_sign_of_load(requests: int, *, insured: bool) -> None:
    """Of strict ones that come at once, two are let in. Two that are not are a sign."""
    subject = crowded(requests)
    assert subject.statistics(0.0).rejected == requests - 2
    assert (share_lost(subject) > MOST_LOST) is insured


# From the first answer to the last.


def drained() -> Scheduler:
    """Most were lost, the others are answered; all that within the first tenth of a second."""
    subject, now_s = crowded(), 0.0
    while subject.statistics(now_s).running:
        now_s += TIMES_S["b0"]
        subject.finish(now_s, 0, ran("b0"))
    return subject


def test_after_losses_an_answer_is_kept_and_bettered() -> None:
    """The answer of b0 is in hand at once; b4 follows on the background lane and is what goes out."""
    subject = drained()
    [started] = subject.submit(1.0, job(200, 1.0, at_s=1.0))
    assert isinstance(started, Start)
    assert (started.decision.variant.name, started.decision.insured) == ("b0", True)
    [upgrade] = subject.finish(1.016, 0, ran("b0"))
    assert isinstance(upgrade, Start)
    assert (upgrade.lane, upgrade.decision.variant.name, upgrade.decision.insured) == (1, "b4", True)
    assert subject.finish(1.2, 1, ran("b4")) == [Deliver(replace(started.job, in_hand=variant("b4"), upgraded=True))]
    now = subject.statistics(1.2)
    assert now.submitted == now.finished + now.rejected
    assert (now.waiting, now.insured, now.running) == (0, 0, 0)


def test_who_leaves_an_answer_in_hand_is_worked_for_no_longer() -> None:
    """The run for a better one is stopped, and nothing is kept."""
    subject = drained()
    subject.submit(1.0, job(200, 1.0, at_s=1.0))
    [upgrade] = subject.finish(1.016, 0, ran("b0"))
    assert [type(one) for one in subject.cancel(1.02, 200)] == [Terminate]
    subject.terminated(1.021, upgrade.lane if isinstance(upgrade, Start) else -1)
    now = subject.statistics(1.021)
    assert (now.cancelled, now.insured, now.upgrading) == (1, 0, 0)


def test_losses_that_are_over_change_nothing_for_who_is_insured() -> None:
    """What is in hand is bettered or delivered as it was to be; the next one gets one run."""
    subject = drained()
    late_s = LOSS_WINDOW_S - 0.01
    subject.submit(late_s, job(200, 1.0, at_s=late_s))
    [upgrade] = subject.finish(LOSS_WINDOW_S, 0, ran("b0"))
    [started] = subject.submit(LOSS_WINDOW_S, job(201, 1.0, at_s=LOSS_WINDOW_S))
    assert isinstance(upgrade, Start)
    assert isinstance(started, Start)
    assert (upgrade.decision.variant.name, started.decision.variant.name, started.lane) == ("b4", "b4", 0)
    assert not started.decision.insured
    subject.finish(LOSS_WINDOW_S + 0.144, 0, ran("b4"))
    assert [type(one) for one in subject.finish(LOSS_WINDOW_S + 0.3, 1, ran("b4"))] == [Deliver]


BOUGHT_S = 1.2 * TIMES_S["b4"]
"""What the run takes, as a tail, that ten seconds buy."""


def held(subject: Job, *, idle: tuple[int, ...] = (), rate: float = 0.0) -> SystemState:
    """An answer in hand, and lanes behind the one of the foreground that are all at work unless told otherwise."""
    return replace(state(rate=rate), insured=(subject,), background_lanes=1, idle_background=idle)


@pytest.mark.parametrize(("over_s", "delivered"), [(-0.001, False), (0.0, True)])
def test_an_answer_that_is_kept_unasked_waits_for_no_lane_for_long(over_s: float, *, delivered: bool) -> None:
    """Twice as long as the run that its budget would have bought, and not for the ten seconds of its budget."""
    kept = replace(job(1, 10.0), in_hand=variant("b0"), submitted_s=0.0)
    found = policy().next_upgrade(LONGEST_HOLD * BOUGHT_S + over_s, held(kept), COSTS)
    assert found == (Deliver(kept) if delivered else None)


def test_when_it_has_waited_long_the_policy_is_asked_again() -> None:
    """Not before, and not only at the deadline."""
    kept = replace(job(1, 10.0), in_hand=variant("b0"), submitted_s=0.0)
    assert policy().upgrade_wake_s(0.1, held(kept), COSTS) == pytest.approx(LONGEST_HOLD * BOUGHT_S)


def test_after_a_long_wait_what_can_begin_still_begins() -> None:
    """A lane is free at last, and there is time."""
    kept = replace(job(1, 10.0), in_hand=variant("b0"), submitted_s=0.0)
    found = policy().next_upgrade(1.0, held(kept, idle=(1,)), COSTS)
    assert isinstance(found, Start)
    assert found.decision.variant.name == "b4"


def test_after_a_long_wait_a_lane_without_time_to_spare_is_not_waited_for() -> None:
    """The foreground is expected to need all there is."""
    kept = replace(job(1, 10.0), in_hand=variant("b0"), submitted_s=0.0)
    assert policy().next_upgrade(1.0, held(kept, idle=(1,), rate=100.0), COSTS) == Deliver(kept)


def test_who_asks_to_be_insured_waits_for_as_long_as_its_budget() -> None:
    """That is what it asks for."""
    kept = replace(job(1, 10.0, policy=PolicyName.P2), in_hand=variant("b0"), submitted_s=0.0)
    assert policy().next_upgrade(5.0, held(kept), COSTS) is None


def test_what_became_slower_since_is_waited_for_as_long_as_the_cheapest() -> None:
    """Nothing would be bought any more."""
    kept = replace(job(1, 1.0), in_hand=variant("b0"), submitted_s=0.0)
    slow = FixedCosts(times_s=TIMES_S, tail_factor=70.0)
    assert policy().next_upgrade(0.5, held(kept), slow) == Deliver(kept)


def test_a_plan_knows_of_losses() -> None:
    """It says what a request would get that came now."""
    plan = crowded().plan(1.0, Question(Deadline(1.0, 1.0)), 0.0)
    assert plan.decision.reason is Reason.INSURES_UNDER_LOAD
