"""Trace context over both protocols: in, out, and into the spans of whatever becomes of a request."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import pytest_asyncio
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode, format_span_id, format_trace_id

from service.telemetry.tracing import Tracing
from service.wire import classifier_pb2 as pb
from service.wire import classifier_pb2_grpc
from tests.contract import http_kit
from tests.contract.grpc_client import ask, failure, trailer
from tests.contract.grpc_kit import JPEG, PATIENCE_S
from tests.contract.oip_kit import Kit, document, lengths, message, serving
from tests.fixtures import jpeg, tiny_store

pytestmark = pytest.mark.asyncio(loop_scope="module")

PHOTO = jpeg(160, 120)
TRACE_ID, CALLERS_ID = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
PARENT = f"00-{TRACE_ID}-{CALLERS_ID}-01"
UNRECORDED = f"00-{TRACE_ID}-{CALLERS_ID}-00"
NONSENSE = "00-not-a-context-01"
STAGES = ["receive", "queue", "decode", "infer", "respond"]
BUDGET_MS = 60_000
CLASSIFY = f"/classify?budget_ms={BUDGET_MS}"


class Place(NamedTuple):
    """What a `traceresponse` tells."""

    trace_id: str
    span_id: str
    flags: str


class Traced(NamedTuple):
    """Servers whose requests are traced, and where the spans go."""

    kit: Kit
    tracing: Tracing
    exporter: InMemorySpanExporter

    @property
    def classifier(self) -> Any:  # noqa: ANN401 - the generated code has no types
        """A client."""
        return classifier_pb2_grpc.ClassifierStub(self.kit.channel)  # type: ignore[no-untyped-call]

    async def post(
        self, path: str, headers: Mapping[str, str], content: bytes = PHOTO
    ) -> tuple[int, Mapping[str, str]]:
        """Status and headers of an upload."""
        sent = {"Content-Type": "image/jpeg", **headers}
        response = await self.kit.http.post(path, content=content, headers=sent)
        return response.status_code, response.headers

    async def requests(self, count: int) -> list[ReadableSpan]:
        """The spans of that many requests, once they have come."""
        async with asyncio.timeout(PATIENCE_S):
            while True:
                await asyncio.to_thread(self.tracing._batches.force_flush)
                spans = self.exporter.get_finished_spans()
                if len(roots := [span for span in spans if span.kind is SpanKind.SERVER]) >= count:
                    assert len(roots) == count
                    return roots
                await asyncio.sleep(0.01)

    def below(self, root: ReadableSpan) -> list[ReadableSpan]:
        """Spans of its stages."""
        return [span for span in self.exporter.get_finished_spans() if span.parent == root.context]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def running(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Traced]:
    """Two variants behind both protocols."""
    exporter = InMemorySpanExporter()
    tracing = Tracing(exporter)
    async with serving(tiny_store(tmp_path_factory.mktemp("store")), tracer=tracing.begin) as kit:
        kit.seen.forward_to = tracing
        yield Traced(kit, tracing, exporter)
    tracing.close(PATIENCE_S)


@pytest.fixture
def traced(running: Traced) -> Traced:
    """Nothing has been seen yet."""
    running.exporter.clear()
    running.kit.seen.events.clear()
    return running


def place(told: Mapping[str, str]) -> Place:
    """Where a response says its request stands."""
    version, *ids = told["traceresponse"].split("-")
    assert version == "00"
    return Place(*ids)


def stands(span: ReadableSpan) -> tuple[str, str, str | None]:
    """Trace, span and parent."""
    parent = None if span.parent is None else format_span_id(span.parent.span_id)
    return format_trace_id(span.context.trace_id), format_span_id(span.context.span_id), parent


def ours(span: ReadableSpan, name: str) -> object:
    """An attribute."""
    return (span.attributes or {}).get(f"effserve.{name}")


async def test_a_request_over_http_goes_on_with_its_callers_trace(traced: Traced) -> None:
    """The response names the span, which is below the caller's and has the stages below it."""
    _, headers = await traced.post(CLASSIFY, {"traceparent": PARENT, "tracestate": "a=1"})
    told = place(headers)
    (root,) = await traced.requests(1)
    assert stands(root) == (TRACE_ID, told.span_id, CALLERS_ID)
    assert (told.trace_id, told.flags, root.context.trace_state.to_header()) == (TRACE_ID, "01", "a=1")
    assert [span.name for span in traced.below(root)] == STAGES


