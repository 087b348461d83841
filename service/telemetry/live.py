"""What is read from the dataplane when scraped, so that it cannot disagree with it."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from service import __version__
from service.core.messages import VariantRow
from service.dataplane import Health
from service.telemetry import table
from service.telemetry.table import Kind, Spec

Values = list[tuple[tuple[str, ...], float]]
"""Label values and the value, for each child."""


@dataclass(slots=True)
class Fixed:
    """What does not change while the process runs, but for what is loaded."""

    cores: int
    price_per_core_hour: float
    load_s: dict[str, float] = field(default_factory=dict)
    """By variant."""


@dataclass(frozen=True, slots=True)
class SpanStatistics:
    """What became of the spans that were made."""

    exported: int = 0
    failed: int = 0
    """The collector did not take them."""
    dropped: int = 0
    """Too many waited for it."""


class Live(Collector):
    """Gauges and counters from a snapshot of the dataplane."""

    def __init__(self, fixed: Fixed) -> None:
        self._fixed = fixed
        self.health: Callable[[], Health] | None = None
        self.variants: Callable[[], Sequence[VariantRow]] | None = None
        self.spans: Callable[[], SpanStatistics] = SpanStatistics
        self._snapshot: tuple[Health, Sequence[VariantRow]] | None = None

    def refresh(self) -> None:
        """Take the snapshot that the next exposition shows."""
        if self.health is not None and self.variants is not None:
            self._snapshot = self.health(), self.variants()

    def collect(self) -> Iterator[Metric]:
        """All of them; none before there is a dataplane."""
        if self._snapshot is None:
            return
        health, rows = self._snapshot
        shown = _of_service(health, self._fixed) | _of_variants(health, rows, self._fixed) | _of_spans(self.spans())
        for spec, values in shown.items():
            family = _FAMILIES[spec.kind](spec.name, spec.meaning, labels=spec.labels)
            for labels, value in values:
                family.add_metric(labels, value)
            yield family


_FAMILIES: dict[Kind, type[CounterMetricFamily] | type[GaugeMetricFamily]] = {
    Kind.COUNTER: CounterMetricFamily,
    Kind.GAUGE: GaugeMetricFamily,
}


def _of_service(health: Health, fixed: Fixed) -> dict[Spec, Values]:
    now = health.statistics
    plain = {
        table.READY: float(health.ready),
        table.WAITING: now.waiting,
        table.INSURED: now.insured,
        table.LANES: now.lanes,
        table.THREADS: health.choice.layout.threads,
        table.BUSY: now.busy,
        table.BACKGROUND: now.background_lanes,
        table.UPGRADING: now.upgrading,
        table.WASTED: now.wasted_share,
        table.LOSSES: now.lost_share,
        table.BACKLOG: now.backlog_s,
        table.ARRIVALS: now.arrivals_per_s,
        table.SLOWDOWN: health.latency.slowdown,
        table.HAND_OVER: health.latency.dispatch_s,
        table.MISS_RATE: health.latency.miss_rate,
        table.WORKERS: 1,
        table.RESTARTS: 0,
        table.REFUSED: len(health.refused),
        table.LOADING: len(health.loading),
        table.CORES: fixed.cores,
        table.PRICE: fixed.price_per_core_hour,
    }
    split: dict[Spec, Values] = {
        table.INFO: [((__version__,), 1.0)],
        table.BUSY_SECONDS: [(("foreground",), now.busy_s), (("background",), now.background_busy_s)],
    }
    return split | {spec: [((), float(value))] for spec, value in plain.items()}


def _of_spans(spans: SpanStatistics) -> dict[Spec, Values]:
    return {table.SPANS: [((outcome,), count) for outcome, count in asdict(spans).items()]}


def _of_variants(health: Health, rows: Sequence[VariantRow], fixed: Fixed) -> dict[Spec, Values]:
    def each(value: Callable[[VariantRow], float]) -> Values:
        return [((row.variant.name,), value(row)) for row in rows]

    return {
        table.VARIANT: [(_identity(row), row.variant.rank_top1 or 0.0) for row in rows],
        table.LOADED: each(lambda row: row.resident) + _absent(health, rows),
        table.ROUTED: each(lambda row: row.routed),
        table.LOAD: each(lambda row: fixed.load_s.get(row.variant.name, 0.0)),
        table.GRAPH_BYTES: each(lambda row: row.graph_bytes),
        table.MEMORY_BYTES: each(lambda row: row.memory_bytes),
        table.PARAMS: each(lambda row: row.params),
        table.RUN_MACS: each(lambda row: row.macs),
        table.EXPECTED: each(lambda row: row.expected_ms / 1e3),
        table.TAIL: each(lambda row: row.tail_ms / 1e3),
        table.COVERAGE: [((variant,), share) for variant, share in health.latency.coverage.items()],
    }


def _absent(health: Health, rows: Sequence[VariantRow]) -> Values:
    """Variants that should be served and are not."""
    wanted = {entry.name for entry in health.loading} | {refused.name for refused in health.refused}
    return [((name,), 0.0) for name in sorted(wanted - {row.variant.name for row in rows})]


def _identity(row: VariantRow) -> tuple[str, ...]:
    variant = row.variant
    return variant.name, str(variant.version), variant.rank_source, str(variant.trained).lower()
