"""Accuracy against measured latency, as a picture. Knows matplotlib, which serving does without.

One point a variant: the time of one image (decoding and inference, logarithmic) against top-1, with its 95 %
interval. The stepped line is the Pareto front: the accuracy that a given time buys. Variants below it are hollow.
"""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from service.evaluation.report import extent
from service.evaluation.results import Report, VariantResult

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.text import Annotation
    from matplotlib.transforms import Bbox

SUFFIXES = (".png", ".svg")
SIZE_INCHES = (8.0, 5.0)
DPI = 150
COLOURS = ("#0b61a4", "#c1440e", "#3f7d20", "#7a3e9d")
"""One for each set of images that variants were judged on; legible on white for most who do not see all colours."""
INK = "#222222"
LEAST_RANGE = 8
"""How many times the first time on the axis the last one is at least."""
NEAR_POINTS = 9
"""Beyond, a name needs a line to its point."""
PLACES = (
    *(("value", x, y) for x, y in ((6, 5), (-6, 5), (6, -5), (-6, -5))),
    ("high", 0, 6),
    ("low", 0, -6),
    *(
        ("value", across * x, along * y)
        for x, y in ((20, 9), (20, 24), (48, 30))
        for across in (1, -1)
        for along in (1, -1)
    ),
    *(("high", across * x, 14) for x in (10, 30) for across in (1, -1)),
    *(("low", across * x, -14) for x in (10, 30) for across in (1, -1)),
)
"""Where a name may stand, the best first: from the point or an end of its interval, so many points right and up."""


class PlotError(Exception):
    """The plot cannot be made; one line says why."""


def check(path: Path) -> None:
    """Raise `PlotError` for what `draw` could not write, before an evaluation is spent on it."""
    if path.suffix.lower() not in SUFFIXES:
        raise PlotError(f"a plot is a {' or '.join(SUFFIXES)} file, not {path.name}")
    if not path.parent.is_dir():
        raise PlotError(f"there is no folder {path.parent}")
    needs_matplotlib()


def needs_matplotlib() -> None:
    """Raise `PlotError` where it is not installed, with the command that installs it."""
    try:
        import matplotlib  # noqa: F401
    except ModuleNotFoundError as error:
        raise PlotError("a plot needs more packages than serving: pip install 'effserve[build]'") from error


def draw(report: Report, path: Path) -> None:
    """Write the picture, PNG or SVG by its suffix. Raises `OSError`."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    figure = Figure(figsize=SIZE_INCHES, dpi=DPI, facecolor="white", layout="constrained")
    axes = figure.add_subplot()
    _frame(axes, report)
    groups = _groups(report)
    right = axes.get_xlim()[1]
    for colour, group in zip(_colours(len(groups)), groups, strict=True):
        _front(axes, group, colour, right)
        _points(axes, group, colour)
    if len(groups) > 1:
        figure.legend(loc="outside lower center", ncols=len(groups), frameon=False, fontsize=9)
    # Names are placed by pixels, so everything else has to stand where it will.
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    _label(axes, report.variants, _obstacles(axes, groups, right))
    # An SVG has its date and random names in it unless told otherwise; the same report is to be the same file.
    with rc_context({"svg.hashsalt": "effserve"}):
        figure.savefig(path, metadata={"Date": None} if path.suffix.lower() == ".svg" else None)


def _frame(axes: "Axes", report: Report) -> None:
    """Title, axes and grid: what can be said without a result. The machine is not named: a plot travels."""
    from matplotlib.ticker import FuncFormatter, NullFormatter

    axes.set_title(f"{report.dataset}: {extent(report)}", loc="left", color=INK, parse_math=False)
    axes.set_xlabel("decoding and inference of one image, medians (ms)", color=INK)
    axes.set_ylabel("top-1 accuracy, with 95 % interval", color=INK)
    axes.set_xscale("log")
    low, high = _limits([result.latency_ms for result in report.variants])
    axes.set_xlim(low, high)
    axes.set_xticks(_ticks(low, high))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value * 100:g}%"))
    axes.grid(which="major", color="#e4e4e4", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.margins(y=0.12)


def _limits(times_ms: Sequence[float]) -> tuple[float, float]:
    """Room at both sides for names, and enough in all for a few ticks."""
    low, high = min(times_ms) / 1.5, max(times_ms) * 1.5
    missing = max(math.sqrt(LEAST_RANGE * low / high), 1.0)
    return low / missing, high * missing


def _ticks(low: float, high: float) -> list[float]:
    """1, 2, 5, 10, … inside the limits."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    return [step * 10.0**power for power in powers for step in (1, 2, 5) if low <= step * 10.0**power <= high]


