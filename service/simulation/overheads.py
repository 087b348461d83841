"""What a request takes beside its run: measured by a log of runs, drawn for each request of a simulation.

The server's budget clock runs from the first byte to the answer, a lane works for a part of that. The rest is the way
in, the hand-over between the event loop and the lane's thread, and the way out. With few cores it is not constant: the
event loop then competes with the lanes for them.
"""

import csv
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from service.evaluation.measures import Floats
from service.simulation.errors import SimulationError

COLUMNS = ("receive_s", "dispatch_s", "respond_s")
"""Of a log that tells of it."""


@dataclass(frozen=True, slots=True)
class Overheads:
    """In truth, in seconds."""

    receive_s: Floats
    """By request: from its first byte to its admission."""
    dispatch_s: float
    """Time that each run keeps its lane beside running."""
    respond_s: Floats
    """By request: from the end of that to the answer."""


DrawOverheads = Callable[[int, np.random.Generator], Overheads]
"""For so many requests."""


def measured(path: Path) -> DrawOverheads | None:
    """Those of a CSV log of runs, with as many lanes busy as there are; None where it tells of none.

    Both parts of one request come from one row: a crowded moment delays both. Raises `SimulationError`, `OSError`.
    """
    if path.suffix == ".json":
        return None
    with path.open(newline="", encoding="utf-8") as file:
        rows = csv.DictReader(file)
        if not set(COLUMNS) <= set(rows.fieldnames or ()):
            return None
        try:
            table = np.array([[float(row[name]) for name in ("busy", *COLUMNS)] for row in rows])
        except ValueError as error:
            raise SimulationError(f"{path} line {rows.line_num}: {error}") from error
    return None if not len(table) else _bootstrap(table[table[:, 0] == table[:, 0].max(), 1:])


def _bootstrap(table: Floats) -> DrawOverheads:
    receive_s, dispatch_s, respond_s = table.T

    def draw(count: int, chance: np.random.Generator) -> Overheads:
        chosen = chance.integers(len(table), size=count)
        return Overheads(receive_s[chosen], float(dispatch_s.mean()), respond_s[chosen])

    return draw
