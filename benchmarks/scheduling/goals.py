"""The goals, judged by what was measured. Each says which cells it is about and names those that miss it."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from benchmarks.scheduling.cells import FULL_LOAD, MIXED
from benchmarks.scheduling.contest import K1, RIVALS, SAFE
from service.simulation.study import CellResult, Goal, Miss, PolicyResult

LIGHT = 0.5
"""Load up to which the bound is to be come near to."""
MANY_LANES = 8
NEAR = {2: (0.95, 0.99, 0.995), MANY_LANES: (0.97, 0.999, 0.9999)}
"""By lanes: share of the bound, attainment, and what the cheapest variant alone attains where that is asked."""
BETTER = {2: 0.01, MANY_LANES: 0.005}
"""By lanes: effective accuracy above the best baseline in the mean; the first is for fewer lanes, too."""
WON = 0.9
SAFETY = 0.003
GOODPUT = 0.97
EQUAL_ATTAINMENT = 0.015
"""Accuracy above a rival's, of K1 at a setting that attains no less."""
EQUAL_ACCURACY = 3.0
"""The rival's misses over those of K1 at a setting that is no less accurate."""
DECISION_US = 500.0
WASTED = 0.1


@dataclass(frozen=True, slots=True)
class Judged:
    """One cell's figure; whether it reaches the goal."""

    cell: CellResult
    value: float
    reached: bool
    note: str = ""


def judged(cells: Sequence[CellResult]) -> tuple[Goal, ...]:
    """All goals that are about simulated cells. Those about the estimator and the real server are judged elsewhere."""
    return (*_near(cells), *_ahead(cells), *_safe(cells), *_equal(cells), _goodput(cells), *_cost(cells))


def _near(cells: Sequence[CellResult]) -> Iterator[Goal]:
    """G1."""
    for lanes, (of_bound, attained, safe_attains) in NEAR.items():
        ours = [c for c in cells if c.cell.lanes == lanes and c.cell.budgets == MIXED and c.cell.load <= LIGHT]
        asks = f"mixed budgets, load ≤ {LIGHT:g}, {lanes} lanes"
        yield _worst(
            f"G1 bound, {lanes} lanes", f"{asks}: effective accuracy over the bound", of_bound, "%",
            [_least(cell, _k1(cell).of_bound, of_bound) for cell in ours],
        )  # fmt: skip
        easy = [cell for cell in ours if _safe_result(cell).attainment.value >= safe_attains]
        yield _worst(
            f"G1 attainment, {lanes} lanes",
            f"{asks}: attainment, where the cheapest variant alone has {safe_attains:.2%}", attained, "%",
            [_least(cell, _k1(cell).attainment.value, attained) for cell in easy],
        )  # fmt: skip


def _ahead(cells: Sequence[CellResult]) -> Iterator[Goal]:
    """G2, against the baseline that turned out best in each cell."""
    for lanes, better in BETTER.items():
        ours = [cell for cell in cells if (cell.cell.lanes == MANY_LANES) == (lanes == MANY_LANES)]
        which = f"{lanes} lanes" if lanes == MANY_LANES else f"{lanes} lanes and fewer"
        gains = [cell.best_baseline().k1_effective.value for cell in ours]
        mean = sum(gains) / len(gains) if gains else None
        yield Goal(
            f"G2 effective accuracy, {which}", "ahead of the best tuned baseline of each cell, mean over cells", mean,
            better, "points", len(ours), mean is not None and mean >= better,
        )  # fmt: skip
    attained = [_not_lower(cell, cell.best_baseline().k1_attainment.high) for cell in cells]
    yield _worst("G2 attainment", "not lower than the best baseline's: upper end of the paired interval", 0.0, "points",
                 attained)  # fmt: skip
    yield _won(cells)


def _won(cells: Sequence[CellResult]) -> Goal:
    """Not significantly worse in either."""
    misses = []
    for cell in cells:
        best = cell.best_baseline()
        worse = min(best.k1_effective.high, best.k1_attainment.high)
        if worse < 0:
            figures = f"effective {_points(best.k1_effective.value)}, attainment {_points(best.k1_attainment.value)}"
            misses.append(Miss(str(cell.cell), worse, 0.0, f"against {best.policy}: {figures}"))
    share = 1 - len(misses) / len(cells) if cells else None
    asks = "share of cells in which neither is significantly lower than the best baseline's"
    return Goal("G2 won or tied", asks, share, WON, "%", len(cells), share is not None and share >= WON, tuple(misses))


def _safe(cells: Sequence[CellResult]) -> Iterator[Goal]:
    """G3."""
    yield _worst(
        "G3 safety", "K1's attainment less that of the cheapest variant alone", -SAFETY, "points",
        [_least(cell, _safe_result(cell).k1_attainment.value, -SAFETY) for cell in cells],
    )  # fmt: skip
    insured = [(cell, result) for cell in cells if (result := cell.of("p2"))]
    yield _worst(
        "G3 safety, P2", "P2's attainment less that of the cheapest variant alone", 0.0, "points",
        [
            _least(cell, round(result.attainment.value - _safe_result(cell).attainment.value, 6), 0.0)
            for cell, result in insured
        ],
    )  # fmt: skip


