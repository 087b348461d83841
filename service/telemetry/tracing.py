"""Traces: what happened to a request, as OpenTelemetry spans for a collector. The only module that knows the library.

Spans are built from events, afterwards, with the times that the path took: nothing is measured for them, and the path
does not know of them. Neither is the library's tracer used, which times what happens while it happens and keeps a
context for each task; its spans, batches and exporter are.

A collector that is slow or away costs traces, never requests: what waits for it is bounded, the rest is dropped, whole
requests at a time, and counted. Sending is the business of a thread, in batches so small that the event loop does not
wait for the interpreter while one is packed.
"""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import structlog
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, OTELResourceDetector, Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.sdk.trace.sampling import Decision, ParentBased, TraceIdRatioBased
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import (
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    TraceState,
    format_span_id,
    format_trace_id,
    get_current_span,
)
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from service import __version__
from service.core.events import Event, RequestAnswered, RequestFailed
from service.core.trace import Journey, Trace
from service.telemetry import stages
from service.telemetry.attributes import Attributes, of_answer, of_failure, of_stage
from service.telemetry.live import SpanStatistics
from service.telemetry.stages import Stage

REQUEST = "classify"
"""Name of the span over all others of a request."""
WAITING_SPANS = 4_096
"""Most spans that wait for the collector: about 600 requests, 6 MB."""
BATCH_SPANS = 32
"""Spans in one message: packing them keeps the interpreter from the event loop for about a millisecond."""
EVERY_S = 1.0
"""How long a span waits for its batch to fill."""
SILENT_S = 60.0
"""How long after a complaint about the collector the next one is written."""
SCOPE = InstrumentationScope("effserve", __version__)
SAMPLED = TraceFlags(TraceFlags.SAMPLED)
WELL = Status(StatusCode.UNSET)


