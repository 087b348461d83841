"""Whether the predicted tail held what it promises, from the results of `python -m benchmarks.coverage`."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import TypeAdapter, ValidationError

from service.simulation.errors import SimulationError
from service.simulation.pictures import style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LOW, HIGH, AFTER_SHIFT = 0.985, 0.995, 0.90
"""What is asked for: per variant while nothing changes, and at least in the first runs after a slow-down."""


@dataclass(frozen=True, slots=True)
class Held:
    """Runs within their bound, in one spell, of one variant or all."""

    spell: str
    variant: str
    coverage: float


@dataclass(frozen=True, slots=True)
class Shift:
    """Likewise in the first runs after a change of pace."""

    change: str
    coverage: float


@dataclass(frozen=True, slots=True)
class Coverage:
    """By one source of times."""

    source: str
    held: list[Held]
    shifts: list[Shift]


@dataclass(frozen=True, slots=True)
class _Results:
    coverage: list[Coverage]


def read(path: Path) -> list[Coverage]:
    """Raises `SimulationError` for another kind of file, `OSError`."""
    other = f"{path} has no coverage as `python -m benchmarks.coverage` writes it"
    try:
        found = TypeAdapter(_Results).validate_json(path.read_bytes()).coverage
    except ValidationError as error:
        raise SimulationError(other) from error
    if not all(one.held for one in found) or not found:
        raise SimulationError(other)
    return found


def coverage_figure(sources: list[Coverage]) -> "Figure":
    """A panel for each source."""
    longest = max(len(one.held) + len(one.shifts) for one in sources)
    drawn = style.figure(5.4 * len(sources) + 0.6, 1.6 + 0.27 * longest)
    panels = drawn.subplots(1, len(sources), squeeze=False, sharex=True).flat
    shown = list(panels)
    for axes, one in zip(shown, sources, strict=True):
        _panel(axes, one)
    style.headline(
        drawn, "Runs within their predicted tail (green: asked for; diamonds: after a change of pace)", shown
    )
    return drawn


def _panel(axes: "Axes", one: Coverage) -> None:
    from matplotlib.ticker import FuncFormatter

    style.plain(axes)
    rows = [(f"{held.spell}: {held.variant}", held.coverage, "o", style.BLUE) for held in one.held]
    rows += [(f"first runs, {shift.change}", shift.coverage, "D", style.ORANGE) for shift in one.shifts]
    axes.axvspan(LOW, HIGH, color="#d6ecd9", zorder=0)
    axes.axvline(AFTER_SHIFT, color=style.ORANGE, linewidth=1, linestyle="--")
    for number, (_, coverage, shape, colour) in enumerate(rows):
        axes.plot(coverage, number, shape, color=colour, markersize=6)
    axes.set_yticks(range(len(rows)), [label for label, *_ in rows])
    axes.invert_yaxis()
    axes.set_xlim(min(0.88, min(coverage for _, coverage, *_ in rows) - 0.01), 1.002)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda share, _: f"{share * 100:g} %"))
    axes.set_title(one.source.partition(",")[0], loc="left", color=style.INK)
