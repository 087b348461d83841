"""The campaign's tables, for the terminal and for `docs/scheduling.md`."""

from collections.abc import Sequence

from benchmarks.report import Table
from benchmarks.scheduling.cells import FULL_LOAD
from benchmarks.scheduling.contest import K1, SAFE
from service.simulation.study import CellResult, Estimate, Goal, PolicyResult, Setting, Study

NONE = "–"
UNITS = {"%": (100.0, 2, " %"), "points": (100.0, 2, ""), "µs": (1.0, 0, " µs"), "times": (1.0, 2, "")}


def tables(study: Study) -> list[Table]:
    """In the order they are shown."""
    return [
        _goals_table(study.goals),
        _missed_table(study.goals),
        _cells_table(study.cells),
        _policies_table(study.cells),
        _overload_table(study.cells),
        _variants_table(study.setting),
        _grids_table(study.setting),
        _tuned_table(study.cells),
        _machine_table(study),
    ]


def _goals_table(goals: Sequence[Goal]) -> Table:
    rows = [
        (goal.name, goal.asks, _value(goal.limit, goal), _value(goal.value, goal), str(goal.cells), _verdict(goal))
        for goal in goals
    ]
    note = "Measured: of the worst cell, unless the goal is a mean or a share of cells."
    return Table("Goals", ("", "asked for", "limit", "measured", "cells", "reached"), rows, note)


def _verdict(goal: Goal) -> str:
    if goal.reached:
        return "yes"
    if goal.cells == 0:
        return "no such cell"
    return f"no, in {len(goal.misses)} cell{'' if len(goal.misses) == 1 else 's'}" if goal.misses else "no"


def _missed_table(goals: Sequence[Goal]) -> Table:
    rows = [
        (goal.name, miss.cell, _value(miss.value, goal) if goal.unit != "%" or not miss.note else _signed(miss.value),
         _by(miss.value, miss.limit, goal), miss.note)
        for goal in goals
        for miss in goal.misses
    ]  # fmt: skip
    return Table("Cells that miss a goal", ("", "cell", "measured", "by", ""), rows)


def _by(value: float, limit: float, goal: Goal) -> str:
    scale, digits, _ = UNITS[goal.unit]
    return f"{abs(value - limit) * scale:.{digits}f}"


def _cells_table(cells: Sequence[CellResult]) -> Table:
    headings = (
        "cell", "K1 attained %", "cheapest alone %", "K1 effective %", "of bound %", "best baseline", "its effective %",
        "K1 ahead, effective", "K1 ahead, attained", "K1 less P2, effective",
    )  # fmt: skip
    note = (
        "Best baseline: with hindsight, the one whose effective accuracy came out highest in that cell. Ahead: points, "
        "paired, with 95 % interval."
    )
    return Table("Cells", headings, [_cell_row(cell) for cell in cells], note)


def _cell_row(cell: CellResult) -> list[str]:
    ours, safe, insured, best = cell.of(K1), cell.of(SAFE), cell.of("p2"), cell.best_baseline()
    if ours is None or safe is None:
        raise ValueError(f"{K1} or {SAFE} did not take part in {cell.cell}")
    return [
        str(cell.cell), _percent(ours.attainment.value), _percent(safe.attainment.value),
        _percent(ours.effective.value), _percent(ours.of_bound), best.policy, _percent(best.effective.value),
        _difference(best.k1_effective), _difference(best.k1_attainment),
        NONE if insured is None else _difference(insured.k1_effective),
    ]  # fmt: skip


def _policies_table(cells: Sequence[CellResult]) -> Table:
    """Means over the cells that all took part in, below overload."""
    light = [cell for cell in cells if cell.cell.load <= FULL_LOAD]
    names = list(dict.fromkeys(result.policy for cell in light for result in cell.policies))
    rows = [_policy_row(name, [found for cell in light if (found := cell.of(name))]) for name in names]
    headings = (
        "policy", "cells", "attained %", "accuracy %", "effective %", "of bound %", "K1 ahead", "late %", "rejected %",
        "terminated %", "decision µs p50", "p99",
    )  # fmt: skip
    note = (
        "Means over all cells with a load below 1 that the policy took part in. K1 ahead: effective accuracy, points."
    )
    return Table("Policies", headings, rows, note)


