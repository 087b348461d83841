"""The scheduler: what it starts when, and its books."""

import pytest

from service.core.actions import Action, Reject, Start, Terminate
from service.core.errors import EffserveError, ErrorKind
from service.core.latency import Observation
from service.core.scheduler import WASTE_WINDOW_S, Scheduler
from service.core.values import Mode
from tests.builders import FAMILY, job, question, scheduler

RUN = Observation("b0", "JPEG", 0.0, 0.0, 0.016)


def _started(actions: list[Action]) -> list[int]:
    return [action.job.id for action in actions if isinstance(action, Start)]


def _stopped(actions: list[Action]) -> list[int]:
    return [action.lane for action in actions if isinstance(action, Terminate)]


def test_a_job_starts_at_once_on_an_idle_lane() -> None:
    """No batch window, no tick: a lone request never waits."""
    assert _started(scheduler().submit(0.0, job(1))) == [1]


def test_the_earliest_deadline_goes_first_when_a_lane_is_free() -> None:
    """Order of deadlines, not of arrival."""
    subject = scheduler()
    subject.submit(0.0, job(1, 1.0))
    subject.submit(0.0, job(2, 0.9))
    subject.submit(0.0, job(3, 0.5))
    assert _started(subject.finish(0.1, 0, RUN)) == [3]


def test_a_cancelled_job_never_starts() -> None:
    """It leaves the queue, and the next one is taken."""
    subject = scheduler()
    for number in (1, 2, 3):
        subject.submit(0.0, job(number, float(number)))
    assert subject.cancel(0.05, 2) == []
    assert subject.statistics(0.05).cancelled == 1
    assert _started(subject.finish(0.1, 0, RUN)) == [3]


def test_a_job_nobody_knows_cannot_be_cancelled() -> None:
    """It was answered already, or never came."""
    subject = scheduler()
    subject.submit(0.0, job(1))
    subject.finish(0.1, 0, RUN)
    assert subject.cancel(0.2, 1) == subject.cancel(0.2, 2) == []
    assert subject.statistics(0.2).cancelled == 0


def test_a_refused_job_leaves_no_trace_in_the_queue() -> None:
    """Strict and hopeless: rejected on arrival."""
    subject = scheduler()
    (action,) = subject.submit(0.0, job(1, 0.001, mode=Mode.STRICT))
    assert isinstance(action, Reject)
    assert subject.statistics(0.0).waiting == 0


def test_an_impossible_question_leaves_the_state_unchanged() -> None:
    """An unknown variant raises before anything is counted."""
    subject = scheduler()
    with pytest.raises(EffserveError) as caught:
        subject.submit(0.0, job(1, variant="b9"))
    assert caught.value.kind is ErrorKind.UNKNOWN_VARIANT
    assert subject.statistics(0.0).submitted == 0


def test_a_plan_changes_nothing() -> None:
    """A dry run is dry."""
    subject = scheduler()
    before = subject.statistics(0.0)
    subject.plan(0.0, question(0.05), 0.002)
    assert subject.statistics(0.0) == before


def test_a_plan_names_the_variant_the_next_request_gets() -> None:
    """Dry run and real run agree on an idle machine."""
    subject = scheduler()
    plan = subject.plan(0.0, question(0.05), 0.0)
    (action,) = subject.submit(0.0, job(1, 0.05))
    assert isinstance(action, Start)
    assert plan.decision.variant == action.decision.variant


def test_a_plan_counts_the_wait_for_a_lane() -> None:
    """While b4 runs on the only lane (144 ms), 200 ms buy less than when it is idle."""
    subject = scheduler()
    subject.submit(0.0, job(1, 1.0))
    assert subject.plan(0.0, question(0.2), 0.0).decision.variant.name == "b2"


def test_a_plan_knows_that_too_much_was_wasted() -> None:
    """Terminated runs took more than a tenth of the lane's time, so there are no upgrades for a while."""
    subject = _interrupted()
    subject.terminated(1.2, 0)
    while subject.statistics(1.25).running:
        subject.finish(1.25, 0, None)
    plan = subject.plan(4.0, question(1.0, at_s=4.0), 0.0)
    (action,) = subject.submit(4.0, job(3, 1.0, at_s=4.0))
    assert isinstance(action, Start)
    assert plan.decision.variant == action.decision.variant
    assert plan.decision.variant.name == "b0"


