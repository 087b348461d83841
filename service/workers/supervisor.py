"""The process that listens and watches: it starts workers, hands them connections, and starts again those that die.

It holds no model and answers no request, so that it has nothing to fail by. The first worker starts alone, because it
measures; the others then start at the same time. What belongs to the service as a whole is done here: counts of all
workers are added up, changes of what is served reach all of them, and the end begins everywhere at once.
"""

import asyncio
import socket
import subprocess
import sys
import time
from collections.abc import Coroutine, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, field
from typing import Any

from service import app
from service.core.errors import EffserveError, ErrorKind
from service.core.events import LifecycleChanged, Observer, WorkerChanged
from service.core.messages import Change
from service.core.workers import Place, how_many, wait_s
from service.draining import Stop, drain, signals
from service.edges.http.listening import bound
from service.preparing import Known
from service.settings import Settings
from service.startup import Announce, StartupError
from service.telemetry.merging import Merged
from service.workers.channel import Channel, ChannelClosed, Handler, give_now
from service.workers.member import Birth, Share
from service.workers.passing import Acceptor, Seat

STEADY_S = 60.0
"""A worker that has served so long did not fail because it was started."""
HEARTBEAT_S = 5.0
"""Seconds between two looks at what a worker has counted: so much at most is lost when it is killed."""
SCRAPE_S = 5.0
"""Longest wait for a worker's counts; what it last told stands in for them."""
SILENT_S = 60.0
"""A worker that has said nothing for so long is dead, and is killed."""
COUNT_S = 0.2
"""Seconds between two counts of what is in hand while the service drains."""
LEAVE_S = 10.0
"""For a worker to be gone after it has said that it is finished, or has hung up."""


