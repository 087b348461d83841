"""What each event moves, what can be a label, and what is read when scraped."""

from collections.abc import Iterator, Mapping
from dataclasses import replace

import pytest
from prometheus_client import openmetrics, parser
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics

from service import __version__
from service.core.errors import ErrorKind
from service.core.events import Event, LifecycleChanged, VariantChanged, VariantRefused
from service.core.latency import Observation
from service.core.layout import Choice, Layout
from service.core.messages import Change, ChangeKind, RefusedVariant, VariantRow
from service.core.values import AccuracySource, Reason
from service.dataplane import Health
from service.telemetry import table as m
from service.telemetry.live import SpanStatistics
from service.telemetry.metrics import Metrics
from service.telemetry.table import Kind, Spec, budget_class
from tests.builders import TIMES_S, job, scheduler, variant
from tests.unit.telemetry.events import MACS, TIMING, TRACE_ID, answered, failed, journey, loaded

USUAL_BUDGETS_S = {0.02, 0.05, 0.1, 0.2, 0.5}
ON_ANSWER = {
    m.REQUESTS, m.BUDGETS, m.ANSWERS, m.DECISIONS, m.TOP1, m.MACS, m.IMAGE_BYTES, m.TOTAL, m.RECEIVE, m.QUEUE,
    m.DECODE, m.INFERENCE, m.RESPOND, m.BUDGET, m.RATIO,
}  # fmt: skip

Samples = Mapping[tuple[str, frozenset[tuple[str, str]]], float]


@pytest.fixture
def metrics() -> Metrics:
    """Metrics that know of b0 and b4."""
    subject = Metrics(cores=4, price_per_core_hour=0.05)
    for name in MACS:
        subject.observe(loaded(name))
    return subject


def samples(metrics: Metrics) -> Samples:
    """Every sample of ours by name and labels."""
    text = metrics.exposition("")[0].decode()
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in parser.text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name.startswith("effserve_")
    }


def value(metrics: Metrics, name: str, **labels: str) -> float:
    """One sample; 0 when there is none."""
    return samples(metrics).get((f"effserve_{name}", frozenset(labels.items())), 0.0)


def moved(metrics: Metrics, event: Event) -> set[str]:
    """Exposed names of the metrics whose samples an event changed."""
    before = samples(metrics)
    metrics.observe(event)
    changed = {name for (name, labels), now in samples(metrics).items() if before.get((name, labels)) != now}
    return {name.removesuffix("_bucket").removesuffix("_sum").removesuffix("_count") for name in changed}


def every_event() -> Iterator[Event]:
    """All outcomes on both protocols."""
    for protocol in ("http", "grpc"):
        for reason in Reason:
            yield answered("b0", protocol=protocol, reason=reason, trained=False)
            yield answered("b4", protocol=protocol, reason=reason, met=False)
        yield answered("b0", protocol=protocol, terminated="b4", alone="b4", timing=replace(TIMING, hold_s=0.001))
        for kind in ErrorKind:
            yield failed(kind, protocol=protocol, budget_s=0.05)
    for change in ChangeKind:
        yield VariantChanged(Change(change, "b0", "2"), 1.0)


CHOICE = Choice(Layout(2, 1), "as set")


class Service:
    """A real scheduler with the health and the table that a dataplane makes of it."""

    def __init__(self) -> None:
        self.scheduler = scheduler(lanes=2)
        self.ready = False

    def health(self) -> Health:
        """At time 0."""
        refused = (RefusedVariant("b9", "1", "damaged"),)
        latency = self.scheduler.latency.statistics()
        return Health(self.ready, False, 2, refused, self.scheduler.statistics(0.0), latency, CHOICE)

    def variants(self) -> tuple[VariantRow, ...]:
        """b0 trained, b4 seeded."""
        seeded = replace(variant("b4", trained=False), rank_source=AccuracySource.ARCHITECTURE)
        return row(variant("b0")), row(seeded)


def row(of: object) -> VariantRow:
    """A line of the table: 20 ms on average, 25 ms at worst."""
    return VariantRow(
        variant=of,  # type: ignore[arg-type]
        expected_ms=20.0, tail_ms=25.0, pareto=True, routed=True, not_routed="", params=1, macs=1, input_size_px=224,
        graph_bytes=1, memory_bytes=2,
        resident=True, top1=None, top5=None, accuracy_source="none", accuracy_dataset=None, weights_kind="untrained",
        weights_source="seed 0", weights_licence="Apache-2.0", answers=0,
    )  # fmt: skip


