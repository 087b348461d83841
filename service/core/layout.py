"""What cores are spent on: how many lanes, and how many threads for each run.

With one thread a run there are as many lanes as cores, which carries the most and makes nobody wait for a lane that
could be had. Several threads make one run quicker, and all of them together somewhat slower. That is worth it for one
thing: budgets that the cheapest variant would miss even with nobody before it. Where it fits, more lanes are worth more
than quicker ones. So the rule is the fewest threads with which it fits the default budget; where it fits with no number
of them, the number with which it is quickest.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

ROOM = 1.5
"""Usual times of the cheapest variant that a budget must hold. A p99 is about 1.3 usual times; the rest is for what
lies around a run."""


@dataclass(frozen=True, slots=True)
class Layout:
    """Lanes times threads is at most the number of cores, unless somebody wants it otherwise."""

    lanes: int
    threads: int
    """Of one run."""

    def __str__(self) -> str:
        return f"{_counted(self.lanes, 'lane')} of {_counted(self.threads, 'thread')}"


@dataclass(frozen=True, slots=True)
class Timed:
    """A layout with what the cheapest variant takes on it."""

    layout: Layout
    usual_s: float
    """Decoding and inference with all lanes at work, in seconds, where nothing else takes the cores."""


@dataclass(frozen=True, slots=True)
class Choice:
    """A layout and the reason for it, which the service tells of itself."""

    layout: Layout
    why: str


def layouts(cores: int) -> list[Layout]:
    """Those that use every core, fewest threads first."""
    return [Layout(cores // threads, threads) for threads in range(1, cores + 1) if cores % threads == 0]


def choose(timed: Iterable[Timed], variant: str, budget_s: float) -> Choice:
    """By the rule above. `timed` comes with the fewest threads first; no more of it is taken than is needed.

    `variant` is the name of the cheapest. Raises `ValueError` when there is no layout.
    """
    slow: list[Timed] = []
    for one in timed:
        if one.usual_s * ROOM <= budget_s:
            return Choice(
                one.layout, f"{_story(variant, [*slow, one])}, which fits the default budget of {_ms(budget_s)}"
            )
        slow.append(one)
    quickest = min(slow, key=lambda one: one.usual_s)
    return Choice(quickest.layout, f"{_story(variant, slow)}; none of it fits the default budget of {_ms(budget_s)}")


def _story(variant: str, tried: Sequence[Timed]) -> str:
    """What was measured, in the order it was."""
    return f"{variant} takes {', '.join(f'{_ms(one.usual_s)} on {one.layout}' for one in tried)}"


def _ms(seconds: float) -> str:
    return f"{seconds * 1e3:.3g} ms"


def _counted(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
