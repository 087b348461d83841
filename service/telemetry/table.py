"""Every metric of ours: what it is called, what it counts, and what it is split by.

Label values come from closed sets. Histogram buckets contain the budgets people ask for (20, 50, 100, 200, 500 ms …),
so the share of requests inside such a budget is exact, not interpolated.
"""

import bisect
from dataclasses import dataclass
from enum import StrEnum

from service.core.policy import MOST_LOST
from service.core.scheduler import LOSS_WINDOW_S, PRIOR_IN_TIME

LATENCY_BUCKETS_S = (
    0.0005, 0.001, 0.002, 0.005, 0.01, 0.015, 0.02, 0.03, 0.04, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 0.75, 1, 2, 5,
    10,
)  # fmt: skip
BUDGET_BUCKETS_S = (0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 1, 2, 5, 10)
RATIO_BUCKETS = (0.5, 0.7, 0.8, 0.9, 0.95, 1, 1.05, 1.1, 1.2, 1.3, 1.5, 2, 3, 5)

BUDGET_CLASSES = {0.02: "20ms", 0.05: "50ms", 0.1: "100ms", 0.2: "200ms", 0.5: "500ms", float("inf"): "longer"}
"""Labels of budgets up to so many seconds."""

NO_VARIANT = "none"
"""Label of a request that ended before a variant answered it."""


class Kind(StrEnum):
    """Prometheus metric types in use."""

    COUNTER = "counter"
    HISTOGRAM = "histogram"
    GAUGE = "gauge"


class Over(StrEnum):
    """What the service shows of several workers: of their values, the …"""

    SUM = "sum"
    MEAN = "mean"
    LARGEST = "largest"
    SMALLEST = "smallest"


@dataclass(frozen=True, slots=True, eq=False)
class Spec:
    """One metric: what it is called, what it counts, and what it is split by."""

    kind: Kind
    name: str
    meaning: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()
    workers: Over = Over.SUM
    """Counters and histograms add up."""

    @property
    def exposed_name(self) -> str:
        """As it stands in `/metrics`: counters end in `_total`."""
        return f"{self.name}_total" if self.kind is Kind.COUNTER else self.name


_UP_TO_S = tuple(BUDGET_CLASSES)
_LABELS = tuple(BUDGET_CLASSES.values())


def budget_class(budget_s: float) -> str:
    """The label of a budget."""
    return _LABELS[bisect.bisect_left(_UP_TO_S, budget_s)]


def _counter(name: str, meaning: str, *labels: str) -> Spec:
    return Spec(Kind.COUNTER, f"effserve_{name}", meaning, labels)


def _histogram(name: str, meaning: str, buckets: tuple[float, ...], *labels: str) -> Spec:
    return Spec(Kind.HISTOGRAM, f"effserve_{name}", meaning, labels, buckets)


def _gauge(name: str, meaning: str, *labels: str, workers: Over) -> Spec:
    return Spec(Kind.GAUGE, f"effserve_{name}", meaning, labels, workers=workers)


