"""Asking a run to end: whoever comes first, the request is heard."""

import threading
from collections.abc import Callable

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


class Interleaved(Stop):
    """Something else happens just before the attribute `before` is written."""

    def __init__(self, before: str, other: Callable[[Stop], None]) -> None:
        super().__init__()
        self._happens = {before: other}

    def __setattr__(self, name: str, value: object) -> None:
        if other := getattr(self, "_happens", {}).pop(name, None):
            other(self)
        super().__setattr__(name, value)


def test_a_run_that_begins_to_listen_while_it_is_asked_is_told() -> None:
    """The other thread asks when this one has not quite begun to listen, or begins when this one has not quite asked;
    no request falls between the two."""
    told: list[str] = []
    Interleaved("_tell", lambda stop: stop.ask()).heard_by(lambda: told.append("asked before"))
    Interleaved("_asked", lambda stop: stop.heard_by(lambda: told.append("heard before"))).ask()
    assert told == ["asked before", "heard before"]
