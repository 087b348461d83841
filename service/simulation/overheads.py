"""What a request takes beside its run: measured by a log of runs, drawn for each request of a simulation.

The server's budget clock runs from the first byte to the answer, a lane works for a part of that. The rest is the way
in, the hand-over between the event loop and the lane's thread, and the way out. With few cores it is not constant: the
event loop then competes with the lanes for them. So each request that comes makes whatever runs take longer; recorded
runs contain what came while they were recorded, and those of a simulation what comes there.
"""

import csv
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from service.evaluation.measures import Floats
from service.simulation.errors import SimulationError

COLUMNS = ("receive_s", "dispatch_s", "respond_s")
"""Of a log that tells of it."""
ARRIVALS = ("arrival_s", "per_s")
"""Of one that also tells what a run takes longer for each request that comes, and how many came."""


@dataclass(frozen=True, slots=True)
class Overheads:
    """In truth, in seconds."""

    receive_s: Floats
    """By request: from its first byte to its admission."""
    dispatch_s: float
    """Time that each run keeps its lane beside running."""
    respond_s: Floats
    """By request: from the end of that to the answer."""
    arrival_s: float = 0.0
    """What a run takes longer for each request that comes meanwhile."""
    per_s: Mapping[int, float] = field(default_factory=dict)
    """Requests a second that came while runs were recorded, by how many lanes were busy."""

    def longer_s(self, seconds: float, busy: int, *, coming: int) -> float:
        """What a recorded run of `seconds` takes longer when so many requests come meanwhile; below 0 for fewer than
        came when it was recorded."""
        levels = [level for level in self.per_s if level <= busy]
        return self.arrival_s * (coming - self.per_s[max(levels)] * seconds) if levels else 0.0

    def least_s(self, seconds: float) -> float:
        """What it takes when none comes."""
        return seconds * (1 - self.arrival_s * max(self.per_s.values(), default=0.0))


DrawOverheads = Callable[[int, np.random.Generator], Overheads]
"""For so many requests."""


def measured(path: Path) -> DrawOverheads | None:
    """Those of a CSV log of runs, with as many lanes busy as there are; None where it tells of none.

    Both parts of one request come from one row: a crowded moment delays both. Columns of `ARRIVALS` that are missing
    count as zeros. Raises `SimulationError`, `OSError`.
    """
    if path.suffix == ".json":
        return None
    with path.open(newline="", encoding="utf-8-sig") as file:
        rows = csv.DictReader(file)
        if not set(COLUMNS) <= set(rows.fieldnames or ()):
            return None
        try:
            table = np.array([[float(row.get(name, 0)) for name in ("busy", *COLUMNS, *ARRIVALS)] for row in rows])
        except (ValueError, TypeError) as error:
            raise SimulationError(f"{path} line {rows.line_num}: {error}") from error
    return None if not len(table) else _bootstrap(table)


def _bootstrap(table: Floats) -> DrawOverheads:
    busy = table[:, 0]
    crowded = table[busy == busy.max()]
    receive_s, dispatch_s, respond_s, arrival_s = crowded[:, 1:5].T
    per_s = {int(level): float(table[busy == level, 5].mean()) for level in np.unique(busy)}

    def draw(count: int, chance: np.random.Generator) -> Overheads:
        chosen = chance.integers(len(crowded), size=count)
        means_s = float(dispatch_s.mean()), float(arrival_s.mean())
        return Overheads(receive_s[chosen], means_s[0], respond_s[chosen], means_s[1], per_s)

    return draw
