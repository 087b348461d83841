"""How sure first answers were lately, and how unsure one must be to be worth an upgrade.

Confidence is the probability of the most probable class, logits divided by the variant's temperature (Guo et al., arXiv
1706.04599). Its scale does not matter here, only its order: of the last answers, as large a share is upgraded as there
is time for, the least confident first (Wang et al., "Wisdom of Committees", arXiv 2012.01988, with a threshold that
follows the load).
"""

import math
from collections import deque
from collections.abc import Iterable, Sequence

WINDOW = 200
"""First answers whose confidence is kept: enough for a share in steps of half a percent, seconds under load."""

ENOUGH = 20
"""With fewer nothing is known of how they lie."""


class Confidences:
    """The last ones. Those that an evaluation found stand in until requests have been seen."""

    def __init__(self, evaluated: Iterable[float] = ()) -> None:
        self._recent = deque(evaluated, maxlen=WINDOW)
        self.ordered = tuple(sorted(self._recent))
        """Ascending."""

    def add(self, confidence: float) -> None:
        """Of one first answer."""
        self._recent.append(confidence)
        self.ordered = tuple(sorted(self._recent))


def threshold(ordered: Sequence[float], share: float) -> float:
    """The confidence at or below which the least confident `share` of the answers lies: F⁻¹(share), from below.

    Infinity when all shall be upgraded, or too little is known; minus infinity when none.
    """
    count = math.floor(share * len(ordered))
    if share >= 1 or len(ordered) < ENOUGH:
        return math.inf
    return ordered[count - 1] if count else -math.inf
