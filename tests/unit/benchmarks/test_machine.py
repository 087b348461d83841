"""What is read of processes, and how the kernel shares out connections."""

import os
import threading
import time

import pytest

from benchmarks import draws, machine
from service.pipeline.priority import give_way


def test_threads_are_told_apart_by_their_priority() -> None:
    """The first one is the event loop's in a server; lanes give way."""
    working, end = threading.Event(), threading.Event()

    def lane() -> None:
        give_way(5)
        working.set()
        while not end.is_set():
            pass

    thread = threading.Thread(target=lane)
    thread.start()
    working.wait()
    before = machine.threads(os.getpid())
    try:
        while not any(one.gives_way and one.cpu_s > 0 for one in before):
            time.sleep(0.01)
            before = machine.threads(os.getpid())
    finally:
        end.set()
        thread.join()
    assert [one.first for one in before].count(True) == 1
    assert not next(one for one in before if one.first).gives_way
    assert sum(one.cpu_s for one in before) <= machine.cores().busy_s


@pytest.mark.parametrize(("commit", "dirty"), [("3d44133", False), ("3d44133+", True), (machine.UNKNOWN, True)])
def test_code_of_which_nobody_can_tell_counts_as_changed(commit: str, dirty: bool) -> None:
    """Without git all code would look alike."""
    assert machine.is_dirty(commit) is dirty


def test_connections_are_shared_out_whole() -> None:
    """Each has one of the sockets, the fullest of which comes first."""
    split = draws.draw(2, 6)
    assert (len(split), sum(split)) == (2, 6)
    assert split[0] >= split[1]
    assert [row[0] for row in draws.table(2, 1, 5).rows] == ["1:0"]