async def test_a_request_over_grpc_goes_on_with_its_callers_trace(traced: Traced) -> None:
    """In metadata, both ways."""
    sent = (("traceparent", PARENT), ("tracestate", "a=1"), ("x-request-id", "mine"))
    call = traced.classifier.Classify(ask(image=PHOTO, budget_ms=BUDGET_MS), metadata=sent)
    answer, told = await call, place(await trailer(call))
    (root,) = await traced.requests(1)
    assert stands(root) == (TRACE_ID, told.span_id, CALLERS_ID)
    assert (ours(root, "request_id"), ours(root, "variant")) == ("mine", answer.decision.variant)
    assert [span.name for span in traced.below(root)] == STAGES


async def test_stages_lie_within_the_request_and_add_up(traced: Traced) -> None:
    """To what the client was told, to the microsecond."""
    response = await traced.kit.http.post(CLASSIFY, content=PHOTO)
    (root,) = await traced.requests(1)
    below = traced.below(root)
    whole_ns = _ns(root)
    assert sum(map(_ns, below)) == pytest.approx(whole_ns, abs=1000)
    assert (below[0].start_time, below[-1].end_time) == pytest.approx((root.start_time, root.end_time), abs=1000)
    timing = response.json()["timing_ms"]
    told = [timing[name] for name in ("receive", "queue", "decode", "inference", "respond")]
    assert [_ns(span) / 1e6 for span in below] == pytest.approx(told, abs=0.002)
    assert whole_ns / 1e6 == pytest.approx(timing["total"], abs=0.002)


@pytest.mark.parametrize("sent", [{}, {"traceparent": NONSENSE}, {"traceparent": NONSENSE, "tracestate": "=,="}])
async def test_without_a_context_a_trace_begins(traced: Traced, sent: dict[str, str]) -> None:
    """What is no context is ignored, on both protocols; every request gets a trace of its own."""
    status, headers = await traced.post(CLASSIFY, sent)
    call = traced.classifier.Classify(ask(image=PHOTO, budget_ms=BUDGET_MS), metadata=tuple(sent.items()))
    await call
    told = {place(headers), place(await trailer(call))}
    roots = await traced.requests(2)
    assert status == 200
    assert {stands(root) for root in roots} == {(one.trace_id, one.span_id, None) for one in told}
    assert len({one.trace_id for one in told} | {TRACE_ID}) == 3


async def test_a_caller_that_does_not_record_is_followed(traced: Traced) -> None:
    """No spans; the log still has the trace."""
    _, headers = await traced.post(CLASSIFY, {"traceparent": UNRECORDED})
    assert place(headers)[::2] == (TRACE_ID, "00")
    await asyncio.sleep(0)
    (event,) = traced.kit.seen.answered
    assert event.journey is not None
    assert event.journey.trace.trace_id == TRACE_ID
    await asyncio.to_thread(traced.tracing._batches.force_flush)
    assert traced.exporter.get_finished_spans() == ()


@pytest.mark.parametrize(
    ("path", "content", "kind"),
    [
        ("/classify", b"", "empty-image"),
        ("/classify", b"no image", "undecodable-image"),
        ("/classify?budget_ms=never", PHOTO, "invalid-parameter"),
        ("/classify?mode=strict&budget_ms=0.001", PHOTO, "infeasible-budget"),
        ("/classify/anytime?policy=k1", PHOTO, "invalid-parameter"),
        ("/v2/models/b9/infer", PHOTO, "unknown-variant"),
    ],
)
async def test_a_failure_over_http_is_a_span(traced: Traced, path: str, content: bytes, kind: str) -> None:
    """With status and kind, in the caller's trace; the response names it."""
    _, headers = await traced.post(path, {"traceparent": PARENT, "Inference-Header-Content-Length": "0"}, content)
    (root,) = await traced.requests(1)
    assert stands(root) == (TRACE_ID, place(headers).span_id, CALLERS_ID)
    assert (root.status.status_code, (root.attributes or {})["error.type"]) == (StatusCode.ERROR, kind)


