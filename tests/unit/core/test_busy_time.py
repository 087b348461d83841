"""How long lanes were at work, for whoever pays for them."""

import pytest

from service.core.actions import Start
from service.core.latency import Observation
from service.core.values import PolicyName
from tests.builders import TIMES_S, job, scheduler

RUN = Observation("b0", "JPEG", 0.0, 0.0, TIMES_S["b0"])


def test_what_runs_now_counts_until_now() -> None:
    """Half a second so far; it ends after a second, and the lane then idles."""
    subject = scheduler()
    subject.submit(10.0, job(1, 10.0, at_s=10.0))
    assert subject.statistics(10.5).busy_s == pytest.approx(0.5)
    subject.finish(11.0, 0, RUN)
    assert subject.statistics(15.0).busy_s == pytest.approx(1.0)


def test_terminated_runs_count() -> None:
    """A client that leaves ends a run after a quarter of a second."""
    subject = scheduler(stop_s=0.001)
    subject.submit(0.0, job(1, 10.0))
    subject.cancel(0.25, 1)
    subject.terminated(0.25, 0)
    assert subject.statistics(1.0).busy_s == pytest.approx(0.25)


def test_background_lanes_are_counted_apart() -> None:
    """The cheapest answers in 16 ms; what follows has run for 100 ms when asked, and for 144 ms in the end."""
    subject = scheduler(background_lanes=1)
    subject.submit(0.0, job(1, 1.0, policy=PolicyName.P2))
    (upgrade,) = subject.finish(0.016, 0, RUN)
    assert isinstance(upgrade, Start)
    assert subject.statistics(0.116).background_busy_s == pytest.approx(0.1)
    subject.finish(0.160, upgrade.lane, Observation("b4", "JPEG", 0.0, 0.0, TIMES_S["b4"]))
    now = subject.statistics(1.0)
    assert [now.busy_s, now.background_busy_s] == pytest.approx([0.016, 0.144])
