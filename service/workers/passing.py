"""Connections on their way from the supervisor, which accepts them, to the worker that is to serve them.

A connection goes to the worker that has fewest for its lanes. Left to the kernel, which draws by the addresses of both
ends, four clients that keep their connections come four to none as often as one time in eight, and two to two in three
of eight. Each hand-over is one system call here and one there, once for each connection.
"""

import asyncio
import errno
import socket
from collections import deque
from collections.abc import Callable, Coroutine, Iterable
from typing import Any

from service.edges.http.listening import HANDSHAKE_S, backlog, refuses_handshakes

BACKLOG = 2048
AT_ONCE = 64
"""Connections taken over before others have their turn."""
AGAIN_S = 0.05
"""Before it is tried again what failed for want of file descriptors, or because nobody looked."""
LAST_TRIES = 20
"""To hand over a connection before the acceptor ends."""
PASSING = (errno.EAGAIN, errno.ETOOMANYREFS, errno.ENOBUFS, errno.ENOMEM, errno.EINTR)
"""Failures of handing over that pass: its queue is full, or too many descriptors are on their way. After any other the
worker is gone."""


class Seat:
    """The supervisor's end: where a worker's connections go, and how many it has."""

    def __init__(self, ours: socket.socket) -> None:
        ours.setblocking(False)
        self._ours = ours
        self.lanes = 1
        self._passed = 0
        self.lost = 0
        """Connections that have ended, as the worker says."""
        self.open = False
        """Whether it takes more."""

    def __repr__(self) -> str:
        return f"<Seat {self._passed - self.lost} connections for {self.lanes} lanes>"

    @property
    def load(self) -> float:
        """Connections for each lane."""
        return (self._passed - self.lost) / self.lanes

    def take(self, connection: socket.socket) -> bool:
        """Hand it over, and forget it here; False when the worker is gone, or has not looked for a long time."""
        try:
            socket.send_fds(self._ours, [b"c"], [connection.fileno()])
        except OSError as error:
            self.open = self.open and error.errno in PASSING
            return False
        self._passed += 1
        connection.close()
        return True

    def close(self) -> None:
        """Nothing more will come."""
        self.open = False
        self._ours.close()


class Acceptor:
    """Takes connections in and hands them to the seats of its workers. Belongs to an event loop."""

    def __init__(self, listener: socket.socket, seats: Callable[[], Iterable[Seat]]) -> None:
        """`seats` are those of all workers that live."""
        listener.setblocking(False)
        self._listener = listener
        self._seats = seats
        self._kept: deque[socket.socket] = deque()
        """Nobody could take them yet."""
        self._listening = False

    def __repr__(self) -> str:
        return f"<Acceptor {len(self._kept)} kept>"

    def start(self) -> None:
        """Listen."""
        self._listener.listen(BACKLOG)
        self._listening = True
        self.look_again()

    def look_again(self) -> None:
        """There may be somebody to take connections; until there is, they wait in the system's backlog."""
        if not self._listening:
            return
        while self._kept and self._hand_over(self._kept[0]):
            self._kept.popleft()
        if self._kept:
            self._pause()
        elif any(seat.open for seat in self._seats()):
            asyncio.get_running_loop().add_reader(self._listener, self._take_in)

    async def stop(self) -> None:
        """Take no more, and hand over what has begun to come."""
        if self._listening and refuses_handshakes(self._listener):
            await asyncio.sleep(HANDSHAKE_S)
        if self._listening:
            asyncio.get_running_loop().remove_reader(self._listener)
            self._listening = False
            self._kept.extend(backlog(self._listener))
        self._listener.close()
        for connection in self._kept:
            for _ in range(LAST_TRIES):
                if self._hand_over(connection):
                    break
                await asyncio.sleep(AGAIN_S)
            connection.close()

    def _take_in(self) -> None:
        """Synchronous, so that no connection is ever on its way when the acceptor stops."""
        for _ in range(AT_ONCE):
            try:
                connection, _ = self._listener.accept()
            except BlockingIOError:
                return
            except ConnectionAbortedError:
                continue
            except OSError:
                self._pause()
                return
            if not self._hand_over(connection):
                self._kept.append(connection)
                self._pause()
                return

    def _pause(self) -> None:
        loop = asyncio.get_running_loop()
        loop.remove_reader(self._listener)
        loop.call_later(AGAIN_S, self.look_again)

    def _hand_over(self, connection: socket.socket) -> bool:
        """To whoever has fewest, or the next."""
        seats = sorted((seat for seat in self._seats() if seat.open), key=lambda seat: seat.load)
        return any(seat.take(connection) for seat in seats)


class Adopting:
    """The worker's end: `adopt` gets each connection that is handed over. Belongs to an event loop."""

    def __init__(
        self,
        theirs: socket.socket,
        adopt: Callable[[socket.socket], Coroutine[Any, Any, None]],
        on_lost: Callable[[], None] = lambda: None,
    ) -> None:
        """`on_lost` is told of each that came and could not be taken."""
        theirs.setblocking(False)
        self._on_lost = on_lost
        self._theirs = theirs
        self._adopt = adopt
        self._adopting: set[asyncio.Task[None]] = set()

    def __repr__(self) -> str:
        return f"<Adopting {len(self._adopting)} now>"

    def start(self) -> None:
        """Look for connections."""
        asyncio.get_running_loop().add_reader(self._theirs, self._look)

    async def stop(self) -> None:
        """Take those that are there, and no more."""
        asyncio.get_running_loop().remove_reader(self._theirs)
        while self._take():
            pass
        self._theirs.close()
        await asyncio.gather(*self._adopting)

    def _look(self) -> None:
        for _ in range(AT_ONCE):
            if not self._take():
                return

    def _take(self) -> bool:
        try:
            content, descriptors, _, _ = socket.recv_fds(self._theirs, 1, 1)
        except BlockingIOError:
            return False
        if not content:
            # The supervisor is gone. Others find out elsewhere; looking on would find the same without end.
            asyncio.get_running_loop().remove_reader(self._theirs)
            return False
        if not descriptors:
            # No descriptor was free here: the system has closed it.
            self._on_lost()
        for descriptor in descriptors:
            connection = socket.socket(fileno=descriptor)
            connection.setblocking(False)
            task = asyncio.create_task(self._adopt(connection))
            self._adopting.add(task)
            task.add_done_callback(self._adopting.discard)
        return True
