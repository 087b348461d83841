"""A comparison of policies as one page that needs nothing else: pictures inside, no script, no link to anywhere."""

import base64
import html
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from service.simulation.pictures import style
from service.simulation.study import CellResult, Goal, Setting, Study

PAGE = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
:root {{ color-scheme: light; }}
body {{ font: 15px/1.5 system-ui, sans-serif; color: #222; background: #fff; max-width: 1180px; margin: 2rem auto;
  padding: 0 1rem; }}
h1 {{ font-size: 1.6rem; }} h2 {{ font-size: 1.2rem; margin-top: 2.2rem; }}
p {{ max-width: 75ch; }} p.note {{ color: #5a5a5a; font-size: .9rem; }}
img {{ max-width: 100%; height: auto; }}
.wide {{ overflow-x: auto; }}
table {{ border-collapse: collapse; font-size: .88rem; font-variant-numeric: tabular-nums; }}
th, td {{ text-align: right; padding: .25rem .7rem; border-bottom: 1px solid #e4e4e4; vertical-align: top; }}
th:first-child, td:first-child {{ text-align: left; }}
td {{ white-space: nowrap; }} td.text {{ white-space: normal; }}
th {{ border-bottom: 2px solid #bbb; white-space: nowrap; }}
th.text, td.text {{ text-align: left; }}
.yes {{ color: #00664a; font-weight: 600; }} .no {{ color: #a33b00; font-weight: 600; }}
</style>
</head>
<body>
<h1>{title}</h1>
{body}
</body>
</html>
"""
ABOUT = {
    "tradeoff": "Each point is a policy. To the right more is answered in time, upwards the answers are better.",
    "course": "Who answered in each slice of time; darker is more accurate.",
    "heat": "Blue where K1 is ahead of the best tuned baseline, red where it is behind; in points.",
    "coverage": "Share of runs that took no longer than their predicted tail.",
}
UNITS = {"%": (100.0, 2, " %"), "points": (100.0, 2, " points"), "µs": (1.0, 0, " µs"), "times": (1.0, 2, " times")}
NO_COVERAGE = (
    "How well predicted tails hold is measured by <code>python -m benchmarks.coverage</code>; name its results with "
    "<code>--coverage</code> to see them here."
)


def page(study: Study, pictures: Mapping[str, Path]) -> str:
    """The whole document; `pictures` are read and put inside. Raises `OSError`."""
    parts = [
        _about(study),
        "<h2>Goals</h2>", _goals(study.goals), _misses(study.goals),
        "<h2>Pictures</h2>", *(_picture(name, path) for name, path in pictures.items()),
        "" if "coverage" in pictures else f"<p class='note'>{NO_COVERAGE}</p>",
        "<h2>Cells</h2>", _cells(study.cells),
        "<h2>What was tuned</h2>", _grids(study.setting),
        "<h2>Machine</h2>", _table(("", ""), ((name.replace("_", " "), str(v)) for name, v in study.machine.items())),
    ]  # fmt: skip
    return PAGE.format(title="Scheduling: K1 and what was published", body="\n".join(filter(None, parts)))


def _about(study: Study) -> str:
    setting = study.setting
    variants = ", ".join(f"{one.name} {one.top1 * 100:.1f} % in {one.service_ms:.1f} ms" for one in setting.variants)
    text = (
        f"{len(study.cells)} cells, {len(setting.seeds)} seeds each, simulated with the server's own scheduler. "
        f"Service times: {setting.times}. Accuracies: {setting.accuracies}. Variants: {variants}."
    )
    return f"<p>{html.escape(text)}</p>"


def _goals(goals: Sequence[Goal]) -> str:
    rows = (
        (
            html.escape(goal.name), html.escape(goal.asks), _value(goal.limit, goal), _value(goal.value, goal),
            str(goal.cells), _verdict(goal),
        )
        for goal in goals
    )  # fmt: skip
    heads = ("goal", "asked for", "limit", "measured", "cells", "reached")
    note = "<p class='note'>Measured: of the worst cell, unless the goal is a mean or a share of cells.</p>"
    return _table(heads, rows, escaped=True) + note


def _verdict(goal: Goal) -> str:
    if goal.cells == 0:
        return "no such cell"
    return "<span class='yes'>yes</span>" if goal.reached else "<span class='no'>no</span>"


def _misses(goals: Sequence[Goal]) -> str:
    rows = [
        (goal.name, miss.cell, f"{abs(miss.value - miss.limit) * UNITS[goal.unit][0]:.2f}", miss.note)
        for goal in goals
        for miss in goal.misses
    ]
    if not rows:
        return ""
    heads = ("goal", "cell", "missed by", "")
    return f"<details><summary>{len(rows)} misses, cell by cell</summary>{_table(heads, rows)}</details>"


def _picture(name: str, path: Path) -> str:
    data = base64.b64encode(path.read_bytes()).decode("ascii")
    about = ABOUT.get(name.partition("-")[0], "")
    image = f"<img alt='{html.escape(about)}' src='data:image/png;base64,{data}'>"
    return f"<figure style='margin:0 0 1.6rem'>{image}<figcaption><p class='note'>{about}</p></figcaption></figure>"


def _cells(cells: Sequence[CellResult]) -> str:
    """One table for each, folded."""
    return "\n".join(_cell(cell) for cell in cells)


def _cell(cell: CellResult) -> str:
    rows = (
        (
            style.policy(one.policy)[0], _percent(one.attainment.value),
            "–" if one.accuracy is None else _percent(one.accuracy), _percent(one.effective.value),
            _percent(one.of_bound), _percent(one.terminated), _percent(one.wasted),
            f"{one.decision_us_p50:.0f}", f"{one.decision_us_p99:.0f}",
            ", ".join(f"{name} {share * 100:.0f}" for name, share in one.variants.items() if share >= 0.005),
            ", ".join(f"{name} {_plain(value)}" for name, value in one.parameters.items()),
        )
        for one in cell.policies
    )  # fmt: skip
    heads = (
        "policy", "attained %", "accuracy %", "effective %", "of bound %", "terminated %", "wasted %", "µs p50", "p99",
        "answered by %", "parameters",
    )  # fmt: skip
    summary = f"{cell.cell}: {cell.requests} requests, bound {_percent(cell.bound)} %"
    return f"<details><summary>{html.escape(summary)}</summary>{_table(heads, rows)}</details>"


def _grids(setting: Setting) -> str:
    rows = (
        (style.policy(policy)[0], name, ", ".join(map(_plain, values)))
        for policy, grid in setting.grids.items()
        for name, values in grid.items()
    )
    return _table(("policy", "parameter", "values tried"), rows)


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]], *, escaped: bool = False) -> str:
    lines = list(rows)
    words = [any(map(_is_words, column)) for column in zip(*lines, strict=True)] or [False] * len(heads)
    kinds = [" class='text'" if one else "" for one in words]
    head = "".join(f"<th{kind}>{html.escape(one)}</th>" for kind, one in zip(kinds, heads, strict=True))
    cells = (
        "".join(f"<td{kind}>{one if escaped else html.escape(one)}</td>" for kind, one in zip(kinds, line, strict=True))
        for line in lines
    )
    body = "\n".join(f"<tr>{line}</tr>" for line in cells)
    return f"<div class='wide'><table><thead><tr>{head}</tr></thead><tbody>\n{body}\n</tbody></table></div>"


def _is_words(text: str) -> bool:
    """They stand to the left, figures to the right."""
    return any(letter.isalpha() for letter in text.replace("µs", "").replace("points", "").replace("times", ""))


def _value(value: float | None, goal: Goal) -> str:
    if value is None:
        return "–"
    scale, digits, unit = UNITS[goal.unit]
    sign = "+" if goal.unit == "points" else ""
    return f"{round(value * scale, digits) + 0.0:{sign}.{digits}f}{unit}".replace("-", "−")


def _percent(value: float) -> str:
    return f"{value * 100:.2f}"


def _plain(value: float | str) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