def test_arrivals_are_counted_over_the_last_second() -> None:
    """Old arrivals do not count, nor does the one that is decided about: a lone request reserves no time for itself."""
    subject = scheduler()
    for at_s in (0.0, 0.5, 0.9, 1.2):
        subject.submit(at_s, job(int(at_s * 10), 5.0, at_s=at_s))
    assert subject.state(1.4).arrivals_per_s == 2.0
    subject.submit(60.0, job(99, 5.0, at_s=60.0))
    assert subject.state(60.0).arrivals_per_s == subject.state(60.0).calm_arrivals_per_s == 0.0


def test_at_least_one_lane_is_needed() -> None:
    """A misconfigured scheduler does not start."""
    with pytest.raises(ValueError, match="lane"):
        Scheduler(policy=scheduler()._policy, latency=scheduler().latency, lanes=0)


def test_strict_requests_are_taken_in_again_after_a_bad_moment() -> None:
    """Ten slow runs make a budget look hopeless; five quiet seconds later it is tried again."""
    subject = scheduler(variants=FAMILY[:1])
    for number in range(10):
        subject.submit(0.0, job(number, 100.0))
        subject.finish(0.0, 0, Observation("b0", "JPEG", 0.0, 0.0, 0.2))
    hopeless = subject.submit(1.0, job(11, 0.05, at_s=1.0, mode=Mode.STRICT))
    again = subject.submit(6.1, job(12, 0.05, at_s=6.1, mode=Mode.STRICT))
    assert isinstance(hopeless[0], Reject)
    assert isinstance(again[0], Start)


def test_a_strict_job_that_became_hopeless_is_rejected_when_something_happens() -> None:
    """Its lane came free too late; the books say rejected."""
    subject = scheduler(variants=FAMILY[:1])
    subject.submit(0.0, job(1, 100.0))
    subject.submit(0.0, job(2, 0.04, mode=Mode.STRICT))
    (action,) = subject.finish(0.039, 0, RUN)
    assert isinstance(action, Reject)
    assert subject.statistics(0.039).rejected == 1


def test_sparse_requests_go_on_teaching() -> None:
    """One request every ten seconds, on a machine that has become three times slower: that is learnt and kept."""
    subject = scheduler(variants=FAMILY[:1])
    for number in range(20):
        subject.submit(10.0 * number, job(number, 1.0, at_s=10.0 * number))
        subject.finish(10.0 * number + 0.05, 0, Observation("b0", "JPEG", 0.0, 0.0, 0.048))
    assert subject.latency.statistics().slowdown > 2


def test_its_repr_shows_the_live_numbers() -> None:
    """What one wants to know in a debugger."""
    subject = scheduler(2)
    for number in (1, 2, 3):
        subject.submit(0.0, job(number, 5.0))
    assert repr(subject) == "<Scheduler waiting=1 running=2/2>"


# Making room.

STOP_S = 0.002


def _interrupted(lanes: int = 1) -> Scheduler:
    """Every lane runs b4 with a second to spare (jobs 1, 2 …); job 9 needs one of them within 30 ms."""
    subject = scheduler(lanes, stop_s=STOP_S)
    for number in range(1, lanes + 1):
        subject.submit(0.0, job(number, 1.0))
    assert _stopped(subject.submit(0.01, job(9, 0.03, at_s=0.01))) == [0]
    return subject


def test_the_lane_of_a_terminated_run_goes_to_whom_it_was_for() -> None:
    """And the run's job waits for its turn."""
    subject = _interrupted()
    assert _started(subject.terminated(0.012, 0)) == [9]
    assert [one.id for one in subject.state(0.012).waiting] == [1]


