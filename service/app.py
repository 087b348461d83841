"""The composition root: settings in, a running service out. The only module that knows every part.

Start: check the ports, load and measure the variants, compose, listen, ready. Stop, on SIGTERM or SIGINT: readiness
off, serve on for a grace period so that load balancers and keep-alive clients can leave, accept nothing new, finish
what is in hand on both protocols, end the lanes. No request that was accepted is lost. A second signal cuts the grace
period short.
"""

import asyncio
import gc
import os
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, NoReturn

import uvloop

from service.core.events import Fanout, LifecycleChanged, Observer
from service.core.latency import LatencyModel
from service.core.scheduler import Scheduler
from service.core.trace import Tracer, untraced
from service.core.values import Variant
from service.dataplane import Dataplane
from service.draining import drain, in_hand, signals
from service.edges.grpc.server import GrpcServer
from service.edges.http.app import Application, Limits, Scrape, create_http_app
from service.edges.http.rehearsal import rehearse
from service.edges.http.server import HttpServer
from service.edges.oip.controls import Controls
from service.edges.oip.log_settings import LogSettings
from service.edges.oip.service import OpenInference
from service.edges.oip.statistics import Statistics
from service.edges.oip.trace_settings import TraceSettings
from service.edges.questions import Defaults
from service.edges.recent import Recent
from service.pipeline.cpus import usable_cores
from service.pipeline.executor import Executor
from service.pipeline.image import encode_sample
from service.pipeline.lanes import Lanes, ThreadLane
from service.pipeline.opening import Opener
from service.pipeline.priority import give_way, yield_to_all
from service.pipeline.response import Logits, confidence
from service.pipeline.store import StoreReader
from service.preparing import Prepared, background_lanes, calibrations, memory, policy_of, prepare, session_options
from service.repository import Repository, StoreChanges
from service.residency import Residency
from service.settings import LogFormat, Settings, variable
from service.startup import Announce, StartupError, check_port, steps
from service.telemetry import logs
from service.telemetry.metrics import Metrics

if TYPE_CHECKING:
    from service.telemetry.tracing import Tracing

Clock = Callable[[], float]

REHEARSAL_PX = 320, 240
FLUSH_S = 1.0
"""Longest wait for the collector of traces when the service ends. One that is well takes what waits in less; whoever
restarts the service shall not wait for a dead one."""


Progress = Callable[[int], AbstractContextManager[Announce]]
"""Number of steps → a display that is told what each one is."""


@contextmanager
def _silent(_: int) -> Iterator[Announce]:
    yield lambda _: None


def run(settings: Settings, progress: Progress = _silent, note: str = "") -> None:
    """Serve until a signal comes; `note` goes into the first line of the log. Raises `StartupError`."""
    configure_logs(settings)
    check_ports(settings)
    with telling(settings, usable_cores()) as told:
        told.observer.observe(LifecycleChanged("starting", note))
        with progress(steps(settings.store.dir)) as begin:
            prepared = prepare(settings, told.observer, begin)
        freeze()
        how, ended = uvloop.run(_serve(settings, prepared, told))
    told.observer.observe(LifecycleChanged("stopped", how))
    if not ended:
        leave()


@dataclass(frozen=True, slots=True)
class Told:
    """Whoever wants to know, and what can be changed of that."""

    observer: Observer
    metrics: Metrics
    tracer: Tracer
    controls: Controls


@contextmanager
def telling(settings: Settings, cores: int) -> Iterator[Told]:
    """Metrics, logs and, if they are wanted, traces, which are sent at the end. Raises `StartupError`."""
    tracing = _tracing(settings)
    metrics = Metrics(cores=cores, price_per_core_hour=settings.telemetry.price_per_core_hour)
    lines = logs.Logs(requests=settings.log.requests)
    controls = Controls(
        LogSettings(lines, changes=settings.log.changes), TraceSettings(tracing, changes=settings.tracing.changes)
    )
    if tracing is None:
        yield Told(Fanout(metrics, lines), metrics, untraced, controls)
        return
    metrics.count_spans(tracing.statistics)
    try:
        yield Told(Fanout(metrics, lines, tracing), metrics, tracing.begin, controls)
    finally:
        tracing.close(min(settings.drain.timeout_s, FLUSH_S))


