"""How much of something happened lately."""

from collections import deque


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

    def per_s(self, now_s: float) -> float:
        """The sum over the length of the window."""
        while self._amounts and self._amounts[0][0] <= now_s - self._length_s:
            self._sum -= self._amounts.popleft()[1]
        return max(self._sum, 0.0) / self._length_s
