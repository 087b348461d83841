"""Several workers' metrics as those of one service."""

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics

from service.core.errors import ErrorKind
from service.telemetry import table as m
from service.telemetry.merging import Merged
from service.telemetry.metrics import Metrics
from service.telemetry.scrape import Scrape, read
from service.telemetry.table import Kind, Over
from tests.unit.telemetry.events import TRACE_ID, answered, failed, journey, loaded
from tests.unit.telemetry.test_metrics import Service

OPENMETRICS = "application/openmetrics-text;version=1.0.0"


def worker(*, cores: int = 1, ready: bool = True) -> Metrics:
    """One that has answered nothing."""
    metrics, service = Metrics(cores=cores), Service()
    metrics.observe(loaded("b0"))
    service.ready = ready
    metrics.watch(service.health, service.variants)
    metrics.refresh()
    return metrics


def shown(*workers: Metrics) -> Scrape:
    """Of a service that has these workers."""
    service = Merged()
    for number, one in enumerate(workers):
        service.told(number, one.families())
    return scrape(service)


def scrape(service: Merged) -> Scrape:
    """What Prometheus reads."""
    return read(service.exposition("")[0].decode(), 0.0)


def test_counts_add_up() -> None:
    """Counters, and histograms bucket by bucket, with and without labels that both have."""
    one, other = worker(), worker()
    one.observe(answered("b0"))
    other.observe(answered("b0"))
    other.observe(failed(ErrorKind.EMPTY_IMAGE))
    service = shown(one, other)
    assert service.by("outcome", "effserve_requests_total") == {"answered": 2, ErrorKind.EMPTY_IMAGE: 1}
    assert service.value("effserve_request_seconds_count") == 2
    assert service.value("effserve_request_seconds_bucket", le="+Inf") == 2


@pytest.mark.parametrize(
    ("name", "value"),
    [("cores", 5), ("lanes", 4), ("workers", 2), ("lane_threads", 1), ("ready", 0), ("slowdown_ratio", 1)],
)
def test_gauges_are_of_the_service(name: str, value: float) -> None:
    """Sums where workers share something, else what is true of all of them; ready when all of them are."""
    assert shown(worker(cores=3), worker(cores=2, ready=False)).value(f"effserve_{name}") == value


def test_whatever_a_worker_shows_the_service_shows() -> None:
    """Under the same names and labels."""
    one = worker()
    one.observe(answered("b0"))
    alone, service = read(one.exposition("")[0].decode(), 0.0), shown(one, one)
    assert {name: set(samples) for name, samples in service.samples.items() if name.startswith("effserve_")} == {
        name: set(samples) for name, samples in alone.samples.items() if name.startswith("effserve_")
    }


def test_only_gauges_do_not_add_up() -> None:
    """What is counted is counted once, wherever."""
    assert {spec.kind for spec in m.TABLE if spec.workers is not Over.SUM} == {Kind.GAUGE}


def test_what_a_worker_counted_outlives_it() -> None:
    """Sums never fall, or everything else would count twice; what it was is forgotten."""
    service, one, other = Merged(), worker(), worker()
    for metrics in (one, other):
        metrics.observe(answered("b0"))
    service.told(1, one.families())
    service.told(2, other.families())
    service.ended(1)
    service.told(3, worker().families())
    service.ended(4)
    now = scrape(service)
    assert now.value("effserve_requests_total") == 2
    assert now.value("effserve_request_seconds_count") == 2
    assert (now.value("effserve_workers"), now.value("effserve_lanes")) == (2, 4)


def test_workers_that_were_started_again_are_counted() -> None:
    """By whoever watches them."""
    service = Merged()
    service.told(1, worker().families())
    service.restarts = 3
    assert scrape(service).value("effserve_worker_restarts_total") == 3


def test_the_service_began_when_its_first_process_did() -> None:
    """Memory and processor time are of all of them."""
    one = worker()
    alone, service = read(one.exposition("")[0].decode(), 0.0), shown(one, worker())
    assert service.value("process_start_time_seconds") == alone.value("process_start_time_seconds")
    assert service.value("process_resident_memory_bytes") > 2 * alone.value("process_resident_memory_bytes")


def test_the_latest_exemplar_is_shown() -> None:
    """Where the format has them."""
    one, other = worker(), worker()
    one.observe(answered("b0", journey=journey()))
    other.observe(answered("b0", journey=journey()))
    service = Merged()
    service.told(1, one.families())
    service.told(2, other.families())
    samples = [
        sample
        for family in parse_openmetrics(service.exposition(OPENMETRICS)[0].decode())  # type: ignore[no-untyped-call]
        for sample in family.samples
        if sample.name == "effserve_request_seconds_bucket" and sample.exemplar is not None
    ]
    assert [(sample.exemplar.labels, sample.value) for sample in samples] == [({"trace_id": TRACE_ID}, 2.0)]
