"""`effserve top`: the operator's picture of a running server in a terminal, for people without Grafana.

It asks `/metrics`, which has everything in figures, and `/readyz`, which says in a word how the service is. Rates and
shares are of the last seconds, as in any dashboard; the first picture is of the time since the server's start. A server
that goes away is asked again until it is back; one that was restarted is told from its start time.
"""

import os
import select
import signal
import sys
import termios
import time
import tty
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace

import httpx
from rich.console import Console
from rich.live import Live

from service.commands.console import fail
from service.commands.top_view import Frame, duration, view
from service.telemetry.picture import Picture, is_ours, picture, started_at
from service.telemetry.scrape import Change, Scrape, read

WINDOW_S = 10.0
"""Time that rates are of: long enough for a quantile, short enough to see a burst end."""
TIMEOUT_S = 5.0
"""How long a server may take to answer."""
NEWS_S = 60.0
"""How long a restart is news."""
PLAIN_SIZE = 110, 1_000
"""Columns and rows where there is no terminal."""
KEYS = "q quits"
INTERRUPT = "\x03"
"""Ctrl-C."""


class NoPicture(Exception):
    """The server cannot be asked, or is none of ours. The message says why."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What a server said at one moment."""

    scrape: Scrape
    status: str
    wall_s: float
    """Time of day."""


Ask = Callable[[], Reading]
"""Asks a server. Raises `NoPicture`."""


def top(*, url: str, interval_s: float, once: bool) -> None:
    """Show the picture until the operator has seen enough; one frame when `once`, or when nobody can watch."""
    if not url.startswith(("http://", "https://")):
        fail(f"top reads the metrics, which are there over HTTP; --url is {url}")
    with httpx.Client(base_url=url, timeout=TIMEOUT_S) as client:
        watch = Watch(url, lambda: ask(client))
        if once or not sys.stdout.isatty():
            _print(watch)
            return
        with suppress(KeyboardInterrupt):
            _follow(watch, interval_s)


def ask(client: httpx.Client) -> Reading:
    """One reading. Raises `NoPicture`."""
    try:
        metrics, health = client.get("/metrics"), client.get("/readyz")
        scrape = read(metrics.raise_for_status().text, time.monotonic())
        document = health.json()
    except httpx.TimeoutException as error:
        raise NoPicture(f"it took more than {TIMEOUT_S:g} s") from error
    except httpx.HTTPStatusError as error:
        raise NoPicture(f"{error.request.url.path} answers {error.response.status_code}") from error
    except httpx.HTTPError as error:
        raise NoPicture("there is no connection") from error
    except ValueError as error:
        raise NoPicture("what answers there is not effserve") from error
    if not is_ours(scrape) or not isinstance(document, dict):
        raise NoPicture("what answers there is not effserve")
    return Reading(scrape, str(document.get("status")), time.time())


class Watch:
    """One server, over time: remembers as many readings as rates need."""

    def __init__(self, url: str, ask: Ask, clock: Callable[[], float] = time.monotonic) -> None:
        self._url = url
        self._ask = ask
        self._clock = clock
        self._scrapes: deque[Scrape] = deque()
        self._restarted = False
        self._seen_s = clock()
        self._last = Frame(url, "unknown", None)

    def __repr__(self) -> str:
        return f"<Watch {self._url} {len(self._scrapes)} scrapes>"

    def look(self) -> Frame:
        """The picture now. Raises `NoPicture`."""
        reading = self._ask()
        self._remember(reading.scrape)
        self._seen_s = self._clock()
        up_s = max(reading.wall_s - started_at(reading.scrape), 0.001)
        news = self._restarted and up_s < NEWS_S
        notice = f"the server was restarted {duration(up_s)} ago" if news else ""
        self._last = Frame(self._url, reading.status, self._picture(up_s), up_s, notice)
        return self._last

    def frame(self) -> Frame:
        """The picture now, or the last one with the reason why there is no newer one."""
        try:
            return self.look()
        except NoPicture as reason:
            since = duration(self._clock() - self._seen_s)
            notice = f"no answer for {since}: {reason}"
            return replace(self._last, status="away", up_s=None, notice=notice, away=True)

    def _remember(self, scrape: Scrape) -> None:
        """Of another process than the last one, it makes what was before worthless."""
        if self._scrapes and started_at(self._scrapes[-1]) != started_at(scrape):
            self._scrapes.clear()
            self._restarted = True
        self._scrapes.append(scrape)
        while len(self._scrapes) > 2 and scrape.at_s - self._scrapes[1].at_s >= WINDOW_S:
            self._scrapes.popleft()

    def _picture(self, up_s: float) -> Picture:
        first, now = self._scrapes[0], self._scrapes[-1]
        if first is now:
            return picture(Change(None, now, up_s))
        return picture(Change(first, now, now.at_s - first.at_s))


def _print(watch: Watch) -> None:
    try:
        frame = watch.look()
    except NoPicture as reason:
        fail(f"{reason}; is `effserve serve` running, and is --url right?")
    console = Console(width=None if sys.stdout.isatty() else PLAIN_SIZE[0])
    console.print(view(frame, width=console.width, height=PLAIN_SIZE[1]), highlight=False)


def _follow(watch: Watch, interval_s: float) -> None:
    console = Console()
    with _keys() as pressed, Live(console=console, screen=True, auto_refresh=False) as live:
        while True:
            shown = view(watch.frame(), width=console.width, height=console.height, keys=KEYS)
            live.update(shown, refresh=True)
            if pressed(interval_s) in ("q", "Q", INTERRUPT):
                return


@contextmanager
def _keys() -> Iterator[Callable[[float], str]]:
    """What is pressed within some seconds, one key at a time and without Enter; empty when nothing is."""
    with _interrupts() as interrupted, _unbuffered():
        sources = [interrupted, *([sys.stdin.fileno()] if sys.stdin.isatty() else [])]

        def pressed(within_s: float) -> str:
            ready, _, _ = select.select(sources, [], [], within_s)
            return os.read(ready[0], 1).decode(errors="replace") or INTERRUPT if ready else ""

        yield pressed


@contextmanager
def _interrupts() -> Iterator[int]:
    """Ctrl-C as a key that can be read from this file. As an exception it could come while the HTTP client holds a lock
    that closing it waits for; the second one is an exception all the same."""
    heard, told = os.pipe()

    def tell(*_: object) -> None:
        os.write(told, INTERRUPT.encode())
        signal.signal(signal.SIGINT, signal.default_int_handler)

    before = signal.signal(signal.SIGINT, tell)
    try:
        yield heard
    finally:
        signal.signal(signal.SIGINT, before)
        os.close(heard)
        os.close(told)


@contextmanager
def _unbuffered() -> Iterator[None]:
    if not sys.stdin.isatty():
        yield
        return
    before = termios.tcgetattr(sys.stdin)
    try:
        tty.setcbreak(sys.stdin)
        yield
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)
