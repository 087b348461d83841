"""docs/top.md shows what `effserve top` shows, and explains it."""

import re
from pathlib import Path

from service.commands.top_view import ROOMY, WIDE
from service.telemetry.picture import BudgetLine
from tests.unit.test_top_view import PICTURE, drawn

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "top.md").read_text(encoding="utf-8")
(EXAMPLE,) = re.findall(r"```text\n(.*?)```", PAGE, re.DOTALL)
FIGURES = re.compile(r"[\d.]+(?:%| min| h| s\b)?|[█▏▎▍▌▋▊▉·]+|–")


def shape(line: str) -> list[str]:
    """The words of a line without its figures."""
    return FIGURES.sub("", line).split()


def test_the_example_has_the_lines_of_a_picture() -> None:
    """Head, summary, headings and foot; rows are of other variants."""
    real = [shape(line) for line in drawn()]
    shown = [shape(line) for line in EXAMPLE.splitlines()]
    assert shown[:6] == real[:6]
    for heading in ("budget", "q"):
        assert [line for line in shown if line[:1] == [heading]] == [line for line in real if line[:1] == [heading]]


def test_the_example_adds_up() -> None:
    """The share of all budgets met is that of the rows."""
    rows = re.findall(r"^(?:\d+ms|longer) +([\d.]+)% +(\d+) +(\d+) +(\d+) +(\d+) +(\d+) +(\d+)$", EXAMPLE, re.MULTILINE)
    assert len(rows) == len(PICTURE.budgets)
    lines = [BudgetLine("", {"met": float(met), "others": sum(map(float, others))}) for _, met, *others in rows]
    assert [f"{100 * line.outcomes['met'] / line.total:.1f}" for line in lines] == [share for share, *_ in rows]
    whole = 100 * sum(line.outcomes["met"] for line in lines) / sum(line.total for line in lines)
    assert f"{whole:.1f}% met" in EXAMPLE


def test_the_widths_are_those_of_the_code() -> None:
    """From which on there is more to see."""
    assert f"from {WIDE}" in PAGE.replace("\n", " ")
    assert ROOMY < WIDE
