"""How a run is asked to end early, between the event loop that asks and the lane's thread that heeds."""

from collections.abc import Callable


class Terminated(Exception):
    """A run ended early because it was asked to."""


class Stop:
    """Belongs to one run. Asked once, on any thread; whoever runs says how it can be told."""

    def __init__(self) -> None:
        self._asked = False
        self._tell: Callable[[], None] | None = None

    @property
    def asked(self) -> bool:
        """Whether the run shall end."""
        return self._asked

    def ask(self) -> None:
        """End the run. No effect once it has ended."""
        self._asked = True
        if self._tell is not None:
            self._tell()

    def heard_by(self, tell: Callable[[], None]) -> None:
        """From now on `tell` is called when the run shall end; at once when it shall already.

        Either side writes before it reads what the other wrote, so no request falls between the two.
        """
        self._tell = tell
        if self._asked:
            tell()

    def check(self) -> None:
        """Raise `Terminated` when the run shall end: between two steps of which neither can be interrupted."""
        if self._asked:
            raise Terminated
