"""Where it pays: K1 less the best tuned baseline, over load and burstiness, with the figures written in."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from service.simulation.pictures import style
from service.simulation.study import CellResult, Study

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BUDGETS = "mixed"
BURSTINESS = ("ramp", "poisson", "gamma4", "gamma8", "step")
"""From even to bursty; recorded traces come after."""
MOST = 4.0
"""Points at which a colour is as deep as it gets."""


def heat_figure(study: Study) -> "Figure | None":
    """A panel for each number of lanes and each of effective accuracy and attainment; None without such cells."""
    cells = [cell for cell in study.cells if cell.cell.budgets == BUDGETS]
    lanes = sorted({cell.cell.lanes for cell in cells if cell.cell.lanes > 1})
    if not lanes:
        return None
    drawn = style.figure(11, 0.9 + 3.1 * len(lanes))
    panels = drawn.subplots(len(lanes), 2, squeeze=False)
    for row, count in zip(panels, lanes, strict=True):
        ours = [cell for cell in cells if cell.cell.lanes == count]
        for axes, what in zip(row, ("effective accuracy", "attainment"), strict=True):
            _panel(axes, ours, what)
            axes.set_title(f"{what}, {count} lanes", loc="left", color=style.INK)
        row[1].tick_params(labelleft=False)
    bar = drawn.colorbar(
        panels[0][0].images[0], ax=panels, shrink=0.8, extend="both", label="points (blue: K1 is ahead)"
    )
    bar.outline.set_visible(False)
    style.headline(drawn, "K1 less the best tuned baseline of each cell, mixed budgets", list(panels.flat))
    return drawn


def _panel(axes: "Axes", cells: Sequence[CellResult], what: str) -> None:
    found = {(cell.cell.trace, cell.cell.load): cell for cell in cells}
    traces = sorted({trace for trace, _ in found}, key=_burstiness)
    loads = sorted({load for _, load in found})
    nothing = float("nan")
    values = [[_value(found.get((trace, load)), what, nothing) for load in loads] for trace in traces]
    axes.imshow(values, cmap="RdBu", vmin=-MOST, vmax=MOST, aspect="auto")
    axes.set_xticks(range(len(loads)), [f"{load:g}" for load in loads])
    axes.set_yticks(range(len(traces)), [style.trace(trace) for trace in traces])
    axes.tick_params(length=0, labelsize=9, colors=style.INK)
    axes.spines[:].set_visible(False)
    axes.set_xlabel("load", color=style.INK)
    _figures(axes, values)


def _figures(axes: "Axes", values: Sequence[Sequence[float]]) -> None:
    for row, line in enumerate(values):
        for column, value in enumerate(line):
            known = value == value
            text = f"{round(value, 1) + 0.0:+.1f}".replace("-", "−") if known else "–"
            colour = "white" if known and abs(value) > 0.62 * MOST else style.INK if known else style.GREY
            axes.text(column, row, text, ha="center", va="center", fontsize=9, color=colour)


def _value(cell: CellResult | None, what: str, nothing: float) -> float:
    if cell is None:
        return nothing
    best = cell.best_baseline()
    return 100 * (best.k1_effective if what == "effective accuracy" else best.k1_attainment).value


def _burstiness(trace: str) -> tuple[int, str]:
    return BURSTINESS.index(trace) if trace in BURSTINESS else len(BURSTINESS), trace