def check_ports(settings: Settings) -> None:
    """Raises `StartupError` when one is taken, or both are the same."""
    if settings.http.port == settings.grpc.port != 0:
        raise StartupError(f"http.port and grpc.port are both {settings.http.port}; each protocol needs its own")
    check_port(settings.http.host, settings.http.port, variable("http.port"))
    check_port(settings.grpc.host, settings.grpc.port, variable("grpc.port"))


def freeze() -> None:
    """What start-up made lives for ever: keep the garbage collector from walking it again and again."""
    gc.collect()
    gc.freeze()


def leave() -> NoReturn:
    """End the process with success, without waiting for a thread that is inside the runtime and cannot be stopped.

    The interpreter would wait for it; and taking the interpreter from under it, as from a daemon thread, is not safe.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


def _tracing(settings: Settings) -> "Tracing | None":
    """None unless it is switched on. Raises `StartupError` when it cannot be."""
    if settings.tracing.endpoint is None:
        return None
    try:
        from service.telemetry import tracing
    except ModuleNotFoundError as error:
        raise StartupError(
            f"tracing.endpoint is set, but {error.name} is not installed; `pip install 'effserve[tracing]'` brings "
            "what tracing needs"
        ) from error
    return tracing.to_collector(settings.tracing.endpoint, settings.tracing.sample_ratio)


def configure_logs(settings: Settings, worker: int | None = None) -> None:
    """Set up the process's log lines."""
    json = {LogFormat.JSON: True, LogFormat.CONSOLE: False, LogFormat.AUTO: None}[settings.log.format]
    logs.configure(level=settings.log.level, json=json, worker=worker)


@dataclass(frozen=True, slots=True)
class Parts:
    """A service that is put together and does not listen yet."""

    dataplane: Dataplane
    lanes: Lanes
    repository: Repository
    http: HttpServer
    grpc: GrpcServer

    def in_hand(self) -> int:
        """Requests that are not over."""
        return in_hand(self.dataplane.health().statistics)

    async def close(self) -> bool:
        """What is left to end when nobody can ask any more; False when a thread is left behind."""
        ended = await self.repository.close()
        await asyncio.to_thread(self.lanes.close)
        return ended


async def _serve(settings: Settings, prepared: Prepared, told: Told) -> tuple[str, bool]:
    """Until a signal comes; how the drain went, and False when a thread is left behind."""
    stop = signals()
    await first_request(settings, prepared, told.controls)
    parts = assemble(settings, prepared, told, _scrape(told.metrics))
    http, grpc, dataplane = parts.http, parts.grpc, parts.dataplane
    try:
        ports = http.bind(settings.http.host, settings.http.port), grpc.bind(settings.grpc.host, settings.grpc.port)
    except OSError as error:
        raise StartupError(f"a port was taken while the variants were loading: {error.strerror}") from error
    await http.start()
    await grpc.start()
    dataplane.ready = True
    await grpc.set_serving(True)
    told.observer.observe(LifecycleChanged("ready", _where(settings, *ports, dataplane)))
    async with following(settings, parts.repository):
        await stop.wait()
    parts.repository.leave()
    how = await drain(
        dataplane,
        http,
        grpc,
        stop=stop,
        observer=told.observer,
        count=parts.in_hand,
        grace_s=settings.drain.grace_s,
        timeout_s=settings.drain.timeout_s,
    )
    return how, await parts.close()


def assemble(
    settings: Settings,
    prepared: Prepared,
    told: Told,
    scrape: Scrape,
    *,
    repository_kind: Callable[..., Repository] = Repository,
    shares_port: bool = False,
    on_lost: Callable[[], None] = lambda: None,
) -> Parts:
    """Everything that serves, on the event loop that is to own it. `on_lost` is called when an HTTP connection ends."""
    clock = time.monotonic
    statistics, recent = Statistics(prepared.loaded.entries), Recent(clock)
    residency = Residency(memory(settings), clock)
    observer = Fanout(told.observer, statistics, recent, residency)
    dataplane, lanes = compose(settings, prepared, observer, clock)
    changing = repository(settings, prepared, dataplane, observer, residency, repository_kind)
    told.metrics.watch(dataplane.health, dataplane.variants)
    http, grpc = _edges(
        settings,
        dataplane,
        changing,
        told,
        statistics=statistics,
        recent=recent,
        scrape=scrape,
        clock=clock,
        shares_port=shares_port,
        on_lost=on_lost,
    )
    return Parts(dataplane, lanes, changing, http, grpc)


