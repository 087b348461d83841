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
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import uvloop

from service.core.catalogue import Catalogue
from service.core.events import Fanout, LifecycleChanged, Observer
from service.core.latency import Calibration, LatencyModel
from service.core.layout import Choice, Layout
from service.core.policy import BudgetPolicy
from service.core.scheduler import Scheduler
from service.core.trace import Tracer, untraced
from service.core.values import Variant
from service.dataplane import REFERENCE_IMAGE, Dataplane
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
from service.pipeline import trials
from service.pipeline.cpus import usable_cores
from service.pipeline.executor import Executor
from service.pipeline.image import encode_sample
from service.pipeline.lanes import Lanes, ThreadLane
from service.pipeline.opening import Opener
from service.pipeline.priority import can_yield, give_way, yield_to_all
from service.pipeline.response import Logits, confidence
from service.pipeline.session import ExecutionProvider, SessionOptions
from service.pipeline.store import StoreReader, StoreScan
from service.repository import Repository, StoreChanges
from service.settings import LogFormat, Settings, variable
from service.startup import Announce, Loaded, StartupError, check, check_port, load, measure, steps, writable
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


def run(settings: Settings, progress: Progress = _silent) -> None:
    """Serve until a signal comes. Raises `StartupError`."""
    configure_logs(settings)
    tracing = _tracing(settings)
    if settings.http.port == settings.grpc.port != 0:
        raise StartupError(f"http.port and grpc.port are both {settings.http.port}; each protocol needs its own")
    check_port(settings.http.host, settings.http.port, variable("http.port"))
    check_port(settings.grpc.host, settings.grpc.port, variable("grpc.port"))
    metrics = Metrics(cores=usable_cores(), price_per_core_hour=settings.telemetry.price_per_core_hour)
    lines = logs.Logs(requests=settings.log.requests)
    observers: list[Observer] = [metrics, lines]
    if tracing is not None:
        metrics.count_spans(tracing.statistics)
        observers.append(tracing)
    observer = Fanout(*observers)
    observer.observe(LifecycleChanged("starting"))
    with progress(steps(settings.store.dir)) as begin:
        prepared = prepare(settings, observer, begin)
    # What start-up made lives for ever: keep the garbage collector from walking it again and again.
    gc.collect()
    gc.freeze()
    controls = Controls(
        LogSettings(lines, changes=settings.log.changes), TraceSettings(tracing, changes=settings.tracing.changes)
    )
    tracer = untraced if tracing is None else tracing.begin
    try:
        how, ended = uvloop.run(_serve(settings, prepared, observer, metrics, controls, tracer))
    finally:
        if tracing is not None:
            tracing.close(min(settings.drain.timeout_s, FLUSH_S))
    observer.observe(LifecycleChanged("stopped", how))
    if not ended:
        _leave()


def _leave() -> NoReturn:
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


def configure_logs(settings: Settings) -> None:
    """Set up the process's log lines."""
    json = {LogFormat.JSON: True, LogFormat.CONSOLE: False, LogFormat.AUTO: None}[settings.log.format]
    logs.configure(level=settings.log.level, json=json)


@dataclass(frozen=True, slots=True)
class Prepared:
    """Warm sessions, what they cost, and the rule that chooses among them."""

    loaded: Loaded
    calibration: Calibration
    policy: BudgetPolicy
    choice: Choice


