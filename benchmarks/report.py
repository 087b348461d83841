"""Results → tables for people and one JSON file for machines."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table as RichTable

from benchmarks.machine import ROOT, Machine, Others

out = Console(width=None if Console().is_terminal else 140)
err = Console(stderr=True)


@dataclass(frozen=True, slots=True)
class Table:
    """Cells as they are shown. The first column names the row."""

    title: str
    headings: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str = ""


def show(tables: Iterable[Table]) -> None:
    """Print them."""
    for table in tables:
        shown = RichTable(title=table.title, title_justify="left", header_style="bold", box=None, pad_edge=False)
        for number, heading in enumerate(table.headings):
            shown.add_column(heading, justify="right" if number else "left")
        for row in table.rows:
            shown.add_row(*row)
        out.print(shown)
        out.print(table.note, style="dim", highlight=False, markup=False)


def say(what: str) -> None:
    """One line beside the results."""
    err.print(what, highlight=False, markup=False, soft_wrap=True)


def machine_table(machine: Machine) -> Table:
    """Where and when."""
    return Table("Machine", ("", ""), [(name.replace("_", " "), str(value)) for name, value in asdict(machine).items()])


def others_table(others: Sequence[Others]) -> Table:
    """How undisturbed the run was."""
    rows = [(one.figure, f"{one.seconds:.0f}", f"{one.share:.1%}") for one in others]
    note = "Share of all cores' time that went to other processes or was taken by the host."
    return Table("What else ran", ("", "seconds", "others"), rows, note)


def default_path(machine: Machine, figure: str = "") -> Path:
    """`benchmarks/results/<date>-<commit>.json`, with the name of a figure that is measured by itself before it."""
    name = "-".join(part for part in (figure, machine.date[:10], machine.commit) if part)
    return ROOT / "benchmarks" / "results" / f"{name}.json"


def write(path: Path, sections: Mapping[str, object]) -> None:
    """One JSON object."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(sections, indent=2) + "\n")


def ms(value: float) -> str:
    """Milliseconds, with as many digits as mean something."""
    return f"{value:.2f}" if value < 100 else f"{value:.1f}"
