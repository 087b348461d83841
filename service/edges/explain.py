"""The sentence that says why a variant was chosen; the same on both protocols and in `/plan`."""

from service.core.values import Decision, Mode, Reason

_SENTENCES = {
    Reason.MOST_ACCURATE_THAT_FITS: "{name} is the most accurate variant whose tail latency, {tail:.1f} ms, "
    "fits {left}",
    Reason.NAMED_BY_REQUEST: "the request named {name}",
    Reason.CHEAPEST_AT_MIN_ACCURACY: "{name} is the cheapest variant with the accuracy asked for",
    Reason.PROTECTS_WAITING: "{name} leaves the requests that wait or are expected feasible; a more accurate variant "
    "would fit this budget, but not theirs",
    Reason.INSURES: "{name} is the cheapest and answers first; better ones follow only in time that nobody else needs",
    Reason.INSURES_UNDER_LOAD: "lately too many were refused or answered late, so {name}, the cheapest, answers first; "
    "better ones follow only in time that nobody else needs",
    Reason.UPGRADES: "{name} is more accurate than the answer in hand and fits {left}",
    Reason.CASCADES: "the first answer was among the least confident; {name} is more accurate, fits {left}, "
    "and was averaged with it",
    Reason.CONFIDENT: "{name} is the cheapest and sure enough; what time there is for better ones goes to others",
    Reason.CHEAPEST_NONE_FITS: "no variant fits {left}; {name} is the cheapest",
}

LEAST_SHOWN_MS = 0.05
"""What rounds to less than a tenth is nothing."""


def why(decision: Decision) -> str:
    """One sentence without a full stop."""
    left = _left(decision.remaining_s * 1e3)
    sentence = _SENTENCES[decision.reason].format(name=decision.variant.name, tail=decision.tail_s * 1e3, left=left)
    misses = not decision.fits and decision.reason is not Reason.CHEAPEST_NONE_FITS
    late = f"; its tail latency, {decision.tail_s * 1e3:.1f} ms, does not fit {left}"
    before = "" if decision.terminated is None else f"; {decision.terminated.name} had to make room before"
    return sentence + (late if misses else "") + before


def _left(left_ms: float) -> str:
    """What a variant fits or does not; who reads of 0.0 ms takes it for a time that something could take."""
    return f"the {left_ms:.1f} ms left" if left_ms >= LEAST_SHOWN_MS else "a budget of which nothing is left"


def refused(mode: Mode, decision: Decision) -> bool:
    """Whether a real request would be refused rather than answered late."""
    return mode is Mode.STRICT and not decision.fits
