"""How much of something happened lately, and how evenly."""

from collections import deque

CALM_WINDOW_S = 10.0
"""Arrivals are counted over the last second and over this longer time, of which the larger rate counts: a lull in
bursty traffic is no calm."""
GAPS = 128
"""Gaps between arrivals that their variation is taken over."""
FEWEST = 16
"""With fewer nothing is known of it."""
LEAST_S = 1e-9
"""Of a mean gap that says something."""
VARIATION_CLIP = (0.5, 8.0)


class Window:
    """A sum over the last `length_s` seconds."""

    def __init__(self, length_s: float) -> None:
        self._length_s = length_s
        self._amounts: deque[tuple[float, float]] = deque()
        self._sum = 0.0

    def add(self, now_s: float, amount: float) -> None:
        """Something of that size happened."""
        self._amounts.append((now_s, amount))
        self._sum += amount

    def total(self, now_s: float) -> float:
        """The sum."""
        return self._lately(now_s)

    def per_s(self, now_s: float) -> float:
        """The sum over the length of the window."""
        return self._lately(now_s) / self._length_s

    def others_per_s(self, now_s: float) -> float:
        """Of something of size 1, without one of them: whoever looks at arrivals has arrived, and a lone request is not
        to reserve time for itself."""
        return max(self._lately(now_s) - 1.0, 0.0) / self._length_s

    def _lately(self, now_s: float) -> float:
        while self._amounts and self._amounts[0][0] <= now_s - self._length_s:
            self._sum -= self._amounts.popleft()[1]
        return max(self._sum, 0.0)


class Gaps:
    """How evenly something happens: the squared coefficient of variation of the last gaps. 1 is a Poisson process.

    Gaps longer than `longest_s` are lulls and tell nothing about what comes after them.
    """

    def __init__(self, longest_s: float) -> None:
        self._longest_s = longest_s
        self._gaps: deque[float] = deque()
        self._sum_s = self._squares_s2 = 0.0
        self._last_s: float | None = None
        self.variation = 1.0
        """1 as long as too little is known."""

    def add(self, now_s: float) -> None:
        """It happened."""
        gap_s = None if self._last_s is None else now_s - self._last_s
        self._last_s = now_s
        if gap_s is None or gap_s > self._longest_s:
            return
        self._gaps.append(gap_s)
        gone_s = self._gaps.popleft() if len(self._gaps) > GAPS else 0.0
        # Sums that are kept up: a pass over all gaps took as long as a decision. What rounding leaves in them is far
        # below the least variation that counts.
        self._sum_s += gap_s - gone_s
        self._squares_s2 += gap_s**2 - gone_s**2
        mean_s = self._sum_s / len(self._gaps)
        if len(self._gaps) >= FEWEST and mean_s > LEAST_S:
            variation = self._squares_s2 / len(self._gaps) / mean_s**2 - 1
            self.variation = min(max(variation, VARIATION_CLIP[0]), VARIATION_CLIP[1])
