"""What spans say: names and values, documented in docs/tracing.md. Times are in milliseconds, as in answers and logs.

Names of ours begin with `effserve.`; the rest are OpenTelemetry's conventions.
"""

from collections.abc import Mapping

from service.core.events import RequestAnswered, RequestFailed
from service.core.trace import Ending
from service.core.values import Decision
from service.telemetry.stages import Stage

Value = bool | int | float | str | tuple[str, ...]
Attributes = Mapping[str, Value]


def of_answer(event: RequestAnswered) -> Attributes:
    """Of the span of a request that was answered: the decision, and what became of the budget."""
    answer, decision = event.answer, event.answer.decision
    told: dict[str, Value] = {
        "effserve.request_id": answer.request_id,
        "network.protocol.name": event.protocol,
        **_decision(decision),
        "effserve.version": decision.variant.version,
        "effserve.trained": decision.variant.trained,
        "effserve.accuracy_source": decision.variant.rank_source.value,
        "effserve.budget_ms": _ms(answer.budget_s),
        "effserve.met": answer.budget_met,
        "effserve.image.format": answer.image.format,
        "effserve.image.width_px": answer.image.width_px,
        "effserve.image.height_px": answer.image.height_px,
        "effserve.image.bytes": event.image_bytes,
    }
    if decision.variant.rank_top1 is not None:
        told["effserve.expected_top1"] = decision.variant.rank_top1
    if len(answer.members) > 1:
        told["effserve.members"] = answer.members
    if decision.terminated is not None:
        told["effserve.terminated"] = decision.terminated.name
    if event.alone is not None:
        told["effserve.alone"] = event.alone.name
    return told


def of_failure(event: RequestFailed) -> Attributes:
    """Of the span of a request that failed: how, and what is known of it."""
    told: dict[str, Value] = {
        "effserve.request_id": event.request_id,
        "network.protocol.name": event.protocol,
        "error.type": event.kind.value,
    }
    if event.budget_s is not None:
        told["effserve.budget_ms"] = _ms(event.budget_s)
    if event.variant is not None:
        told["effserve.asked_variant"] = event.variant[:64]
    if event.cause is not None:
        told["exception.type"] = type(event.cause).__qualname__
    return told


def of_stage(stage: Stage) -> Attributes:
    """Of the span of a stage: which run it is part of, and why there was that run."""
    run = stage.attempt
    if run is None:
        return {}
    told: dict[str, Value] = {"effserve.variant": run.decision.variant.name, "effserve.background": run.upgrade}
    if stage.name != "decode":
        told["effserve.reason"] = run.decision.reason.value
    if run.ending is not Ending.ANSWERED:
        told["effserve.ending"] = run.ending.value
    return told


def _decision(decision: Decision) -> dict[str, Value]:
    return {
        "effserve.variant": decision.variant.name,
        "effserve.reason": decision.reason.value,
        "effserve.remaining_ms": _ms(decision.remaining_s),
        "effserve.expected_ms": _ms(decision.expected_s),
        "effserve.tail_ms": _ms(decision.tail_s),
        "effserve.fits": decision.fits,
    }


def _ms(seconds: float) -> float:
    return round(seconds * 1e3, 3)
