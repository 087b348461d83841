"""Threads that give way, some or all: asked of the kernel, and what happens where it says no."""

import os
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from service.pipeline.priority import LOWEST, can_yield, give_way, yield_to_all

linux = pytest.mark.skipif(not hasattr(os, "SCHED_IDLE"), reason="this system has no idle priority")


def refused(*_: object) -> None:
    """What a container's rules make of a call."""
    raise PermissionError("not here")


@linux
def test_a_thread_takes_idle_priority_and_the_others_keep_theirs() -> None:
    """Threads, not the process."""
    with ThreadPoolExecutor(1) as pool:
        pool.submit(yield_to_all).result()
        assert pool.submit(os.sched_getscheduler, 0).result() == os.SCHED_IDLE
    assert os.sched_getscheduler(0) != os.SCHED_IDLE


@linux
def test_a_thread_gives_way_and_the_others_do_not() -> None:
    """Nice values are of threads, here; and never beyond the last."""

    def nice(by: int) -> int:
        give_way(by)
        return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())

    process = os.getpriority(os.PRIO_PROCESS, os.getpid())
    for by, wanted in ((0, process), (3, min(process + 3, LOWEST)), (LOWEST, LOWEST)):
        with ThreadPoolExecutor(1) as pool:
            assert pool.submit(nice, by).result() == wanted
    assert os.getpriority(os.PRIO_PROCESS, os.getpid()) == process


def test_where_giving_way_is_refused_or_unknown_a_thread_works_as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is no reason not to start."""
    monkeypatch.setattr(os, "setpriority", refused, raising=False)
    give_way(5)
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr(os, "setpriority", lambda *_: pytest.fail("the process was made nicer"), raising=False)
    give_way(5)


@linux
def test_where_that_is_refused_the_lowest_nice_value_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also by that thread alone."""
    monkeypatch.setattr(os, "sched_setscheduler", refused)

    def nice() -> int:
        yield_to_all()
        return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())

    before = os.getpriority(os.PRIO_PROCESS, threading.get_native_id())
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(nice).result() == LOWEST
    assert os.getpriority(os.PRIO_PROCESS, threading.get_native_id()) == before
    assert can_yield()


@linux
def test_where_that_is_refused_too_threads_cannot_yield(monkeypatch: pytest.MonkeyPatch) -> None:
    """There are no background lanes then."""
    monkeypatch.setattr(os, "sched_setscheduler", refused)
    monkeypatch.setattr(os, "setpriority", refused)
    assert not can_yield()


def test_systems_without_such_threads_are_known(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is made nicer there: it would be the whole process."""
    monkeypatch.delattr(os, "sched_setscheduler", raising=False)
    monkeypatch.setattr(os, "setpriority", lambda *_: pytest.fail("the process was made nicer"), raising=False)
    assert not can_yield()
