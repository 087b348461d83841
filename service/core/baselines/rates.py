"""How many requests come in a second? The two estimators that published control loops use.

Reading changes nothing, so a decision can be asked for at any time.
"""

import math
from bisect import bisect_right
from collections import deque
from dataclasses import dataclass
from typing import Protocol


class Arrivals(Protocol):
    """Sees every arrival, knows the rate."""

    def tell(self, now_s: float, job_id: int) -> None:
        """A job arrived. Told twice in a row of the same job, it arrived once."""

    def per_s(self, now_s: float) -> float:
        """The present estimate."""


class Window:
    """Arrivals within the last `window_s`, divided by it. Zero before the first one."""

    def __init__(self, window_s: float) -> None:
        self._window_s = window_s
        self._seen_s: deque[float] = deque()
        self._last_id: int | None = None

    def tell(self, now_s: float, job_id: int) -> None:
        """One more; forgets those that no reading can count any more."""
        if job_id == self._last_id:
            return
        self._last_id = job_id
        self._seen_s.append(now_s)
        while self._seen_s[0] <= now_s - self._window_s:
            self._seen_s.popleft()

    def per_s(self, now_s: float) -> float:
        """Count divided by window."""
        gone = bisect_right(self._seen_s, now_s - self._window_s)
        return (len(self._seen_s) - gone) / self._window_s


@dataclass(frozen=True, slots=True)
class _Count:
    """A period under way, and what the ended ones say."""

    since_s: float
    arrivals: int
    per_s: float
    """Smoothed over the ended periods; infinite while none has ended."""


class Periods:
    """Arrivals counted period by period and smoothed exponentially; the present period does not count yet.

    `com` is the centre of mass of the weights, which gives the newest period the weight 1/(1+com): 0 forgets all but
    the last period. Infinite until one has ended: a demand that nobody has measured is met by the cheapest variant.
    """

    def __init__(self, period_s: float, com: float = 0.0) -> None:
        self._period_s = period_s
        self._weight = 1 / (1 + com)
        self._count: _Count | None = None
        self._last_id: int | None = None

    def tell(self, now_s: float, job_id: int) -> None:
        """The first arrival starts the first period."""
        if job_id == self._last_id:
            return
        self._last_id = job_id
        count = self._at(now_s)
        self._count = _Count(count.since_s, count.arrivals + 1, count.per_s)

    def per_s(self, now_s: float) -> float:
        """The smoothed rate of the periods that have ended by now."""
        return self._at(now_s).per_s

    def _at(self, now_s: float) -> _Count:
        """The count with the periods closed that have ended: one with arrivals, and the empty ones after it."""
        if self._count is None:
            return _Count(now_s, 0, math.inf)
        ended = int((now_s - self._count.since_s) / self._period_s)
        if ended == 0:
            return self._count
        latest = self._count.arrivals / self._period_s
        before = latest if math.isinf(self._count.per_s) else self._count.per_s
        smoothed = (before + self._weight * (latest - before)) * (1 - self._weight) ** (ended - 1)
        return _Count(self._count.since_s + ended * self._period_s, 0, smoothed)