def _policy_row(name: str, results: Sequence[PolicyResult]) -> list[str]:
    def mean(values: Sequence[float]) -> float:
        return sum(values) / len(values)

    return [
        name, str(len(results)),
        _percent(mean([one.attainment.value for one in results])),
        _percent(mean([one.accuracy for one in results if one.accuracy is not None])),
        _percent(mean([one.effective.value for one in results])),
        _percent(mean([one.of_bound for one in results])),
        NONE if name == K1 else _signed(mean([one.k1_effective.value for one in results])),
        _percent(mean([one.late for one in results])),
        _percent(mean([one.rejected for one in results])),
        _percent(mean([one.terminated for one in results])),
        f"{mean([one.decision_us_p50 for one in results]):.0f}",
        f"{max(one.decision_us_p99 for one in results):.0f}",
    ]  # fmt: skip


def _overload_table(cells: Sequence[CellResult]) -> Table:
    rows = []
    for cell in cells:
        ours, safe = cell.of(K1), cell.of(SAFE)
        if cell.cell.load > FULL_LOAD and ours is not None and safe is not None:
            rows.append(
                (
                    str(cell.cell), _percent(ours.attainment.value), _percent(safe.attainment.value),
                    _percent(ours.attainment.value / safe.attainment.value), _percent(ours.rejected),
                    _percent(ours.effective.value), _percent(safe.effective.value),
                )
            )  # fmt: skip
    headings = (
        "cell", "K1 in time %", "cheapest alone %", "goodput, K1 over it %", "K1 rejected %", "K1 effective %",
        "cheapest alone %",
    )  # fmt: skip
    return Table("Overload", headings, rows)


def _variants_table(setting: Setting) -> Table:
    rows = [(one.name, f"{one.top1 * 100:.1f}", f"{one.service_ms:.1f}") for one in setting.variants]
    note = f"Times: {setting.times}. Accuracies: {setting.accuracies}."
    return Table("Variants", ("", "top-1 %", "mean ms"), rows, note)


def _grids_table(setting: Setting) -> Table:
    rows = [
        (policy, name, ", ".join(f"{value:g}" if isinstance(value, float) else str(value) for value in values))
        for policy, grid in setting.grids.items()
        for name, values in grid.items()
    ]
    return Table("Grids", ("policy", "parameter", "values tried"), rows)


def _tuned_table(cells: Sequence[CellResult]) -> Table:
    """How often which value won."""
    counts: dict[tuple[str, str], dict[str, int]] = {}
    for cell in cells:
        for result in cell.policies:
            for name, value in result.parameters.items():
                shown = f"{value:.3g}" if isinstance(value, float) else value
                tally = counts.setdefault((result.policy, name), {})
                tally[shown] = tally.get(shown, 0) + 1
    rows = [
        (policy, name, ", ".join(f"{value} ({count})" for value, count in sorted(tally.items(), key=_commonest)))
        for (policy, name), tally in counts.items()
        if policy != SAFE
    ]
    note = "In how many cells each value did best in training; the file has them cell by cell."
    return Table("Chosen parameters", ("policy", "parameter", "value (cells)"), rows, note)


def _commonest(item: tuple[str, int]) -> tuple[int, str]:
    return -item[1], item[0]


def _machine_table(study: Study) -> Table:
    return Table("Machine", ("", ""), [(name.replace("_", " "), str(value)) for name, value in study.machine.items()])


def _value(value: float | None, goal: Goal) -> str:
    if value is None:
        return NONE
    scale, digits, unit = UNITS[goal.unit]
    return _signed(value) if goal.unit == "points" else f"{value * scale:.{digits}f}{unit}"


def _percent(value: float) -> str:
    return f"{value * 100:.2f}"


def _signed(value: float) -> str:
    # Adding zero turns −0.0 into 0.0.
    return f"{round(value * 100, 2) + 0.0:+.2f}".replace("-", "−")


def _difference(difference: Estimate) -> str:
    return f"{_signed(difference.value)} ({_signed(difference.low)} to {_signed(difference.high)})"