def layout(settings: Settings, found: StoreScan, announce: Announce = lambda _: None) -> Choice:
    """How many runs at a time, and on how many threads each; measured where it is not set and there is a choice."""
    lanes, cores = settings.lanes, usable_cores()
    if lanes.count is not None or lanes.threads is not None:
        threads = lanes.threads or 1
        return Choice(Layout(lanes.count or max(cores // threads, 1), threads), "as set")
    if lanes.provider is not ExecutionProvider.CPU:
        return Choice(Layout(cores, 1), f"nothing is measured for {lanes.provider}")
    return trials.choice(
        found.entries,
        cores,
        budget_s=settings.routing.default_budget_ms / 1e3,
        route_untrained=settings.routing.route_untrained,
        picture=REFERENCE_IMAGE,
        folder=_calibrations(settings),
        graphs=settings.calibration.graphs_dir,
        seconds=settings.calibration.seconds_per_variant,
        exact=settings.images.exact,
        announce=announce,
    )


def background_lanes(settings: Settings, chosen: Layout) -> int:
    """How many upgrades are run at a time in time that nobody else needs: none where runs leave their lane's thread,
    and with it the thread's priority, or where threads have no such priority."""
    wanted = chosen.lanes if settings.lanes.background is None else min(settings.lanes.background, chosen.lanes)
    stays = settings.lanes.provider is ExecutionProvider.CPU and chosen.threads == 1
    return wanted if wanted and stays and can_yield() else 0


def prepare(settings: Settings, observer: Observer, announce: Announce = lambda _: None) -> Prepared:
    """Load and measure what the store holds. Raises `StartupError`."""
    announce("checking the store")
    found = check(settings.store.dir, settings.lanes.provider)
    choice = layout(settings, found, announce)
    lanes = choice.layout.lanes
    options = session_options(settings, choice)
    loaded = load(found, options, lanes, observer, announce)
    policy = _policy_of(settings, [entry.variant() for entry in loaded.entries.values()])
    if not policy.catalogue.routed():
        raise StartupError(
            "no variant in the store has weights of known accuracy, so no budget can be answered; fetch some with "
            "`effserve pull`, or pass --route-untrained to plan capacity with meaningless predictions"
        )
    calibration = measure(
        loaded,
        options=options,
        lanes=lanes,
        folder=_calibrations(settings),
        seconds_per_variant=settings.calibration.seconds_per_variant,
        exact=settings.images.exact,
        announce=announce,
    )
    return Prepared(loaded, calibration, policy, choice)


def _calibrations(settings: Settings) -> Path | None:
    """Where measurements are kept; None where they are not."""
    return writable(settings.calibration.dir) if settings.calibration.reuse else None


def session_options(settings: Settings, choice: Choice) -> SessionOptions:
    """How the sessions are opened that serve."""
    lanes = settings.lanes
    return SessionOptions(
        lanes.provider,
        choice.layout.threads,
        lanes.nice,
        graphs=settings.calibration.graphs_dir,
        device=lanes.device,
        cache=lanes.provider_cache,
    )


def _policy_of(settings: Settings, variants: Sequence[Variant]) -> BudgetPolicy:
    routing = settings.routing
    return BudgetPolicy(
        Catalogue(tuple(variants), routing.route_untrained),
        utilisation=routing.utilisation,
        arrival_reserve=routing.arrival_reserve,
        backlog_limit_s=settings.limits.backlog_ms / 1e3,
        terminates=routing.terminate_upgrades,
    )


async def _serve(
    settings: Settings, prepared: Prepared, observer: Observer, metrics: Metrics, controls: Controls, tracer: Tracer
) -> tuple[str, bool]:
    """Until a signal comes; how the drain went, and False when a thread is left behind."""
    clock = time.monotonic
    stop = signals()
    await _rehearse(settings, prepared, controls, clock)
    statistics, recent = Statistics(prepared.loaded.entries), Recent(clock)
    told = Fanout(observer, statistics, recent)
    dataplane, lanes = compose(settings, prepared, told, clock)
    changing = repository(settings, prepared, dataplane, told)
    metrics.watch(dataplane.health, dataplane.variants)
    http, grpc = _edges(settings, dataplane, changing, controls, statistics, recent, _scrape(metrics), clock, tracer)
    try:
        ports = http.bind(settings.http.host, settings.http.port), grpc.bind(settings.grpc.host, settings.grpc.port)
    except OSError as error:
        raise StartupError(f"a port was taken while the variants were loading: {error.strerror}") from error
    await http.start()
    await grpc.start()
    dataplane.ready = True
    await grpc.set_serving(True)
    observer.observe(LifecycleChanged("ready", _where(settings, *ports, dataplane)))
    async with _following(settings, changing):
        await stop.wait()
    changing.leave()
    how = await drain(
        dataplane,
        http,
        grpc,
        stop=stop,
        observer=observer,
        count=lambda: in_hand(dataplane.health().statistics),
        grace_s=settings.drain.grace_s,
        timeout_s=settings.drain.timeout_s,
    )
    ended = await changing.close()
    await asyncio.to_thread(lanes.close)
    return how, ended


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
    loop = asyncio.get_running_loop()
    threads = [ThreadLane(n, execute, loop, partial(give_way, settings.lanes.nice)) for n in range(count)]
    threads += [ThreadLane(count + n, execute, loop, yield_to_all) for n in range(behind)]

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
    )
    return dataplane, lanes


def repository(settings: Settings, prepared: Prepared, dataplane: Dataplane, observer: Observer) -> Repository:
    """What changes what the dataplane serves. Call it inside the event loop that owns that."""
    options, lanes = session_options(settings, prepared.choice), prepared.choice.layout.lanes
    return Repository(
        dataplane=dataplane,
        runners=prepared.loaded.runners,
        store=StoreReader(settings.store.dir),
        opener=Opener(options, lanes, _calibrations(settings)),
        policy_of=partial(_policy_of, settings),
        changes=settings.store.changes,
        observer=observer,
    )


def _edges(
    settings: Settings,
    dataplane: Dataplane,
    changing: Repository,
    controls: Controls,
    statistics: Statistics,
    recent: Recent,
    scrape: Scrape,
    clock: Clock,
    tracer: Tracer,
) -> tuple[HttpServer, GrpcServer]:
    open_inference = _open_inference(settings, dataplane, changing, controls, statistics)
    app = _http_app(settings, dataplane, changing, open_inference, recent, scrape, clock, tracer)
    timeout_s, keep_alive_s = settings.drain.timeout_s, settings.http.keep_alive_s
    http = HttpServer(app, clock=clock, keep_alive_s=keep_alive_s, timeout_s=timeout_s)
    grpc = GrpcServer(
        dataplane,
        clock=clock,
        defaults=_defaults(settings),
        image_bytes=settings.limits.image_bytes,
        request_bytes=settings.limits.request_bytes,
        reflection=settings.grpc.reflection,
        open_inference=open_inference,
        tracer=tracer,
        repository=changing,
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


async def _rehearse(settings: Settings, prepared: Prepared, controls: Controls, clock: Clock) -> None:
    """The first request is our own. It has a dataplane to itself, over the same sessions: nobody counts or logs it, and
    nothing is learned from how long it takes. Whatever it is answered, limits are the operator's: the way is gone."""
    dataplane, lanes = compose(settings, prepared, Fanout(), clock)
    changing = repository(settings, prepared, dataplane, Fanout())
    open_inference = _open_inference(settings, dataplane, changing, controls, Statistics(prepared.loaded.entries))
    scrape = _scrape(Metrics())
    app = _http_app(settings, dataplane, changing, open_inference, Recent(clock), scrape, clock, untraced)
    dataplane.ready = True
    await rehearse(app, encode_sample("JPEG", *REHEARSAL_PX))
    await changing.close()
    await asyncio.to_thread(lanes.close)


@asynccontextmanager
async def _following(settings: Settings, changing: Repository) -> AsyncIterator[None]:
    """The store is looked at for so long, if that is wanted."""
    if settings.store.changes is not StoreChanges.POLL:
        yield
        return
    looking = asyncio.create_task(changing.follow(settings.store.poll_s))
    try:
        yield
    finally:
        looking.cancel()


def _scrape(metrics: Metrics) -> Scrape:
    async def scrape(accept: str) -> tuple[bytes, str]:
        # The snapshot belongs to this loop; formatting it takes milliseconds, which requests must not wait for.
        metrics.refresh()
        return await asyncio.to_thread(metrics.exposition, accept)

    return scrape


def _where(settings: Settings, http_port: int, grpc_port: int, dataplane: Dataplane) -> str:
    http, grpc = (f"[{host}]" if ":" in host else host for host in (settings.http.host, settings.grpc.host))
    health = dataplane.health()
    never = [f"{row.variant.name}: {row.not_routed}" for row in dataplane.variants() if row.not_routed]
    return (
        f"http://{http}:{http_port} and grpc://{grpc}:{grpc_port}, {health.variants} variants "
        f"({len(health.refused)} refused), {health.choice.layout} ({health.choice.why}) and "
        f"{health.statistics.background_lanes} background lanes"
        + "".join(f"; no budget chooses {one}" for one in never)
    )
