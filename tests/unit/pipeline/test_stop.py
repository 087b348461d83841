"""Asking a run to end: whoever comes first, the request is heard."""

import threading

import pytest

from service.pipeline.stop import Stop, Terminated


def test_nobody_asked() -> None:
    """The run goes on, and nobody is told anything."""
    stop, told = Stop(), list[str]()
    stop.heard_by(lambda: told.append("stop"))
    stop.check()
    assert (stop.asked, told) == (False, [])


def test_whoever_runs_is_told_when_it_is_asked() -> None:
    """At once, on the thread that asks."""
    stop, told = Stop(), list[int]()
    stop.heard_by(lambda: told.append(threading.get_ident()))
    stop.ask()
    assert told == [threading.get_ident()]


def test_whoever_runs_later_is_told_at_once() -> None:
    """It was asked while nobody listened."""
    stop, told = Stop(), list[str]()
    stop.ask()
    stop.heard_by(lambda: told.append("stop"))
    assert told == ["stop"]


def test_between_two_steps_a_run_can_look_itself() -> None:
    """After it was asked, and not before."""
    stop = Stop()
    stop.check()
    stop.ask()
    assert stop.asked
    with pytest.raises(Terminated):
        stop.check()


def test_a_run_that_begins_while_it_is_asked_to_end_hears_of_it() -> None:
    """A thousand times, from two threads at once: no request falls between the two."""
    for _ in range(1000):
        stop, told, both = Stop(), threading.Event(), threading.Barrier(2)

        def ask(stop: Stop = stop, both: threading.Barrier = both) -> None:
            both.wait(60)
            stop.ask()

        asking = threading.Thread(target=ask)
        asking.start()
        both.wait(60)
        stop.heard_by(told.set)
        asking.join()
        assert told.is_set()
