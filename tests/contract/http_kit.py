"""An HTTP server on a real socket: over real ONNX sessions, or over lanes that end their runs when the test says so."""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from service.app import compose
from service.core.events import Fanout
from service.core.scheduler import Scheduler
from service.core.trace import Tracer, untraced
from service.dataplane import Dataplane
from service.edges.http.app import Application, Limits, Scrape, create_http_app
from service.edges.http.server import HttpServer
from service.edges.oip.statistics import Statistics
from service.edges.questions import Defaults
from service.edges.recent import Recent
from service.preparing import prepare
from service.settings import Settings, load
from service.telemetry.metrics import Metrics
from tests.contract.grpc_kit import (
    DEFAULTS,
    IMAGE_BYTES,
    PATIENCE_S,
    REQUEST_BYTES,
    SLOW_S,
    Gate,
    Recorder,
    composed,
    open_inference,
)
from tests.fixtures import calibration_folder


@dataclass
class Kit:
    """What a test needs of both ends."""

    client: httpx.AsyncClient
    dataplane: Dataplane
    seen: Recorder
    port: int
    gate: Gate
    app: Application
    scheduler: Scheduler | None = None

    async def until_in_hand(self, count: int) -> None:
        """Wait until that many jobs have no last answer yet."""
        async with asyncio.timeout(PATIENCE_S):
            while True:
                now = self.dataplane.health().statistics
                if now.waiting + now.running + now.insured == count:
                    return
                await asyncio.sleep(0.002)


@asynccontextmanager
async def gated(
    *,
    lanes: int = 1,
    times_s: Mapping[str, float] = SLOW_S,
    upload_timeout_s: float = PATIENCE_S,
    defaults: Defaults = DEFAULTS,
    tracer: Tracer = untraced,
    **options: object,
) -> AsyncIterator[Kit]:
    """Gated lanes over the paper's family; `options` go to the policy."""
    gate, seen = Gate(), Recorder()
    dataplane, scheduler = composed(gate, seen, lanes, times_s, **options)
    dataplane.ready = True
    async with _serving(dataplane, seen, gate, no_metrics, upload_timeout_s, defaults, tracer) as kit:
        kit.scheduler = scheduler
        yield kit
        gate.release()


@asynccontextmanager
async def real(store: Path, **overrides: dict[str, object]) -> AsyncIterator[Kit]:
    """Real sessions, lanes and metrics over a store."""
    settings = settings_for(store, **overrides)
    metrics, seen = Metrics(), Recorder()
    seen.forward_to = metrics
    dataplane, lanes = compose(settings, prepare(settings, seen), seen, time.monotonic)
    metrics.watch(dataplane.health, dataplane.variants)
    dataplane.ready = True

    async def scrape(accept: str) -> tuple[bytes, str]:
        metrics.refresh()
        return metrics.exposition(accept)

    async with _serving(dataplane, seen, Gate(), scrape) as kit:
        yield kit
    lanes.close()


def settings_for(store: Path, /, **overrides: dict[str, object]) -> Settings:
    """Settings of a small service: two lanes, quick calibration that all of them share."""
    quick: dict[str, dict[str, object]] = {
        "store": {"dir": store},
        "lanes": {"count": 2},
        "calibration": {"dir": calibration_folder(), "seconds_per_variant": 0.01},
    }
    return load(None, quick | overrides)


def client_of(port: int) -> httpx.AsyncClient:
    """A client of a server here. It reads no certificates: that takes longer than most tests, and nothing is TLS."""
    return httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=PATIENCE_S, verify=False)


async def no_metrics(accept: str) -> tuple[bytes, str]:
    """For servers whose metrics nobody asks for."""
    return b"", "text/plain"


@asynccontextmanager
async def _serving(
    dataplane: Dataplane,
    seen: Recorder,
    gate: Gate,
    scrape: Scrape,
    upload_timeout_s: float = PATIENCE_S,
    defaults: Defaults = DEFAULTS,
    tracer: Tracer = untraced,
) -> AsyncIterator[Kit]:
    clock = time.monotonic
    limits = Limits(IMAGE_BYTES, 10 * IMAGE_BYTES, upload_timeout_s=upload_timeout_s, request_bytes=REQUEST_BYTES)
    statistics, recent = Statistics(dataplane.served()), Recent(clock)
    seen.forward_to = Fanout(*([] if seen.forward_to is None else [seen.forward_to]), statistics, recent)
    app = create_http_app(
        dataplane,
        clock=clock,
        defaults=defaults,
        limits=limits,
        scrape=scrape,
        open_inference=open_inference(dataplane, statistics, defaults),
        recent=recent,
        tracer=tracer,
    )
    server = HttpServer(app, clock=clock, keep_alive_s=PATIENCE_S, timeout_s=10, handshake_s=0.0)
    port = server.bind("127.0.0.1", 0)
    await server.start()
    async with client_of(port) as client:
        try:
            yield Kit(client, dataplane, seen, port, gate, app)
        finally:
            gate.release()
            await client.aclose()
            await server.stop()
