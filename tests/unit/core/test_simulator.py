"""The simulator against queueing theory."""

import random

import pytest

from service.core.simulator import Arrival, simulate
from service.core.values import Decision, Job
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
