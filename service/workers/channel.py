"""Questions and answers between two processes, both ways over one stream socket.

A message is its length and a pickle. Both ends are this program, and nobody else ever holds the socket. A worker that
starts has no event loop yet and only tells (`tell_now`); afterwards both sides ask.
"""

import asyncio
import itertools
import pickle
import socket
import struct
import traceback
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from socket import SocketIO
from typing import Any

from service.core.errors import EffserveError, ErrorKind, fault

_LENGTH = struct.Struct("!I")
Handler = Callable[..., Awaitable[Any]]


class ChannelClosed(Exception):
    """The other process is gone."""


class FaultElsewhere(Exception):
    """What nobody foresaw in the other process, as it was written there."""


@dataclass(frozen=True, slots=True)
class _Question:
    """`number` None: no answer is wanted."""

    number: int | None
    what: str
    content: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class _Answer:
    number: int
    content: Any


@dataclass(frozen=True, slots=True)
class _Failure:
    number: int
    error: EffserveError
    cause: str
    """Empty unless it is a fault."""

    def raised(self) -> EffserveError:
        """As if it had happened here."""
        self.error.__cause__ = FaultElsewhere(self.cause) if self.cause else None
        return self.error


class Channel:
    """One end. Belongs to an event loop; `handlers` answer what the other end asks, by name."""

    def __init__(self, handlers: Mapping[str, Handler]) -> None:
        self._handlers = handlers
        self._numbers = itertools.count(1)
        self._asked: dict[int, asyncio.Future[Any]] = {}
        self._answering: set[asyncio.Task[None]] = set()

    def __repr__(self) -> str:
        return f"<Channel {len(self._asked)} asked, {len(self._answering)} to answer>"

    async def open(self, connection: socket.socket) -> None:
        """From now on it can be asked; what comes is heard by `run`."""
        self._reader, self._writer = await asyncio.open_unix_connection(sock=connection)

    async def run(self) -> None:
        """Hear the other end, until it is gone."""
        reader = self._reader
        try:
            while True:
                (length,) = _LENGTH.unpack(await reader.readexactly(_LENGTH.size))
                self._take(pickle.loads(await reader.readexactly(length)))
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self.close()

    async def ask(self, what: str, *content: object) -> Any:  # noqa: ANN401
        """The answer. Raises `ChannelClosed`, or what the other end raised as an `EffserveError`."""
        number, answer = next(self._numbers), asyncio.get_running_loop().create_future()
        self._asked[number] = answer
        try:
            self._send(_Question(number, what, content))
            return await answer
        finally:
            del self._asked[number]

    def tell(self, what: str, *content: object) -> None:
        """Nothing comes back. Raises `ChannelClosed`."""
        self._send(_Question(None, what, content))

    def _send(self, message: object) -> None:
        if self._writer.is_closing():
            raise ChannelClosed
        self._writer.write(_packed(message))

    def _take(self, message: object) -> None:
        match message:
            case _Question():
                task = asyncio.create_task(self._answer(message))
                self._answering.add(task)
                task.add_done_callback(self._answering.discard)
            case _Answer(number, content):
                if (asked := self._asked.get(number)) is not None and not asked.done():
                    asked.set_result(content)
            case _Failure(number):
                if (asked := self._asked.get(number)) is not None and not asked.done():
                    asked.set_exception(message.raised())

    async def _answer(self, question: _Question) -> None:
        work = self._handlers[question.what](*question.content)
        if question.number is None:
            await work
            return
        answer: object
        try:
            answer = _Answer(question.number, await work)
        except Exception as error:
            # Whatever it is, whoever asked is told.
            answer = _failure(question.number, error)
        if not self._writer.is_closing():
            self._writer.write(_packed(answer))

    def close(self) -> None:
        """Nobody is asked, and nobody answered, any more."""
        self._writer.close()
        for asked in self._asked.values():
            if not asked.done():
                asked.set_exception(ChannelClosed())


def tell_now(connection: socket.socket, what: str, *content: object) -> None:
    """From a process that has no event loop yet. Raises `OSError`."""
    connection.sendall(_packed(_Question(None, what, content)))


def give_now(connection: socket.socket, content: object) -> None:
    """The first message of all. Raises `OSError`."""
    connection.sendall(_packed(content))


def take_now(connection: socket.socket) -> Any:  # noqa: ANN401
    """The first message of all. Raises `OSError`, or `EOFError` when the other process is gone."""
    with connection.makefile("rb", buffering=0) as pipe:
        (length,) = _LENGTH.unpack(_exactly(pipe, _LENGTH.size))
        return pickle.loads(_exactly(pipe, length))


def _exactly(pipe: SocketIO, length: int) -> bytes:
    content = b""
    while len(content) < length:
        more = pipe.read(length - len(content))
        if not more:
            raise EOFError
        content += more
    return content


def _packed(message: object) -> bytes:
    content = pickle.dumps(message)
    return _LENGTH.pack(len(content)) + content


def _failure(number: int, error: Exception) -> _Failure:
    """Made anew of its parts, because pickle makes an exception of what it was called with."""
    known = error if isinstance(error, EffserveError) else fault(error)
    cause = "".join(traceback.format_exception(error)) if known.kind is ErrorKind.INTERNAL else ""
    return _Failure(number, EffserveError(known.kind, known.detail, known.facts, known.retry_after_s), cause)
