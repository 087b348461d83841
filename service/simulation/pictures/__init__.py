"""A comparison of policies as pictures: what was given up for what, in the course of a trace, where it pays.

Colours can be told apart by those who do not see all of them, and shapes repeat what colours say. This package and the
plot of evaluations are all that knows matplotlib, which serving does without.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from service.evaluation.plot import needs_matplotlib
from service.simulation.pictures.course import course_figure
from service.simulation.pictures.coverage import coverage_figure
from service.simulation.pictures.coverage import read as read_coverage
from service.simulation.pictures.heat import heat_figure
from service.simulation.pictures.trade import loads, trade_figure
from service.simulation.study import Study

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DPI = 96


def draw(study: Study, folder: Path, coverage: Path | None = None) -> dict[str, Path]:
    """Write all pictures that the study has data for, as PNG files: name → file.

    `coverage`: results of the estimator's benchmark. Raises `PlotError`, `SimulationError`, `OSError`.
    """
    needs_matplotlib()
    figures: dict[str, Figure] = {f"tradeoff-load-{load:g}": trade_figure(study, load) for load in loads(study)}
    figures |= {f"course-{one.cell.trace}": course_figure(one, study.setting) for one in study.series}
    if (heat := heat_figure(study)) is not None:
        figures["heat"] = heat
    if coverage is not None:
        figures["coverage"] = coverage_figure(read_coverage(coverage))
    return _written(figures, folder)


def _written(figures: "Mapping[str, Figure]", folder: Path) -> dict[str, Path]:
    folder.mkdir(parents=True, exist_ok=True)
    paths = {name: folder / f"{name}.png" for name in figures}
    for name, figure in figures.items():
        figure.savefig(paths[name], dpi=DPI, metadata={"Software": None})
    return paths
