"""One trace in its course: the load that was offered, and by policy who answered and how many missed."""

from typing import TYPE_CHECKING

from service.simulation.pictures import style
from service.simulation.study import Course, Series, Setting

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch


def course_figure(series: Series, setting: Setting) -> "Figure":
    """Load above, one band of stacked shares for each policy below."""
    drawn = style.figure(10.5, 1.7 + 1.75 * len(series.courses) + 0.9)
    panels = drawn.subplots(
        1 + len(series.courses), 1, sharex=True, squeeze=False, height_ratios=[1.0] + [1.25] * len(series.courses)
    ).flat
    shown = list(panels)
    edges_s = [series.slice_s * number for number in range(len(series.load) + 1)]
    _load(shown[0], series, edges_s)
    names = [variant.name for variant in setting.variants]
    for axes, course in zip(shown[1:], series.courses, strict=True):
        _band(axes, course, names, edges_s)
    shown[-1].set_xlabel("seconds", color=style.INK)
    shown[-1].set_xlim(0, edges_s[-1])
    drawn.legend(handles=_legend(names), loc="outside lower center", ncols=len(names) + 1, frameon=False, fontsize=9)
    cell = series.cell
    traffic = f"mean load {cell.load:g}, {cell.budgets} budgets, {cell.lanes} lanes"
    style.headline(drawn, f"In the course of a trace: {style.trace(cell.trace)}; {traffic}", shown)
    return drawn


def _load(axes: "Axes", series: Series, edges_s: list[float]) -> None:
    style.plain(axes, grid="y")
    axes.stairs(series.load, edges_s, fill=True, color="#c9d3dc")
    axes.axhline(1.0, color=style.INK, linewidth=0.9, linestyle=":")
    top = max(1.15, 1.08 * max(series.load))
    axes.set_ylim(0, top)
    axes.set_title("offered load (dotted: all the cheapest variant can do)", loc="left", color=style.INK)


def _band(axes: "Axes", course: Course, names: list[str], edges_s: list[float]) -> None:
    from matplotlib.ticker import FuncFormatter

    style.plain(axes, grid="y")
    low = [0.0] * (len(edges_s) - 1)
    bands = [*zip(names, style.variant_colours(len(names)), strict=True), ("", style.MISSED)]
    for name, colour in bands:
        shares = course.variants.get(name, [0.0] * len(low)) if name else course.missed
        high = [under + share for under, share in zip(low, shares, strict=True)]
        axes.stairs(high, edges_s, baseline=low, fill=True, color=colour, hatch=None if name else "////", linewidth=0)
        low = high
    axes.set_ylim(0, 1)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda share, _: f"{share * 100:g} %"))
    axes.set_title(style.policy(course.policy)[0], loc="left", color=style.INK)


def _legend(names: list[str]) -> "list[Patch]":
    from matplotlib.patches import Patch

    patches = [
        Patch(color=colour, label=name) for name, colour in zip(names, style.variant_colours(len(names)), strict=True)
    ]
    return [*patches, Patch(facecolor=style.MISSED, edgecolor="white", hatch="////", label="missed or refused")]