@pytest.fixture
def service(metrics: Metrics) -> Service:
    """What the gauges watch."""
    watched = Service()
    metrics.watch(watched.health, watched.variants)
    return watched


@pytest.mark.parametrize(
    ("event", "specs"),
    [
        (answered(), ON_ANSWER),
        (answered(trained=False), ON_ANSWER | {m.UNTRAINED}),
        (answered(terminated="b4"), ON_ANSWER | {m.TERMINATED}),
        (answered(alone="b4"), ON_ANSWER | {m.DOWNGRADED, m.LOST}),
        (answered("b4", alone="b0"), ON_ANSWER),
        (answered(timing=replace(TIMING, hold_s=0.001)), ON_ANSWER | {m.HOLD}),
        (failed(ErrorKind.EMPTY_IMAGE), {m.REQUESTS}),
        (failed(ErrorKind.DRAINING, budget_s=0.05), {m.REQUESTS, m.BUDGET}),
        (failed(ErrorKind.QUEUE_FULL, budget_s=0.05), {m.REQUESTS, m.BUDGET, m.BUDGETS}),
        (failed(ErrorKind.INFEASIBLE_BUDGET, budget_s=0.05), {m.REQUESTS, m.BUDGET, m.BUDGETS}),
        (loaded("b0"), set()),
        (VariantRefused("b9", "1", "damaged"), set()),
        (LifecycleChanged("ready"), set()),
    ],
    ids=[
        "answered",
        "untrained",
        "terminated",
        "downgraded",
        "better-than-expected",
        "held",
        "failed",
        "failed-with-budget",
        "shed",
        "infeasible",
        "loaded",
        "refused",
        "lifecycle",
    ],
)
def test_an_event_moves_exactly_its_metrics(metrics: Metrics, event: Event, specs: set[Spec]) -> None:
    """What is not about an event stays as it was."""
    assert moved(metrics, event) == {spec.exposed_name for spec in specs}


def test_an_answer_is_counted_with_its_figures(metrics: Metrics) -> None:
    """Two answers of b0: accuracy, multiply-adds and bytes add up."""
    metrics.observe(answered("b0"))
    metrics.observe(answered("b0"))
    by_both = {"protocol": "http", "variant": "b0"}
    assert value(metrics, "requests_total", outcome="answered", **by_both) == 2
    assert value(metrics, "expected_top1_total", **by_both) == pytest.approx(2 * 0.771)
    assert value(metrics, "macs_total", **by_both) == 2 * MACS["b0"]
    assert value(metrics, "image_bytes_total", protocol="http") == 10_000
    assert value(metrics, "decisions_total", variant="b0", reason="most_accurate_that_fits") == 2


def test_stages_are_timed_apart(metrics: Metrics) -> None:
    """Each histogram takes its own part of the timing, and the whole."""
    metrics.observe(answered("b0", expected_s=0.01))
    assert value(metrics, "queue_seconds_sum", protocol="http", variant="b0") == pytest.approx(TIMING.queue_s)
    assert value(metrics, "decode_seconds_sum", protocol="http", variant="b0") == pytest.approx(TIMING.decode_s)
    assert value(metrics, "inference_seconds_sum", protocol="http", variant="b0") == pytest.approx(TIMING.inference_s)
    assert value(metrics, "request_seconds_sum", protocol="http", variant="b0") == pytest.approx(TIMING.total_s)
    assert value(metrics, "prediction_ratio_sum", protocol="http", variant="b0") == pytest.approx(2.0)


@pytest.mark.parametrize(("total_s", "missed"), [(0.06, 1), (0.01, 0)])
def test_a_client_that_hangs_up_when_its_budget_has_passed_was_missed(
    metrics: Metrics, total_s: float, missed: int
) -> None:
    """As gRPC clients do whose deadline is the budget; one that leaves earlier has its own reasons."""
    event = replace(failed(ErrorKind.CANCELLED, budget_s=0.05), total_s=total_s)
    metrics.observe(event)
    assert value(metrics, "budgets_total", protocol=event.protocol, budget="50ms", outcome="missed") == missed


