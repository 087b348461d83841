"""How fast a run stops, with sessions on real threads and a clock that they move themselves."""

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pytest

from service.pipeline import termination
from service.pipeline.stop import Stop, Terminated

PIXELS = np.zeros((1, 8, 8, 3), np.uint8)
USUAL_S = 0.001
PATIENCE_S = 60


class Clock:
    """Stands still unless a session moves it."""

    now_s = 0.0

    def __call__(self) -> float:
        """The time."""
        return self.now_s


@dataclass(frozen=True)
class Heeds:
    """Stops so much later, as shares of a run's usual time."""

    after: float


@dataclass(frozen=True)
class Ignores:
    """Ends by itself so much later."""

    after: float


@dataclass(frozen=True)
class Short:
    """Has ended when it is asked."""


class Session:
    """Behaves in one way after the other."""

    def __init__(self, clock: Clock, ways: Sequence[Heeds | Ignores | Short]) -> None:
        self._clock = clock
        self._ways = list(ways)

    def run(self, pixels: npt.NDArray[np.uint8], stop: Stop | None = None) -> npt.NDArray[np.float32]:
        """See `Session.run`."""
        assert stop is not None
        match self._ways.pop(0):
            case Heeds(after):
                self._until_asked(stop, after)
                raise Terminated
            case Ignores(after):
                self._until_asked(stop, after)
        return np.zeros((1, 2), np.float32)

    def _until_asked(self, stop: Stop, after: float) -> None:
        asked = threading.Event()
        stop.heard_by(asked.set)
        assert asked.wait(PATIENCE_S), "nobody asked"
        self._clock.now_s += after * USUAL_S


def measured(*ways: Heeds | Ignores | Short) -> float | None:
    """Seconds until a session of these ways stops; the last way goes on."""
    clock = Clock()
    session = Session(clock, [*ways, *[ways[-1]] * (termination.TRIES - len(ways))])
    with ThreadPoolExecutor(1) as pool:
        return termination.measure(session, PIXELS, usual_s=USUAL_S, pool=pool, clock=clock)


def test_a_session_that_heeds_stops_within_its_usual_time_to_stop() -> None:
    """The median: one slow node, or one quick one, is not what is usual."""
    assert measured(Heeds(0.05), Heeds(0.6), Heeds(0.1), Heeds(0.2), Heeds(0.01)) == pytest.approx(0.1 * USUAL_S)


def test_a_session_that_goes_on_cannot_be_terminated() -> None:
    """Its provider takes the graph as one node."""
    assert measured(Ignores(0.7)) is None


def test_a_session_whose_runs_end_before_they_are_asked_costs_nothing_to_stop() -> None:
    """There is nothing to measure."""
    assert measured(Short()) == 0.0


def test_a_run_that_was_nearly_done_proves_nothing() -> None:
    """It did not listen, and hardly could have."""
    assert measured(Ignores(0.2)) == 0.0
    assert measured(Ignores(0.2), Heeds(0.05)) == pytest.approx(0.05 * USUAL_S)


def test_the_majority_counts() -> None:
    """A run may go on once, while its last and largest node is at work."""
    assert measured(Ignores(0.5), Ignores(0.5), Heeds(0.1)) == pytest.approx(0.1 * USUAL_S)
    assert measured(Ignores(0.5), Ignores(0.5), Ignores(0.5), Heeds(0.1)) is None


def test_with_as_many_that_go_on_as_stop_none_can_be_terminated() -> None:
    """Plans would count on what happens every other time."""
    assert measured(Ignores(0.5), Heeds(0.1), Short()) is None


def test_a_run_that_fails_ends_the_measuring() -> None:
    """A variant that cannot run must not be served."""

    class Broken:
        def run(self, pixels: npt.NDArray[np.uint8], stop: Stop | None = None) -> npt.NDArray[np.float32]:
            raise RuntimeError("no kernel")

    with ThreadPoolExecutor(1) as pool, pytest.raises(RuntimeError, match="no kernel"):
        termination.measure(Broken(), PIXELS, usual_s=USUAL_S, pool=pool, clock=Clock())
