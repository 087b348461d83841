"""The scheduler: what it starts when, and its books."""

import pytest

from service.core.actions import Reject, Start
from service.core.errors import EffserveError, ErrorKind
from service.core.latency import Observation
from service.core.scheduler import Scheduler
from service.core.values import Mode
from tests.builders import FAMILY, job, question, scheduler

RUN = Observation("b0", "JPEG", 0.0, 0.0, 0.016)


def _started(actions: list[object]) -> list[int]:
    return [action.job.id for action in actions if isinstance(action, Start)]


def test_a_job_starts_at_once_on_an_idle_lane() -> None:
    """No batch window, no tick: a lone request never waits."""
    assert _started([*scheduler().submit(0.0, job(1))]) == [1]


def test_the_earliest_deadline_goes_first_when_a_lane_is_free() -> None:
    """Order of deadlines, not of arrival."""
    subject = scheduler()
    subject.submit(0.0, job(1, 1.0))
    subject.submit(0.0, job(2, 0.9))
    subject.submit(0.0, job(3, 0.5))
    assert _started([*subject.finish(0.1, 0, RUN)]) == [3]


def test_a_cancelled_job_never_starts() -> None:
    """It leaves the queue, and the next one is taken."""
    subject = scheduler()
    for number in (1, 2, 3):
        subject.submit(0.0, job(number, float(number)))
    assert subject.cancel(2)
    assert _started([*subject.finish(0.1, 0, RUN)]) == [3]


def test_a_running_job_cannot_be_cancelled_here() -> None:
    """Terminating a run is another action; `cancel` only takes from the queue."""
    subject = scheduler()
    subject.submit(0.0, job(1))
    assert not subject.cancel(1)


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


def test_arrivals_are_counted_over_the_last_second() -> None:
    """Old arrivals do not count."""
    subject = scheduler()
    for at_s in (0.0, 0.5, 1.2):
        subject.submit(at_s, job(int(at_s * 10), 5.0, at_s=at_s))
    assert subject.state(1.4).arrivals_per_s == 2.0


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
    assert subject.latency.slowdown > 2
