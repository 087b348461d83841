"""`GET /events`: what the service is doing, once a second, to everybody who watches.

The picture is made once a second for all of them together, and only while somebody watches. Each watcher is shown the
latest: whoever reads slowly misses some, and whoever does not read at all is hung up on, so that he does not hold up
shutting down either. When the service drains, everybody is shown a last picture, which says so.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable

from service.core.errors import EffserveError, ErrorKind

EVERY_S = 1.0
MOST = 64
"""Watchers. A picture has a few kilobytes, so these cost less than a handful of small photos a second."""
PATIENCE = 10
"""Pictures that a watcher may leave unread; one while the service drains."""
HangUp = Callable[[], None]


class Broadcast:
    """Shows what `picture` makes until `over`. Belongs to one event loop."""

    def __init__(
        self, picture: Callable[[], bytes], over: Callable[[], bool], *, every_s: float = EVERY_S, most: int = MOST
    ) -> None:
        self._picture = picture
        self._over = over
        self._every_s = every_s
        self._most = most
        self._watchers: set[Watcher] = set()
        self._showing: asyncio.Task[None] | None = None
        self._latest = b""

    def __repr__(self) -> str:
        return f"<Broadcast {len(self._watchers)}/{self._most} watchers>"

    async def watch(self, watcher: "Watcher") -> AsyncGenerator[bytes, None]:
        """Pictures, the first at once. Raises `EffserveError`: DRAINING, or QUEUE_FULL when too many watch."""
        self._admit(watcher)
        try:
            yield self._latest
            while (picture := await watcher.next()) is not None:
                yield picture
        finally:
            self._watchers.discard(watcher)

    def _admit(self, watcher: "Watcher") -> None:
        if self._over():
            raise EffserveError(ErrorKind.DRAINING, "the service is shutting down; nothing more will be shown")
        if len(self._watchers) >= self._most:
            detail = f"{self._most} clients are watching already"
            raise EffserveError(ErrorKind.QUEUE_FULL, detail, {"limit": self._most}, retry_after_s=5 * self._every_s)
        if self._showing is None or self._showing.done():
            self._latest = self._picture()
            self._showing = asyncio.create_task(self._show())
        self._watchers.add(watcher)

    async def _show(self) -> None:
        """Until nobody watches any more."""
        try:
            await asyncio.sleep(self._every_s)
            while self._watchers:
                over = self._over()
                self._latest = self._picture()
                for watcher in tuple(self._watchers):
                    watcher.show(self._latest, last=over)
                await asyncio.sleep(self._every_s)
        finally:
            for watcher in tuple(self._watchers):
                watcher.leave()


class Watcher:
    """One client, and the latest picture that it has not read yet. `hang_up` cuts its connection."""

    def __init__(self, hang_up: HangUp) -> None:
        self._hang_up = hang_up
        self._news = asyncio.Event()
        self._picture: bytes | None = None
        self._unread = 0
        self._last = False

    def show(self, picture: bytes, *, last: bool) -> None:
        """Take it, in place of an older one. Hangs up on who has not been reading."""
        self._picture, self._last = picture, last
        self._unread += 1
        self._news.set()
        if self._unread > (1 if last else PATIENCE):
            self._hang_up()

    def leave(self) -> None:
        """The client is gone, or nothing more will come."""
        self._picture, self._last = None, True
        self._news.set()

    async def next(self) -> bytes | None:
        """The latest picture once there is a new one; None after the last."""
        if not self._last or self._unread:
            await self._news.wait()
        self._news.clear()
        picture, self._picture, self._unread = self._picture, None, 0
        return picture
