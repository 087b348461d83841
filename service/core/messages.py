"""What edges hand to the dataplane and get back. Edges convert these to and from HTTP and gRPC, and decide nothing."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

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
    named: Variant | None = None
    """What `Question.variant` meant to the edge, which has prepared the image for exactly that, and holds it
    (`Dataplane.holding`)."""


@dataclass(frozen=True, slots=True)
class Label:
    """One class: WordNet id (empty when there is none) and words."""

    wnid: str
    text: str


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
    labels: Sequence[Label] = ()
    """Of all classes, in the order of the logits."""


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
    not_routed: str
    """Why none can; empty when one can."""
    params: int
    macs: int
    input_size_px: int
    graph_bytes: int
    resident: bool
    """Whether it is in memory."""
    memory_bytes: int
    """What it takes there, or would take: its weights, without what all variants share."""
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


class ChangeKind(StrEnum):
    """What became of a variant while the service runs."""

    LOADED = "loaded"
    """It was not served before."""
    REPLACED = "replaced"
    """Another version was, or other figures of the same."""
    UNLOADED = "unloaded"
    KEPT = "kept"
    """It is served already, exactly as it is in the store."""
    REFUSED = "refused"
    """It stays as it was: what the store holds cannot be served."""


@dataclass(frozen=True, slots=True)
class Change:
    """One variant, and what became of it."""

    kind: ChangeKind
    name: str
    version: str
    """Loaded, kept, unloaded or refused."""
    reason: str = ""
    """Why it is refused; which version it replaces; for whom it makes room."""


class EntryState(StrEnum):
    """What can be said of a version in the store."""

    READY = "READY"
    LOADING = "LOADING"
    UNAVAILABLE = "UNAVAILABLE"


@dataclass(frozen=True, slots=True)
class StoreEntry:
    """One version in the store."""

    name: str
    version: str
    state: EntryState
    reason: str = ""
    """Why it is not served."""


@dataclass(frozen=True, slots=True)
class RefusedVariant:
    """A store entry that is not served, and why."""

    name: str
    version: str
    reason: str