def _groups(report: Report) -> list[list[VariantResult]]:
    """Variants judged on the same images, quickest first; only those have a front in common."""
    groups: dict[int, list[VariantResult]] = {}
    for result in report.variants:
        groups.setdefault(result.group, []).append(result)
    return list(groups.values())


def _colours(count: int) -> list[str]:
    return [COLOURS[number % len(COLOURS)] for number in range(count)]


def _front(axes: "Axes", group: Sequence[VariantResult], colour: str, right: float) -> None:
    times, shares = _steps(group, right)
    axes.step(times, shares, where="post", color=colour, linewidth=1.4, alpha=0.7, zorder=1)


def _steps(group: Sequence[VariantResult], right: float) -> tuple[list[float], list[float]]:
    """Corners of the front; the last step goes on to the right."""
    front = [result for result in group if not result.dominated_by]
    return [*(one.latency_ms for one in front), right], [*(one.top1.value for one in front), front[-1].top1.value]


def _points(axes: "Axes", group: Sequence[VariantResult], colour: str) -> None:
    label = extent(group[0])
    for result in group:
        top1, hollow = result.top1, bool(result.dominated_by)
        axes.errorbar(
            result.latency_ms, top1.value, yerr=[[top1.value - top1.low], [top1.high - top1.value]],
            fmt="o", markersize=6, color=colour, markerfacecolor="white" if hollow else colour,
            ecolor=colour, elinewidth=1, capsize=3, zorder=2, label=label,
        )  # fmt: skip
        label = "_nolegend_"


def _label(axes: "Axes", results: Sequence[VariantResult], taken: "list[Bbox]") -> None:
    """Names beside their points, each where it covers the fewest of points, intervals, steps and other names."""
    for result in results:
        taken.append(_placed(axes, result, taken))


def _placed(axes: "Axes", result: VariantResult, taken: "Sequence[Bbox]") -> "Bbox":
    inside = axes.get_window_extent()
    fewest, chosen = len(taken) + 1, None
    for place in PLACES:
        text = _name(axes, result, *place)
        box = text.get_window_extent()
        covered = sum(map(box.overlaps, taken))
        if covered < fewest and inside.contains(*box.min) and inside.contains(*box.max):
            fewest, (chosen, text) = covered, (text, chosen)
        if text is not None:
            text.remove()
        if fewest == 0:
            break
    return (chosen or _name(axes, result, *PLACES[0])).get_window_extent()


def _name(axes: "Axes", result: VariantResult, anchor: str, right: int, up: int) -> "Annotation":
    """The variant's name that many points from its point; far away, with a line to it."""
    from matplotlib.patheffects import withStroke

    far = max(abs(right), abs(up)) > NEAR_POINTS
    line = {"arrowstyle": "-", "color": "#999999", "linewidth": 0.6, "shrinkB": 4} if far else None
    text = axes.annotate(
        result.name if result.trained else f"{result.name} (untrained)",
        (result.latency_ms, getattr(result.top1, anchor)), xytext=(right, up), textcoords="offset points",
        arrowprops=line, ha=("center", "left", "right")[(right > 0) - (right < 0)], va="bottom" if up > 0 else "top",
        fontsize=9, color=INK,
    )  # fmt: skip
    text.set_path_effects([withStroke(linewidth=2.5, foreground="white")])
    return text


def _obstacles(axes: "Axes", groups: Sequence[Sequence[VariantResult]], right: float) -> "list[Bbox]":
    """What names must not cover, in pixels: error bars and steps."""
    boxes = []
    for group in groups:
        boxes += [_box(axes, (one.latency_ms, one.top1.low), (one.latency_ms, one.top1.high), 6) for one in group]
        times, shares = _steps(group, right)
        for before, after, low, high in zip(times, times[1:], shares, shares[1:], strict=False):
            boxes += [_box(axes, (before, low), (after, low), 1), _box(axes, (after, low), (after, high), 1)]
    return boxes


def _box(axes: "Axes", one: tuple[float, float], other: tuple[float, float], margin: float) -> "Bbox":
    from matplotlib.transforms import Bbox

    return Bbox(axes.transData.transform([one, other])).padded(margin)