def test_a_terminated_job_runs_again_as_its_cheapest() -> None:
    """The decision says what ran before."""
    subject = _interrupted()
    subject.terminated(0.012, 0)
    (action,) = subject.finish(0.028, 0, RUN)
    assert isinstance(action, Start)
    assert (action.job.id, action.decision.variant.name) == (1, "b0")
    assert action.decision.terminated == FAMILY[-1]


@pytest.mark.parametrize("budget_s", [0.0195, 0.03])
def test_one_urgent_request_stops_one_run(budget_s: float) -> None:
    """However urgent: a second lane would be free no sooner."""
    subject = scheduler(3, stop_s=STOP_S)
    for number in (1, 2, 3):
        subject.submit(0.0, job(number, 1.0))
    assert _stopped(subject.submit(0.01, job(9, budget_s, at_s=0.01))) == [0]
    assert _stopped(subject.tick(0.0105)) == []


def test_two_urgent_requests_stop_two_runs() -> None:
    """One lane would serve them one after the other, which is too late for the second."""
    subject = _interrupted(lanes=3)
    assert _stopped(subject.submit(0.01, job(10, 0.03, at_s=0.01))) == [1]


def test_a_run_that_ends_before_it_stops_is_finished() -> None:
    """Its answer is as good as any; nothing was wasted."""
    subject = _interrupted()
    assert _started(subject.finish(0.011, 0, RUN)) == [9]
    now = subject.statistics(0.011)
    assert (now.finished, now.terminated, now.wasted_share, now.waiting) == (1, 0, 0.0, 0)


def test_terminated_runs_are_counted_and_their_jobs_are_not_gone() -> None:
    """One run was stopped, nobody was refused."""
    subject = _interrupted()
    subject.terminated(0.012, 0)
    now = subject.statistics(0.012)
    assert (now.submitted, now.terminated, now.waiting, now.running, now.finished) == (2, 1, 1, 1, 0)


def test_the_share_of_wasted_time_is_that_of_the_last_seconds() -> None:
    """12 ms of one lane's ten seconds, until they have passed."""
    subject = _interrupted()
    subject.terminated(0.012, 0)
    assert subject.statistics(0.012).wasted_share == pytest.approx(0.012 / WASTE_WINDOW_S)
    assert subject.statistics(WASTE_WINDOW_S + 0.011).wasted_share > 0
    assert subject.statistics(WASTE_WINDOW_S + 0.012).wasted_share == 0


def test_the_share_of_wasted_time_counts_all_lanes() -> None:
    """12 ms of two lanes' ten seconds."""
    subject = _interrupted(lanes=2)
    subject.terminated(0.012, 0)
    assert subject.statistics(0.012).wasted_share == pytest.approx(0.012 / WASTE_WINDOW_S / 2)


def test_a_run_that_takes_longer_than_expected_is_terminated_at_the_last_moment() -> None:
    """b4 was to end after 144 ms, in time for a request that has until 210. At 187.5 ms it is still there."""
    subject = scheduler(stop_s=STOP_S)
    subject.submit(0.0, job(1, 1.0))
    assert subject.submit(0.01, job(2, 0.2, at_s=0.01)) == []
    assert subject.wake_s(0.01) == pytest.approx(0.21 - 0.0005 - 1.25 * 0.016 - STOP_S)
    assert _stopped(subject.tick(0.145)) == []
    assert _stopped(subject.tick(0.1875)) == [0]
    assert subject.wake_s(0.1875) is None


def test_there_is_nothing_to_wake_for_while_nobody_waits() -> None:
    """Only events matter."""
    subject = scheduler(stop_s=STOP_S)
    subject.submit(0.0, job(1, 1.0))
    assert subject.wake_s(0.0) is None


# Clients that leave while their job runs.


def test_a_running_job_whose_client_left_is_terminated() -> None:
    """Nobody waits for the answer; it counts as cancelled, neither as finished nor as terminated."""
    subject = scheduler(stop_s=STOP_S)
    subject.submit(0.0, job(1, 1.0))
    subject.submit(0.0, job(2, 1.0))
    assert _stopped(subject.cancel(0.01, 1)) == [0]
    assert _started(subject.terminated(0.012, 0)) == [2]
    now = subject.statistics(0.012)
    assert (now.cancelled, now.finished, now.terminated, now.wasted_share) == (1, 0, 0, 0.0)


