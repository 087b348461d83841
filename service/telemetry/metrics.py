"""Prometheus metrics on a registry of their own: what an event moves. `table` names every metric.

Per request a handful of counters and histograms move; their label children are bound once and kept, because looking
one up costs more than moving it. Gauges of live state are read from the dataplane's `health()` when scraped (`live`).
Where the format has exemplars (OpenMetrics), the whole time of a request whose spans are recorded carries its trace id,
and so do its waiting and its run: the three to ask about. An exemplar costs 5 µs.
"""

from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    disable_created_metrics,
)
from prometheus_client.core import Metric
from prometheus_client.exposition import choose_encoder

from service.core.catalogue import rank
from service.core.errors import ErrorKind
from service.core.events import Event, RequestAnswered, RequestFailed, StoreUnread, VariantChanged, VariantLoaded
from service.core.messages import VariantRow
from service.core.trace import Journey
from service.core.values import Variant
from service.dataplane import Health
from service.telemetry import table
from service.telemetry.live import Fixed, Live, SpanStatistics
from service.telemetry.table import Kind, Spec, budget_class

# One more series for each child, which no dashboard reads.
disable_created_metrics()  # type: ignore[no-untyped-call]

M = TypeVar("M", Counter, Histogram)


class Metrics:
    """Counts events. An `Observer`; belongs to the event loop.

    `cores` are those that the process may use, at a price of `price_per_core_hour` each.
    """

    def __init__(self, *, cores: int = 1, price_per_core_hour: float = 0.0) -> None:
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        PlatformCollector(registry=self._registry)
        self._fixed = Fixed(cores, price_per_core_hour)
        self._live = Live(self._fixed)
        self._registry.register(self._live)
        self._counters = {spec: self._counter(spec) for spec in table.COUNTED if spec.kind is Kind.COUNTER}
        self._histograms = {spec: self._histogram(spec) for spec in table.COUNTED if spec.kind is Kind.HISTOGRAM}
        self._macs: dict[tuple[str, int], int] = {}
        """By variant and version: one that was replaced may still answer."""

    def watch(self, health: Callable[[], Health], variants: Callable[[], Sequence[VariantRow]]) -> None:
        """From now on gauges show this dataplane."""
        self._live.health, self._live.variants = health, variants

    def share(self, cores: int) -> None:
        """From now on the process may use so many."""
        self._fixed.cores = cores

    def count_spans(self, statistics: Callable[[], SpanStatistics]) -> None:
        """From now on what became of spans is shown."""
        self._live.spans = statistics

    def refresh(self) -> None:
        """Take the snapshot that the next exposition shows. Call it on the event loop."""
        self._live.refresh()

    def exposition(self, accept: str) -> tuple[bytes, str]:
        """All metrics and their content type, in the format the `Accept` header asks for. May run on any thread."""
        encode, content_type = choose_encoder(accept)
        return encode(self._registry), content_type

    def families(self) -> list[Metric]:
        """The same as values, for somebody who adds up several workers'. May run on any thread."""
        return list(self._registry.collect())

    def observe(self, event: Event) -> None:
        """See `Observer.observe`."""
        match event:
            case RequestAnswered():
                self._answered(event)
            case RequestFailed():
                self._failed(event)
            case VariantChanged():
                self._count(table.CHANGES, event.change.kind)
            case StoreUnread():
                self._count(table.UNREAD)
            case VariantLoaded():
                self._macs[event.name, event.version] = event.macs
                self._fixed.load_s[event.name] = event.load_s

    def _answered(self, event: RequestAnswered) -> None:
        protocol, answer, variant = event.protocol, event.answer, event.answer.decision.variant
        budget = budget_class(answer.budget_s)
        self._count(table.REQUESTS, protocol, variant.name, "answered")
        self._count(table.BUDGETS, protocol, budget, _outcome(event))
        self._count(table.ANSWERS, budget, variant.name)
        self._count(table.DECISIONS, variant.name, answer.decision.reason)
        self._count(table.TOP1, protocol, variant.name, by=variant.rank_top1 or 0.0)
        self._count(table.MACS, protocol, variant.name, by=self._macs[variant.name, variant.version])
        self._count(table.IMAGE_BYTES, protocol, by=event.image_bytes)
        if (lost := _lost_top1(event.alone, variant)) > 0:
            self._count(table.DOWNGRADED, protocol, variant.name)
            self._count(table.LOST, budget, by=lost)
        if not variant.trained:
            self._count(table.UNTRAINED, variant.name)
        if answer.decision.terminated is not None:
            self._count(table.TERMINATED, answer.decision.terminated.name)
        self._stages(event)

    def _stages(self, event: RequestAnswered) -> None:
        protocol, answer, timing = event.protocol, event.answer, event.answer.timing
        variant = answer.decision.variant.name
        trace = _exemplar(event.journey)
        self._time(table.TOTAL, timing.total_s, protocol, variant, exemplar=trace)
        self._time(table.RECEIVE, timing.receive_s, protocol)
        self._time(table.QUEUE, timing.queue_s, protocol, variant, exemplar=trace)
        self._time(table.DECODE, timing.decode_s, protocol, variant)
        self._time(table.INFERENCE, timing.inference_s, protocol, variant, exemplar=trace)
        self._time(table.RESPOND, timing.respond_s, protocol)
        if timing.hold_s > 0:
            self._time(table.HOLD, timing.hold_s, variant)
        self._time(table.BUDGET, answer.budget_s, protocol)
        ratio = (timing.decode_s + timing.inference_s) / answer.decision.expected_s
        self._time(table.RATIO, ratio, protocol, variant)

    def _failed(self, event: RequestFailed) -> None:
        self._count(table.REQUESTS, event.protocol, table.NO_VARIANT, event.kind)
        if event.budget_s is None:
            return
        self._time(table.BUDGET, event.budget_s, event.protocol)
        outcome = _OF_FAILURES.get(event.kind)
        if event.kind is ErrorKind.CANCELLED and event.total_s >= event.budget_s:
            # A gRPC client whose deadline is its budget hangs up when it has passed.
            outcome = "missed"
        if outcome is not None:
            self._count(table.BUDGETS, event.protocol, budget_class(event.budget_s), outcome)

    def _counter(self, spec: Spec) -> "_Children[Counter]":
        return _Children(Counter(spec.name, spec.meaning, spec.labels, registry=self._registry))

    def _histogram(self, spec: Spec) -> "_Children[Histogram]":
        return _Children(Histogram(spec.name, spec.meaning, spec.labels, buckets=spec.buckets, registry=self._registry))

    def _count(self, spec: Spec, *labels: str, by: float = 1.0) -> None:
        self._counters[spec][labels].inc(by)

    def _time(self, spec: Spec, value: float, *labels: str, exemplar: dict[str, str] | None = None) -> None:
        self._histograms[spec][labels].observe(value, exemplar)