def _equal(cells: Sequence[CellResult]) -> Iterator[Goal]:
    """G4, of which either half is enough: K1 from careful to reckless beside a rival at its best.

    Of K1 the setting that does best in the cell counts, with hindsight; cells where none reaches the rival's level are
    not among those told.
    """
    for rival in RIVALS:
        pairs = [(_family(cell), found) for cell in cells if cell.cell.load <= FULL_LOAD and (found := cell.of(rival))]
        gains = [gain for ours, theirs in pairs if (gain := _gain(ours, theirs)) is not None]
        mean = sum(gains) / len(gains) if gains else None
        yield Goal(
            f"G4 accuracy, {rival}",
            f"accuracy above the rival's at no less attainment, at K1's best setting for the cell, where one does "
            f"(of {len(pairs)} cells)",
            mean, EQUAL_ATTAINMENT, "points", len(gains), mean is not None and mean >= EQUAL_ATTAINMENT,
        )  # fmt: skip
        misses = [missed for ours, theirs in pairs if (missed := _misses(ours, theirs)) is not None]
        most, least = sum(theirs for _, theirs in misses), sum(ours for ours, _ in misses)
        reached = bool(misses) and most >= EQUAL_ACCURACY * least
        yield Goal(
            f"G4 misses, {rival}",
            f"the rival's misses over K1's at no less accuracy, likewise, where one is as accurate "
            f"(of {len(pairs)} cells)",
            most / least if least else None, EQUAL_ACCURACY, "times", len(misses), reached,
        )  # fmt: skip


def _family(cell: CellResult) -> list[PolicyResult]:
    return [_k1(cell), *cell.swept]


def _gain(ours: Sequence[PolicyResult], theirs: PolicyResult) -> float | None:
    """None where no setting of K1 attains as much, or nothing was in time."""
    able = [
        one.accuracy for one in ours if one.attainment.value >= theirs.attainment.value and one.accuracy is not None
    ]
    return None if theirs.accuracy is None or not able else max(able) - theirs.accuracy


def _misses(ours: Sequence[PolicyResult], theirs: PolicyResult) -> tuple[float, float] | None:
    """K1's and the rival's; None where no setting of K1 is as accurate."""
    if theirs.accuracy is None:
        return None
    able = [1 - one.attainment.value for one in ours if one.accuracy is not None and one.accuracy >= theirs.accuracy]
    return (min(able), 1 - theirs.attainment.value) if able else None


def _goodput(cells: Sequence[CellResult]) -> Goal:
    """G5."""
    overloaded = [cell for cell in cells if cell.cell.load > FULL_LOAD]
    return _worst(
        "G5 goodput", "load above 1: answers in time, over those of the cheapest variant alone", GOODPUT, "%",
        [
            _least(cell, _k1(cell).attainment.value / _safe_result(cell).attainment.value, GOODPUT)
            for cell in overloaded
        ],
    )  # fmt: skip


def _cost(cells: Sequence[CellResult]) -> Iterator[Goal]:
    """G7."""
    for name, policy in (("G7 decision", K1), ("G7 decision, P2", "p2")):
        yield _worst(
            name, "p99 of the processor time of one event", DECISION_US, "µs",
            [_most(cell, ours.decision_us_p99, DECISION_US) for cell in cells if (ours := cell.of(policy))], worst=max,
        )  # fmt: skip
    yield _worst(
        "G7 waste", "lane time that went into terminated runs", WASTED, "%",
        [_most(cell, _k1(cell).wasted, WASTED) for cell in cells], worst=max,
    )  # fmt: skip


def _worst(
    name: str,
    asks: str,
    limit: float,
    unit: str,
    figures: Sequence[Judged],
    *,
    worst: Callable[[Iterable[float]], float] = min,
) -> Goal:
    """A goal that every cell has to reach."""
    value = worst(one.value for one in figures) if figures else None
    misses = tuple(Miss(str(one.cell.cell), one.value, limit, one.note) for one in figures if not one.reached)
    return Goal(name, asks, value, limit, unit, len(figures), bool(figures) and not misses, misses)


def _least(cell: CellResult, value: float, limit: float) -> Judged:
    return Judged(cell, value, value >= limit)


def _most(cell: CellResult, value: float, limit: float) -> Judged:
    return Judged(cell, value, value < limit)


def _not_lower(cell: CellResult, high: float) -> Judged:
    best = cell.best_baseline()
    return Judged(cell, high, high >= 0, f"against {best.policy}: {_points(best.k1_attainment.value)}")


def _points(value: float) -> str:
    return f"{value * 100:+.2f}".replace("-", "−")


def _k1(cell: CellResult) -> PolicyResult:
    return _of(cell, K1)


def _safe_result(cell: CellResult) -> PolicyResult:
    return _of(cell, SAFE)


def _of(cell: CellResult, policy: str) -> PolicyResult:
    found = cell.of(policy)
    if found is None:
        raise ValueError(f"{policy} did not take part in {cell.cell}")
    return found
