"""From a signal to the end of the last request, and what an operator reads of it meanwhile.

Readiness goes off first, and requests are served on for a grace period, so that load balancers and keep-alive clients
can leave. Then nothing new is taken in, and what is in hand is finished. A second signal cuts the grace period short.
"""

import asyncio
import signal
from collections.abc import Callable
from contextlib import suppress
from typing import Protocol

from service.core.events import LifecycleChanged, Observer
from service.core.scheduler import SchedulerStatistics


class Served(Protocol):
    """What is asked over both protocols: the dataplane."""

    ready: bool
    draining: bool
    cutting: bool
    """The time to finish is over: what ends from now on without an answer was cut off, and not left by its client."""


class Http(Protocol):
    """The server of one protocol."""

    async def stop(self) -> None:
        """Take nothing new, finish what is in hand, and cut what takes longer than its own timeout."""


class Grpc(Protocol):
    """That of the other."""

    async def set_serving(self, serving: bool) -> None:
        """What probes hear."""

    async def stop(self, timeout_s: float) -> None:
        """Likewise."""


class Stop(asyncio.Event):
    """Set by a signal."""

    name = ""
    """Of the one that came last."""

    def come(self, number: int) -> None:
        """One did."""
        self.name = signal.Signals(number).name
        self.set()


def signals() -> Stop:
    """Set by SIGTERM and SIGINT from now on."""
    stop = Stop()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.come, number)
    return stop


def in_hand(now: SchedulerStatistics) -> int:
    """Requests that wait, run, or have an answer that may still be bettered."""
    return now.waiting + now.running + now.insured


async def drain(
    served: Served,
    http: Http,
    grpc: Grpc,
    *,
    stop: Stop,
    observer: Observer,
    count: Callable[[], int],
    grace_s: float,
    timeout_s: float,
) -> str:
    """After the signal: returns how it went, when the last request is over. `count` tells how many are in hand."""
    loop, name = asyncio.get_running_loop(), stop.name
    began_s = loop.time()
    served.ready, served.draining = False, True
    # Before anything is awaited: a second signal ends the grace period, whenever it comes.
    stop.clear()
    await grpc.set_serving(False)
    grace = f"requests are answered for {grace_s:g} s more, or until a second signal"
    observer.observe(LifecycleChanged("draining", f"{name} came: readiness is off, {grace}"))
    with suppress(TimeoutError):
        await asyncio.wait_for(stop.wait(), grace_s)
    left = f"requests in hand: {count()}, to be finished within {timeout_s:g} s"
    observer.observe(LifecycleChanged("closing", f"nothing new is taken in; {left}"))
    late = await close(served, http, grpc, count=count, timeout_s=timeout_s)
    became = f"still in hand after {timeout_s:g} s: {late}" if late else "all requests are finished"
    return f"{loop.time() - began_s:.1f} s after {name}; {became}"


async def close(served: Served, http: Http, grpc: Grpc, *, count: Callable[[], int], timeout_s: float) -> int:
    """Finish what is in hand; how many were not finished in time, and are cut off."""
    closing = asyncio.gather(http.stop(), grpc.stop(timeout_s))
    await asyncio.wait([closing], timeout=timeout_s)
    served.cutting = not closing.done()
    late = count() if served.cutting else 0
    await closing
    return late