def test_each_outcome_of_a_budget_is_told_apart(metrics: Metrics) -> None:
    """Met, missed for want of a free machine, missed because nothing is so quick, shed, refused, and failed."""
    outcomes: dict[str, Event] = {
        "met": answered(budget_s=0.05),
        "missed": answered(budget_s=0.05, met=False),
        "unattainable": answered(budget_s=0.05, met=False, alone=None),
        "shed": failed(ErrorKind.QUEUE_FULL, budget_s=0.05),
        "infeasible": failed(ErrorKind.INFEASIBLE_BUDGET, budget_s=0.05),
        "failed": failed(ErrorKind.INTERNAL, budget_s=0.05),
    }
    for event in outcomes.values():
        metrics.observe(event)
    counted = {
        outcome: value(metrics, "budgets_total", protocol="http", budget="50ms", outcome=outcome)
        for outcome in outcomes
    }
    assert counted == dict.fromkeys(outcomes, 1.0)


def test_an_answer_in_time_is_met_though_nothing_was_expected_to_fit(metrics: Metrics) -> None:
    """Runs may be quicker than their tail."""
    metrics.observe(answered(alone=None))
    assert value(metrics, "budgets_total", protocol="http", budget="100ms", outcome="met") == 1


def test_accuracy_lost_to_load_is_what_nobody_else_would_have_cost(metrics: Metrics) -> None:
    """Two answers of b0 for which b4 would have been bought on an idle machine, one for which b0 would."""
    for alone in ("b4", "b4", "b0"):
        metrics.observe(answered("b0", alone=alone))
    assert value(metrics, "downgraded_answers_total", protocol="http", variant="b0") == 2
    assert value(metrics, "lost_top1_total", budget="100ms") == pytest.approx(2 * (0.829 - 0.771))


@pytest.mark.parametrize(
    ("budget_s", "label"), [(0.001, "20ms"), (0.02, "20ms"), (0.0201, "50ms"), (0.5, "500ms"), (0.51, "longer")]
)
def test_a_budget_belongs_to_the_least_class_that_holds_it(budget_s: float, label: str) -> None:
    """Limits are inside."""
    assert budget_class(budget_s) == label


def test_each_request_has_one_outcome(metrics: Metrics) -> None:
    """One of everything: each kind stands at 1, and together they are the requests."""
    events: list[Event] = [answered(), *(failed(kind) for kind in ErrorKind)]
    for event in events:
        metrics.observe(event)
    outcomes = {
        dict(labels)["outcome"]: count for (n, labels), count in samples(metrics).items() if "requests_total" in n
    }
    assert outcomes == dict.fromkeys(["answered", *ErrorKind], 1.0)


@pytest.mark.parametrize("spec", [m.TOTAL, m.BUDGET], ids=lambda spec: spec.name)
def test_usual_budgets_are_bucket_limits(spec: Spec) -> None:
    """The share of requests inside 20, 50, 100, 200 or 500 ms is counted, not interpolated."""
    assert set(spec.buckets) >= USUAL_BUDGETS_S


@pytest.mark.parametrize("spec", [s for s in m.TABLE if s.kind is Kind.HISTOGRAM], ids=lambda spec: spec.name)
def test_bucket_limits_ascend(spec: Spec) -> None:
    """Each limit once, in order."""
    assert list(spec.buckets) == sorted(set(spec.buckets))


def test_an_answer_at_the_limit_is_inside(metrics: Metrics) -> None:
    """Exactly 100 ms of 100 ms."""
    exactly = replace(TIMING, receive_s=0.0, queue_s=0.0, decode_s=0.0, inference_s=0.1, respond_s=0.0)
    metrics.observe(answered(timing=exactly))
    labels = {"protocol": "http", "variant": "b0"}
    assert value(metrics, "request_seconds_bucket", le="0.1", **labels) == 1
    assert value(metrics, "request_seconds_bucket", le="0.075", **labels) == 0