def test_a_cheapest_run_is_terminated_too_when_its_client_left() -> None:
    """It makes room for nobody, but here it is of no use."""
    subject = scheduler(variants=FAMILY[:1], stop_s=STOP_S)
    subject.submit(0.0, job(1, 1.0))
    assert _stopped(subject.cancel(0.01, 1)) == [0]


def test_a_run_of_nobody_ends_by_itself_where_it_cannot_be_terminated() -> None:
    """It counts as cancelled all the same, and teaches what such a run takes."""
    subject = scheduler()
    subject.submit(0.0, job(1, 1.0))
    subject.submit(0.0, job(2, 1.0))
    assert subject.cancel(0.01, 1) == []
    assert _started(subject.finish(0.144, 0, RUN)) == [2]
    assert (subject.statistics(0.144).cancelled, subject.statistics(0.144).finished) == (1, 0)


def test_a_run_of_nobody_that_ended_before_it_stopped_is_cancelled() -> None:
    """Not finished: nobody got the answer."""
    subject = scheduler(stop_s=STOP_S)
    subject.submit(0.0, job(1, 1.0))
    subject.cancel(0.143, 1)
    subject.finish(0.144, 0, RUN)
    assert (subject.statistics(0.144).cancelled, subject.statistics(0.144).finished) == (1, 0)


def test_a_run_that_stops_already_is_not_asked_again_when_its_client_leaves() -> None:
    """Its job does not come back."""
    subject = _interrupted()
    assert subject.cancel(0.011, 1) == []
    assert _started(subject.terminated(0.012, 0)) == [9]
    now = subject.statistics(0.012)
    assert (now.cancelled, now.terminated, now.waiting) == (1, 0, 0)


def test_a_lane_whose_client_left_counts_as_soon_free() -> None:
    """The urgent request takes it; nobody else has to make room."""
    subject = scheduler(2, stop_s=STOP_S)
    subject.submit(0.0, job(1, 1.0))
    subject.submit(0.0, job(2, 1.0))
    assert _stopped(subject.cancel(0.01, 2)) == [1]
    assert _stopped(subject.submit(0.01, job(9, 0.03, at_s=0.01))) == []


def test_what_runs_keep_their_lane_longer_than_they_take_is_learnt() -> None:
    """Two milliseconds from being started to being noticed, beside the run."""
    subject = scheduler()
    subject.submit(0.0, job(1))
    subject.finish(0.018, 0, RUN)
    assert subject.latency.dispatch_s() == pytest.approx(0.002)


def test_a_run_is_expected_to_keep_its_lane_until_it_is_noticed_to_have_ended() -> None:
    """So whoever comes next waits for that, too."""
    quick, slow = scheduler(), scheduler()
    slow.latency.observe_dispatch(0.002)
    for subject in (quick, slow):
        subject.submit(0.0, job(1, 0.02))
    assert slow.statistics(0.0).backlog_s - quick.statistics(0.0).backlog_s == pytest.approx(0.002)


def test_bounds_are_judged_by_runs_alone() -> None:
    """A late notice is no miss of the run's bound."""
    soon, late = scheduler(), scheduler()
    for subject, noticed_s in ((soon, 0.016), (late, 0.1)):
        subject.submit(0.0, job(1, 0.02))
        subject.finish(noticed_s, 0, RUN)
    assert soon.latency.statistics().miss_rate == late.latency.statistics().miss_rate


def test_a_strict_request_that_admission_takes_in_is_not_late_for_the_hand_over() -> None:
    """The reserve for the response has that: the budget that is asked for is the budget that does."""
    subject = scheduler()
    subject.latency.observe_dispatch(0.003)
    smallest_s = subject.plan(0.0, question(0.1, mode=Mode.STRICT), 0.0).smallest_feasible_budget_s
    assert _started(subject.submit(0.0, job(1, smallest_s, mode=Mode.STRICT))) == [1]
