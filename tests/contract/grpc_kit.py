"""A gRPC server on a real socket, over a real dataplane whose lanes end their runs when the test says so."""

import asyncio
import math
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import numpy as np

from model_store.manifest import (
    Accuracy,
    AccuracySource,
    EfficientNetArchitecture,
    LabelSet,
    Manifest,
    Preprocessing,
    Weights,
    WeightsKind,
)
from service.core.events import Event, Observer, RequestAnswered, RequestFailed
from service.core.layout import Choice, Layout
from service.core.messages import Label, RefusedVariant
from service.core.policy import BudgetPolicy
from service.core.scheduler import Scheduler
from service.core.values import Source, Variant
from service.dataplane import Dataplane
from service.edges.grpc import GrpcServer
from service.edges.oip.controls import Controls
from service.edges.oip.log_settings import LogSettings
from service.edges.oip.service import OpenInference
from service.edges.oip.statistics import Statistics
from service.edges.oip.trace_settings import TraceSettings
from service.edges.questions import Defaults
from service.pipeline.image import encode_sample
from service.pipeline.lanes import Done, Lane, LaneRun, Lanes
from service.pipeline.store import StoredVariant
from service.repository import Repository
from service.wire import classifier_pb2_grpc
from tests.builders import ACCURACIES, FAMILY, TIMES_S, latency, policy

JPEG = encode_sample("JPEG", 64, 48)
IMAGE_BYTES = 100_000
REQUEST_BYTES = 300_000
BATCH = 4
CLASSES = 10
REFUSED = RefusedVariant("b9", "1", "model.onnx is missing")
SLOW_S = {name: 1000 * seconds for name, seconds in TIMES_S.items()}
"""What runs are expected to take: so long that a moment in which the machine is busy changes no decision."""
DEFAULTS = Defaults()
PATIENCE_S = 60.0
"""How long is waited for what should happen at once: only a test that fails waits so long."""
STOP_S = 0.01
"""How long a server may take to stop when its test is over: no client is there that would ask again elsewhere."""


class Gate:
    """Holds the lanes' runs back while it is shut; `error` is what runs end in."""

    def __init__(self) -> None:
        self.open = True
        self.error: BaseException | None = None
        self._held: list[tuple[Done, LaneRun]] = []

    def pass_on(self, done: Done, run: LaneRun) -> None:
        """End a run, now or when the gate opens."""
        if self.open:
            asyncio.get_running_loop().call_soon(done, self.error or run)
        else:
            self._held.append((done, run))

    def step(self) -> None:
        """End the run that is held longest; the gate stays shut."""
        done, run = self._held.pop(0)
        asyncio.get_running_loop().call_soon(done, self.error or run)

    async def until_held(self, count: int) -> None:
        """Wait until that many runs are held."""
        async with asyncio.timeout(PATIENCE_S):
            while len(self._held) != count:  # noqa: ASYNC110 - lanes have no event for it
                await asyncio.sleep(0.002)

    def release(self) -> None:
        """Open the gate."""
        self.open = True
        held, self._held = self._held, []
        for done, run in held:
            self.pass_on(done, run)


class GatedLane:
    """A lane that finds class 7 in every image."""

    def __init__(self, gate: Gate) -> None:
        self._gate = gate

    def start(self, body: Source, variant: Variant, done: Done) -> None:
        """See `Lane.start`."""
        logits = np.zeros(CLASSES, np.float32)
        logits[7] = 3.0
        self._gate.pass_on(done, LaneRun(logits, time.monotonic(), 0.0, 0.0))

    def terminate(self) -> None:
        """Too fast for that."""

    def close(self) -> None:
        """Nothing to end."""


@dataclass
class Recorder:
    """Keeps the events."""

    events: list[Event] = field(default_factory=list)
    forward_to: Observer | None = None

    def observe(self, event: Event) -> None:
        """Take note, and pass it on."""
        self.events.append(event)
        if self.forward_to is not None:
            self.forward_to.observe(event)

    async def until(self, *, failed: int) -> None:
        """Wait until that many requests have failed."""
        async with asyncio.timeout(PATIENCE_S):
            while len(self.failed) < failed:  # noqa: ASYNC110 - events come from all sides
                await asyncio.sleep(0.002)

    @property
    def answered(self) -> list[RequestAnswered]:
        """In order."""
        return [event for event in self.events if isinstance(event, RequestAnswered)]

    @property
    def failed(self) -> list[RequestFailed]:
        """In order."""
        return [event for event in self.events if isinstance(event, RequestFailed)]


@dataclass
class Kit:
    """What a test needs of both ends."""

    server: GrpcServer
    dataplane: Dataplane
    scheduler: Scheduler
    gate: Gate
    seen: Recorder
    port: int
    channel: grpc.aio.Channel

    @property
    def stub(self) -> Any:  # noqa: ANN401
        """The classifier's client; the generated code has no types."""
        return classifier_pb2_grpc.ClassifierStub(self.channel)  # type: ignore[no-untyped-call]

    @property
    def in_hand(self) -> int:
        """Jobs that have no last answer yet."""
        statistics = self.scheduler.statistics(time.monotonic())
        return statistics.waiting + statistics.running + statistics.insured

    async def until_in_hand(self, count: int) -> None:
        """Wait until there are that many."""
        async with asyncio.timeout(PATIENCE_S):
            while self.in_hand != count:  # noqa: ASYNC110 (the scheduler has no event for it)
                await asyncio.sleep(0.002)


