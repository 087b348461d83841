"""A worker: the service as a single process has it, but that connections and orders come from the supervisor.

Signals are the supervisor's business: whoever presses Ctrl-C signals the workers as well, and they are told in time.
When the supervisor is gone nobody would tell them, so they finish what is in hand and end.
"""

import asyncio
import signal
import socket
import sys
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

import uvloop

from service import app, preparing
from service.app import Parts, Told
from service.core.messages import Change
from service.core.workers import Place, shares
from service.draining import close
from service.preparing import Known, Prepared
from service.settings import Settings
from service.startup import StartupError
from service.telemetry.merging import Families
from service.workers.channel import Channel, ChannelClosed, Handler, take_now, tell_now
from service.workers.passing import Adopting
from service.workers.repository import SharedRepository

FAILED = 2
"""Exit status of a worker that could not start, and has said why."""


@dataclass(frozen=True, slots=True)
class Birth:
    """What a worker is told at first. The port of gRPC is chosen."""

    settings: Settings
    number: int
    known: Known | None
    """None for the first, which finds out."""


@dataclass(frozen=True, slots=True)
class Share:
    """What a worker is told when it is to serve."""

    place: Place
    cores: int
    """Of the service."""

    def of(self, whole: int) -> int:
        """This worker's part of what all of them share."""
        return shares(whole, self.place.of)[self.place.number - 1]


def main(control: socket.socket, connections: socket.socket) -> None:
    """Serve until the supervisor says that it is over, or is gone."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    birth: Birth = take_now(control)
    app.configure_logs(birth.settings, birth.number)
    try:
        with app.telling(birth.settings, cores=1) as told:
            prepared = _prepared(birth, told, control)
            app.freeze()
            ended = uvloop.run(_serve(Member(birth.settings, prepared, told), control, connections))
    except StartupError as error:
        tell_now(control, "failed", str(error))
        sys.exit(FAILED)
    if not ended:
        app.leave()


def _prepared(birth: Birth, told: Told, control: socket.socket) -> Prepared:
    """The first is not disturbed by others: they are born when it has measured."""
    if birth.known is None:
        prepared = preparing.prepare(birth.settings, told.observer, partial(tell_now, control, "step"))
    else:
        prepared = preparing.prepare_alike(birth.settings, birth.known, told.observer)
    tell_now(control, "prepared", prepared.known())
    return prepared


async def _serve(member: "Member", control: socket.socket, connections: socket.socket) -> bool:
    """False when a thread is left behind."""
    channel = Channel(member.orders())
    await channel.open(control)
    member.join(channel, connections)
    await channel.run()
    await member.finish()
    return member.ended


class Member:
    """One worker's part in the service. Belongs to its event loop, once it has joined."""

    def __init__(self, settings: Settings, prepared: Prepared, told: Told) -> None:
        self._settings = settings
        self._prepared = prepared
        self._told = told
        self._parts: Parts | None = None
        self._finishing: asyncio.Task[None] | None = None
        self._ending = AsyncExitStack()
        self._lost = 0
        """Connections that have ended."""
        self.ended = True
        """Unset when a thread is left behind."""

    def __repr__(self) -> str:
        return f"<Member {self._prepared.place} serving={self._parts is not None}>"

    def orders(self) -> Mapping[str, Handler]:
        """What the supervisor asks for, by name."""
        return {
            "serve": self.serve,
            "metrics": self.metrics,
            "change": self.change,
            "known": self.known,
            "in_hand": self.in_hand,
            "drain": self.drain,
            "finish": self.finish,
        }

    def join(self, channel: Channel, connections: socket.socket) -> None:
        """Whom to ask, and where connections come from."""
        self._channel = channel
        self._connections = connections

    async def serve(self, share: Share) -> str | None:
        """Listen, and be ready; the reason when that cannot be."""
        self._told.metrics.share(share.of(share.cores))
        settings, prepared = _of(self._settings, share), self._prepared.shared(share.place)
        await app.first_request(settings, prepared, self._told.controls)
        parts = app.assemble(
            settings,
            prepared,
            self._told,
            partial(self._channel.ask, "scrape"),
            repository_kind=self._shared_repository,
            shares_port=True,
            on_lost=self._on_lost,
        )
        try:
            parts.grpc.bind(self._settings.grpc.host, self._settings.grpc.port)
        except OSError as error:
            return f"the port of gRPC cannot be shared: {error.strerror}"
        await parts.http.start_adopting()
        await parts.grpc.start()
        self._adopting = Adopting(self._connections, partial(self._adopt, parts), self._on_lost)
        self._adopting.start()
        parts.dataplane.ready = True
        await parts.grpc.set_serving(True)
        await self._ending.enter_async_context(app.following(self._settings, parts.repository))
        self._parts = parts
        return None

    async def metrics(self) -> Families:
        """Of this process."""
        self._told.metrics.refresh()
        return await asyncio.to_thread(self._told.metrics.families)

    async def change(self, verb: str, *content: object) -> Sequence[Change]:
        """Change what is served here. Raises `EffserveError`."""
        return await self._repository.here(verb, *content)

    async def known(self) -> Known:
        """What is served here now."""
        return preparing.known(self._prepared, self._serving.dataplane)

    async def in_hand(self) -> int:
        """Requests that are not over."""
        return 0 if self._parts is None else self._parts.in_hand()

    async def drain(self) -> None:
        """Serve on, and say that it will end; one that ends already has said so."""
        if self._parts is None or self._finishing is not None:
            return
        await self._ending.aclose()
        await _say_goodbye(self._serving)

    async def finish(self) -> None:
        """Take in what has come, answer it, and end. Also where nobody has said before that it will, and where somebody
        has: all who ask wait for the same end."""
        if self._finishing is None:
            self._finishing = asyncio.create_task(self._finish())
        await asyncio.shield(self._finishing)

    async def _finish(self) -> None:
        if (parts := self._parts) is None:
            return
        await self._ending.aclose()
        await _say_goodbye(parts)
        await self._adopting.stop()
        timeout_s = self._settings.drain.timeout_s
        await close(parts.dataplane, parts.http, parts.grpc, count=parts.in_hand, timeout_s=timeout_s)
        self.ended = await parts.close()
        self._parts = None

    @property
    def _serving(self) -> Parts:
        if self._parts is None:
            raise RuntimeError("this worker does not serve")
        return self._parts

    def _shared_repository(self, **parts: Any) -> SharedRepository:  # noqa: ANN401
        self._repository = SharedRepository(ask_all=partial(self._channel.ask, "change"), **parts)
        return self._repository

    async def _adopt(self, parts: Parts, connection: socket.socket) -> None:
        try:
            await parts.http.adopt(connection)
        except OSError:
            # Its client has gone on the way.
            connection.close()
            self._on_lost()

    def _on_lost(self) -> None:
        self._lost += 1
        # When the supervisor is gone, nobody counts.
        with suppress(ChannelClosed):
            self._channel.tell("lost", self._lost)


async def _say_goodbye(parts: Parts) -> None:
    """Readiness off, and nothing more is loaded."""
    parts.dataplane.ready, parts.dataplane.draining = False, True
    parts.repository.leave()
    await parts.grpc.set_serving(False)


def _of(settings: Settings, share: Share) -> Settings:
    """Of what is set for the service, a worker's part."""
    lanes = settings.lanes
    if lanes.background is None:
        return settings
    return settings.model_copy(update={"lanes": lanes.model_copy(update={"background": share.of(lanes.background)})})
