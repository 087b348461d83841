"""What HTTP answers look like. Each model is made from the value it shows; the OpenAPI page is made from the models.

Times are milliseconds, accuracies fractions of 1.
"""

from collections.abc import Sequence
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from service.core.messages import Answer, Change, ChangeKind, Plan, RefusedVariant, VariantRow
from service.core.values import AccuracySource, Candidate, Decision, Mode, Reason, Timing, Verdict
from service.dataplane import Health
from service.edges import explain
from service.edges.recent import Outcomes
from service.pipeline.store import StoredVariant


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True)


class PredictionModel(_Model):
    """One class, most probable first."""

    index: int
    wnid: str
    label: str
    probability: float


class CandidateModel(_Model):
    """One variant as the decision saw it."""

    variant: str
    version: int
    top1: float | None
    top1_source: AccuracySource
    expected_ms: float
    tail_ms: float
    verdict: Verdict


class DecisionModel(_Model):
    """Which variant, what was expected of it, and why."""

    variant: str
    version: int
    expected_top1: float | None
    expected_top1_source: AccuracySource = Field(description="`architecture`: published, but not for these weights.")
    trained: bool
    expected_ms: float = Field(description="Mean decode + inference time.")
    tail_ms: float = Field(description="Upper quantile of it: what had to fit.")
    remaining_ms: float = Field(description="Budget left when the decision fell, less the reserve for the response.")
    fits: bool
    reason: Reason
    why: str
    terminated: str | None = Field(
        None,
        description="The variant that ran for this request before and was terminated, because a more urgent request "
        "needed its lane.",
    )
    candidates: list[CandidateModel] | None = Field(None, description="All variants, when `explain` is set.")

    @classmethod
    def of(cls, decision: Decision) -> Self:
        """From the decision."""
        return cls.model_validate(_decision(decision))


class TimingModel(_Model):
    """Where the time went; the stages add up to the total."""

    receive: float
    queue: float = Field(description="Waiting for a lane; of an upgrade also what ran before it.")
    decode: float
    inference: float
    hold: float = Field(description="An answer was in hand and kept, while a better one was tried in vain (`p2`).")
    respond: float
    total: float


class BudgetModel(_Model):
    """The budget and what became of it."""

    requested_ms: float
    spent_ms: float
    met: bool


class ImageModel(_Model):
    """The image as its header describes it."""

    format: str
    width_px: int
    height_px: int
    bytes: int


class AnswerModel(_Model):
    """The answer to one image."""

    request_id: str
    final: bool = Field(description="False when a better one may follow: `/classify/anytime` only.")
    predictions: list[PredictionModel]
    decision: DecisionModel
    timing_ms: TimingModel
    budget: BudgetModel
    image: ImageModel
    warnings: list[str]
    members: list[str] = Field(
        description="The variants whose probabilities were averaged, cheapest first: one, or two where `p3` upgraded."
    )


_ANY: TypeAdapter[Any] = TypeAdapter(Any)


def answer_json(answer: Answer) -> bytes:
    """An `AnswerModel`, without making one: this is done for each request, and thirteen models take as long as the
    softmax."""
    image, spent_ms = answer.image, _ms(answer.timing.total_s)
    return _ANY.dump_json(
        {
            "request_id": answer.request_id,
            "final": answer.final,
            "predictions": answer.predictions,
            "decision": _decision(answer.decision),
            "timing_ms": timing_ms(answer.timing),
            "budget": {"requested_ms": _ms(answer.budget_s), "spent_ms": spent_ms, "met": answer.budget_met},
            "image": {
                "format": image.format,
                "width_px": image.width_px,
                "height_px": image.height_px,
                "bytes": image.size_bytes,
            },
            "warnings": answer.warnings,
            "members": answer.members,
        }
    )


def timing_ms(timing: Timing) -> dict[str, float]:
    """A `TimingModel`."""
    return {
        "receive": _ms(timing.receive_s),
        "queue": _ms(timing.queue_s),
        "decode": _ms(timing.decode_s),
        "inference": _ms(timing.inference_s),
        "hold": _ms(timing.hold_s),
        "respond": _ms(timing.respond_s),
        "total": _ms(timing.total_s),
    }


