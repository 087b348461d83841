"""What a server answers, the same over both protocols: named and nested as in the JSON of HTTP.

Times are milliseconds, accuracies and probabilities fractions of 1. Reasons and verdicts are plain strings, because a
newer server may have new ones. `dataclasses.asdict` gives the JSON back.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Prediction:
    """One class of an answer."""

    index: int
    wnid: str
    """WordNet id; empty when the label set has none."""
    label: str
    probability: float


@dataclass(frozen=True, slots=True)
class Candidate:
    """One variant as a decision saw it."""

    variant: str
    version: int
    top1: float | None
    top1_source: str
    expected_ms: float
    tail_ms: float
    verdict: str


@dataclass(frozen=True, slots=True)
class Decision:
    """Which variant, what was expected of it, and why."""

    variant: str
    version: int
    expected_top1: float | None
    expected_top1_source: str
    trained: bool
    """False for seeded weights, whose predictions mean nothing."""
    expected_ms: float
    tail_ms: float
    remaining_ms: float
    fits: bool
    reason: str
    """For programs, for example `most_accurate_that_fits`."""
    why: str
    """For people: one sentence."""
    terminated: str | None = None
    candidates: tuple[Candidate, ...] | None = None
    """All variants, when `explain` was asked for."""


@dataclass(frozen=True, slots=True)
class Timing:
    """Where the server's time went. The stages add up to the total."""

    receive: float
    queue: float
    decode: float
    inference: float
    hold: float
    respond: float
    total: float


@dataclass(frozen=True, slots=True)
class Budget:
    """The budget and what became of it."""

    requested_ms: float
    spent_ms: float
    met: bool


@dataclass(frozen=True, slots=True)
class Image:
    """The image as its header describes it."""

    format: str
    width_px: int
    height_px: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer to one image."""

    request_id: str
    final: bool
    """False when a better one may follow."""
    predictions: tuple[Prediction, ...]
    """Most probable first."""
    decision: Decision
    timing_ms: Timing
    budget: Budget
    image: Image
    warnings: tuple[str, ...]
    """Sentences not to be missed, for example that the weights are untrained."""
    members: tuple[str, ...]
    """The variants whose probabilities were averaged, cheapest first."""

    @property
    def variant(self) -> str:
        """What answered."""
        return self.decision.variant

    @property
    def reason(self) -> str:
        """Why it did, for programs."""
        return self.decision.reason

    @property
    def met(self) -> bool:
        """Whether the budget was, by the server's clock."""
        return self.budget.met

    @property
    def trained(self) -> bool:
        """Whether the predictions mean anything."""
        return self.decision.trained


@dataclass(frozen=True, slots=True)
class Plan:
    """What a request with a photo of 0.2 megapixels would get now."""

    decision: Decision
    budget_ms: float
    smallest_feasible_budget_ms: float
    would_be_refused: bool


@dataclass(frozen=True, slots=True)
class Accuracy:
    """Of exactly these weights."""

    top1: float | None
    top5: float | None
    dataset: str | None
    source: str


@dataclass(frozen=True, slots=True)
class Weights:
    """Where they come from."""

    kind: str
    source: str
    licence: str


@dataclass(frozen=True, slots=True)
class Variant:
    """One line of the accuracy/latency/cost table."""

    name: str
    version: int
    trained: bool
    rank_top1: float | None
    rank_source: str
    accuracy: Accuracy
    expected_ms: float
    tail_ms: float
    params: int
    macs: int
    input_size_px: int
    graph_bytes: int
    memory_bytes: int
    """What its weights take in memory, or would take."""
    resident: bool
    """Whether it is in memory."""
    pareto: bool
    routed: bool
    """Whether a budget can choose it."""
    not_routed: str
    """Why none can; empty when one can."""
    weights: Weights
    answers: int
    """Given since the start."""


@dataclass(frozen=True, slots=True)
class Refused:
    """An entry of the store that is not served, and why."""

    name: str
    version: str
    reason: str


@dataclass(frozen=True, slots=True)
class Change:
    """What became of a variant when the server looked at its store."""

    change: str
    """`loaded`, `replaced`, `unloaded`, `kept` or `refused`."""
    name: str
    version: str
    reason: str
    """Why it is refused; which version it replaces."""


@dataclass(frozen=True, slots=True)
class Changes:
    """In the order in which they were made."""

    changes: tuple[Change, ...]


@dataclass(frozen=True, slots=True)
class Variants:
    """The live table, cheapest first."""

    variants: tuple[Variant, ...]
    refused: tuple[Refused, ...]
