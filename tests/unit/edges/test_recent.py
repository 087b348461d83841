"""What became of the requests of the last minute."""

import pytest

from service.core.errors import ErrorKind
from service.core.events import LifecycleChanged
from service.edges.recent import OVER_S, REFUSED, Outcomes, Recent
from tests.unit.telemetry.events import answered, failed


class Clock:
    """Set by the test."""

    now_s = 100.0

    def __call__(self) -> float:
        """The time."""
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    """A moment."""
    return Clock()


@pytest.fixture
def recent(clock: Clock) -> Recent:
    """Nothing has happened."""
    return Recent(clock)


def test_answers_count_by_deadline_and_variant(recent: Recent) -> None:
    """Met or missed."""
    for event in (answered("b0"), answered("b2"), answered("b2", met=False)):
        recent.observe(event)
    assert recent.outcomes() == Outcomes(met=2, missed=1, refused=0, failed=0, answers={"b0": 1, "b2": 2})


@pytest.mark.parametrize("kind", ErrorKind)
def test_failures_count_where_they_say_something_about_the_service(recent: Recent, kind: ErrorKind) -> None:
    """Refusals and faults; not mistakes of clients."""
    recent.observe(failed(kind))
    counted = recent.outcomes()
    assert (counted.refused, counted.failed) == (int(kind in REFUSED), int(kind is ErrorKind.INTERNAL))
    assert (counted.met, counted.missed, counted.answers) == (0, 0, {})


def test_a_minute_later_it_is_forgotten(recent: Recent, clock: Clock) -> None:
    """Second by second."""
    recent.observe(answered())
    clock.now_s += OVER_S - 1
    recent.observe(answered())
    assert recent.outcomes().met == 2
    clock.now_s += 1
    assert recent.outcomes().met == 1
    clock.now_s += OVER_S
    assert recent.outcomes() == Outcomes(0, 0, 0, 0, {})


def test_other_events_change_nothing(recent: Recent) -> None:
    """The service's own life."""
    recent.observe(LifecycleChanged("ready"))
    assert recent.outcomes() == Outcomes(0, 0, 0, 0, {})
