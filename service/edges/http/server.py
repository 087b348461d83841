"""uvicorn as this service runs it: sockets bound early, signals left alone, the first byte of each request timed.

The composition root owns signals and the order of shutting down, so uvicorn's own handling of them is switched off.
Stopping loses nothing. Closing a listening socket resets the connections that wait in its backlog, those among them
that came a moment before; and uvicorn closes connections that have not sent anything yet. So the kernel is told to take
no new handshakes first, what has begun is taken in, and newcomers are given time to ask.
"""

import asyncio
import contextlib
import ctypes
import socket
import struct
from collections.abc import Callable, Iterator

import uvicorn
from starlette.requests import Request
from starlette.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from service.core.errors import EffserveError, ErrorKind


def _timed_protocol(clock: Callable[[], float]) -> type[asyncio.Protocol]:
    class TimedProtocol(HttpToolsProtocol):
        """Notes when the first byte of a request was parsed (`request.state.started_s` downstream), tells when its
        connection is lost, and lets it be cut."""

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            self._watchers: set[Callable[[], None]] = set()

        def on_message_begin(self) -> None:
            super().on_message_begin()
            self.scope["state"].update(started_s=clock(), watchers=self._watchers, abort=self.transport.abort)

        def connection_lost(self, exc: Exception | None) -> None:
            super().connection_lost(exc)
            for watcher in tuple(self._watchers):
                watcher()

    return TimedProtocol


@contextlib.contextmanager
def leaving(request: Request) -> Iterator[None]:
    """Cancels the current task when the client of `request` goes away meanwhile; ends in `EffserveError(CANCELLED)`
    then.

    ASGI's own way, a second task that waits for `http.disconnect`, costs a tenth of a millisecond a request.
    """
    task, gone = asyncio.current_task(), False

    def cancel() -> None:
        nonlocal gone
        if task is not None:
            gone = task.cancel()

    try:
        with told_of_leaving(request, cancel):
            yield
    except asyncio.CancelledError:
        if not gone:
            raise
        raise EffserveError(ErrorKind.CANCELLED, "the client went away") from None
    finally:
        if gone and task is not None:
            task.uncancel()


@contextlib.contextmanager
def told_of_leaving(request: Request, tell: Callable[[], None]) -> Iterator[None]:
    """Calls `tell` when the connection of `request` is lost meanwhile."""
    watchers: set[Callable[[], None]] = getattr(request.state, "watchers", set())
    watchers.add(tell)
    try:
        yield
    finally:
        watchers.discard(tell)


def hang_up(request: Request) -> None:
    """Cut the connection of `request` at once, where the server is this one."""
    getattr(request.state, "abort", lambda: None)()


NEWCOMER_S = 1.0
"""How long a connection that was accepted may take to send its first request once the service is stopping."""
HANDSHAKE_S = 0.2
"""How long a handshake may take that had begun when the service stopped accepting."""
SO_ATTACH_FILTER = 26
"""Linux: asm-generic/socket.h; Python does not name it."""
NO_HANDSHAKES = ((0x30, 0, 0, 13), (0x45, 0, 1, 0x02), (0x06, 0, 0, 0), (0x06, 0, 0, 0xFFFFFFFF))
"""Socket filter (classic BPF: code, jump if true, jump if false, operand): load byte 13 of the TCP header, the flags;
drop the segment when SYN is among them, else keep all of it."""


class _Server(uvicorn.Server):
    """A server that takes no signals, says when it is up, and can stop accepting before it stops."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.listening = asyncio.Event()

    async def stop_accepting(self, listener: socket.socket, handshake_s: float) -> None:
        """Take in the connections that come or wait, close the listener, and let the newcomers send their request."""
        if _refuses_handshakes(listener):
            await asyncio.sleep(handshake_s)
        waiting = list(_backlog(listener))
        for server in self.servers:
            server.close()
        loop = asyncio.get_running_loop()
        for connection in waiting:
            await loop.connect_accepted_socket(self._protocol, connection)
        until_s = loop.time() + NEWCOMER_S
        while loop.time() < until_s and any(map(_is_new, self.server_state.connections)):  # noqa: ASYNC110
            await asyncio.sleep(0.01)

    def _protocol(self) -> asyncio.Protocol:
        return self.config.http_protocol_class(  # type: ignore[call-arg]
            config=self.config, server_state=self.server_state, app_state=self.lifespan.state
        )

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.listening.set()


class HttpServer:
    """An ASGI application on one TCP port. Belongs to one event loop."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        clock: Callable[[], float],
        keep_alive_s: float,
        timeout_s: float,
        handshake_s: float = HANDSHAKE_S,
    ) -> None:
        config = uvicorn.Config(
            app,
            http=_timed_protocol(clock),
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            # Nobody asks who the client is, and the headers that tell would be looked for in each request.
            proxy_headers=False,
            server_header=False,
            timeout_keep_alive=max(round(keep_alive_s), 1),
            timeout_graceful_shutdown=max(round(timeout_s), 1),
        )
        self._server = _Server(config)
        self._handshake_s = handshake_s
        self._socket: socket.socket | None = None
        self._task: asyncio.Task[None] | None = None

    def bind(self, host: str, port: int) -> int:
        """Take the port, without listening yet. Returns it. Raises `OSError` when it is taken."""
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        self._socket = socket.socket(family, kind, protocol)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._socket.bind(address)
        bound: int = self._socket.getsockname()[1]
        return bound

    async def start(self) -> None:
        """Listen; returns when connections are accepted. Call `bind` first."""
        if self._socket is None:
            raise RuntimeError("bind a port before starting")
        self._task = asyncio.create_task(self._server.serve(sockets=[self._socket]))
        listening = asyncio.create_task(self._server.listening.wait())
        await asyncio.wait({self._task, listening}, return_when=asyncio.FIRST_COMPLETED)
        if self._task.done():
            listening.cancel()
            self._task.result()

    async def stop(self) -> None:
        """Accept nothing new, finish what is in hand, cut what takes longer than the timeout."""
        if self._task is not None and self._socket is not None:
            await self._server.stop_accepting(self._socket, self._handshake_s)
            self._server.should_exit = True
            await self._task
        elif self._socket is not None:
            self._socket.close()


def _refuses_handshakes(listener: socket.socket) -> bool:
    """Let the system drop connections that would begin now; their clients try again and are refused when the listener
    is closed. False where the system has no such filter: then one that comes between the last look into the backlog
    and the close is reset."""
    program = b"".join(struct.pack("HBBI", *instruction) for instruction in NO_HANDSHAKES)
    kept = ctypes.create_string_buffer(program)
    with contextlib.suppress(OSError):
        listener.setsockopt(
            socket.SOL_SOCKET, SO_ATTACH_FILTER, struct.pack("HP", len(NO_HANDSHAKES), ctypes.addressof(kept))
        )
        return True
    return False


def _is_new(connection: object) -> bool:
    """Whether nothing has been asked on it yet."""
    return isinstance(connection, HttpToolsProtocol) and connection.cycle is None


def _backlog(listener: socket.socket) -> Iterator[socket.socket]:
    """Connections that the system has accepted and the server has not seen yet."""
    # A copy, because event loops close the socket that they listen on.
    with listener.dup() as copy:
        copy.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            while True:
                yield copy.accept()[0]
