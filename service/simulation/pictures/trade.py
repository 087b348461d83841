"""What each policy gives up for what: accuracy of its answers against the share that came in time, trace by trace.

The axis of attainment is logarithmic in what is missed, since 99.9 % is not nearly 99 %. The dashed line joins all
pairs whose product is the bound: no policy can be beyond. The stepped line is the Pareto front of the policies, the
dotted one joins K1 at its settings, from careful to reckless.
"""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from service.simulation.pictures import style
from service.simulation.study import CellResult, PolicyResult, Study

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

LANES, BUDGETS = 2, "mixed"
LOADS = (0.4, 0.8)
"""Light, and what is left when the machine is nearly full."""
LEAST_MISSED = 0.0005
"""Drawn there, at the right edge, and hollow, when fewer are missed."""
MOST_MISSED = 0.4
"""Likewise at the left edge."""
TICKS = (0.6, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 0.998, 0.999)
COLUMNS = 3
LEAST_WIDTH = 9.0
"""Of the picture, in inches, for the sake of the legend."""


def loads(study: Study) -> list[float]:
    """Those below overload that are drawn."""
    found = {cell.cell.load for cell in _cells(study)}
    return [load for load in LOADS if load in found]


def trade_figure(study: Study, load: float) -> "Figure":
    """One panel for each trace at this load."""
    cells = [cell for cell in _cells(study) if cell.cell.load == load]
    columns = min(COLUMNS, len(cells))
    rows = math.ceil(len(cells) / columns)
    drawn = style.figure(max(4.1 * columns, LEAST_WIDTH), 3.3 * rows + 1.3)
    panels = list(drawn.subplots(rows, columns, squeeze=False, sharex=True, sharey=True).flat)
    shown = []
    for axes, cell in zip(panels, cells, strict=False):
        _panel(axes, cell)
        shown.append(axes)
    for axes in panels[len(cells) :]:
        axes.set_visible(False)
    for axes in shown[-columns:]:
        axes.set_xlabel("answered in time, % (right is better)", color=style.INK)
    for axes in shown[::columns]:
        axes.set_ylabel("top-1 of what was\nanswered in time", color=style.INK)
    shown[0].set_ylim(*_limits(cells))
    names = list(dict.fromkeys(result.policy for cell in cells for result in cell.policies))
    drawn.legend(
        handles=_legend(names, swept=any(cell.swept for cell in cells)),
        loc="outside lower center",
        ncols=4,
        frameon=False,
        fontsize=9,
    )
    text = f"Accuracy against attainment: load {load:g}, mixed budgets, {LANES} lanes"
    style.headline(drawn, text, shown)
    return drawn


def _cells(study: Study) -> list[CellResult]:
    return [cell for cell in study.cells if cell.cell.lanes == LANES and cell.cell.budgets == BUDGETS]


def _panel(axes: "Axes", cell: CellResult) -> None:
    """One trace."""
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

    style.plain(axes)
    axes.set_title(style.trace(cell.cell.trace), loc="left", color=style.INK)
    axes.set_xscale("log")
    axes.set_xlim(MOST_MISSED * 1.15, LEAST_MISSED * 0.8)
    axes.xaxis.set_major_locator(FixedLocator([1 - tick for tick in TICKS]))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda missed, _: f"{(1 - missed) * 100:.3g}"))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value * 100:g} %"))
    axes.tick_params(labelbottom=True, labelleft=True)
    for label in axes.get_xticklabels():
        label.set_rotation(0)
    _bound(axes, cell)
    _front(axes, cell.policies)
    _swept(axes, cell)
    for result in cell.policies:
        _, shape, colour = style.policy(result.policy)
        if result.accuracy is not None:
            beyond = not LEAST_MISSED <= 1 - result.attainment.value <= MOST_MISSED
            axes.plot(
                _missed(result), result.accuracy, shape, color=colour, markersize=_size(shape),
                markerfacecolor="white" if beyond else colour, markeredgecolor=colour if beyond else "white",
                markeredgewidth=0.7, zorder=5 if colour == style.BLUE else 3,
            )  # fmt: skip


def _bound(axes: "Axes", cell: CellResult) -> None:
    missed = [LEAST_MISSED * (MOST_MISSED / LEAST_MISSED) ** (step / 200) for step in range(201)]
    axes.plot(missed, [cell.bound / (1 - one) for one in missed], "--", color=style.GREY, linewidth=1.2, zorder=1)


def _limits(cells: Sequence[CellResult]) -> tuple[float, float]:
    """Of accuracy, with some room."""
    found = [one.accuracy for cell in cells for one in cell.policies if one.accuracy is not None]
    return min(found) - 0.005, max(found + [cell.bound for cell in cells]) + 0.005


def _front(axes: "Axes", results: Sequence[PolicyResult]) -> None:
    """Of those that nobody surpasses in both."""
    points = sorted((_missed(one), -one.accuracy) for one in results if one.accuracy is not None)
    corners: list[tuple[float, float]] = []
    for missed, lost in points:
        if not corners or -lost > corners[-1][1]:
            corners.append((missed, -lost))
    axes.step(*zip(*corners, strict=True), where="post", color=style.BLUE, linewidth=1, alpha=0.45, zorder=2)


def _swept(axes: "Axes", cell: CellResult) -> None:
    """K1 from careful to reckless."""
    family = [one for one in (cell.of("k1"), *cell.swept) if one is not None and one.accuracy is not None]
    if cell.swept:
        points = sorted((_missed(one), one.accuracy) for one in family)
        axes.plot(*zip(*points, strict=True), ":", color=style.BLUE, linewidth=1.4, zorder=2)


def _missed(result: PolicyResult) -> float:
    return min(max(1 - result.attainment.value, LEAST_MISSED), MOST_MISSED)


def _size(shape: str) -> float:
    return 14 if shape == "*" else 8


def _legend(names: Sequence[str], *, swept: bool) -> "list[Line2D]":
    from matplotlib.lines import Line2D

    handles = []
    for label, shape, colour in map(style.policy, names):
        handles.append(
            Line2D([], [], linestyle="", marker=shape, color=colour, markersize=_size(shape) * 0.8, label=label)
        )
    handles.append(Line2D([], [], linestyle="--", color=style.GREY, label="bound: nobody can be beyond"))
    handles.append(Line2D([], [], color=style.BLUE, alpha=0.45, label="Pareto front"))
    if swept:
        handles.append(Line2D([], [], linestyle=":", color=style.BLUE, label="K1, careful to reckless"))
    return handles
