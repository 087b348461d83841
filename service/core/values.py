"""The values the decision is made of: deadline, variant, image header, question, job, decision, timing.

All are frozen. Times are seconds on the monotonic clock of the process; plain numbers carry their unit in the name.
"""

import math
from dataclasses import dataclass, field
from enum import StrEnum


@dataclass(frozen=True, slots=True)
class Deadline:
    """A latency budget that started to run at the first byte of the request.

    Set once at the edge and carried down; nothing on the way sets a timeout of its own.
    """

    started_s: float
    budget_s: float
    at_s: float = field(init=False, repr=False, compare=False)
    """The moment by which the answer has to be handed to the socket. Kept, since every decision reads it many times."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "at_s", self.started_s + self.budget_s)

    def remaining_s(self, now_s: float) -> float:
        """What is left of the budget; negative once it is overdrawn."""
        return self.at_s - now_s


class Mode(StrEnum):
    """What to do when not even the cheapest variant fits."""

    BEST_EFFORT = "best_effort"
    """Answer with the cheapest variant and say that the budget was missed."""
    STRICT = "strict"
    """Refuse at once and name the smallest budget that would do."""


class PolicyName(StrEnum):
    """How a request's budget is spent."""

    K1 = "k1"
    """One run, of the best variant that the budget buys; as P2 while many requests are lost to load."""
    P2 = "p2"
    """Insured: the cheapest variant first, whose answer is kept; then something better, in time nobody else needs."""
    P3 = "p3"
    """Cascade: as P2, but the least confident answers alone are upgraded, once, and both variants answer together."""

    @property
    def insures(self) -> bool:
        """Whether an answer is kept in hand while a better one is tried."""
        return self is not PolicyName.K1


class AccuracySource(StrEnum):
    """Where a variant's expected top-1 comes from."""

    MEASURED = "measured"
    """Measured on these weights by this project's own evaluation."""
    PUBLISHED = "published"
    """Published for exactly these weights."""
    ARCHITECTURE = "architecture"
    """Published for the architecture and *not* earned by these weights: good for ranking and capacity planning only."""
    NONE = "none"
    """Unknown; such a variant is never chosen by budget."""


@dataclass(frozen=True, slots=True)
class Variant:
    """One servable network as the policy sees it."""

    name: str
    version: int
    rank_top1: float | None
    """Top-1 accuracy in [0, 1] the policy ranks by; None when nothing is known."""
    rank_source: AccuracySource
    trained: bool
    """False for seeded weights, whose predictions mean nothing."""
    original: str | None = None
    """The variant that it was made from, by quantisation."""


@dataclass(frozen=True, slots=True)
class Absent:
    """A variant that is known and not in memory, because others are worth more there (`residency.py`)."""

    variant: Variant
    load_s: float | None
    """How long loading it takes, as far as is known; None where it does not fit into the limit at all."""


@dataclass(frozen=True, slots=True)
class ImageHeader:
    """What the first bytes of an image tell before anything is decoded."""

    format: str
    """One of the formats the pipeline reads, in upper case: JPEG, PNG, WEBP, GIF, BMP, or PIXELS."""
    width_px: int
    height_px: int
    size_bytes: int

    @property
    def megapixels(self) -> float:
        """Source size in millions of pixels; decode time grows with it."""
        return self.width_px * self.height_px / 1e6


@dataclass(frozen=True, slots=True)
class Pixels:
    """An image that came decoded."""

    samples: bytes | memoryview
    """[height, width, 3] in RGB order, a byte each."""
    width_px: int
    height_px: int
    prepared: bool = False
    """It has the size that the variant named by the request takes, and is run as it is."""


Source = bytes | Pixels
"""An encoded image, or its pixels."""


@dataclass(frozen=True, slots=True)
class Question:
    """What a request wants of the router, apart from the image."""

    deadline: Deadline
    mode: Mode = Mode.BEST_EFFORT
    variant: str | None = None
    """Exactly this variant; the budget then only orders the queue and judges the answer."""
    min_top1: float | None = None
    """The cheapest variant whose expected top-1 is at least this."""
    explain: bool = False
    """Whether the decision lists every candidate with its verdict."""
    policy: PolicyName = PolicyName.K1

    @property
    def insurable(self) -> bool:
        """Whether a better answer may follow another at all: never where only one variant will do."""
        return self.variant is None and self.min_top1 is None

    @property
    def insures(self) -> bool:
        """Whether it asks for an answer to be kept in hand while a better one is tried."""
        return self.policy.insures and self.insurable

    @property
    def cascades(self) -> bool:
        """Whether the answer kept is bettered only if it is among the least confident, and then averaged with that."""
        return self.policy is PolicyName.P3 and self.insures


