"""Messages ↔ values, and failures → status, metadata or message. Plain functions; nothing here knows of a call.

The figures are those of the HTTP edge's JSON, rounded the same way: milliseconds to three places.
"""

import math
from collections.abc import Sequence

from google.protobuf.struct_pb2 import Struct

from service.core.errors import EffserveError
from service.core.messages import Answer, Change, Plan, RefusedVariant, VariantRow
from service.core.values import Candidate, Decision, ImageHeader, Mode, PolicyName, Timing
from service.edges import explain
from service.edges.questions import budget_of_deadline
from service.edges.timing import STAGES, server_timing
from service.wire import classifier_pb2 as pb

Metadata = tuple[tuple[str, str], ...]

MODES = {pb.MODE_BEST_EFFORT: Mode.BEST_EFFORT, pb.MODE_STRICT: Mode.STRICT}
POLICIES = {pb.POLICY_K1: PolicyName.K1, pb.POLICY_P2: PolicyName.P2, pb.POLICY_P3: PolicyName.P3}
_ROUTING = ("budget_ms", "variant", "min_accuracy")


def plan_parameters(request: pb.PlanRequest, time_left_s: float | None) -> dict[str, object]:
    """What was given, by the parameter's name. `time_left_s` (None: no deadline) stands in for a missing budget."""
    return _given(request, _ROUTING, time_left_s)


def classify_parameters(request: pb.ClassifyRequest, time_left_s: float | None) -> dict[str, object]:
    """As `plan_parameters`, with what can be asked about an image."""
    return _given(request, (*_ROUTING, "top_k"), time_left_s) | {"explain": request.explain}


def _given(
    request: pb.PlanRequest | pb.ClassifyRequest, names: tuple[str, ...], time_left_s: float | None
) -> dict[str, object]:
    given: dict[str, object] = {name: getattr(request, name) for name in names if request.HasField(name)}
    if request.mode != pb.MODE_UNSPECIFIED:
        # A number from a newer client is handed on as it is; the parameter model refuses it by name.
        given["mode"] = MODES.get(request.mode, int(request.mode))
    if request.policy != pb.POLICY_UNSPECIFIED:
        given["policy"] = POLICIES.get(request.policy, int(request.policy))
    left_ms = budget_of_deadline(time_left_s)
    if "budget_ms" not in given and left_ms is not None:
        given["budget_ms"] = left_ms
    return given


def classify_response(answer: Answer) -> pb.ClassifyResponse:
    """The answer to one image."""
    predictions = (
        pb.Prediction(index=p.index, wnid=p.wnid, label=p.label, probability=p.probability) for p in answer.predictions
    )
    budget = pb.Budget(requested_ms=_ms(answer.budget_s), spent_ms=_ms(answer.timing.total_s), met=answer.budget_met)
    return pb.ClassifyResponse(
        request_id=answer.request_id,
        predictions=predictions,
        decision=_decision(answer.decision),
        timing=_timing(answer.timing),
        budget=budget,
        image=_image(answer.image),
        warnings=answer.warnings,
        final=answer.final,
        members=answer.members,
    )


def plan_response(plan: Plan, mode: Mode) -> pb.PlanResponse:
    """A dry run, with all candidates."""
    return pb.PlanResponse(
        decision=_decision(plan.decision),
        budget_ms=_ms(plan.budget_s),
        smallest_feasible_budget_ms=_ms(plan.smallest_feasible_budget_s),
        would_be_refused=explain.refused(mode, plan.decision),
    )


def variants_response(rows: tuple[VariantRow, ...], refused: tuple[RefusedVariant, ...]) -> pb.ListVariantsResponse:
    """The table, and what is not in it."""
    return pb.ListVariantsResponse(
        variants=map(_row, rows),
        refused=(pb.RefusedVariant(name=r.name, version=r.version, reason=r.reason) for r in refused),
    )


def reload_response(changes: Sequence[Change]) -> pb.ReloadResponse:
    """What was changed."""
    return pb.ReloadResponse(
        changes=(pb.Change(change=c.kind, name=c.name, version=c.version, reason=c.reason) for c in changes)
    )