_OF_FAILURES = {
    ErrorKind.INFEASIBLE_BUDGET: "infeasible",
    ErrorKind.QUEUE_FULL: "shed",
    ErrorKind.INTERNAL: "failed",
}
"""What became of the budget of a request that failed."""


def _exemplar(journey: Journey | None) -> dict[str, str] | None:
    """None when there is nothing to be found under the id."""
    sampled_id = None if journey is None else journey.sampled_id
    return None if sampled_id is None else {"trace_id": sampled_id}


def _outcome(event: RequestAnswered) -> str:
    if event.answer.budget_met:
        return "met"
    return "unattainable" if event.alone is None else "missed"


def _lost_top1(alone: Variant | None, answered: Variant) -> float:
    """By how much what would have answered alone is more accurate."""
    if alone is None or alone.name == answered.name:
        return 0.0
    return max(rank(alone) - rank(answered), 0.0)


class _Children(Generic[M]):
    """A metric with its label children, each looked up once."""

    def __init__(self, metric: M) -> None:
        self._metric: M = metric
        self._children: dict[tuple[str, ...], M] = {}

    def __getitem__(self, labels: tuple[str, ...]) -> M:
        found = self._children.get(labels)
        if found is None:
            found = self._children[labels] = self._metric.labels(*labels)
        return found