REQUESTS = _counter(
    "requests", "Requests by how they ended: `answered`, or the kind of error.", "protocol", "variant", "outcome"
)
BUDGETS = _counter(
    "budgets",
    "Budgets `met`; `missed` (answered too late); `unattainable` (too late, and no variant would have fitted had "
    "nobody else been there); `shed` (refused because too much waits); `infeasible` (refused in strict mode); `failed` "
    "(a fault of the service).",
    "protocol",
    "budget",
    "outcome",
)
ANSWERS = _counter("answers", "Answers by what was asked for and what answered.", "budget", "variant")
DOWNGRADED = _counter(
    "downgraded_answers",
    "Answers less accurate than the same request would have got had nobody else been there; `variant` answered.",
    "protocol",
    "variant",
)
LOST = _counter(
    "lost_top1", "Accuracy lost to load: sum of the expected top-1 by which those are less accurate.", "budget"
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
RECEIVE = _histogram("receive_seconds", "First byte to admission.", LATENCY_BUCKETS_S, "protocol")
QUEUE = _histogram(
    "queue_seconds",
    "Waiting for a lane; of an upgrade also what ran before it.",
    LATENCY_BUCKETS_S,
    "protocol",
    "variant",
)
DECODE = _histogram("decode_seconds", "Decoding and resizing.", LATENCY_BUCKETS_S, "protocol", "variant")
INFERENCE = _histogram("inference_seconds", "Running the graph.", LATENCY_BUCKETS_S, "protocol", "variant")
HOLD = _histogram(
    "hold_seconds", "An answer was in hand and kept while a better one was tried in vain.", LATENCY_BUCKETS_S, "variant"
)
RESPOND = _histogram("respond_seconds", "From the lane to the response.", LATENCY_BUCKETS_S, "protocol")
BUDGET = _histogram("budget_seconds", "Budgets that requests came with.", BUDGET_BUCKETS_S, "protocol")
RATIO = _histogram(
    "prediction_ratio", "Actual ÷ predicted time of decode + inference.", RATIO_BUCKETS, "protocol", "variant"
)
READY = _gauge("ready", "1 while readiness is on.", workers=Over.SMALLEST)
INFO = _gauge("info", "1; the label says what runs.", "version", workers=Over.LARGEST)
WAITING = _gauge("queue_waiting", "Requests waiting for a lane.", workers=Over.SUM)
INSURED = _gauge("insured_waiting", "Requests with an answer in hand, which may still be bettered.", workers=Over.SUM)
LANES = _gauge("lanes", "Lanes.", workers=Over.SUM)
THREADS = _gauge("lane_threads", "Threads of one run: time on a lane × these is time on cores.", workers=Over.LARGEST)
BUSY = _gauge("lanes_busy", "Lanes at work.", workers=Over.SUM)
BUSY_SECONDS = _counter(
    "lane_busy_seconds",
    "Time that lanes were at work, answers and terminated runs alike. On background lanes part of it is waiting for a "
    "core that nobody else needs.",
    "lanes",
)
BACKGROUND = _gauge("background_lanes", "Lanes for upgrades, which run when a core would idle.", workers=Over.SUM)
UPGRADING = _gauge("background_lanes_busy", "Upgrades that run and are still wanted.", workers=Over.SUM)
CORES = _gauge("cores", "Cores that the process may use, by affinity and cgroup quota.", workers=Over.SUM)
PRICE = _gauge(
    "price_per_core_hour", "What a core costs for an hour: `telemetry.price_per_core_hour`.", workers=Over.LARGEST
)
WASTED = _gauge(
    "wasted_ratio", "Share of the lanes' time that went into terminated runs, over ten seconds.", workers=Over.MEAN
)
LOSSES = _gauge(
    "lost_requests_ratio",
    f"Requests of the last {LOSS_WINDOW_S:g} s that were refused or late and would have been in time alone, over all "
    f"of them and {PRIOR_IN_TIME} more. Above {MOST_LOST:g} the cheapest variant answers first (`insures_under_load`).",
    workers=Over.LARGEST,
)
BACKLOG = _gauge("backlog_seconds", "Predicted work for each lane.", workers=Over.MEAN)
ARRIVALS = _gauge("arrivals_per_second", "Arrivals over the last second.", workers=Over.SUM)
SLOWDOWN = _gauge("slowdown_ratio", "How much slower the machine runs now than at calibration.", workers=Over.MEAN)
HAND_OVER = _gauge(
    "hand_over_seconds", "Mean time that runs keep their lane beside running, over the last 200.", workers=Over.MEAN
)
MISS_RATE = _gauge(
    "tail_miss_rate",
    "Share of runs that the predicted tail leaves out now. Feedback moves it around `routing.miss_rate`, down after "
    "runs that missed their tail.",
    workers=Over.MEAN,
)
WORKERS = _gauge("workers", "Processes that answer, each with an event loop.", workers=Over.SUM)
RESTARTS = _counter("worker_restarts", "Workers that were started again because they had ended.")
REFUSED = _gauge("variants_refused", "Store entries that are not served.", workers=Over.LARGEST)
SPANS = _counter("spans", "Spans of traced requests by what became of them.", "outcome")
LOADING = _gauge("variants_loading", "Variants that are being loaded while the service runs.", workers=Over.LARGEST)
CHANGES = _counter(
    "variant_changes",
    "Variants that were loaded, replaced, unloaded or refused while the service ran; each worker counts.",
    "change",
)
UNREAD = _counter(
    "store_unread", "Looks at the store, or at one variant in it, that came to nothing; each worker counts."
)
VARIANT = _gauge(
    "variant_expected_top1",
    "Top-1 each served variant is ranked by.",
    *("variant", "version", "source", "trained"),
    workers=Over.LARGEST,
)
LOADED = _gauge(
    "variant_loaded",
    "1 while its session is resident; 0 while it is only loading, refused, or left out by `store.memory_limit_mib`, so "
    "that a variant that was unloaded has none.",
    "variant",
    workers=Over.SMALLEST,
)
ROUTED = _gauge(
    "variant_routed",
    "1 while a budget can choose it: it is on the Pareto front of what may be.",
    "variant",
    workers=Over.LARGEST,
)
LOAD = _gauge("variant_load_seconds", "How long its session took to open.", "variant", workers=Over.LARGEST)
GRAPH_BYTES = _gauge("variant_graph_bytes", "Size of its graph with the weights.", "variant", workers=Over.LARGEST)
MEMORY_BYTES = _gauge(
    "variant_memory_bytes", "What its weights take in memory, or would take.", "variant", workers=Over.LARGEST
)
PARAMS = _gauge("variant_params", "Its parameters.", "variant", workers=Over.LARGEST)
RUN_MACS = _gauge("variant_macs", "Multiply-adds of one run.", "variant", workers=Over.LARGEST)
EXPECTED = _gauge(
    "variant_expected_seconds",
    "Expected decode + inference time for a 0.2 megapixel JPEG, all lanes at work.",
    "variant",
    workers=Over.MEAN,
)
TAIL = _gauge("variant_tail_seconds", "Its upper quantile: what has to fit a budget.", "variant", workers=Over.LARGEST)
COVERAGE = _gauge(
    "variant_tail_coverage_ratio",
    "Share of the last 200 runs that kept the tail they were started with; 1 − `routing.miss_rate` is right.",
    "variant",
    workers=Over.MEAN,
)

COUNTED = (
    REQUESTS, BUDGETS, ANSWERS, DECISIONS, TOP1, DOWNGRADED, LOST, UNTRAINED, TERMINATED, MACS, IMAGE_BYTES, TOTAL,
    RECEIVE, QUEUE, DECODE, INFERENCE, HOLD, RESPOND, BUDGET, RATIO, CHANGES, UNREAD,
)  # fmt: skip
"""Moved by events."""
LIVE = (
    READY, INFO, WAITING, INSURED, LANES, THREADS, BUSY, BUSY_SECONDS, BACKGROUND, UPGRADING, CORES, PRICE, WASTED,
    LOSSES, BACKLOG, ARRIVALS, SLOWDOWN, HAND_OVER, MISS_RATE, WORKERS, RESTARTS, REFUSED, SPANS, LOADING, VARIANT,
    LOADED, ROUTED, LOAD, GRAPH_BYTES, MEMORY_BYTES, PARAMS, RUN_MACS, EXPECTED, TAIL, COVERAGE,
)  # fmt: skip
"""Read when scraped."""
TABLE = COUNTED + LIVE
"""Every metric; `docs/metrics.md` is made from it."""
FOREIGN = {"process_start_time_seconds": Over.SMALLEST, "process_max_fds": Over.SMALLEST, "python_info": Over.LARGEST}
"""Gauges of the client library that are no sums over several workers."""
