"""The simulator against queueing theory."""

import random

import pytest

from service.core.simulator import Arrival, simulate
from service.core.values import Decision, Job, Mode
from tests.builders import job, scheduler, variant


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