@pytest.mark.parametrize(
    ("fields", "kind"),
    [
        ({"image": b""}, "empty-image"),
        ({"top_k": 0}, "invalid-parameter"),
        ({"mode": pb.MODE_STRICT, "budget_ms": 0.001}, "infeasible-budget"),
    ],
)
async def test_a_failure_over_grpc_is_a_span(traced: Traced, fields: dict[str, object], kind: str) -> None:
    """Likewise; the trailing metadata name it."""
    call = traced.classifier.Classify(ask(**{"image": PHOTO, **fields}), metadata=(("traceparent", PARENT),))
    _, told, _ = await failure(call)
    (root,) = await traced.requests(1)
    assert stands(root) == (TRACE_ID, place(told).span_id, CALLERS_ID)
    assert (root.status.status_code, (root.attributes or {})["error.type"]) == (StatusCode.ERROR, kind)


async def test_each_image_of_a_batch_has_a_span(traced: Traced) -> None:
    """Beside one another below the caller's; the client is told of the first. The same over gRPC."""
    response = await traced.kit.post(document([PHOTO, PHOTO]), id="batch", traceparent=PARENT)
    both = message(shape=[2, 1], raw=lengths([PHOTO, PHOTO]))
    call = traced.kit.stub.ModelInfer(both, metadata=(("traceparent", PARENT),))
    await call
    roots = await traced.requests(4)
    assert {stands(root)[::2] for root in roots} == {(TRACE_ID, CALLERS_ID)}
    assert len({stands(root)[1] for root in roots}) == 4
    named = {place(response.headers).span_id, place(await trailer(call)).span_id}
    assert {stands(root)[1] for root in roots if str(ours(root, "request_id")).endswith("-1")} == named


async def test_each_image_of_a_stream_has_a_span(traced: Traced) -> None:
    """Below the caller's, those that failed among them; the same for the Open Inference Protocol."""
    sent = (("traceparent", PARENT),)
    images = traced.classifier.ClassifyStream([ask(image=PHOTO, budget_ms=BUDGET_MS), ask(image=b"bad")], metadata=sent)
    assert len([outcome async for outcome in images]) == 2
    tensors = traced.kit.stub.ModelStreamInfer([message(raw=lengths([PHOTO]))], metadata=sent)
    assert len([outcome async for outcome in tensors]) == 1
    roots = await traced.requests(3)
    assert {stands(root)[::2] for root in roots} == {(TRACE_ID, CALLERS_ID)}
    assert sorted(root.status.is_ok for root in roots) == [False, True, True]


async def test_what_is_no_image_is_not_traced(traced: Traced) -> None:
    """Probes, tables and scrapes would drown the requests."""
    response = await traced.kit.http.get("/healthz", headers={"traceparent": PARENT})
    assert "traceresponse" not in response.headers
    await asyncio.to_thread(traced.tracing._batches.force_flush)
    assert traced.exporter.get_finished_spans() == ()


async def test_an_anytime_request_shows_each_run() -> None:
    """b0's answer was sent and held while b4 ran in the background; the response names the span from the beginning."""
    exporter = InMemorySpanExporter()
    tracing = Tracing(exporter)
    async with http_kit.gated(tracer=tracing.begin) as kit:
        kit.seen.forward_to = tracing
        kit.gate.open = False
        response = asyncio.create_task(kit.client.post("/classify/anytime?budget_ms=500000", content=JPEG))
        for _ in range(2):
            await kit.gate.until_held(1)
            kit.gate.step()
        told = place((await response).headers)
    tracing.close(PATIENCE_S)
    root, *below = exporter.get_finished_spans()
    assert stands(root) == (*told[:2], None)
    assert [span.name for span in below] == [
        "receive",
        "queue",
        "decode",
        "infer",
        "hold",
        "decode",
        "infer",
        "respond",
    ]
    runs = [(ours(span, "variant"), ours(span, "background")) for span in below if span.name == "infer"]
    assert runs == [("b0", False), ("b4", True)]


async def test_without_tracing_nothing_is_said(tmp_path: Path) -> None:
    """Neither header nor metadata, and events have no journey."""
    async with serving(tiny_store(tmp_path)) as kit:
        response = await kit.http.post("/classify", content=PHOTO, headers={"traceparent": PARENT})
        call = classifier_pb2_grpc.ClassifierStub(kit.channel).Classify(ask(image=PHOTO))  # type: ignore[no-untyped-call]
        await call
        assert "traceresponse" not in response.headers
        assert "traceresponse" not in await trailer(call)
        await asyncio.sleep(0)
        assert [event.journey for event in kit.seen.answered] == [None, None]


def _ns(span: ReadableSpan) -> int:
    assert span.start_time is not None
    assert span.end_time is not None
    return span.end_time - span.start_time
