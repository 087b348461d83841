"""Stopping, in virtual time: what is done when, and what an operator reads of it."""

import asyncio
from signal import SIGINT, SIGTERM

import pytest

from service.core.events import Event, LifecycleChanged
from service.draining import Stop, drain

pytestmark = pytest.mark.looptime
GRACE_S, TIMEOUT_S = 2.0, 30.0


class Service:
    """Two protocols whose last request is over so long after closing began. Notes what is done, and when."""

    def __init__(self, *, last_s: float = 0.0, in_hand: int = 0) -> None:
        self.ready, self.draining, self.cutting = True, False, False
        self.done: list[tuple[float, str]] = []
        self.said: list[str] = []
        self._last_s = last_s
        self._in_hand = in_hand
        self._stop = Stop()
        self._stop.come(SIGTERM)

    def observe(self, event: Event) -> None:
        """See `Observer.observe`."""
        assert isinstance(event, LifecycleChanged)
        self._note(event.state)
        self.said.append(event.detail)

    async def set_serving(self, serving: bool) -> None:
        """Of gRPC."""
        self._note(f"serving {serving}")

    async def stop(self, timeout_s: float = TIMEOUT_S) -> None:
        """Of both."""
        await asyncio.sleep(min(self._last_s, timeout_s + 1))
        self._note("stopped")

    def signal(self) -> None:
        """One more."""
        self._stop.come(SIGINT)

    async def drain(self) -> str:
        """All of it."""
        return await drain(
            self, self, self, stop=self._stop, observer=self, count=lambda: self._in_hand, grace_s=GRACE_S,
            timeout_s=TIMEOUT_S,
        )  # fmt: skip

    def _note(self, what: str) -> None:
        self.done.append((asyncio.get_running_loop().time(), what))


async def test_readiness_goes_first_and_requests_are_served_on() -> None:
    """For the grace period; then both protocols are closed."""
    service = Service(last_s=1)
    await service.drain()
    assert (service.ready, service.draining) == (False, True)
    assert service.done == [
        (0, "serving False"), (0, "draining"), (2, "closing"), (3, "stopped"), (3, "stopped"),
    ]  # fmt: skip


async def test_a_second_signal_ends_the_grace_period() -> None:
    """Whichever it is; the first one is named."""
    service = Service()
    asyncio.get_running_loop().call_later(0.5, service.signal)
    assert await service.drain() == "0.5 s after SIGTERM; all requests are finished"


async def test_an_operator_reads_what_is_done_and_for_how_long() -> None:
    """And how many requests it is about."""
    service = Service(last_s=1, in_hand=3)
    await service.drain()
    assert service.said == [
        "SIGTERM came: readiness is off, requests are answered for 2 s more, or until a second signal",
        "nothing new is taken in; requests in hand: 3, to be finished within 30 s",
    ]


async def test_what_was_not_finished_in_time_is_told() -> None:
    """So many were there when the time was over."""
    service = Service(last_s=100, in_hand=3)
    assert await service.drain() == "33.0 s after SIGTERM; still in hand after 30 s: 3"
    assert service.cutting


async def test_what_was_finished_in_time_was_not_cut() -> None:
    """To the last moment."""
    service = Service(last_s=29)
    await service.drain()
    assert not service.cutting