def _decision(decision: Decision) -> dict[str, object]:
    variant = decision.variant
    return {
        "variant": variant.name,
        "version": variant.version,
        "expected_top1": variant.rank_top1,
        "expected_top1_source": variant.rank_source,
        "trained": variant.trained,
        "expected_ms": _ms(decision.expected_s),
        "tail_ms": _ms(decision.tail_s),
        "remaining_ms": _ms(decision.remaining_s),
        "fits": decision.fits,
        "reason": decision.reason,
        "why": explain.why(decision),
        "terminated": None if decision.terminated is None else decision.terminated.name,
        "candidates": list(map(_candidate, decision.candidates)) or None,
    }


def _candidate(candidate: Candidate) -> dict[str, object]:
    variant = candidate.variant
    return {
        "variant": variant.name,
        "version": variant.version,
        "top1": variant.rank_top1,
        "top1_source": variant.rank_source,
        "expected_ms": _ms(candidate.expected_s),
        "tail_ms": _ms(candidate.tail_s),
        "verdict": candidate.verdict,
    }


class PlanModel(_Model):
    """What a request with a photo of 0.2 megapixels would get now."""

    decision: DecisionModel
    budget_ms: float
    smallest_feasible_budget_ms: float
    would_be_refused: bool

    @classmethod
    def of(cls, plan: Plan, *, mode: Mode) -> Self:
        """From the dataplane's plan."""
        return cls(
            decision=DecisionModel.of(plan.decision),
            budget_ms=_ms(plan.budget_s),
            smallest_feasible_budget_ms=_ms(plan.smallest_feasible_budget_s),
            would_be_refused=explain.refused(mode, plan.decision),
        )


class AccuracyModel(_Model):
    """Accuracy of exactly these weights."""

    top1: float | None
    top5: float | None
    dataset: str | None
    source: str


class WeightsModel(_Model):
    """Where the weights come from."""

    kind: str
    source: str
    licence: str


class VariantModel(_Model):
    """One line of the accuracy/latency/cost table."""

    name: str
    version: int
    trained: bool
    rank_top1: float | None = Field(description="What the router ranks it by.")
    rank_source: AccuracySource
    accuracy: AccuracyModel
    expected_ms: float = Field(
        description="Mean decode + inference of a JPEG of 0.2 megapixels at the present pace, all lanes at work."
    )
    tail_ms: float
    params: int
    macs: int
    input_size_px: int
    graph_bytes: int
    memory_bytes: int = Field(description="What its weights take in memory, or would take.")
    resident: bool = Field(description="Whether it is in memory; what is not is loaded for who names it.")
    pareto: bool
    routed: bool = Field(description="Whether a budget can choose it.")
    not_routed: str = Field(description="Why none can; empty when one can.")
    weights: WeightsModel
    answers: int = Field(description="Since start.")

    @classmethod
    def of(cls, row: VariantRow) -> Self:
        """From the dataplane's row."""
        return cls(
            name=row.variant.name,
            version=row.variant.version,
            trained=row.variant.trained,
            rank_top1=row.variant.rank_top1,
            rank_source=row.variant.rank_source,
            accuracy=AccuracyModel(
                top1=row.top1, top5=row.top5, dataset=row.accuracy_dataset, source=row.accuracy_source
            ),
            expected_ms=round(row.expected_ms, 3),
            tail_ms=round(row.tail_ms, 3),
            params=row.params,
            macs=row.macs,
            input_size_px=row.input_size_px,
            graph_bytes=row.graph_bytes,
            memory_bytes=row.memory_bytes,
            resident=row.resident,
            pareto=row.pareto,
            routed=row.routed,
            not_routed=row.not_routed,
            weights=WeightsModel(kind=row.weights_kind, source=row.weights_source, licence=row.weights_licence),
            answers=row.answers,
        )


class RefusedModel(_Model):
    """A store entry that is not served."""

    name: str
    version: str
    reason: str

    @classmethod
    def of(cls, refused: RefusedVariant) -> Self:
        """From the store's scan."""
        return cls(name=refused.name, version=refused.version, reason=refused.reason)


class ChangeModel(_Model):
    """One variant, and what became of it."""

    change: ChangeKind
    name: str
    version: str
    reason: str = Field(description="Why it is refused; which version it replaces.")


