"""`effserve report`: a comparison of policies as one HTML page, and its pictures as PNG files."""

from pathlib import Path

from service.commands.console import fail, out
from service.evaluation.plot import PlotError
from service.simulation import html, pictures, study
from service.simulation.errors import SimulationError

PAGE = "report.html"


def report(results: Path, folder: Path, coverage: Path | None) -> None:
    """Write them into `folder`, which is made where it is not there."""
    if folder.exists() and not folder.is_dir():
        fail(f"{folder} is no folder")
    try:
        known = study.read(results)
        drawn = pictures.draw(known, folder, coverage)
        page = folder / PAGE
        page.write_text(html.page(known, drawn), encoding="utf-8")
    except OSError as error:
        does = "read" if error.filename in (str(results), str(coverage)) else "write"
        fail(f"cannot {does} {error.filename or folder}: {error.strerror}")
    except (SimulationError, PlotError) as error:
        fail(" ".join(str(error).split()))
    for path in (page, *drawn.values()):
        out.print(str(path), highlight=False, markup=False, soft_wrap=True)