def compose(settings: Settings, prepared: Prepared, observer: Observer, clock: Clock) -> tuple[Dataplane, Lanes]:
    """Queue, lanes and dataplane over warm sessions. Call it inside the event loop that is to own them."""
    latency = LatencyModel(prepared.calibration, miss_rate=settings.routing.miss_rate)
    choice, behind = prepared.choice, background_lanes(settings, prepared.choice.layout)
    count = choice.layout.lanes
    entries = prepared.loaded.entries
    cheapest = entries[prepared.policy.catalogue.front(latency)[-1].name].manifest
    scheduler = Scheduler(
        policy=prepared.policy,
        latency=latency,
        lanes=count,
        background_lanes=behind,
        confidences=cheapest.accuracy.confidences or (),
    )
    execute = Executor(prepared.loaded.runners.__getitem__, clock, exact=settings.images.exact)
    threads = [ThreadLane(n, execute, partial(give_way, settings.lanes.nice)) for n in range(count)]
    threads += [ThreadLane(count + n, execute, yield_to_all) for n in range(behind)]

    def judge(variant: Variant, logits: Logits) -> float:
        return confidence(logits, dataplane.stored(variant).temperature)

    lanes = Lanes(scheduler, [*threads], clock, judge)
    dataplane = Dataplane(
        entries=entries,
        refused=prepared.loaded.refused,
        catalogue=prepared.policy.catalogue,
        scheduler=scheduler,
        lanes=lanes,
        choice=choice,
        observer=observer,
        clock=clock,
        max_pixels=settings.limits.pixels,
        place=prepared.place,
        absent=prepared.absent,
        memory_bytes=lambda entry: memory(settings).footprint(entry).weights_bytes,
    )
    return dataplane, lanes


def repository(
    settings: Settings,
    prepared: Prepared,
    dataplane: Dataplane,
    observer: Observer,
    residency: Residency,
    kind: Callable[..., Repository] = Repository,
) -> Repository:
    """What changes what the dataplane serves. Call it inside the event loop that owns that."""
    residency.watch(dataplane)
    return kind(
        dataplane=dataplane,
        runners=prepared.loaded.runners,
        store=StoreReader(settings.store.dir),
        opener=Opener(session_options(settings, prepared.choice), prepared.lanes, calibrations(settings)),
        policy_of=partial(policy_of, settings),
        residency=residency,
        changes=settings.store.changes,
        observer=observer,
    )


def _edges(
    settings: Settings,
    dataplane: Dataplane,
    changing: Repository,
    told: Told,
    *,
    statistics: Statistics,
    recent: Recent,
    scrape: Scrape,
    clock: Clock,
    shares_port: bool,
    on_lost: Callable[[], None],
) -> tuple[HttpServer, GrpcServer]:
    open_inference = _open_inference(settings, dataplane, changing, told.controls, statistics)
    app = _http_app(settings, dataplane, changing, open_inference, recent, scrape, clock, told.tracer)
    timeout_s, keep_alive_s = settings.drain.timeout_s, settings.http.keep_alive_s
    http = HttpServer(app, clock=clock, keep_alive_s=keep_alive_s, timeout_s=timeout_s, on_lost=on_lost)
    grpc = GrpcServer(
        dataplane,
        clock=clock,
        defaults=_defaults(settings),
        image_bytes=settings.limits.image_bytes,
        request_bytes=settings.limits.request_bytes,
        reflection=settings.grpc.reflection,
        open_inference=open_inference,
        tracer=told.tracer,
        repository=changing,
        shares_port=shares_port,
    )
    return http, grpc


def _defaults(settings: Settings) -> Defaults:
    routing = settings.routing
    return Defaults(routing.default_budget_ms, routing.default_mode, routing.policy)