@dataclass(frozen=True, slots=True)
class Job:
    """One admitted request, as the queue and the lanes know it."""

    id: int
    question: Question
    decode_s: float
    """Expected decode time for this image, from its header."""
    image_format: str = "JPEG"
    """The format that expectation is for."""
    terminated: Variant | None = None
    """What ran when the job had to make room for a more urgent one. It happens once; the cheapest variant runs next."""
    in_hand: Variant | None = None
    """What has answered already; the answer is kept while something better is tried (`Decision.insured`)."""
    confidence: float = 0.0
    """How sure the first answer is."""
    upgraded: bool = False
    """Whether the answer in hand is a better one than the first."""
    named: Variant | None = None
    """What `Question.variant` meant when the request came. It answers even if it is no longer served by then."""
    submitted_s: float = field(default=0.0, compare=False)
    """When it came to the queue."""


def urgency(job: Job) -> tuple[float, int]:
    """Earliest deadline first; equal deadlines in order of arrival."""
    return job.question.deadline.at_s, job.id


class Verdict(StrEnum):
    """Why a variant was or was not chosen. One row per candidate in an explained decision."""

    CHOSEN = "chosen"
    TOO_SLOW = "too_slow"
    """Its tail latency does not fit what is left of the budget."""
    WOULD_STARVE_WAITING = "would_starve_waiting"
    """It fits, but requests that wait or are expected would then miss their deadlines."""
    TERMINATED = "terminated"
    """A run of this request was terminated for a more urgent one; only the cheapest is left to it."""
    MAY_FOLLOW = "may_follow"
    """It fits, and may be tried once the cheapest has answered."""
    LITTLE_SPARE_TIME = "little_spare_time"
    """It fits, but the time that others leave over is expected to be too short."""
    LESS_ACCURATE = "less_accurate"
    """It fits, and a more accurate variant fits too."""
    DOMINATED = "dominated"
    """Another variant is at least as accurate and at most as slow."""
    NO_QUICKER = "no_quicker"
    """It was made from another variant to be quicker, and on this machine is not, by a twentieth at least."""
    OUTDATED = "outdated"
    """It is ranked above the variant that it was made from: they were compared before that one's accuracy was measured
    anew."""
    BELOW_MIN_ACCURACY = "below_min_accuracy"
    COSTLIER = "costlier"
    """It reaches the wanted accuracy, and a cheaper variant does too."""
    NOT_RESIDENT = "not_resident"
    """It is not in memory: others are worth more within `store.memory_limit_mib`."""
    UNTRAINED = "untrained"
    """Seeded weights, and the operator did not ask to route to them."""
    UNKNOWN_ACCURACY = "unknown_accuracy"
    NOT_ASKED_FOR = "not_asked_for"
    """The request named another variant."""


class Reason(StrEnum):
    """Why the chosen variant was chosen."""

    MOST_ACCURATE_THAT_FITS = "most_accurate_that_fits"
    NAMED_BY_REQUEST = "named_by_request"
    CHEAPEST_AT_MIN_ACCURACY = "cheapest_at_min_accuracy"
    PROTECTS_WAITING = "protects_waiting"
    """A more accurate one would fit this budget but make a request that waits or is expected miss its deadline."""
    INSURES = "insures"
    """The cheapest answers first, for certain; upgrades may follow."""
    INSURES_UNDER_LOAD = "insures_under_load"
    """The same, unasked: too many requests were lost lately for want of a lane."""
    UPGRADES = "upgrades"
    """An answer was in hand, and there was time for a better one."""
    CASCADES = "cascades"
    """The answer in hand was among the least confident; a better variant was run, and their answers were averaged."""
    CONFIDENT = "confident"
    """The cheapest is sure enough: what time there is for upgrades goes to others."""
    CHEAPEST_NONE_FITS = "cheapest_none_fits"
    """Best effort: nothing fits, so the cheapest answers as soon as it can."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """One variant with what it would cost this image now."""

    variant: Variant
    expected_s: float
    """Mean decode + inference time."""
    tail_s: float
    """Upper quantile of decode + inference time: what has to fit."""
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class Decision:
    """The chosen variant, what it is expected to cost, and why."""

    variant: Variant
    reason: Reason
    decided_at_s: float
    remaining_s: float
    """Budget left at the moment of the decision, after the reserve for the response."""
    expected_s: float
    tail_s: float
    fits: bool
    """Whether the tail latency fits what is left."""
    candidates: tuple[Candidate, ...] = ()
    """Every variant, when the question asked for an explanation: making the list costs more than deciding."""
    terminated: Variant | None = None
    """What ran for this request before and had to make room for a more urgent one."""
    insured: bool = False
    """Whether the answer is kept in hand while a better one is tried."""

    def __post_init__(self) -> None:
        if not (math.isfinite(self.expected_s) and math.isfinite(self.tail_s)):
            raise ValueError(f"non-finite prediction for {self.variant.name}")


@dataclass(frozen=True, slots=True)
class Timing:
    """Where the time of one request went, in seconds. The stages add up to `total_s`."""

    receive_s: float
    """First byte to admission: reading the body, checking the header."""
    queue_s: float
    decode_s: float
    inference_s: float
    respond_s: float
    """Hand-over from the lane, top-k, building the response."""
    hold_s: float = 0.0
    """An answer was in hand and kept, while a better one was tried in vain."""

    @property
    def total_s(self) -> float:
        """First byte to response handed over."""
        return self.receive_s + self.queue_s + self.decode_s + self.inference_s + self.hold_s + self.respond_s
