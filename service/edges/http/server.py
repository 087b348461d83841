"""uvicorn as this service runs it: sockets bound early, signals left alone, the first byte of each request timed.

The composition root owns signals and the order of shutting down, so uvicorn's own handling of them is switched off.
Stopping loses nothing (`listening`): what waits at the socket is taken in, and since uvicorn closes connections that
have not sent anything yet, newcomers are given time to ask. Where somebody else listens, connections are adopted
instead.
"""

import asyncio
import contextlib
import math
import socket
from collections.abc import Callable, Iterator

import uvicorn
from starlette.requests import Request
from starlette.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from service.core.errors import EffserveError, ErrorKind
from service.edges.http.listening import HANDSHAKE_S, backlog, bound, refuses_handshakes
from service.edges.http.one_write import OneWrite


def _timed_protocol(clock: Callable[[], float], on_lost: Callable[[], None]) -> type[asyncio.Protocol]:
    class TimedProtocol(HttpToolsProtocol):
        """Notes when the first byte of a request was parsed (`request.state.started_s` downstream), tells when its
        connection is lost, and lets it be cut."""

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(OneWrite(transport))  # type: ignore[arg-type]
            self._watchers: set[Callable[[], None]] = set()

        def on_message_begin(self) -> None:
            super().on_message_begin()
            self.scope["state"].update(started_s=clock(), watchers=self._watchers, abort=self.transport.abort)

        def eof_received(self) -> None:
            # The transport closes by itself now.
            self.transport.flush()  # type: ignore[attr-defined]
            super().eof_received()

        def connection_lost(self, exc: Exception | None) -> None:
            super().connection_lost(exc)
            for watcher in tuple(self._watchers):
                watcher()
            on_lost()

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


class _Server(uvicorn.Server):
    """A server that takes no signals, says when it is up, and can stop accepting before it stops."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.listening = asyncio.Event()

    async def stop_accepting(self, listener: socket.socket, handshake_s: float) -> None:
        """Take in the connections that come or wait, and close the listener."""
        if refuses_handshakes(listener):
            await asyncio.sleep(handshake_s)
        waiting = list(backlog(listener))
        for server in self.servers:
            server.close()
        for connection in waiting:
            await self.adopt(connection)

    async def adopt(self, connection: socket.socket) -> None:
        """Serve a connection that was accepted elsewhere."""
        await asyncio.get_running_loop().connect_accepted_socket(self._protocol, connection)

    async def hear_newcomers(self) -> None:
        """Let connections that have not asked anything yet send their request."""
        loop = asyncio.get_running_loop()
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
        on_lost: Callable[[], None] = lambda: None,
    ) -> None:
        """`on_lost` is called whenever a connection has ended."""
        config = uvicorn.Config(
            app,
            http=_timed_protocol(clock, on_lost),
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            # Nobody asks who the client is, and the headers that tell would be looked for in each request.
            proxy_headers=False,
            server_header=False,
            timeout_keep_alive=max(round(keep_alive_s), 1),
            # Whole seconds, and none too few: nothing is cut off before it is said to be.
            timeout_graceful_shutdown=max(math.ceil(timeout_s), 1),
        )
        self._server = _Server(config)
        self._handshake_s = handshake_s
        self._socket: socket.socket | None = None
        self._task: asyncio.Task[None] | None = None

    def bind(self, host: str, port: int) -> int:
        """Take the port, without listening yet. Returns it. Raises `OSError` when it is taken."""
        self._socket = bound(host, port)
        chosen: int = self._socket.getsockname()[1]
        return chosen

    async def start(self) -> None:
        """Listen; returns when connections are accepted. Call `bind` first."""
        if self._socket is None:
            raise RuntimeError("bind a port before starting")
        await self._start([self._socket])

    async def start_adopting(self) -> None:
        """Serve what `adopt` brings, in place of listening."""
        await self._start([])

    async def adopt(self, connection: socket.socket) -> None:
        """Serve a connection that somebody else has accepted. Raises `OSError` when it is broken already."""
        await self._server.adopt(connection)

    async def stop(self) -> None:
        """Accept nothing new, finish what is in hand, cut what takes longer than the timeout."""
        if self._task is None:
            if self._socket is not None:
                self._socket.close()
            return
        if self._socket is not None:
            await self._server.stop_accepting(self._socket, self._handshake_s)
        await self._server.hear_newcomers()
        self._server.should_exit = True
        await self._task

    async def _start(self, sockets: list[socket.socket]) -> None:
        self._task = asyncio.create_task(self._server.serve(sockets=sockets))
        listening = asyncio.create_task(self._server.listening.wait())
        await asyncio.wait({self._task, listening}, return_when=asyncio.FIRST_COMPLETED)
        if self._task.done():
            listening.cancel()
            self._task.result()


def _is_new(connection: object) -> bool:
    """Whether nothing has been asked on it yet."""
    return isinstance(connection, HttpToolsProtocol) and connection.cycle is None
