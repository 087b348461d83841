"""The gRPC edge over a real socket, one question at a time: messages, budgets, ids, errors, cancellation."""

import asyncio
import dataclasses
import math
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest

from service.core.errors import EffserveError, ErrorKind
from service.dataplane import REFERENCE_IMAGE
from service.edges.grpc.server import ENVELOPE_BYTES
from service.edges.status import STATUS
from service.pipeline.image import encode_sample
from service.wire import classifier_pb2 as pb
from tests.builders import ACCURACIES
from tests.contract.grpc_client import CLASSIFIER, Scenario, ask, failure, on_uvloop, trailer
from tests.contract.grpc_kit import IMAGE_BYTES, JPEG, PATIENCE_S, REFUSED, REQUEST_BYTES, Kit, serving

Raw = grpc.aio.UnaryUnaryMultiCallable[bytes, bytes]

TIFF = b"II*\x00" + bytes(60)
WIDE_HEADER = encode_sample("PNG", 1001, 1000)[:1000]
"""Just above the limit of a megapixel."""


@pytest.fixture
async def kit() -> AsyncIterator[Kit]:
    """One lane."""
    async with serving() as started:
        yield started


async def test_an_answer_mirrors_what_the_dataplane_answered(kit: Kit) -> None:
    """Decision, predictions, image, budget and timing are those of the event that was observed."""
    response = await kit.stub.Classify(ask(budget_ms=50_000, top_k=3, request_id="mine"))
    answer = kit.seen.answered[0].answer
    assert response.request_id == answer.request_id == "mine"
    assert (response.predictions[0].index, response.predictions[0].label) == (7, "class 7")
    assert len(response.predictions) == 3
    assert response.decision.variant == answer.decision.variant.name == "b2"
    assert response.decision.expected_top1 == ACCURACIES["b2"]
    assert response.decision.reason == answer.decision.reason == "most_accurate_that_fits"
    assert "b2 is the most accurate" in response.decision.why
    assert (response.image.format, response.image.width_px, response.image.bytes) == ("JPEG", 64, len(JPEG))
    assert (response.budget.requested_ms, response.budget.met) == (50_000, True)
    assert response.timing.total_ms == response.budget.spent_ms == round(answer.timing.total_s * 1e3, 3)


async def test_an_answer_names_request_variant_and_stages_in_its_metadata(kit: Kit) -> None:
    """The same three as the HTTP headers."""
    call = kit.stub.Classify(ask(request_id="mine"))
    response = await call
    metadata = await trailer(call)
    assert metadata["x-request-id"] == "mine"
    assert metadata["x-model-variant"] == response.decision.variant
    assert metadata["server-timing"].endswith(f"total;dur={response.timing.total_ms:.3f}")


@pytest.mark.parametrize("explain", [True, False])
async def test_candidates_are_listed_when_asked_for(kit: Kit, explain: bool) -> None:
    """One per variant, with a verdict; none without `explain`."""
    response = await kit.stub.Classify(ask(explain=explain, budget_ms=50_000))
    verdicts = {c.variant: c.verdict for c in response.decision.candidates}
    assert verdicts.keys() == (ACCURACIES.keys() if explain else set())
    assert not explain or (verdicts["b2"], verdicts["b4"]) == ("chosen", "too_slow")


async def test_the_deadline_of_the_call_is_the_budget(kit: Kit) -> None:
    """A client that sets a timeout need not name a budget."""
    response = await kit.stub.Classify(ask(), timeout=400)
    assert 300_000 < response.budget.requested_ms <= 401_000
    assert response.decision.variant == "b4"


@pytest.mark.parametrize("timeout_s", [None, 86_400.0])
async def test_without_a_sensible_deadline_the_default_budget_holds(kit: Kit, timeout_s: float | None) -> None:
    """No deadline, or one of a day, says nothing about latency."""
    response = await kit.stub.Classify(ask(), timeout=timeout_s)
    assert response.budget.requested_ms == 100


async def test_a_budget_wins_over_the_deadline(kit: Kit) -> None:
    """The deadline may be a mere safety net."""
    response = await kit.stub.Classify(ask(budget_ms=4000), timeout=PATIENCE_S)
    assert response.budget.requested_ms == 4000


@pytest.mark.parametrize(
    ("field", "metadata", "expected"),
    [
        ("field", "meta", "field"),
        ("", "meta", "meta"),
        ("ü", "meta", None),
        ("x" * 129, "", None),
        ("", "", None),
    ],
)
async def test_a_request_is_known_by_its_own_id_or_a_new_one(
    kit: Kit, field: str, metadata: str, expected: str | None
) -> None:
    """Field, else metadata; what is not fit for logs is replaced."""
    response = await kit.stub.Classify(ask(request_id=field), metadata=(("x-request-id", metadata),))
    assert response.request_id == expected if expected else len(response.request_id) == 32


