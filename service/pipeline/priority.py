"""Threads that give way: lanes to the event loop, background lanes to everybody.

A lane computes for as long as the kernel lets it, and the event loop wakes for microseconds, several times a request.
At equal priority the kernel often lets a lane finish its slice first, so that arrivals, answers and terminations are
late by a tick. A nice value counts for one thread on Linux, unlike what POSIX says.

Background lanes take nothing from others: the kernel runs them on cores that would idle, and takes those back at once.
`SCHED_IDLE` is Linux' policy for that (sched(7)); anybody may ask for it, and nobody unprivileged can leave it. Where
it is refused, by a container's rules for example, the lowest nice value is the next best.
"""

import os
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

LOWEST = 19


def give_way(nice: int) -> None:
    """From now on the calling thread is that much nicer than the process. Nothing where nice values belong to
    processes, or where it is refused: latencies are then what they were."""
    if sys.platform == "linux":
        with suppress(OSError):
            process = os.getpriority(os.PRIO_PROCESS, os.getpid())
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), min(process + nice, LOWEST))


def yield_to_all() -> None:
    """From now on the calling thread works only when a core has nothing else. Raises `OSError` where it cannot."""
    if not hasattr(os, "sched_setscheduler"):
        # Elsewhere nice values belong to processes, and the lanes of the foreground live in this one.
        raise OSError("this system has no threads of idle priority")
    try:
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    except OSError:
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), LOWEST)


def can_yield() -> bool:
    """Whether threads can, here. Tried on one that is not needed afterwards."""
    with ThreadPoolExecutor(1) as pool:
        return not isinstance(pool.submit(yield_to_all).exception(), OSError)
