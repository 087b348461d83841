"""The simulator against queueing theory, and what it does with terminated runs."""

import random

import pytest

from service.core.actions import Action
from service.core.simulator import Arrival, Outcome, simulate
from service.core.values import Decision, Job, Mode
from tests.builders import TIMES_S, job, scheduler, variant


@pytest.mark.slow
def test_mean_wait_is_that_of_an_m_d_1_queue() -> None:
    """One lane, one variant of 16 ms, Poisson arrivals at 60 % load: ρS/(2(1−ρ)) (Pollaczek–Khinchine)."""
    service_s, load = 0.016, 0.6
    draw, at_s, arrivals = random.Random(7), 0.0, []
    for number in range(20_000):
        at_s += draw.expovariate(load / service_s)
        arrivals.append(Arrival(at_s, job(number, 10.0, at_s=at_s)))

    def constant(_: Job, __: Decision) -> tuple[float, float]:
        return 0.0, service_s

    outcomes = simulate(scheduler(1, (variant("b0"),)), arrivals, constant)
    waits = [o.finished_s - service_s - o.job.question.deadline.started_s for o in outcomes]
    assert sum(waits) / len(waits) == pytest.approx(load * service_s / (2 * (1 - load)), rel=0.05)


def test_a_rejected_request_is_an_outcome_too() -> None:
    """Strict and hopeless: no decision, an error, not met."""
    arrival = Arrival(0.0, job(1, 0.001, mode=Mode.STRICT))
    (outcome,) = simulate(scheduler(), [arrival], lambda *_: (0.0, 0.01))
    assert (outcome.met, outcome.decision) == (False, None)
    assert outcome.error is not None


def test_an_answer_by_its_deadline_is_met() -> None:
    """And one after it is not."""
    in_time, late = (Arrival(0.0, job(n, 0.5, variant="b0")) for n in (1, 2))
    times = iter([0.1, 0.6])
    outcomes = simulate(scheduler(), [in_time, late], lambda *_: (0.0, next(times)))
    assert [outcome.met for outcome in outcomes] == [True, False]


def test_a_run_keeps_its_lane_while_it_is_dispatched_too() -> None:
    """The scheduler hears of the run alone."""
    arrivals = [Arrival(0.0, job(n, 5.0, variant="b0")) for n in (1, 2)]
    watched = scheduler(1)
    outcomes = simulate(watched, arrivals, lambda *_: (0.0, 0.016), dispatch_s=0.5)
    assert [outcome.finished_s for outcome in outcomes] == pytest.approx([0.516, 1.032])
    assert watched.latency.expected_s("b0", 0.0) < 0.1


STOP_S = 0.002


def _interrupted(stop_s: float | None, b4_s: float = 0.144, stopping_s: float = STOP_S) -> dict[int, Outcome]:
    """One lane on which b4 runs when a request with 60 ms comes; outcomes by job."""
    arrivals = [Arrival(0.0, job(1, 1.0)), Arrival(0.01, job(2, 0.06, at_s=0.01))]
    times_s = TIMES_S | {"b4": b4_s}

    def times(_: Job, decision: Decision) -> tuple[float, float]:
        return 0.0, times_s[decision.variant.name]

    outcomes = simulate(scheduler(stop_s=stop_s), arrivals, times, lambda _: stopping_s)
    return {outcome.job.id: outcome for outcome in outcomes}


def test_a_terminated_run_frees_its_lane_and_its_job_runs_again() -> None:
    """2 ms until it has stopped, then b2 for the urgent request, then b0 for the one that made room."""
    found = _interrupted(STOP_S)
    urgent, patient = found[2], found[1]
    assert urgent.met
    assert urgent.finished_s == pytest.approx(0.012 + 0.036)
    assert patient.met
    assert patient.finished_s == pytest.approx(0.048 + 0.016)
    assert patient.decision is not None
    assert (patient.decision.variant.name, patient.decision.terminated) == ("b0", variant("b4"))


def test_where_runs_cannot_be_terminated_the_urgent_request_is_late() -> None:
    """The same trace."""
    found = _interrupted(None)
    assert not found[2].met
    assert found[1].finished_s == pytest.approx(0.144)


def test_a_run_that_ends_before_it_has_stopped_is_answered() -> None:
    """Unexpectedly short: it ends at 11 ms, and would have stopped at 12."""
    found = _interrupted(STOP_S, b4_s=0.011)
    assert found[1].finished_s == pytest.approx(0.011)
    assert found[1].decision is not None
    assert found[1].decision.variant.name == "b4"
    assert found[2].finished_s == pytest.approx(0.011 + 0.036)


def test_a_run_that_takes_longer_than_expected_is_stopped_while_it_does_no_harm() -> None:
    """b4 hangs for a second. The other request would have waited for it to end after 144 ms; nothing happens until
    its last moment, 187.5 ms, and it is answered in time all the same."""
    arrivals = [Arrival(0.0, job(1, 5.0)), Arrival(0.01, job(2, 0.2, at_s=0.01))]

    def hanging(one: Job, decision: Decision) -> tuple[float, float]:
        return 0.0, 1.0 if decision.variant.name == "b4" else TIMES_S[decision.variant.name]

    outcomes = simulate(scheduler(stop_s=STOP_S), arrivals, hanging, lambda _: STOP_S)
    assert [(outcome.job.id, outcome.met) for outcome in outcomes] == [(2, True), (1, True)]
    assert outcomes[0].finished_s == pytest.approx(0.1875 + STOP_S + 0.016)


@pytest.mark.parametrize(("b4_s", "rings_s"), [(0.144, []), (1.0, [0.1875])])
def test_the_scheduler_is_asked_again_only_when_nothing_happened_before(b4_s: float, rings_s: list[float]) -> None:
    """A lane that was free in time makes the alarm void."""
    subject, asked_s = scheduler(stop_s=STOP_S), list[float]()
    tick = subject.tick

    def noted(now_s: float) -> list[Action]:
        asked_s.append(now_s)
        return tick(now_s)

    subject.tick = noted  # type: ignore[method-assign]
    arrivals = [Arrival(0.0, job(1, 5.0)), Arrival(0.01, job(2, 0.2, at_s=0.01))]
    simulate(subject, arrivals, lambda _, decision: (0.0, b4_s if decision.variant.name == "b4" else 0.016))
    assert asked_s == pytest.approx(rings_s)
