"""Messages of `effserve.v1` ↔ the values of this package. Plain functions."""

from typing import Any, TypeVar

from grpc_health.v1 import health_pb2

from service.client.asking import Attempt
from service.client.errors import ClientError
from service.client.values import (
    Accuracy,
    Answer,
    Budget,
    Candidate,
    Change,
    Changes,
    Decision,
    Image,
    Plan,
    Prediction,
    Refused,
    Timing,
    Variant,
    Variants,
    Weights,
)
from service.core.errors import ErrorKind
from service.wire import classifier_pb2 as pb

M = TypeVar("M", pb.ClassifyRequest, pb.PlanRequest)


def question(attempt: Attempt) -> pb.ClassifyRequest:
    """The question about an image. Raises `ClientError(INVALID_PARAMETER)` for what no message can hold."""
    return _filled(pb.ClassifyRequest, attempt, image=attempt.image, request_id=attempt.request_id)


def plan_question(attempt: Attempt) -> pb.PlanRequest:
    """The question without one."""
    return _filled(pb.PlanRequest, attempt)


def answer(message: pb.ClassifyResponse) -> Answer:
    """The answer to one image."""
    timing, image, budget = message.timing, message.image, message.budget
    return Answer(
        request_id=message.request_id,
        final=message.final,
        predictions=tuple(Prediction(p.index, p.wnid, p.label, p.probability) for p in message.predictions),
        decision=_decision(message.decision),
        timing_ms=Timing(
            receive=timing.receive_ms,
            queue=timing.queue_ms,
            decode=timing.decode_ms,
            inference=timing.inference_ms,
            hold=timing.hold_ms,
            respond=timing.respond_ms,
            total=timing.total_ms,
        ),
        budget=Budget(budget.requested_ms, budget.spent_ms, budget.met),
        image=Image(image.format, image.width_px, image.height_px, image.bytes),
        warnings=tuple(message.warnings),
        members=tuple(message.members),
    )


def plan(message: pb.PlanResponse) -> Plan:
    """A dry run."""
    return Plan(
        _decision(message.decision),
        message.budget_ms,
        message.smallest_feasible_budget_ms,
        message.would_be_refused,
    )


def variants(message: pb.ListVariantsResponse) -> Variants:
    """The table."""
    refused = (Refused(one.name, one.version, one.reason) for one in message.refused)
    return Variants(tuple(map(_variant, message.variants)), tuple(refused))


def changes(message: pb.ReloadResponse) -> Changes:
    """Of a reload."""
    return Changes(tuple(Change(one.change, one.name, one.version, one.reason) for one in message.changes))


def ready(message: health_pb2.HealthCheckResponse) -> bool:
    """Whether the server wants traffic."""
    return bool(message.status == health_pb2.HealthCheckResponse.SERVING)


def _filled(kind: type[M], attempt: Attempt, **more: object) -> M:
    fields = dict(attempt.parameters)
    for name, prefix in (("mode", "MODE"), ("policy", "POLICY")):
        if name in fields:
            fields[name] = f"{prefix}_{str(fields[name]).upper()}"
    try:
        return kind(**fields, **more)  # type: ignore[arg-type]
    except (ValueError, TypeError) as error:
        raise ClientError(ErrorKind.INVALID_PARAMETER, str(error)) from error


def _decision(message: pb.Decision) -> Decision:
    return Decision(
        variant=message.variant,
        version=message.version,
        expected_top1=_known(message, "expected_top1"),
        expected_top1_source=message.expected_top1_source,
        trained=message.trained,
        expected_ms=message.expected_ms,
        tail_ms=message.tail_ms,
        remaining_ms=message.remaining_ms,
        fits=message.fits,
        reason=message.reason,
        why=message.why,
        terminated=_known(message, "terminated"),
        candidates=tuple(map(_candidate, message.candidates)) or None,
    )


def _candidate(message: pb.Candidate) -> Candidate:
    return Candidate(
        message.variant,
        message.version,
        _known(message, "top1"),
        message.top1_source,
        message.expected_ms,
        message.tail_ms,
        message.verdict,
    )


def _variant(message: pb.Variant) -> Variant:
    accuracy, weights = message.accuracy, message.weights
    return Variant(
        name=message.name,
        version=message.version,
        trained=message.trained,
        rank_top1=_known(message, "rank_top1"),
        rank_source=message.rank_source,
        accuracy=Accuracy(
            _known(accuracy, "top1"), _known(accuracy, "top5"), accuracy.dataset or None, accuracy.source
        ),
        expected_ms=message.expected_ms,
        tail_ms=message.tail_ms,
        params=message.params,
        macs=message.macs,
        input_size_px=message.input_size_px,
        graph_bytes=message.graph_bytes,
        memory_bytes=message.memory_bytes,
        resident=message.resident,
        pareto=message.pareto,
        routed=message.routed,
        not_routed=message.not_routed,
        weights=Weights(weights.kind, weights.source, weights.licence),
        answers=message.answers,
    )


def _known(message: Any, name: str) -> Any:  # noqa: ANN401
    """The value of an optional field; None when it is not set."""
    return getattr(message, name) if message.HasField(name) else None