@pytest.mark.parametrize("kind", ErrorKind)
async def test_every_kind_has_its_status_and_its_trailer(kit: Kit, kind: ErrorKind) -> None:
    """Whatever the dataplane raises arrives with the table's status, its name, its facts and when to retry."""
    kit.gate.error = EffserveError(kind, "it did not work", {"limit_bytes": 5, "name": "b\né"}, retry_after_s=0.0251)
    status, metadata, details = await failure(kit.stub.Classify(ask(request_id="mine")))
    assert (status, details) == (STATUS[kind].grpc, "it did not work")
    assert metadata == {
        "effserve-error-kind": kind,
        "x-request-id": "mine",
        "effserve-limit-bytes": "5",
        "effserve-name": "b??",
        "grpc-retry-pushback-ms": "26",
    }
    assert [event.kind for event in kit.seen.failed] == [kind]


@pytest.mark.parametrize(
    ("fields", "kind"),
    [
        ({"image": b""}, ErrorKind.EMPTY_IMAGE),
        ({"image": b"not an image"}, ErrorKind.UNDECODABLE_IMAGE),
        ({"image": TIFF}, ErrorKind.UNSUPPORTED_MEDIA_TYPE),
        ({"image": WIDE_HEADER}, ErrorKind.TOO_MANY_PIXELS),
        ({"image": bytes(IMAGE_BYTES + 1)}, ErrorKind.IMAGE_TOO_LARGE),
        ({"variant": "b9"}, ErrorKind.UNKNOWN_VARIANT),
        ({"top_k": 0}, ErrorKind.INVALID_PARAMETER),
        ({"top_k": 1001}, ErrorKind.INVALID_PARAMETER),
        ({"budget_ms": math.nan}, ErrorKind.INVALID_PARAMETER),
        ({"budget_ms": 0.0}, ErrorKind.INVALID_PARAMETER),
        ({"min_accuracy": 1.1}, ErrorKind.INVALID_PARAMETER),
        ({"mode": 7}, ErrorKind.INVALID_PARAMETER),
        ({"variant": "b0", "min_accuracy": 0.5}, ErrorKind.INVALID_PARAMETER),
        ({"min_accuracy": 0.99}, ErrorKind.ACCURACY_UNAVAILABLE),
        ({"mode": pb.MODE_STRICT, "budget_ms": 1.0}, ErrorKind.INFEASIBLE_BUDGET),
    ],
)
async def test_a_bad_request_is_refused_by_name(kit: Kit, fields: dict[str, Any], kind: ErrorKind) -> None:
    """With the same limits as over HTTP, and observed exactly once."""
    status, metadata, _ = await failure(kit.stub.Classify(ask(**fields)))
    assert (status, metadata["effserve-error-kind"]) == (STATUS[kind].grpc, kind)
    assert [(event.kind, event.protocol) for event in kit.seen.failed] == [(kind, "grpc")]


async def test_a_full_queue_is_unavailable_and_says_when_to_retry() -> None:
    """Behind a run that is expected to take minutes an answer would come later than is allowed."""
    async with serving(patience_s=1.0) as kit:
        kit.gate.open = False
        held = asyncio.ensure_future(kit.stub.Classify(ask(variant="b4")))
        await kit.until_in_hand(1)
        status, metadata, _ = await failure(kit.stub.Classify(ask()))
        assert (status, metadata["effserve-error-kind"]) == (grpc.StatusCode.UNAVAILABLE, "queue-full")
        assert int(metadata["grpc-retry-pushback-ms"]) >= 100
        kit.gate.release()
        await held


async def test_a_message_beyond_the_envelope_is_refused_by_the_library(kit: Kit) -> None:
    """The same status as an image that is too large; the service never sees it."""
    status, _, _ = await failure(kit.stub.Classify(ask(image=bytes(REQUEST_BYTES + ENVELOPE_BYTES))))
    assert status is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert kit.seen.events == []


async def test_an_unforeseen_failure_shows_nothing_of_the_inside(kit: Kit) -> None:
    """INTERNAL with a fixed sentence; the observer gets the cause."""
    kit.gate.error = RuntimeError("secret")
    status, metadata, details = await failure(kit.stub.Classify(ask()))
    assert (status, metadata["effserve-error-kind"]) == (grpc.StatusCode.INTERNAL, "internal")
    assert "secret" not in details
    assert isinstance(kit.seen.failed[0].cause, RuntimeError)


def _broken(*_: object) -> None:
    raise KeyError("secret")