def test_labels_come_from_closed_sets(metrics: Metrics, service: Service) -> None:
    """After one of everything no label has a value that was not known beforehand."""
    for event in every_event():
        metrics.observe(event)
    metrics.refresh()
    closed = {
        "protocol": {"http", "grpc"},
        "variant": {*MACS, m.NO_VARIANT, "b9"},
        "version": {"1", __version__},
        "outcome": {
            *("answered", *ErrorKind, "met", "missed", "unattainable", "shed", "infeasible", "failed"),
            *("exported", "dropped"),
        },
        "budget": set(m.BUDGET_CLASSES.values()),
        "lanes": {"foreground", "background"},
        "reason": set(Reason),
        "source": set(AccuracySource),
        "trained": {"true", "false"},
        "change": set(ChangeKind),
        "le": {*(str(float(b)) for spec in m.TABLE for b in spec.buckets), "+Inf"},
    }
    seen: dict[str, set[str]] = {}
    for _, labels in samples(metrics):
        for name, text in labels:
            seen.setdefault(name, set()).add(text)
    assert {name: texts - closed[name] for name, texts in seen.items() if texts - closed[name]} == {}


def test_the_table_is_what_is_exposed(metrics: Metrics, service: Service) -> None:
    """After one of everything each metric of the table shows, with its labels, and nothing else does."""
    for event in every_event():
        metrics.observe(event)
    service.scheduler.latency.observe(Observation("b0", "JPEG", 0.0, 0.0, 0.016))
    metrics.refresh()
    exposed: dict[str, set[str]] = {}
    for name, labels in samples(metrics):
        family = name.removesuffix("_bucket").removesuffix("_sum").removesuffix("_count")
        exposed.setdefault(family, set()).update(label for label, _ in labels if label != "le")
    assert exposed == {spec.exposed_name: set(spec.labels) for spec in m.TABLE}


def test_no_series_of_creation_times(metrics: Metrics) -> None:
    """Each would double the series for nothing."""
    metrics.observe(answered())
    assert not [name for name, _ in samples(metrics) if name.endswith("_created")]


def test_gauges_follow_health(metrics: Metrics, service: Service) -> None:
    """Three jobs on two lanes, not ready, then ready and slower."""
    for number in range(3):
        service.scheduler.submit(0.0, job(number, 10.0))
    metrics.refresh()
    now = service.health().statistics
    assert [value(metrics, name) for name in ("ready", "lanes", "lanes_busy", "queue_waiting")] == [0, 2, 2, 1]
    assert value(metrics, "backlog_seconds") == pytest.approx(now.backlog_s)
    assert value(metrics, "arrivals_per_second") == now.arrivals_per_s == 3
    assert value(metrics, "variants_refused") == 1
    service.ready = True
    metrics.refresh()
    assert value(metrics, "ready") == 1


def test_drift_shows_in_gauges(metrics: Metrics, service: Service) -> None:
    """Ten runs of half as long again: a slower machine, a stricter tail, and runs of b0 that missed theirs."""
    slow = Observation("b0", "JPEG", 0.0, 0.0, 1.5 * TIMES_S["b0"])
    for _ in range(10):
        service.scheduler.latency.observe(slow)
    metrics.refresh()
    assert value(metrics, "slowdown_ratio") == pytest.approx(1.5, rel=0.1)
    assert value(metrics, "tail_miss_rate") < 0.01
    assert value(metrics, "variant_tail_coverage_ratio", variant="b0") < 1
    assert value(metrics, "variant_tail_coverage_ratio", variant="b4") == 0  # Nothing is shown of what did not run.


def test_gauges_show_the_last_snapshot(metrics: Metrics, service: Service) -> None:
    """A scrape formats on another thread, so it must not read live state."""
    metrics.refresh()
    service.ready = True
    assert value(metrics, "ready") == 0


def test_variants_are_shown_with_what_they_are(metrics: Metrics, service: Service) -> None:
    """Accuracy, its source, whether trained; times in seconds."""
    metrics.refresh()
    seeded = {"variant": "b4", "version": "1", "source": "architecture", "trained": "false"}
    assert value(metrics, "variant_expected_top1", **seeded) == 0.829
    assert value(metrics, "variant_expected_seconds", variant="b0") == pytest.approx(0.020)
    assert value(metrics, "variant_tail_seconds", variant="b0") == pytest.approx(0.025)