def composed(
    gate: Gate, seen: Recorder, lanes: int, times_s: Mapping[str, float] = SLOW_S, **options: object
) -> tuple[Dataplane, Scheduler]:
    """A dataplane over the paper's family, with the real policy (which `options` go to) and scheduler, and as many
    background lanes as others. Nothing is reserved for arrivals, and nobody is refused for being late: one request a
    second would be overload for such slow runs."""
    settled = {"patience_s": math.inf, "arrival_reserve": 0.0, **options}
    rule = policy(FAMILY, **settled)  # type: ignore[arg-type]
    scheduler = Scheduler(policy=rule, latency=latency(times_s), lanes=lanes, background_lanes=lanes)
    return over(scheduler, rule, [GatedLane(gate) for _ in range(2 * lanes)], seen, time.monotonic), scheduler


def over(
    scheduler: Scheduler, rule: BudgetPolicy, lanes: list[Lane], seen: Recorder, clock: Callable[[], float]
) -> Dataplane:
    """A dataplane over these lanes."""
    return Dataplane(
        entries={variant.name: _entry(variant) for variant in FAMILY},
        refused=[REFUSED],
        catalogue=rule.catalogue,
        scheduler=scheduler,
        lanes=Lanes(scheduler, lanes, clock),
        choice=Choice(Layout(len(lanes), 1), "gated"),
        observer=seen,
        clock=clock,
        max_pixels=1_000_000,
    )


@asynccontextmanager
async def serving(
    *, lanes: int = 1, reflection: bool = True, defaults: Defaults = DEFAULTS, patience_s: float = math.inf
) -> AsyncIterator[Kit]:
    """A started server and a client connected to it; both are gone afterwards. `patience_s` is the policy's."""
    gate, seen = Gate(), Recorder()
    dataplane, scheduler = composed(gate, seen, lanes, patience_s=patience_s)
    seen.forward_to = statistics = Statistics(dataplane.served())
    server = made(dataplane, reflection=reflection, defaults=defaults, statistics=statistics)
    port = server.bind("127.0.0.1", 0)
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        try:
            yield Kit(server, dataplane, scheduler, gate, seen, port, channel)
        finally:
            gate.release()
            await server.stop(STOP_S)


def made(
    dataplane: Dataplane,
    *,
    reflection: bool = True,
    defaults: Defaults = DEFAULTS,
    statistics: Statistics | None = None,
) -> GrpcServer:
    """A server that is not bound yet."""
    return GrpcServer(
        dataplane,
        clock=time.monotonic,
        defaults=defaults,
        image_bytes=IMAGE_BYTES,
        request_bytes=REQUEST_BYTES,
        reflection=reflection,
        open_inference=open_inference(dataplane, statistics or Statistics(dataplane.served()), defaults),
    )


def open_inference(
    dataplane: Dataplane,
    statistics: Statistics,
    defaults: Defaults = DEFAULTS,
    repository: Repository | None = None,
    controls: Controls | None = None,
) -> OpenInference:
    """What both protocols ask."""
    return OpenInference(
        dataplane,
        statistics=statistics,
        defaults=defaults,
        batch=BATCH,
        image_bytes=IMAGE_BYTES,
        controls=controls or fixed_controls(),
        repository=repository,
    )


@dataclass
class Levels:
    """What would write log lines."""

    level: str = "info"

    def write_from(self, level: str) -> None:
        """See `Logs.write_from`."""
        self.level = level


def fixed_controls() -> Controls:
    """Nothing is traced, and nothing may be changed."""
    return Controls(LogSettings(Levels(), changes=False), TraceSettings(None, changes=False))


def _entry(variant: Variant) -> StoredVariant:
    sizes = Preprocessing(input_size_px=224, crop_pct=0.875, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
    network = EfficientNetArchitecture(
        level=variant.name, width=1, depth=1, group_width=1, expansion=6, norm="batch", padding="same"
    )
    manifest = Manifest(
        name=variant.name,
        version=variant.version,
        architecture=network,
        preprocessing=sizes,
        labels=LabelSet(name="synthetic", classes=CLASSES, sha256=""),
        params=5_288_548,
        macs=390_000_000,
        weights=Weights(kind=WeightsKind.CHECKPOINT, source="made for tests", licence="Apache-2.0"),
        accuracy=Accuracy(top1=ACCURACIES[variant.name], dataset="synthetic", source=AccuracySource.MEASURED),
        graph_sha256="",
        graph_bytes=21_000_000,
        built_with="tests",
    )
    labels = tuple(Label(f"n{index:08d}", f"class {index}") for index in range(CLASSES))
    return StoredVariant(manifest, Path("nowhere"), labels)