async def test_a_fault_of_the_edge_is_named_and_observed(kit: Kit, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also what breaks outside `classify` ends as INTERNAL, with its cause for the log."""
    monkeypatch.setattr("service.edges.grpc.convert.plan_response", _broken)
    status, _, details = await failure(kit.stub.Plan(pb.PlanRequest()))
    assert status is grpc.StatusCode.INTERNAL
    assert "secret" not in details
    assert isinstance(kit.seen.failed[0].cause, KeyError)


@pytest.mark.parametrize("method", ["Classify", "Plan", "ListVariants"])
async def test_bytes_that_are_no_message_are_malformed(kit: Kit, method: str) -> None:
    """A fault of the client, named as such."""
    call: Raw = kit.channel.unary_unary(f"/{CLASSIFIER}/{method}")
    status, metadata, _ = await failure(call(b"\xff\xff"))
    assert (status, metadata["effserve-error-kind"]) == (grpc.StatusCode.INVALID_ARGUMENT, "malformed-request")


async def test_an_unknown_method_is_unimplemented(kit: Kit) -> None:
    """The library's own answer."""
    call: Raw = kit.channel.unary_unary(f"/{CLASSIFIER}/Segment")
    status, _, _ = await failure(call(b""))
    assert status is grpc.StatusCode.UNIMPLEMENTED


async def test_a_cancelled_call_leaves_the_queue(kit: Kit) -> None:
    """Nobody reads its answer, so nobody works on it; it is observed as cancelled."""
    kit.gate.open = False
    running = asyncio.ensure_future(kit.stub.Classify(ask()))
    await kit.until_in_hand(1)
    waiting = asyncio.ensure_future(kit.stub.Classify(ask()))
    await kit.until_in_hand(2)
    waiting.cancel()
    await kit.until_in_hand(1)
    kit.gate.release()
    await running
    assert [event.kind for event in kit.seen.failed] == [ErrorKind.CANCELLED]


async def test_an_expired_deadline_cancels_the_work(kit: Kit) -> None:
    """The client has given up; the image leaves the queue."""
    kit.gate.open = False
    running = asyncio.ensure_future(kit.stub.Classify(ask()))
    await kit.until_in_hand(1)
    status, _, _ = await failure(kit.stub.Classify(ask(), timeout=0.1))
    await kit.until_in_hand(1)
    assert status is grpc.StatusCode.DEADLINE_EXCEEDED
    kit.gate.release()
    await running


async def test_a_plan_tells_the_decision_with_all_candidates(kit: Kit) -> None:
    """Nothing runs, nothing is counted."""
    plan = await kit.stub.Plan(pb.PlanRequest(budget_ms=50_000))
    assert (plan.decision.variant, len(plan.decision.candidates)) == ("b2", len(ACCURACIES))
    assert (plan.budget_ms, plan.would_be_refused) == (50_000, False)
    assert 16_000 < plan.smallest_feasible_budget_ms < 30_000
    assert kit.seen.events == []


@pytest.mark.parametrize(("mode", "refused"), [(pb.MODE_STRICT, True), (pb.MODE_BEST_EFFORT, False)])
async def test_a_plan_tells_whether_a_request_would_be_refused(kit: Kit, mode: pb.Mode, refused: bool) -> None:
    """Strict mode, and nothing fits a millisecond."""
    plan = await kit.stub.Plan(pb.PlanRequest(budget_ms=1, mode=mode))
    assert plan.would_be_refused is refused


async def test_a_plan_for_an_unknown_variant_is_not_found(kit: Kit) -> None:
    """As Classify would answer."""
    status, metadata, _ = await failure(kit.stub.Plan(pb.PlanRequest(variant="b9")))
    assert (status, metadata["effserve-error-kind"]) == (grpc.StatusCode.NOT_FOUND, "unknown-variant")


async def test_the_table_lists_what_is_served_and_what_is_not(kit: Kit) -> None:
    """Each row is the dataplane's, cheapest first."""
    await kit.stub.Classify(ask(variant="b4"))
    table = await kit.stub.ListVariants(pb.ListVariantsRequest())
    assert [row.name for row in table.variants] == sorted(ACCURACIES)
    assert [row.answers for row in table.variants] == [0, 0, 0, 0, 1]
    row = table.variants[0]
    assert (row.accuracy.top1, row.accuracy.dataset, row.accuracy.source) == (0.771, "synthetic", "measured")
    assert not row.accuracy.HasField("top5")
    assert (row.weights.kind, row.weights.licence) == ("checkpoint", "Apache-2.0")
    assert (row.params, row.macs, row.pareto, row.routed, row.resident) == (5_288_548, 390_000_000, True, True, True)
    assert {row.not_routed for row in table.variants} == {""}
    assert [(r.name, r.version, r.reason) for r in table.refused] == [dataclasses.astuple(REFUSED)]


def test_a_plan_is_for_the_reference_photo() -> None:
    """The .proto file promises 0.2 megapixels."""
    assert REFERENCE_IMAGE.megapixels == pytest.approx(0.2)


@pytest.mark.parametrize(
    "scenario",
    [
        test_an_answer_mirrors_what_the_dataplane_answered,
        test_a_message_beyond_the_envelope_is_refused_by_the_library,
        test_a_cancelled_call_leaves_the_queue,
        test_an_expired_deadline_cancels_the_work,
    ],
)
def test_uvloop_makes_no_difference(scenario: Scenario) -> None:
    """What depends on the event loop is the same on the one that the service runs on."""
    on_uvloop(scenario)
