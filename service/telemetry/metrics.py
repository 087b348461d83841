"""Prometheus metrics on a registry of their own. One table names every metric; label values come from closed sets.

Per request a handful of counters and histograms move; their label children are bound once and kept, because looking
one up costs more than moving it. Gauges of live state are read from the dataplane's `health()` when scraped, so they
cannot disagree with it. Histogram buckets contain the budgets people ask for (20, 50, 100, 200, 500 ms …), so the
share of requests inside such a budget is exact, not interpolated.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Generic, TypeVar

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    disable_created_metrics,
)
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from service.core.errors import ErrorKind
from service.core.events import Event, RequestAnswered, RequestFailed, VariantLoaded
from service.core.messages import VariantRow
from service.dataplane import Health

LATENCY_BUCKETS_S = (
    0.0005, 0.001, 0.002, 0.005, 0.01, 0.015, 0.02, 0.03, 0.04, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 0.75, 1, 2, 5,
    10,
)  # fmt: skip
BUDGET_BUCKETS_S = (0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 1, 2, 5, 10)
RATIO_BUCKETS = (0.5, 0.7, 0.8, 0.9, 0.95, 1, 1.05, 1.1, 1.2, 1.3, 1.5, 2, 3, 5)
# One more series for each child, which no dashboard reads.
disable_created_metrics()  # type: ignore[no-untyped-call]

M = TypeVar("M", Counter, Histogram)

NO_VARIANT = "none"
"""Label of a request that ended before a variant answered it."""


class Kind(StrEnum):
    """Prometheus metric types in use."""

    COUNTER = "counter"
    HISTOGRAM = "histogram"
    GAUGE = "gauge"


@dataclass(frozen=True, slots=True, eq=False)
class Spec:
    """One metric: what it is called, what it counts, and what it is split by."""

    kind: Kind
    name: str
    meaning: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()

    @property
    def exposed_name(self) -> str:
        """As it stands in `/metrics`: counters end in `_total`."""
        return f"{self.name}_total" if self.kind is Kind.COUNTER else self.name


def _counter(name: str, meaning: str, *labels: str) -> Spec:
    return Spec(Kind.COUNTER, f"effserve_{name}", meaning, labels)


def _histogram(name: str, meaning: str, buckets: tuple[float, ...], *labels: str) -> Spec:
    return Spec(Kind.HISTOGRAM, f"effserve_{name}", meaning, labels, buckets)


def _gauge(name: str, meaning: str, *labels: str) -> Spec:
    return Spec(Kind.GAUGE, f"effserve_{name}", meaning, labels)


REQUESTS = _counter(
    "requests", "Requests by how they ended: `answered`, or the kind of error.", "protocol", "variant", "outcome"
)
BUDGETS = _counter(
    "budgets",
    "Budgets `met`, `missed` (answered too late), or `infeasible` (refused in strict mode).",
    "protocol",
    "outcome",
)
DECISIONS = _counter("decisions", "Why the answering variant was chosen.", "variant", "reason")
TOP1 = _counter(
    "expected_top1",
    "Sum of the expected top-1 of answers, 0 for unknown; ÷ answers = mean expected accuracy.",
    "protocol",
    "variant",
)
UNTRAINED = _counter("untrained_answers", "Answers by seeded weights, whose predictions mean nothing.", "variant")
TERMINATED = _counter(
    "terminated_runs", "Runs that made room for a more urgent request; `variant` is what ran.", "variant"
)
MACS = _counter("macs", "Multiply-adds spent on answers.", "protocol", "variant")
IMAGE_BYTES = _counter("image_bytes", "Encoded bytes of answered images.", "protocol")
TOTAL = _histogram("request_seconds", "First byte to response.", LATENCY_BUCKETS_S, "protocol", "variant")
QUEUE = _histogram("queue_seconds", "Waiting for a lane.", LATENCY_BUCKETS_S, "protocol", "variant")
DECODE = _histogram("decode_seconds", "Decoding and resizing.", LATENCY_BUCKETS_S, "protocol", "variant")
INFERENCE = _histogram("inference_seconds", "Running the graph.", LATENCY_BUCKETS_S, "protocol", "variant")
BUDGET = _histogram("budget_seconds", "Budgets that requests came with.", BUDGET_BUCKETS_S, "protocol")
RATIO = _histogram(
    "prediction_ratio", "Actual ÷ predicted time of decode + inference.", RATIO_BUCKETS, "protocol", "variant"
)
READY = _gauge("ready", "1 while readiness is on.")
WAITING = _gauge("queue_waiting", "Requests waiting for a lane.")
LANES = _gauge("lanes", "Lanes.")
BUSY = _gauge("lanes_busy", "Lanes at work.")
WASTED = _gauge("wasted_ratio", "Share of the lanes' time that went into terminated runs, over ten seconds.")
BACKLOG = _gauge("backlog_seconds", "Predicted work for each lane.")
ARRIVALS = _gauge("arrivals_per_second", "Arrivals over the last second.")
SLOWDOWN = _gauge("slowdown_ratio", "How much slower the machine runs now than at calibration.")
MISS_RATE = _gauge(
    "tail_miss_rate",
    "Share of runs that the predicted tail leaves out now. Feedback moves it around `routing.miss_rate`, down after "
    "runs that missed their tail.",
)
REFUSED = _gauge("variants_refused", "Store entries that are not served.")
VARIANT = _gauge(
    "variant_expected_top1", "Top-1 each served variant is ranked by.", "variant", "version", "source", "trained"
)
EXPECTED = _gauge("variant_expected_seconds", "Expected decode + inference time for a 0.2 megapixel JPEG.", "variant")
TAIL = _gauge("variant_tail_seconds", "Its upper quantile: what has to fit a budget.", "variant")
COVERAGE = _gauge(
    "variant_tail_coverage_ratio",
    "Share of the last 200 runs that kept the tail they were started with; 1 − `routing.miss_rate` is right.",
    "variant",
)

TABLE = (
    REQUESTS, BUDGETS, DECISIONS, TOP1, UNTRAINED, TERMINATED, MACS, IMAGE_BYTES, TOTAL, QUEUE, DECODE, INFERENCE,
    BUDGET, RATIO, READY, WAITING, LANES, BUSY, WASTED, BACKLOG, ARRIVALS, SLOWDOWN, MISS_RATE, REFUSED,
    VARIANT, EXPECTED, TAIL, COVERAGE,
)  # fmt: skip
"""Every metric; `docs/metrics.md` is checked against it."""


class Metrics:
    """Counts events. An `Observer`; belongs to the event loop."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        PlatformCollector(registry=self._registry)
        self._live = _Live()
        self._registry.register(self._live)
        self._counters = {spec: self._counter(spec) for spec in TABLE if spec.kind is Kind.COUNTER}
        self._histograms = {spec: self._histogram(spec) for spec in TABLE if spec.kind is Kind.HISTOGRAM}
        self._macs: dict[str, int] = {}

    def watch(self, health: Callable[[], Health], variants: Callable[[], Sequence[VariantRow]]) -> None:
        """From now on gauges show this dataplane."""
        self._live.health, self._live.variants = health, variants

    def refresh(self) -> None:
        """Take the snapshot that the next exposition shows. Call it on the event loop."""
        self._live.refresh()

    def exposition(self, accept: str) -> tuple[bytes, str]:
        """All metrics and their content type, in the format the `Accept` header asks for. May run on any thread."""
        encode, content_type = choose_encoder(accept)
        return encode(self._registry), content_type

    def observe(self, event: Event) -> None:
        """See `Observer.observe`."""
        match event:
            case RequestAnswered():
                self._answered(event)
            case RequestFailed():
                self._failed(event)
            case VariantLoaded():
                self._macs[event.name] = event.macs

    def _answered(self, event: RequestAnswered) -> None:
        protocol, answer = event.protocol, event.answer
        decision, timing = answer.decision, answer.timing
        variant = decision.variant.name
        self._count(REQUESTS, protocol, variant, "answered")
        self._count(BUDGETS, protocol, "met" if answer.budget_met else "missed")
        self._count(DECISIONS, variant, decision.reason)
        self._count(TOP1, protocol, variant, by=decision.variant.rank_top1 or 0.0)
        self._count(MACS, protocol, variant, by=self._macs[variant])
        self._count(IMAGE_BYTES, protocol, by=event.image_bytes)
        if not decision.variant.trained:
            self._count(UNTRAINED, variant)
        if decision.terminated is not None:
            self._count(TERMINATED, decision.terminated.name)
        self._time(TOTAL, timing.total_s, protocol, variant)
        self._time(QUEUE, timing.queue_s, protocol, variant)
        self._time(DECODE, timing.decode_s, protocol, variant)
        self._time(INFERENCE, timing.inference_s, protocol, variant)
        self._time(BUDGET, answer.budget_s, protocol)
        self._time(RATIO, (timing.decode_s + timing.inference_s) / decision.expected_s, protocol, variant)

    def _failed(self, event: RequestFailed) -> None:
        self._count(REQUESTS, event.protocol, NO_VARIANT, event.kind)
        if event.kind is ErrorKind.INFEASIBLE_BUDGET:
            self._count(BUDGETS, event.protocol, "infeasible")
        elif event.kind is ErrorKind.CANCELLED and event.budget_s is not None and event.total_s >= event.budget_s:
            # A gRPC client whose deadline is its budget hangs up when it has passed.
            self._count(BUDGETS, event.protocol, "missed")
        if event.budget_s is not None:
            self._time(BUDGET, event.budget_s, event.protocol)

    def _counter(self, spec: Spec) -> "_Children[Counter]":
        return _Children(Counter(spec.name, spec.meaning, spec.labels, registry=self._registry))

    def _histogram(self, spec: Spec) -> "_Children[Histogram]":
        return _Children(Histogram(spec.name, spec.meaning, spec.labels, buckets=spec.buckets, registry=self._registry))

    def _count(self, spec: Spec, *labels: str, by: float = 1.0) -> None:
        self._counters[spec][labels].inc(by)

    def _time(self, spec: Spec, value: float, *labels: str) -> None:
        self._histograms[spec][labels].observe(value)


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


