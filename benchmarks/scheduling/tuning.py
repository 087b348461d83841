"""Finds a rule's parameters on training requests: the highest effective accuracy.

One parameter after the other takes the best of its values while the others stay; that is repeated until nothing
changes, twice at most. Of equals the first is kept.
"""

from collections.abc import Callable
from itertools import product

from benchmarks.scheduling.contest import Choice, Space

ROUNDS = 2

Judge = Callable[[Choice], float]
"""Effective accuracy on the training requests."""


def tuned(space: Space, judge: Judge) -> Choice:
    """The best that was found; without asking when there is nothing to choose."""
    known: dict[tuple[str, tuple[tuple[str, float], ...]], float] = {}

    def worth(choice: Choice) -> float:
        key = (choice.rule, tuple(sorted(choice.parameters.items())))
        if key not in known:
            known[key] = judge(choice)
        return known[key]

    if len(space.rules) == 1 and not space.grid:
        return Choice(space.rules[0], space.start)
    best = max((Choice(rule, space.start) for rule in space.rules), key=worth)
    for _, (name, values) in product(range(ROUNDS), space.grid.items()):
        candidates = [best, *(Choice(best.rule, {**best.parameters, name: value}) for value in values)]
        best = max(candidates, key=worth)
    return best
