"""Order statistics of the last so many samples."""

import bisect
import math
from collections import deque
from collections.abc import Iterable


class SlidingQuantile:
    """The last `size` samples with their order statistics and mean. O(log n) search, O(n) move, n ≤ 600."""

    def __init__(self, size: int, samples: Iterable[float] = ()) -> None:
        self._recent: deque[float] = deque()
        self._sorted: list[float] = []
        self._sum = 0.0
        self._size = size
        for sample in samples:
            self.add(sample)

    def __len__(self) -> int:
        return len(self._recent)

    def add(self, sample: float) -> None:
        """Take in one sample and forget the oldest beyond `size`."""
        self._recent.append(sample)
        bisect.insort(self._sorted, sample)
        self._sum += sample
        if len(self._recent) > self._size:
            self.drop_oldest()

    def drop_oldest(self) -> None:
        """Forget one sample. Raises `IndexError` when empty."""
        self._sum -= self._sorted.pop(bisect.bisect_left(self._sorted, self._recent.popleft()))

    def mean(self) -> float:
        """Arithmetic mean, but for rounding. Raises `ZeroDivisionError` when empty."""
        # Adding all of them up after each run would walk through 600 numbers that are in no cache by then.
        return self._sum / len(self._sorted)

    def above(self, limit: float) -> int:
        """How many samples exceed `limit`."""
        return len(self._sorted) - bisect.bisect_right(self._sorted, limit)

    def upper(self, miss_rate: float) -> float | None:
        """The conformal bound: order statistic ⌈(n+1)(1−miss_rate)⌉; None while n is too small for it to exist."""
        rank = math.ceil((len(self._sorted) + 1) * (1 - miss_rate))
        return self._sorted[rank - 1] if rank <= len(self._sorted) else None

    def largest(self, default: float) -> float:
        """The largest sample, or `default` when there is none."""
        return self._sorted[-1] if self._sorted else default