def _open_inference(
    settings: Settings, dataplane: Dataplane, changing: Repository, controls: Controls, statistics: Statistics
) -> OpenInference:
    return OpenInference(
        dataplane,
        statistics=statistics,
        defaults=_defaults(settings),
        batch=settings.limits.batch,
        image_bytes=settings.limits.image_bytes,
        controls=controls,
        repository=changing,
    )


def _http_app(
    settings: Settings,
    dataplane: Dataplane,
    changing: Repository,
    open_inference: OpenInference,
    recent: Recent,
    scrape: Scrape,
    clock: Clock,
    tracer: Tracer,
) -> Application:
    taken, timeout_s = settings.limits, settings.http.upload_timeout_s
    return create_http_app(
        dataplane,
        clock=clock,
        defaults=_defaults(settings),
        limits=Limits(taken.image_bytes, taken.uploads_bytes, timeout_s, taken.request_bytes),
        scrape=scrape,
        open_inference=open_inference,
        recent=recent,
        tracer=tracer,
        repository=changing,
    )


async def first_request(settings: Settings, prepared: Prepared, controls: Controls) -> None:
    """The first request is our own. It has a dataplane to itself, over the same sessions: nobody counts or logs it, and
    nothing is learned from how long it takes. Whatever it is answered, limits are the operator's: the way is gone."""
    clock = time.monotonic
    dataplane, lanes = compose(settings, prepared, Fanout(), clock)
    changing = repository(settings, prepared, dataplane, Fanout(), Residency(memory(settings), clock))
    open_inference = _open_inference(settings, dataplane, changing, controls, Statistics(prepared.loaded.entries))
    scrape = _scrape(Metrics())
    app = _http_app(settings, dataplane, changing, open_inference, Recent(clock), scrape, clock, untraced)
    dataplane.ready = True
    await rehearse(app, encode_sample("JPEG", *REHEARSAL_PX))
    await changing.close()
    await asyncio.to_thread(lanes.close)


@asynccontextmanager
async def following(settings: Settings, changing: Repository) -> AsyncIterator[None]:
    """The store, and what is useful of it, are looked at for so long, if that is wanted."""
    looking = []
    if settings.store.changes is StoreChanges.POLL:
        looking.append(asyncio.create_task(changing.follow(settings.store.poll_s), name="following the store"))
    if settings.store.memory_limit_mib is not None:
        looking.append(asyncio.create_task(changing.keep_useful(), name="keeping what is useful in memory"))
    for one in looking:
        one.add_done_callback(_tell_of_end)
    try:
        yield
    finally:
        for one in looking:
            one.cancel()


def _tell_of_end(task: asyncio.Task[None]) -> None:
    """Nobody waits for it, and from now on nobody looks: that must not pass in silence."""
    if not task.cancelled():
        message = f"{task.get_name()} has ended, and is not done any more"
        task.get_loop().call_exception_handler({"message": message, "exception": task.exception(), "task": task})


def _scrape(metrics: Metrics) -> Scrape:
    async def scrape(accept: str) -> tuple[bytes, str]:
        # The snapshot belongs to this loop; formatting it takes milliseconds, which requests must not wait for.
        metrics.refresh()
        return await asyncio.to_thread(metrics.exposition, accept)

    return scrape


def _where(settings: Settings, http_port: int, grpc_port: int, dataplane: Dataplane) -> str:
    health = dataplane.health()
    never = [f"{row.variant.name}: {row.not_routed}" for row in dataplane.variants() if row.not_routed]
    return (
        f"{addresses(settings, http_port, grpc_port)}, {health.variants} variants ({len(health.refused)} refused), "
        f"{health.choice.layout} ({health.choice.why}) and {health.statistics.background_lanes} background lanes"
        + "".join(f"; no budget chooses {one}" for one in never)
    )


def addresses(settings: Settings, http_port: int, grpc_port: int) -> str:
    """Where the service listens."""
    http, grpc = (f"[{host}]" if ":" in host else host for host in (settings.http.host, settings.grpc.host))
    return f"http://{http}:{http_port} and grpc://{grpc}:{grpc_port}"
