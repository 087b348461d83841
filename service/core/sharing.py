"""What background runs get of the lanes: whatever the foreground leaves over, in equal shares, one lane each at most.

One number says how far all of them are, the virtual time of processor sharing (Parekh & Gallager, 1993): each run has
got what was given out since it began. The scheduler predicts by it, and in the simulator runs end by it. On a machine
the kernel does the sharing, for threads of idle priority.
"""

import math


class SharedTime:
    """Of `lanes` lanes. What changes something is told the time, which never runs backwards."""

    def __init__(self, lanes: int) -> None:
        self._lanes = lanes
        self._busy = 0
        self._begun: dict[int, float] = {}
        """What had been given out when each run began."""
        self._given_s = 0.0
        self._as_of_s = 0.0

    def occupy(self, now_s: float, busy: int) -> None:
        """From now on the foreground takes `busy` lanes."""
        self._advance(now_s)
        self._busy = busy

    def begin(self, now_s: float, run: int) -> None:
        """One more shares."""
        self._advance(now_s)
        self._begun[run] = self._given_s

    def end(self, now_s: float, run: int) -> None:
        """One less."""
        self._advance(now_s)
        del self._begun[run]

    def got_s(self, now_s: float, run: int) -> float:
        """Lane time that a run has had."""
        return self._given_at_s(now_s) - self._begun[run]

    def reaches_s(self, run: int, seconds: float) -> float:
        """When a run will have had `seconds`, if nothing changes; infinity while the foreground takes all."""
        left_s = max(seconds - (self._given_s - self._begun[run]), 0.0)
        return self._as_of_s + left_s / self._rate if self._rate else math.inf

    def _advance(self, now_s: float) -> None:
        self._given_s, self._as_of_s = self._given_at_s(now_s), now_s

    def _given_at_s(self, now_s: float) -> float:
        return self._given_s + self._rate * (now_s - self._as_of_s)

    @property
    def _rate(self) -> float:
        return min(1.0, max(self._lanes - self._busy, 0) / len(self._begun)) if self._begun else 0.0