@dataclass
class Worker:
    """One process, as the supervisor sees it."""

    number: int
    process: subprocess.Popen[bytes]
    channel: Channel
    seat: Seat
    hearing: asyncio.Task[None]
    prepared: asyncio.Future[Known]
    tasks: list[asyncio.Task[None]] = field(default_factory=list)
    serving: bool = False

    async def ended(self) -> str:
        """Waits until it is; how."""
        await asyncio.wait([self.hearing])
        try:
            status = await asyncio.to_thread(self.process.wait, LEAVE_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            status = await asyncio.to_thread(self.process.wait)
        return f"killed by signal {-status}" if status < 0 else f"exit status {status}"


class Supervisor:
    """One per service. Belongs to an event loop."""

    def __init__(self, settings: Settings, observer: Observer, *, count: int, cores: int) -> None:
        self._settings = settings
        self._observer = observer
        self._count = count
        self._cores = cores
        self._workers: dict[int, Worker] = {}
        self._merged = Merged()
        self._turn = asyncio.Lock()
        """Held while what is served changes, and while a worker starts to serve it."""
        self.ready = self.draining = self.cutting = False
        self._known: Known | None = None

    def __repr__(self) -> str:
        return f"<Supervisor {len(self._serving())}/{self._count} workers>"

    async def run(self, progress: AbstractContextManager[Announce]) -> None:
        """Serve until a signal comes; `progress` shows how it starts. Raises `StartupError`."""
        stop, how = signals(), ""
        self._reserve()
        try:
            with progress as announce:
                await _unless(stop, self._start(announce))
            if not stop.is_set():
                self._observer.observe(LifecycleChanged("ready", self._where()))
                await _unless(stop, self._keep_all())
                how = await self._drain(stop)
        finally:
            await self._end()
        self._observer.observe(LifecycleChanged("stopped", how))

    def _reserve(self) -> None:
        """Both ports, before anything that takes time. Nobody listens yet."""
        http, grpc = self._settings.http, self._settings.grpc
        try:
            self._acceptor = Acceptor(listener := bound(http.host, http.port), self._seats)
            self._grpc_port = bound(grpc.host, grpc.port, shared=True)
        except OSError as error:
            raise StartupError(f"a port was taken: {error.strerror}") from error
        self._ports: tuple[int, int] = listener.getsockname()[1], self._grpc_port.getsockname()[1]
        chosen = grpc.model_copy(update={"port": self._ports[1]})
        self._settings = self._settings.model_copy(update={"grpc": chosen})

    async def _start(self, announce: Announce) -> None:
        first = await self._born(1, announce)
        self._known = first.prepared.result()
        # Lanes of several threads are fewer than cores.
        self._count = how_many(self._settings.workers.count, self._known.choice.layout.lanes).count
        await asyncio.gather(*(self._born(number) for number in range(2, self._count + 1)))
        await asyncio.gather(*map(self._serve, self._workers.values()))
        self._acceptor.start()

    async def _born(self, number: int, announce: Announce = lambda _: None) -> Worker:
        """A worker that is ready to serve. Raises `StartupError` when it cannot be."""
        worker = await self._spawned(number, announce)
        try:
            either: list[asyncio.Future[Any]] = [worker.hearing, worker.prepared]
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            if not worker.prepared.done():
                raise StartupError(f"worker {number} ended while it started: {await worker.ended()}")
            await worker.prepared
        except BaseException:
            await self._bury(worker)
            raise
        return worker

    async def _spawned(self, number: int, announce: Announce) -> Worker:
        control, theirs = socket.socketpair()
        connections, their_connections = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs, their_connections:
            passed = theirs.fileno(), their_connections.fileno()
            process = _process(passed)
        # One that is gone already is found out by listening to it.
        with suppress(OSError):
            give_now(control, Birth(self._settings, number, self._known))
        prepared: asyncio.Future[Known] = asyncio.get_running_loop().create_future()
        seat = Seat(connections)
        channel = Channel(self._handlers(prepared, seat, announce))
        await channel.open(control)
        hearing = asyncio.create_task(channel.run())
        worker = self._workers[number] = Worker(number, process, channel, seat, hearing, prepared)
        return worker

    def _handlers(self, prepared: asyncio.Future[Known], seat: Seat, announce: Announce) -> Mapping[str, Handler]:
        """What a worker tells and asks."""

        async def step(what: str) -> None:
            announce(what)

        async def done(known: Known) -> None:
            prepared.set_result(known)

        async def failed(reason: str) -> None:
            if not prepared.done():
                prepared.set_exception(StartupError(reason))

        async def lost(number: int) -> None:
            seat.lost = number

        return {
            "step": step, "prepared": done, "failed": failed, "lost": lost,
            "scrape": self._scrape, "change": self._change,
        }  # fmt: skip

    async def _serve(self, worker: Worker) -> None:
        """From now on it is one of those that answer. Raises `StartupError` when it cannot be."""
        share = Share(Place(worker.number, self._count), self._cores)
        try:
            reason = await worker.channel.ask("serve", share)
        except ChannelClosed as error:
            raise StartupError(f"worker {worker.number} ended: {await worker.ended()}") from error
        except EffserveError as error:
            raise StartupError(f"worker {worker.number} cannot serve: {error.detail}") from error
        if reason is not None:
            raise StartupError(reason)
        worker.seat.lanes = share.of(self._lanes)
        worker.seat.open = worker.serving = True
        worker.tasks.append(asyncio.create_task(self._listen_to(worker)))
        self._acceptor.look_again()

    async def _listen_to(self, worker: Worker) -> None:
        """What it has counted, again and again; one that says nothing any more is killed."""
        while True:
            await asyncio.sleep(HEARTBEAT_S)
            try:
                await asyncio.wait_for(self._count_of(worker), SILENT_S)
            except TimeoutError:
                worker.process.kill()
                return
            except EffserveError:
                # Its log has the fault. It lives, and is asked again.
                continue
            except ChannelClosed:
                return

    async def _keep_all(self) -> None:
        """For ever."""
        await asyncio.gather(*map(self._keep, list(self._workers.values())))

    async def _keep(self, worker: Worker) -> None:
        """Start a worker again whenever it ends."""
        failures = 0
        while True:
            since_s = time.monotonic()
            how = await worker.ended()
            await self._bury(worker)
            failures = 1 if time.monotonic() - since_s > STEADY_S else failures + 1
            worker, failures = await self._again(worker.number, how, failures)

    async def _again(self, number: int, how: str, failures: int) -> tuple[Worker, int]:
        while True:
            self._observer.observe(
                WorkerChanged(number, at_work=False, detail=f"{how}; it is started again in {wait_s(failures):g} s")
            )
            await asyncio.sleep(wait_s(failures))
            try:
                async with self._turn:
                    self._known = await self._served()
                    worker = await self._born(number)
                    await self._serve(worker)
            except (StartupError, OSError) as error:
                await self._bury(self._workers.get(number))
                how, failures = str(error), failures + 1
                continue
            self._merged.restarts += 1
            self._observer.observe(WorkerChanged(number, at_work=True))
            return worker, failures

    async def _bury(self, worker: Worker | None) -> None:
        """Whatever is left of a worker goes; what it counted remains."""
        if worker is None:
            return
        worker.serving = False
        worker.seat.close()
        worker.channel.close()
        for task in worker.tasks:
            task.cancel()
        if worker.process.poll() is None:
            worker.process.kill()
        await asyncio.gather(worker.ended(), *worker.tasks, return_exceptions=True)
        self._merged.ended(worker.process.pid)
        if self._workers.get(worker.number) is worker:
            del self._workers[worker.number]

    async def _scrape(self, accept: str) -> tuple[bytes, str]:
        """The metrics of the service."""

        async def count(worker: Worker) -> None:
            # What it last told stands in for what it does not tell now.
            with suppress(TimeoutError, ChannelClosed, EffserveError):
                await asyncio.wait_for(self._count_of(worker), SCRAPE_S)

        await asyncio.gather(*map(count, self._serving()))
        return self._merged.exposition(accept)

    async def _count_of(self, worker: Worker) -> None:
        families = await worker.channel.ask("metrics")
        if worker.serving:
            self._merged.told(worker.process.pid, families)

    async def _change(self, verb: str, *content: object) -> Sequence[Change]:
        """Of what all of them serve: as the first decides. Raises `EffserveError`."""
        async with self._turn:
            if self.draining:
                raise EffserveError(ErrorKind.DRAINING, "the service is shutting down; what it serves stays as it is")
            if not (staying := self._staying()):
                raise EffserveError(ErrorKind.CHANGE_REFUSED, "no worker can take changes just now; try again")
            first, *others = staying
            changes: Sequence[Change] = await first.channel.ask("change", verb, *content)
            known: Known = await first.channel.ask("known")
            for worker in others:
                if reason := await _strays(worker, known, verb, *content):
                    self._observer.observe(WorkerChanged(worker.number, at_work=False, detail=reason))
                    worker.seat.open = False
                    worker.tasks.append(asyncio.create_task(_dismiss(worker)))
            return changes

    async def _served(self) -> Known | None:
        """By those that live; else what was served at the start."""
        for worker in self._staying():
            # One that cannot say it any more is no reason not to ask the next.
            with suppress(ChannelClosed, EffserveError):
                known: Known = await worker.channel.ask("known")
                return known
        return self._known

    async def _drain(self, stop: Stop) -> str:
        """As a single process does, everywhere at once."""
        everybody = Everybody(self._serving(), self._acceptor)
        counting = asyncio.create_task(everybody.count())
        try:
            return await drain(
                self,
                everybody,
                everybody.over_grpc,
                stop=stop,
                observer=self._observer,
                count=lambda: everybody.in_hand,
                grace_s=self._settings.drain.grace_s,
                timeout_s=self._settings.drain.timeout_s,
            )
        finally:
            counting.cancel()

    async def _end(self) -> None:
        """Of everything that was begun. Workers that have finished end when nobody is there to ask them."""
        await self._acceptor.stop()
        self._grpc_port.close()
        workers = list(self._workers.values())
        for worker in workers:
            worker.channel.close()
            if not worker.serving:
                worker.process.kill()
        await asyncio.gather(*(worker.ended() for worker in workers))
        await asyncio.gather(*map(self._bury, workers))

    def _serving(self) -> list[Worker]:
        return [worker for _, worker in sorted(self._workers.items()) if worker.serving]

    def _staying(self) -> list[Worker]:
        """Without those that were dismissed: they have no seat any more."""
        return [worker for worker in self._serving() if worker.seat.open]

    def _seats(self) -> list[Seat]:
        return [worker.seat for worker in self._workers.values()]

    @property
    def _lanes(self) -> int:
        return self._known.choice.layout.lanes if self._known is not None else self._count

    def _where(self) -> str:
        assert self._known is not None
        choice, refused = self._known.choice, len(self._known.refused)
        return (
            f"{app.addresses(self._settings, *self._ports)}, {len(self._known.served)} variants ({refused} refused), "
            f"{self._count} workers that share {choice.layout} ({choice.why})"
        )


def _process(sockets: tuple[int, int]) -> subprocess.Popen[bytes]:
    """Raises `StartupError`."""
    # -P: what happens to lie where the service is started must not be taken for it.
    command = [sys.executable, "-P", "-m", "service.workers", *map(str, sockets)]
    try:
        return subprocess.Popen(command, pass_fds=sockets)
    except OSError as error:
        raise StartupError(f"a worker cannot be started: {error.strerror}") from error


class Everybody:
    """All workers, as what is drained: over HTTP by the supervisor, which listens, over gRPC each by itself."""

    def __init__(self, workers: Sequence[Worker], acceptor: Acceptor) -> None:
        self._workers = workers
        self._acceptor = acceptor
        self.over_grpc = _OverGrpc(workers)
        self.in_hand = 0
        """Requests that are not over, a moment ago."""

    def __repr__(self) -> str:
        return f"<Everybody {len(self._workers)} workers, {self.in_hand} in hand>"

    async def count(self) -> None:
        """For ever."""
        while True:
            counts: list[int | None] = await _all_asked(self._workers, "in_hand")
            self.in_hand = sum(count or 0 for count in counts)
            await asyncio.sleep(COUNT_S)

    async def stop(self) -> None:
        """Listen no more, and have finished what is in hand, on both protocols."""
        await self._acceptor.stop()
        await _all_asked(self._workers, "finish")


class _OverGrpc:
    def __init__(self, workers: Sequence[Worker]) -> None:
        self._workers = workers

    async def set_serving(self, serving: bool) -> None:
        """Only ever off."""
        await _all_asked(self._workers, "drain")

    async def stop(self, timeout_s: float) -> None:
        """Each worker does, when it is finished."""


async def _unless(stop: Stop, work: Coroutine[Any, Any, None]) -> None:
    """Do it; but for no longer than nobody wants to stop."""
    working, stopping = asyncio.create_task(work), asyncio.create_task(stop.wait())
    await asyncio.wait([working, stopping], return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    if not working.done():
        working.cancel()
        await asyncio.gather(working, return_exceptions=True)
        return
    await working


async def _all_asked(workers: Iterable[Worker], what: str) -> list[Any]:
    """At the same time; None for who is gone, or has finished."""

    async def ask(worker: Worker) -> object:
        with suppress(ChannelClosed, EffserveError):
            return await worker.channel.ask(what)
        return None

    return await asyncio.gather(*map(ask, workers))


async def _strays(worker: Worker, known: Known, verb: str, *content: object) -> str:
    """Change there what has changed elsewhere; why it does not serve the same then, or nothing."""
    try:
        await worker.channel.ask("change", verb, *content)
        theirs: Known = await worker.channel.ask("known")
    except EffserveError as error:
        return f"it cannot do what another worker has done: {error.detail}"
    except ChannelClosed:
        return ""
    return "" if set(theirs.served) == set(known.served) else "it does not serve what another worker serves"


async def _dismiss(worker: Worker) -> None:
    """It answers what it has in hand, and goes; started again it will serve what the others do."""
    with suppress(ChannelClosed, EffserveError):
        await worker.channel.ask("finish")
    worker.channel.close()