class _Live(Collector):
    """Gauges from a snapshot of the dataplane."""

    def __init__(self) -> None:
        self.health: Callable[[], Health] | None = None
        self.variants: Callable[[], Sequence[VariantRow]] | None = None
        self._snapshot: tuple[Health, Sequence[VariantRow]] | None = None

    def refresh(self) -> None:
        if self.health is not None and self.variants is not None:
            self._snapshot = self.health(), self.variants()

    def collect(self) -> Iterator[GaugeMetricFamily]:
        if self._snapshot is None:
            return
        health, rows = self._snapshot
        for spec, value in _plain(health).items():
            yield GaugeMetricFamily(spec.name, spec.meaning, value)
        for spec, values in _by_variant(health, rows).items():
            family = GaugeMetricFamily(spec.name, spec.meaning, labels=spec.labels)
            for labels, value in values:
                family.add_metric(labels, value)
            yield family


def _plain(health: Health) -> dict[Spec, float]:
    now = health.statistics
    return {
        READY: float(health.ready),
        WAITING: now.waiting,
        LANES: now.lanes,
        BUSY: now.busy,
        WASTED: now.wasted_share,
        BACKLOG: now.backlog_s,
        ARRIVALS: now.arrivals_per_s,
        SLOWDOWN: health.latency.slowdown,
        MISS_RATE: health.latency.miss_rate,
        REFUSED: len(health.refused),
    }


def _by_variant(health: Health, rows: Sequence[VariantRow]) -> dict[Spec, list[tuple[list[str], float]]]:
    return {
        VARIANT: [(_identity(row), row.variant.rank_top1 or 0.0) for row in rows],
        EXPECTED: [([row.variant.name], row.expected_ms / 1e3) for row in rows],
        TAIL: [([row.variant.name], row.tail_ms / 1e3) for row in rows],
        COVERAGE: [([variant], share) for variant, share in health.latency.coverage.items()],
    }


def _identity(row: VariantRow) -> list[str]:
    variant = row.variant
    return [variant.name, str(variant.version), variant.rank_source, str(variant.trained).lower()]