def error_message(error: EffserveError) -> pb.Error:
    """A failure inside a stream."""
    facts = Struct()
    facts.update(error.facts)
    retry_after_ms = None if error.retry_after_s is None else _ms(error.retry_after_s)
    return pb.Error(kind=error.kind, detail=error.detail, facts=facts, retry_after_ms=retry_after_ms)


def answer_metadata(response: pb.ClassifyResponse) -> Metadata:
    """Sent after an answer."""
    return (
        ("x-request-id", response.request_id),
        ("x-model-variant", response.decision.variant),
        ("server-timing", server_timing({stage: getattr(response.timing, f"{stage}_ms") for stage in STAGES})),
    )


def error_metadata(error: EffserveError, request_id: str) -> Metadata:
    """Sent with a failure: its name, its facts, and when to try again."""
    facts = ((f"effserve-{name.replace('_', '-')}", _visible(value)) for name, value in error.facts.items())
    pushback = () if error.retry_after_s is None else (_pushback(error.retry_after_s),)
    return (("effserve-error-kind", str(error.kind)), ("x-request-id", request_id), *facts, *pushback)


def _pushback(retry_after_s: float) -> tuple[str, str]:
    """What gRPC clients with a retry policy go by."""
    return "grpc-retry-pushback-ms", str(math.ceil(retry_after_s * 1e3))


def _visible(value: float | int | str) -> str:
    """Metadata holds printable ASCII only; a fact may repeat what the client sent."""
    return "".join(character if " " <= character <= "~" else "?" for character in str(value))


def _decision(decision: Decision) -> pb.Decision:
    variant = decision.variant
    return pb.Decision(
        variant=variant.name,
        version=variant.version,
        expected_top1=variant.rank_top1,
        expected_top1_source=variant.rank_source,
        trained=variant.trained,
        expected_ms=_ms(decision.expected_s),
        tail_ms=_ms(decision.tail_s),
        remaining_ms=_ms(decision.remaining_s),
        fits=decision.fits,
        reason=decision.reason,
        why=explain.why(decision),
        candidates=map(_candidate, decision.candidates),
        terminated=None if decision.terminated is None else decision.terminated.name,
    )


def _candidate(candidate: Candidate) -> pb.Candidate:
    variant = candidate.variant
    return pb.Candidate(
        variant=variant.name,
        version=variant.version,
        top1=variant.rank_top1,
        top1_source=variant.rank_source,
        expected_ms=_ms(candidate.expected_s),
        tail_ms=_ms(candidate.tail_s),
        verdict=candidate.verdict,
    )


def _timing(timing: Timing) -> pb.Timing:
    return pb.Timing(
        receive_ms=_ms(timing.receive_s),
        queue_ms=_ms(timing.queue_s),
        decode_ms=_ms(timing.decode_s),
        inference_ms=_ms(timing.inference_s),
        hold_ms=_ms(timing.hold_s),
        respond_ms=_ms(timing.respond_s),
        total_ms=_ms(timing.total_s),
    )


def _image(header: ImageHeader) -> pb.Image:
    return pb.Image(format=header.format, width_px=header.width_px, height_px=header.height_px, bytes=header.size_bytes)


def _row(row: VariantRow) -> pb.Variant:
    accuracy = pb.Accuracy(top1=row.top1, top5=row.top5, dataset=row.accuracy_dataset or "", source=row.accuracy_source)
    return pb.Variant(
        name=row.variant.name,
        version=row.variant.version,
        trained=row.variant.trained,
        rank_top1=row.variant.rank_top1,
        rank_source=row.variant.rank_source,
        accuracy=accuracy,
        expected_ms=round(row.expected_ms, 3),
        tail_ms=round(row.tail_ms, 3),
        params=row.params,
        macs=row.macs,
        input_size_px=row.input_size_px,
        graph_bytes=row.graph_bytes,
        pareto=row.pareto,
        routed=row.routed,
        not_routed=row.not_routed,
        resident=row.resident,
        memory_bytes=row.memory_bytes,
        weights=pb.Weights(kind=row.weights_kind, source=row.weights_source, licence=row.weights_licence),
        answers=row.answers,
    )


def _ms(seconds: float) -> float:
    return round(seconds * 1e3, 3)
