"""What it costs to observe one request: metrics, its log line, its spans. Steps for `micro`.

All but the packing of spans is work of the event loop, done after the answer is on its way: the next request waits for
it. Packing has a thread of its own, but the interpreter is shared.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TextIO

from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from service.core.events import Fanout, RequestAnswered, VariantLoaded
from service.core.messages import Answer
from service.core.trace import Attempt, Ending, Journey
from service.telemetry import logs
from service.telemetry.metrics import Metrics
from service.telemetry.tracing import BATCH_SPANS, Tracing

CALLER = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


@contextmanager
def steps(answer: Answer, stream: TextIO) -> Iterator[dict[str, Callable[[], object]]]:
    """By what they are called. Log lines go to `stream`, spans to a collector that takes them at once."""
    logs.configure(level="info", json=True, stream=stream)
    collector = _Collector()
    log, metrics, tracing = logs.Logs(), _metrics(answer), Tracing(collector)
    event = RequestAnswered("http", answer, 50_000, answer.decision.variant)
    traced = replace(event, journey=_journey(answer, tracing))
    batch = _batch(traced, collector)
    everything = Fanout(metrics, log, tracing)

    def from_header_to_batch() -> None:
        tracing.begin(CALLER, None)
        everything.observe(traced)

    yield {
        "telemetry: metrics of one answer": lambda: metrics.observe(event),
        "telemetry: log line of one answer": lambda: log.observe(event),
        "telemetry: metrics of one traced answer, with exemplars": lambda: metrics.observe(traced),
        "telemetry: place of one request in a trace": lambda: tracing.begin(CALLER, None),
        "telemetry: spans of one answer": lambda: tracing.observe(traced),
        "telemetry: all of one answer, not traced": lambda: everything.observe(event),
        "telemetry: all of one answer, traced": from_header_to_batch,
        f"telemetry: packing {BATCH_SPANS} spans, on a thread": lambda: encode_spans(batch).SerializeToString(),
    }
    tracing.close(1.0)


def _metrics(answer: Answer) -> Metrics:
    metrics, variant = Metrics(), answer.decision.variant
    metrics.observe(VariantLoaded(variant.name, 1, 0.1, 400_000_000, 5_000_000, variant.rank_top1, True))
    return metrics


def _journey(answer: Answer, tracing: Tracing) -> Journey | None:
    """One run, as the answer's timing has it."""
    timing, place = answer.timing, tracing.begin(CALLER, None)
    start_s = timing.receive_s + timing.queue_s
    end_s = start_s + timing.decode_s + timing.inference_s
    ran = Attempt(answer.decision, False, Ending.ANSWERED, start_s, end_s, timing.decode_s)
    return None if place is None else Journey(place, 0.0, (ran,))


def _batch(event: RequestAnswered, collector: "_Collector") -> Sequence[ReadableSpan]:
    """As many spans as are sent at once."""
    filling = Tracing(collector)
    for _ in range(BATCH_SPANS):
        filling.observe(event)
    filling.close(60.0)
    return collector.first


class _Collector(SpanExporter):
    """Keeps the first batch, which is full."""

    def __init__(self) -> None:
        self.first: Sequence[ReadableSpan] = ()

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.first = self.first or tuple(spans)
        return SpanExportResult.SUCCESS

    def shutdown(self) -> None:
        """Nothing to end."""
