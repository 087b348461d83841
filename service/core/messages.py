"""What edges hand to the dataplane and get back. Edges convert these to and from HTTP and gRPC, and decide nothing."""

from dataclasses import dataclass

from service.core.trace import Trace
from service.core.values import Decision, ImageHeader, Question, Source, Timing, Variant


@dataclass(frozen=True, slots=True)
class ClassifyRequest:
    """One image and what is wanted of it."""

    body: Source
    """The image."""
    question: Question
    request_id: str
    protocol: str
    """`http` or `grpc`; a metric label."""
    top_k: int = 5
    trace: Trace | None = None


@dataclass(frozen=True, slots=True)
class Prediction:
    """One class of the answer."""

    index: int
    wnid: str
    """WordNet id; empty when the label set has none."""
    label: str
    probability: float


@dataclass(frozen=True, slots=True)
class Answer:
    """The response to one image."""

    request_id: str
    predictions: tuple[Prediction, ...]
    decision: Decision
    timing: Timing
    image: ImageHeader
    budget_s: float
    budget_met: bool
    warnings: tuple[str, ...]
    """Sentences a client must not miss, for example that the weights are untrained."""
    final: bool = True
    """False when a better answer may follow."""
    members: tuple[str, ...] = ()
    """The variants whose probabilities were averaged, cheapest first."""
    logits: bytes = b""
    """Before the softmax, of the network or of a cascade's mean: [classes], float32, in the machine's byte order."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What a request would get if it came now (a dry run)."""

    decision: Decision
    budget_s: float
    smallest_feasible_budget_s: float
    """The smallest budget at which the cheapest eligible variant would fit now."""


@dataclass(frozen=True, slots=True)
class VariantRow:
    """One line of the live accuracy/latency/cost table."""

    variant: Variant
    expected_ms: float
    """Mean decode + inference time for the reference image (0.2 megapixel JPEG)."""
    tail_ms: float
    """Upper quantile of the same."""
    pareto: bool
    """No other variant is at least as accurate and at most as slow."""
    routed: bool
    """Whether a budget can choose it."""
    params: int
    macs: int
    input_size_px: int
    graph_bytes: int
    resident: bool
    top1: float | None
    """Accuracy of these weights; None when nobody measured or published it."""
    top5: float | None
    accuracy_source: str
    accuracy_dataset: str | None
    weights_kind: str
    weights_source: str
    weights_licence: str
    answers: int
    """Answers given since start."""


@dataclass(frozen=True, slots=True)
class RefusedVariant:
    """A store entry that is not served, and why."""

    name: str
    version: str
    reason: str
