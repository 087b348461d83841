"""The service as a process, with a collector of OTLP on a real socket, and without one where one was promised."""

import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import httpx
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as collector_pb
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2_grpc as collector_grpc
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from service.wire import classifier_pb2, classifier_pb2_grpc
from tests.fixtures import jpeg, tiny_store
from tests.integration.process import PATIENCE_S, serving

PHOTO = jpeg(320, 240)
TRACE_ID, CALLERS_ID = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
PARENT = f"00-{TRACE_ID}-{CALLERS_ID}-01"
OPENMETRICS = {"Accept": "application/openmetrics-text;version=1.0.0"}


@dataclass
class Collector(collector_grpc.TraceServiceServicer):
    """Keeps what it gets."""

    spans: list[Span] = field(default_factory=list)
    services: set[str] = field(default_factory=set)

    def Export(
        self, request: collector_pb.ExportTraceServiceRequest, context: grpc.ServicerContext
    ) -> collector_pb.ExportTraceServiceResponse:
        """A batch."""
        for resource in request.resource_spans:
            told = {one.key: one.value.string_value for one in resource.resource.attributes}
            self.services.add(told["service.name"])
            self.spans += [span for scope in resource.scope_spans for span in scope.spans]
        return collector_pb.ExportTraceServiceResponse()


@contextmanager
def collecting() -> Iterator[tuple[Collector, str]]:
    """A collector and its endpoint."""
    collector, server = Collector(), grpc.server(ThreadPoolExecutor(2))
    collector_grpc.add_TraceServiceServicer_to_server(collector, server)  # type: ignore[no-untyped-call]
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield collector, f"http://127.0.0.1:{port}"
    finally:
        server.stop(None).wait()


def test_a_collector_gets_every_span_before_the_process_ends(tmp_path: Path) -> None:
    """Both protocols; the log and an exemplar lead to the same trace."""
    with (
        collecting() as (collector, endpoint),
        serving(tiny_store(tmp_path / "store"), tmp_path, {"EFFSERVE_TRACING_ENDPOINT": endpoint}) as server,
    ):
        headers = {"Content-Type": "image/jpeg", "traceparent": PARENT, "X-Request-Id": "over-http"}
        httpx.post(f"{server.url}/classify", content=PHOTO, headers=headers, timeout=PATIENCE_S).raise_for_status()
        with grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}") as channel:
            stub = classifier_pb2_grpc.ClassifierStub(channel)  # type: ignore[no-untyped-call]
            sent = (("traceparent", PARENT), ("x-request-id", "over-grpc"))
            stub.Classify(classifier_pb2.ClassifyRequest(image=PHOTO), metadata=sent)
        metrics = httpx.get(f"{server.url}/metrics", headers=OPENMETRICS, timeout=PATIENCE_S).text
        assert server.stop() == 0
        lines = [line for line in server.log() if line["event"] == "request answered"]
    roots = {_told(span)["effserve.request_id"]: span for span in collector.spans if span.name == "classify"}
    assert collector.services == {"effserve"}
    assert {span.trace_id.hex() for span in collector.spans} == {TRACE_ID}
    assert {(name, span.parent_span_id.hex()) for name, span in roots.items()} == {
        ("over-http", CALLERS_ID), ("over-grpc", CALLERS_ID),
    }  # fmt: skip
    for root in roots.values():
        below = sorted(
            (span for span in collector.spans if span.parent_span_id == root.span_id),
            key=lambda span: span.start_time_unix_nano,
        )
        assert [span.name for span in below] == ["receive", "queue", "decode", "infer", "respond"]
    assert {(line["request_id"], line["trace_id"], line["span_id"]) for line in lines} == {
        (name, TRACE_ID, span.span_id.hex()) for name, span in roots.items()
    }
    assert f'# {{trace_id="{TRACE_ID}"}}' in metrics


def test_a_collector_that_is_away_fails_nothing(tmp_path: Path) -> None:
    """Requests are answered, the service ends in time, and one line says how much was lost."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        away = {
            "EFFSERVE_TRACING_ENDPOINT": f"http://127.0.0.1:{taken.getsockname()[1]}",
            "EFFSERVE_DRAIN_TIMEOUT_S": "1",
        }
        with serving(tiny_store(tmp_path / "store"), tmp_path, away) as server:
            for _ in range(3):
                headers = {"Content-Type": "image/jpeg"}
                answer = httpx.post(f"{server.url}/classify", content=PHOTO, headers=headers, timeout=PATIENCE_S)
                assert answer.status_code == 200
            assert server.stop() == 0
            lost = [line["spans"] for line in server.log() if line["event"] == "spans lost"]
    assert lost == [18]
    assert [line for line in (tmp_path / "serve.err").read_text().splitlines() if not line.startswith("start [")] == []


def _told(span: Span) -> dict[str, str]:
    return {one.key: one.value.string_value for one in span.attributes}