def test_variants_are_shown_with_what_they_weigh(metrics: Metrics, service: Service) -> None:
    """From the table, and how long each took to load."""
    metrics.refresh()
    shown = ("loaded", "routed", "graph_bytes", "params", "macs", "load_seconds")
    assert [value(metrics, f"variant_{name}", variant="b0") for name in shown] == [1, 1, 1, 1, 1, 1.25]


def test_time_of_lanes_is_counted_while_they_run(metrics: Metrics, service: Service) -> None:
    """Two lanes at work for a quarter of a second each, and a machine with its price."""
    for number in range(2):
        service.scheduler.submit(-0.25, job(number, 10.0, at_s=-0.25))
    metrics.refresh()
    assert value(metrics, "lane_busy_seconds_total", lanes="foreground") == pytest.approx(0.5)
    assert value(metrics, "lane_busy_seconds_total", lanes="background") == 0
    assert [value(metrics, name) for name in ("cores", "lane_threads", "price_per_core_hour")] == [4, 1, 0.05]
    assert value(metrics, "info", version=__version__) == 1


def test_what_became_of_spans_is_counted(metrics: Metrics, service: Service) -> None:
    """As whoever makes them says; without one there are none."""
    metrics.refresh()
    assert value(metrics, "spans_total", outcome="exported") == 0
    metrics.count_spans(lambda: SpanStatistics(exported=7, failed=2, dropped=1))
    outcomes = ("exported", "failed", "dropped")
    assert [value(metrics, "spans_total", outcome=outcome) for outcome in outcomes] == [7, 2, 1]


def test_no_gauges_before_there_is_a_dataplane() -> None:
    """A scrape during start-up works and shows nothing of ours but a counter that has no labels."""
    starting = Metrics()
    starting.refresh()
    assert samples(starting) == {("effserve_store_unread_total", frozenset()): 0.0}


@pytest.mark.parametrize("accept", ["", "*/*", "text/plain"])
def test_the_text_format_is_the_default(metrics: Metrics, accept: str) -> None:
    """What every version of Prometheus reads."""
    assert metrics.exposition(accept)[1].startswith("text/plain; version=0.0.4")


def test_openmetrics_is_given_to_those_who_ask(metrics: Metrics, service: Service) -> None:
    """Prometheus' own header gets OpenMetrics, which parses strictly."""
    for event in every_event():
        metrics.observe(event)
    metrics.refresh()
    content, content_type = metrics.exposition("application/openmetrics-text;version=1.0.0,text/plain;q=0.5")
    families = parse_openmetrics(content.decode())  # type: ignore[no-untyped-call]
    names = {family.name for family in families}
    assert content_type.startswith(openmetrics.exposition.CONTENT_TYPE_LATEST.split(";")[0])
    assert names >= {spec.name for spec in m.TABLE}


def test_a_traced_answer_leaves_its_trace_id_where_the_format_can_say_it(metrics: Metrics) -> None:
    """An exemplar at the bucket of its time, its waiting and its run, in OpenMetrics alone."""
    metrics.observe(answered(journey=journey()))
    content = metrics.exposition("application/openmetrics-text;version=1.0.0")[0].decode()
    exemplars = {
        sample.name.removeprefix("effserve_"): (sample.exemplar.labels, sample.exemplar.value)
        for family in parse_openmetrics(content)  # type: ignore[no-untyped-call]
        for sample in family.samples
        if sample.exemplar is not None
    }
    times_s = {"request": TIMING.total_s, "queue": TIMING.queue_s, "inference": TIMING.inference_s}
    traced = {"trace_id": TRACE_ID}
    assert exemplars == {f"{name}_seconds_bucket": (traced, pytest.approx(value)) for name, value in times_s.items()}
    assert b"trace_id" not in metrics.exposition("")[0]


def test_an_answer_without_a_trace_leaves_none(metrics: Metrics) -> None:
    """Request ids come from clients and are no substitute; nor are ids of traces that are not recorded."""
    metrics.observe(answered())
    metrics.observe(answered(journey=journey(sampled=False)))
    assert b" # {" not in metrics.exposition("application/openmetrics-text;version=1.0.0")[0]


def test_processes_show_themselves(metrics: Metrics) -> None:
    """Memory and CPU of the process stand beside our metrics."""
    assert b"process_resident_memory_bytes" in metrics.exposition("")[0]