class ChangesModel(_Model):
    """What a look at the store has changed; of each variant its last word."""

    changes: list[ChangeModel]

    @classmethod
    def of(cls, changes: Sequence[Change]) -> Self:
        """In the order in which they were made."""
        return cls(
            changes=[ChangeModel(change=c.kind, name=c.name, version=c.version, reason=c.reason) for c in changes]
        )


class VariantsModel(_Model):
    """The live table, cheapest first."""

    variants: list[VariantModel]
    refused: list[RefusedModel]

    @classmethod
    def of(cls, rows: tuple[VariantRow, ...], refused: tuple[RefusedVariant, ...]) -> Self:
        """From the dataplane's table."""
        return cls(
            variants=[VariantModel.of(row) for row in rows],
            refused=[RefusedModel.of(one) for one in refused],
        )


class HealthModel(_Model):
    """What probes and operators look at."""

    status: str
    variants: int
    refused: list[RefusedModel]
    waiting: int
    running: int
    lanes: int
    threads: int = Field(description="Intra-op threads of one run.")
    layout: str = Field(description="Why there are so many lanes and threads.")
    backlog_ms: float
    worker: int = Field(description="Which of the workers says this. What waits, runs and is done is its own.")
    workers: int

    @classmethod
    def of(cls, health: Health, status: str) -> Self:
        """From the dataplane's health."""
        now = health.statistics
        return cls(
            status=status,
            variants=health.variants,
            refused=[RefusedModel.of(refused) for refused in health.refused],
            waiting=now.waiting,
            running=now.running,
            lanes=now.lanes,
            threads=health.choice.layout.threads,
            layout=health.choice.why,
            backlog_ms=_ms(now.backlog_s),
            worker=health.place.number,
            workers=health.place.of,
        )


class LastMinuteModel(_Model):
    """What became of the requests of the last sixty seconds, on all protocols."""

    met: int = Field(description="Answered within their budget.")
    missed: int = Field(description="Answered too late.")
    refused: int = Field(description="Told that no answer can come in time, or that there is no room.")
    failed: int = Field(description="Faults of the service.")
    answers: dict[str, int] = Field(description="By variant.")

    @classmethod
    def of(cls, outcomes: Outcomes) -> Self:
        """From the counts."""
        return cls(
            met=outcomes.met,
            missed=outcomes.missed,
            refused=outcomes.refused,
            failed=outcomes.failed,
            answers=outcomes.answers,
        )


class LiveModel(_Model):
    """What the service is doing now."""

    health: HealthModel
    arrivals_per_s: float = Field(description="Over the last second.")
    slowdown: float = Field(description="How much slower the machine runs now than at calibration.")
    last_minute: LastMinuteModel
    table: VariantsModel
    plan: PlanModel = Field(description="For a request that names nothing.")

    @classmethod
    def of(cls, health: Health, status: str, outcomes: Outcomes, *, table: VariantsModel, plan: PlanModel) -> Self:
        """From what the dataplane says and what was counted."""
        return cls(
            plan=plan,
            health=HealthModel.of(health, status),
            arrivals_per_s=round(health.statistics.arrivals_per_s, 3),
            slowdown=round(health.latency.slowdown, 3),
            last_minute=LastMinuteModel.of(outcomes),
            table=table,
        )


class LabelModel(_Model):
    """One class that a variant tells from others."""

    index: int
    wnid: str = Field(description="WordNet id; empty when the label set has none.")
    label: str


class LabelsModel(_Model):
    """What a variant knows."""

    variant: str
    name: str = Field(description="Of the label set.")
    labels: list[LabelModel]

    @classmethod
    def of(cls, stored: StoredVariant) -> Self:
        """From the store's entry."""
        labels = [LabelModel(index=i, wnid=one.wnid, label=one.text) for i, one in enumerate(stored.labels)]
        return cls(variant=stored.manifest.name, name=stored.manifest.labels.name, labels=labels)


class ProblemModel(BaseModel):
    """Problem details, RFC 9457. Facts such as `smallest_feasible_budget_ms` stand beside these members."""

    model_config = ConfigDict(extra="allow")

    type: str
    title: str
    status: int
    detail: str
    kind: str
    request_id: str


class ImageUpload(BaseModel):
    """An image in JSON."""

    model_config = ConfigDict(extra="forbid")

    image: str = Field(description="The encoded image (JPEG, PNG, …) in base64.")


def _ms(seconds: float) -> float:
    return round(seconds * 1e3, 3)
