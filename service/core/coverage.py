"""Does the tail hold what it promises? Misses feed back: to the rate asked of the pooled window, and to one variant.

A window of past ratios covers as many future ones as it should only while the two are alike. Adaptive conformal
inference (Gibbs & Candès, NeurIPS 2021, arXiv 2106.00170) needs no such assumption: each miss asks for fewer, each run
within its bound for a few more, so the long-run share is the wanted one whatever the machine does. It is a promise
over all runs together; a variant that is noisier than the others misses more often than its share. One whose own
recent runs say so gets its bound stretched by their own quantile.
"""

from collections import deque

from service.core.quantile import SlidingQuantile

STEP = 0.005
"""How far one miss moves the rate asked for, times the excess."""
RATE_CLIP = (0.1, 5.0)
"""Times the wanted miss rate: what may be asked for, 0.1 % to 5 % for 1 %."""
RECENT = 200
"""Runs of one variant that its own coverage is taken over."""
TOLERATED = 3.0
"""Times the wanted miss rate: a variant that misses more often, 3 % for 1 %, is corrected."""


class Guard:
    """The miss rate to ask of the window, so that the wanted one comes out."""

    def __init__(self, wanted: float) -> None:
        self._wanted = wanted
        self.miss_rate = wanted

    def observe(self, *, missed: bool) -> None:
        """Learn whether one run kept its bound."""
        moved = self.miss_rate + STEP * (self._wanted - missed)
        self.miss_rate = min(max(moved, RATE_CLIP[0] * self._wanted), min(RATE_CLIP[1] * self._wanted, 0.5))


class OwnTail:
    """The last runs of one variant, beside the bound that all variants share."""

    def __init__(self, wanted: float) -> None:
        self._wanted = wanted
        self._scores = SlidingQuantile(RECENT)
        """Runs ÷ the shared bound."""
        self._missed: deque[bool] = deque(maxlen=RECENT)
        self.correction = 1.0
        """Factor on the shared bound."""

    def observe(self, score: float, *, missed: bool) -> None:
        """Learn from one run: how it compares with the shared bound, and whether it missed the one it had."""
        self._missed.append(missed)
        self._scores.add(score)
        own = self._scores.upper(self._wanted)
        often = self._scores.above(1.0) > TOLERATED * self._wanted * len(self._scores)
        self.correction = max(own, 1.0) if often and own is not None else 1.0

    def coverage(self) -> float | None:
        """Share of the recent runs that kept the bound they had; None before the first."""
        return 1 - sum(self._missed) / len(self._missed) if self._missed else None