class Tracing:
    """Makes spans of events and has them sent. An `Observer`; belongs to the event loop.

    `clock` is the one that the events' times are on; `wall_ns` tells the time of day.
    """

    def __init__(
        self,
        exporter: SpanExporter,
        *,
        sample_ratio: float = 1.0,
        clock: Callable[[], float] = time.monotonic,
        wall_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self._exporter = _Counting(exporter)
        self._batches = BatchSpanProcessor(
            self._exporter,
            max_queue_size=WAITING_SPANS,
            schedule_delay_millis=EVERY_S * 1e3,
            max_export_batch_size=BATCH_SPANS,
        )
        self._sample(on=True, ratio=sample_ratio)
        self._clock = clock
        self._wall_ns = wall_ns
        self._ids = RandomIdGenerator()
        self._propagator = TraceContextTextMapPropagator()
        # What the environment says (`OTEL_SERVICE_NAME`, `OTEL_RESOURCE_ATTRIBUTES`) wins.
        ours = Resource.create({SERVICE_NAME: "effserve", SERVICE_VERSION: __version__})
        self._resource = ours.merge(OTELResourceDetector().detect())
        self._made = self._dropped = 0

    def __repr__(self) -> str:
        return f"<Tracing {self.statistics()!r}>"

    def begin(self, traceparent: str | None, tracestate: str | None) -> Trace | None:
        """A request's place in its caller's trace, or in a new one. A `Tracer`. What is no context counts as none."""
        sent = {"traceparent": traceparent, "tracestate": tracestate}
        context = self._propagator.extract({name: value for name, value in sent.items() if value is not None})
        parent = get_current_span(context).get_span_context()
        trace_id = parent.trace_id if parent.is_valid else self._ids.generate_trace_id()
        decision = self._sampler.should_sample(context, trace_id, REQUEST).decision
        return Trace(
            trace_id=format_trace_id(trace_id),
            span_id=format_span_id(self._ids.generate_span_id()),
            parent_id=format_span_id(parent.span_id) if parent.is_valid else None,
            sampled=self.on and decision is Decision.RECORD_AND_SAMPLE,
            state=parent.trace_state.to_header(),
        )

    def record(self, *, on: bool, ratio: float) -> None:
        """From now on, this share of the traces that begin here, and what callers have decided to record; or nothing at
        all. A line tells so."""
        before = self.on, self.ratio
        self._sample(on=on, ratio=ratio)
        structlog.get_logger().warning("tracing changed", before=_shown(*before), now=_shown(on, ratio))

    def _sample(self, *, on: bool, ratio: float) -> None:
        self.on, self.ratio = on, ratio
        self._sampler = ParentBased(TraceIdRatioBased(ratio))

    def observe(self, event: Event) -> None:
        """See `Observer.observe`."""
        match event:
            case RequestAnswered(journey=Journey() as journey) if journey.trace.sampled:
                took_s = event.answer.timing.total_s
                shown = tuple(stages.of_answer(event, journey))
                self._send(_Request(journey, took_s, of_answer(event), shown, WELL))
            case RequestFailed(journey=Journey() as journey) if journey.trace.sampled:
                failure = Status(StatusCode.ERROR, f"{event.kind}: {event.detail}")
                shown = tuple(stages.of_failure(journey))
                self._send(_Request(journey, event.total_s, of_failure(event), shown, failure))

    def statistics(self) -> SpanStatistics:
        """What became of the spans so far."""
        return SpanStatistics(self._exporter.exported, self._exporter.failed, self._dropped)

    def close(self, within_s: float) -> None:
        """Send what waits. After `within_s` seconds the rest is given up."""
        enough = threading.Timer(within_s, self._exporter.shutdown)
        enough.daemon = True
        enough.start()
        self._batches.shutdown()  # type: ignore[no-untyped-call]
        enough.cancel()
        lost = self._made - self._exporter.exported
        if lost:
            structlog.get_logger().warning("spans lost", spans=lost, of=self._made)

    def _send(self, request: "_Request") -> None:
        count = 1 + len(request.shown)
        self._made += count
        if self._made - self._dropped - self._exporter.seen > WAITING_SPANS:
            self._dropped += count
            return
        offset_ns = self._wall_ns() - round(self._clock() * 1e9)
        for span in request.spans(self._resource, offset_ns, self._ids.generate_span_id):
            self._batches.on_end(span)


def _shown(on: bool, ratio: float) -> str:
    return f"sample ratio {ratio:g}" if on else "off"


@dataclass(frozen=True, slots=True)
class _Request:
    """What its spans are made of."""

    journey: Journey
    took_s: float
    attributes: Attributes
    shown: Sequence[Stage]
    status: Status

    def spans(self, resource: Resource, offset_ns: int, new_id: Callable[[], int]) -> list[ReadableSpan]:
        """The request's, and one below it for each stage. `offset_ns` leads from the clock to the time of day."""
        trace, start_s = self.journey.trace, self.journey.started_s
        trace_id, state = int(trace.trace_id, 16), TraceState.from_header([trace.state])

        def context(span_id: int, *, remote: bool = False) -> SpanContext:
            return SpanContext(trace_id, span_id, remote, SAMPLED, state)

        def span(stage: Stage, at: SpanContext, parent: SpanContext | None, **told: Any) -> ReadableSpan:  # noqa: ANN401
            start_ns, end_ns = (round(moment_s * 1e9) + offset_ns for moment_s in (stage.start_s, stage.end_s))
            return ReadableSpan(
                stage.name, at, parent, resource, start_time=start_ns, end_time=end_ns, instrumentation_scope=SCOPE,
                **told,
            )  # fmt: skip

        whole, own = Stage(REQUEST, start_s, start_s + self.took_s), context(int(trace.span_id, 16))
        caller = None if trace.parent_id is None else context(int(trace.parent_id, 16), remote=True)
        told = {"kind": SpanKind.SERVER, "attributes": self.attributes, "status": self.status}
        below = [span(stage, context(new_id()), own, attributes=of_stage(stage)) for stage in self.shown]
        return [span(whole, own, caller, **told), *below]


class _Counting(SpanExporter):
    """Counts what the exporter behind it was given, and what it made of it."""

    def __init__(self, exporter: SpanExporter) -> None:
        self._exporter = exporter
        self._over = threading.Lock()
        self.exported = self.failed = 0

    @property
    def seen(self) -> int:
        """Spans that do not wait any more."""
        return self.exported + self.failed

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """See `SpanExporter.export`. Called by the thread that sends."""
        result = SpanExportResult.FAILURE
        try:
            result = self._exporter.export(spans)
        finally:
            if result is SpanExportResult.SUCCESS:
                self.exported += len(spans)
            else:
                self.failed += len(spans)
        return result

    def shutdown(self) -> None:
        """See `SpanExporter.shutdown`: once, whoever calls first."""
        if self._over.acquire(blocking=False):
            self._exporter.shutdown()


class _Complaints(logging.Handler):
    """The library's errors as our warnings: the first, and then one a minute at most."""

    def __init__(self, clock: Callable[[], float]) -> None:
        super().__init__(logging.ERROR)
        self._clock = clock
        self._again_s = float("-inf")

    def emit(self, record: logging.LogRecord) -> None:
        """See `logging.Handler.emit`. Called by the thread that sends."""
        now_s = self._clock()
        if now_s >= self._again_s:
            self._again_s = now_s + SILENT_S
            structlog.get_logger().warning("spans not exported", detail=record.getMessage())


def to_collector(endpoint: str, sample_ratio: float, clock: Callable[[], float] = time.monotonic) -> Tracing:
    """Spans go to `endpoint` by OTLP over gRPC. Nothing is connected yet."""
    library = logging.getLogger("opentelemetry")
    library.handlers, library.propagate = [_Complaints(clock)], False
    return Tracing(OTLPSpanExporter(endpoint=endpoint.rstrip("/")), sample_ratio=sample_ratio, clock=clock)
