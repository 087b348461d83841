"""When has everybody gone who may still use something that was taken away?

Read-copy-update (McKenney & Slingwine 1998): what is served is replaced as a whole, in one step. Whoever came before
may go on with what was there; whoever comes later cannot get at it. So it is enough to count, by period, who is inside,
and nobody has to say what he uses.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

Then = Callable[[], object]


class Grace:
    """Belongs to one thread."""

    def __init__(self) -> None:
        self._period = 0
        self._inside: dict[int, int] = {}
        """How many who came in a period are still there."""
        self._waiting: list[tuple[int, Then]] = []

    def __repr__(self) -> str:
        return f"<Grace inside={sum(self._inside.values())} waiting={len(self._waiting)}>"

    def enter(self) -> int:
        """Somebody comes; to be told to `leave`."""
        self._inside[self._period] = self._inside.get(self._period, 0) + 1
        return self._period

    def leave(self, period: int) -> None:
        """And goes."""
        self._inside[period] -= 1
        if not self._inside[period]:
            del self._inside[period]
            self._settle()

    @contextmanager
    def inside(self) -> Iterator[None]:
        """Somebody is there for so long."""
        period = self.enter()
        try:
            yield
        finally:
            self.leave(period)

    def when_gone(self, then: Then) -> None:
        """Call `then` when nobody is left of those who are there now: at once if nobody is."""
        self._waiting.append((self._period, then))
        self._period += 1
        self._settle()

    def _settle(self) -> None:
        oldest = min(self._inside, default=self._period)
        due = [then for period, then in self._waiting if period < oldest]
        self._waiting = [one for one in self._waiting if one[0] >= oldest]
        for then in due:
            then()
