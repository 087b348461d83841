"""What the terminal shows: tables and progress on standard error or output, JSON for machines, one-line errors."""

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NoReturn

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

PIPED_WIDTH = 1_000
"""Columns where there is no terminal: nothing is cut off or wrapped for a program that reads it."""

out = Console(width=None if sys.stdout.isatty() else PIPED_WIDTH)
err = Console(stderr=True)


class CommandError(Exception):
    """A failure that one line explains. Ends the command with exit code 2."""


def fail(message: str) -> NoReturn:
    """End the command with one line on standard error."""
    raise CommandError(message)


def print_json(value: object) -> None:
    """One JSON document on standard output."""
    sys.stdout.write(json.dumps(value, indent=2) + "\n")


def print_table(title: str, columns: list[tuple[str, str]], rows: list[list[str]]) -> None:
    """A table; each column is (heading, justify)."""
    table = Table(title=title, title_justify="left", header_style="bold", box=None, pad_edge=False)
    for heading, justify in columns:
        table.add_column(heading, justify="right" if justify == "right" else "left", no_wrap=heading != "why")
    for row in rows:
        table.add_row(*map(escape, row))
    out.print(table)


@contextmanager
def progress(total: int, what: str, *, told: bool = True) -> Iterator["Steps"]:
    """A progress bar over `total` steps, or one plain line a step where there is no terminal, with the total if that is
    `told`."""
    if not err.is_terminal:
        yield PlainSteps(total if told else None, what)
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, TimeRemainingColumn(), console=err, transient=False) as bar:
        yield BarSteps(bar, total, what)


@contextmanager
def starting(total: int) -> Iterator[Callable[[str], None]]:
    """The progress bar of a starting server. Plain lines are counted and no total is told: what earlier starts have
    measured is left out, and whether they have is found out on the way."""
    with progress(total, "start", told=False) as steps:
        yield steps.begin
        steps.end()


class Steps:
    """Steps of a long piece of work."""

    def begin(self, name: str) -> None:
        """The next step begins; the one before it is done."""

    def end(self) -> None:
        """The last step is done."""


class PlainSteps(Steps):
    """For logs: `what [2/8] b1`, or `what [2] b1`."""

    def __init__(self, total: int | None, what: str) -> None:
        self._of, self._what, self._number = "" if total is None else f"/{total}", what, 0

    def begin(self, name: str) -> None:
        """See `Steps.begin`."""
        self._number += 1
        err.print(f"{self._what} [{self._number}{self._of}] {name}", highlight=False, markup=False)


class BarSteps(Steps):
    """For terminals."""

    def __init__(self, bar: Progress, total: int, what: str) -> None:
        self._bar, self._what = bar, what
        self._task = bar.add_task(what, total=total)
        self._begun = False

    def begin(self, name: str) -> None:
        """See `Steps.begin`."""
        self._bar.update(self._task, description=f"{self._what} {name}", advance=1 if self._begun else 0)
        self._begun = True

    def end(self) -> None:
        """See `Steps.end`."""
        self._bar.update(self._task, description=self._what, advance=1)
