"""A look at the dashboards without Grafana: `python -m deploy.dashboards.picture http://localhost:9090`.

Draws what a Prometheus answers to the queries of the committed files, each panel where Grafana would put it. It shows
whether a dashboard says something; Grafana's own colours, axes and legends are its business.
"""

import argparse
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import httpx
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from deploy.dashboards.reading import Json, dashboards, filled

COLUMNS, CELL_INCHES = 24, (0.75, 0.42)
PATIENCE_S = 30.0


@dataclass(frozen=True, slots=True)
class Drawn:
    """One series: how Grafana would call it, its labels, and its points."""

    name: str
    labels: Mapping[str, str]
    times_s: Sequence[float]
    values: Sequence[float]


Ask = Callable[[Json], list[Drawn]]
"""A panel's target → its series."""


def ask(url: str, variables: Mapping[str, str], span_s: float, target: Json) -> list[Drawn]:
    """The series of a target over the last `span_s` seconds. Raises `httpx.HTTPError`."""
    now = time.time()
    span = {"start": now - span_s, "end": now, "step": max(span_s / 200, 1)}
    answer = httpx.get(
        f"{url}/api/v1/query_range", params={"query": filled(target["expr"], variables), **span}, timeout=PATIENCE_S
    )
    found = answer.raise_for_status().json()["data"]["result"]
    return [_series(target["legendFormat"], one["metric"], np.array(one["values"], dtype=float)) for one in found]


def _series(
    legend: str, labels: Mapping[str, str], points: "np.ndarray[tuple[int, ...], np.dtype[np.float64]]"
) -> Drawn:
    for label, value in labels.items():
        legend = legend.replace(f"{{{{{label}}}}}", value)
    return Drawn(legend, labels, points[:, 0].tolist(), points[:, 1].tolist())


def draw(dashboard: Json, ask: Ask) -> Figure:
    """The whole dashboard."""
    panels = dashboard["panels"]
    rows = max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in panels)
    figure = plt.figure(figsize=(COLUMNS * CELL_INCHES[0], rows * CELL_INCHES[1]))
    for panel in panels:
        where = panel["gridPos"]
        bottom = 1 - (where["y"] + where["h"]) / rows
        box = (
            where["x"] / COLUMNS + 0.028,
            bottom + 0.75 / rows,
            where["w"] / COLUMNS - 0.04,
            (where["h"] - 1.7) / rows,
        )
        if panel["type"] == "row":
            figure.text(0.01, bottom + 0.3 / rows, panel["title"], fontsize=13, fontweight="bold")
            continue
        axes = figure.add_axes(box)
        axes.set_title(panel["title"], fontsize=8, loc="left")
        axes.tick_params(labelsize=6)
        _KINDS[panel["type"]](axes, panel, [ask(target) for target in panel["targets"]])
    return figure


def _lines(axes: Axes, panel: Json, found: list[list[Drawn]]) -> None:
    series = [one for target in found for one in target]
    stacking = panel["fieldConfig"]["defaults"]["custom"].get("stacking", {}).get("mode", "none")
    if stacking == "none" or not series:
        for one in series:
            axes.plot(one.times_s, one.values, label=one.name, linewidth=1)
    else:
        times_s = sorted({at for one in series for at in one.times_s})
        heights = np.array([np.interp(times_s, one.times_s, one.values, left=0, right=0) for one in series])
        if stacking == "percent":
            heights = heights / np.maximum(heights.sum(axis=0), 1e-12)
        axes.stackplot(times_s, heights, labels=[one.name for one in series], alpha=0.6)
    axes.set_ylim(bottom=panel["fieldConfig"]["defaults"].get("min"))
    axes.set_xticks([])
    if series:
        axes.legend(fontsize=5, loc="upper left", ncols=2)


def _number(axes: Axes, panel: Json, found: list[list[Drawn]]) -> None:
    axes.set_axis_off()
    (series,) = found
    last = _formatted(series[0].values[-1], panel["fieldConfig"]["defaults"]["unit"]) if series else "–"
    axes.text(0.5, 0.55, last, fontsize=17, ha="center", va="center", transform=axes.transAxes)


def _formatted(value: float, unit: str) -> str:
    match unit:
        case "percentunit":
            return f"{value:.1%}"
        case "s":
            return f"{value * 1e3:.3g} ms"
        case "bytes":
            return f"{value / 2**20:.3g} MiB"
        case _:
            return f"{value:.3g}"


def _heat(axes: Axes, _: Json, found: list[list[Drawn]]) -> None:
    """Prometheus' buckets count everything below; a heat map shows what is between two."""
    (series,) = found
    buckets = sorted(series, key=lambda one: float(one.labels["le"]))
    between = np.diff(np.array([one.values for one in buckets]), axis=0, prepend=0)
    axes.imshow(np.sqrt(np.maximum(between, 0)), aspect="auto", origin="lower", cmap="Blues", interpolation="nearest")
    axes.set_yticks(range(0, len(buckets), 3), [one.labels["le"] for one in buckets[::3]])
    axes.set_xticks([])


def _now(found: list[list[Drawn]]) -> list[dict[str, float]]:
    return [{one.labels["variant"]: one.values[-1] for one in target} for target in found]


def _points(axes: Axes, panel: Json, found: list[list[Drawn]]) -> None:
    x, y, line = _now(found)
    for variant in x.keys() & y.keys():
        axes.plot(x[variant], y[variant], "o", color="tab:blue")
        axes.annotate(variant, (x[variant], y[variant]), fontsize=7, textcoords="offset points", xytext=(5, -8))
    front = sorted((x[variant], line[variant]) for variant in x.keys() & line.keys())
    axes.plot([at for at, _ in front], [height for _, height in front], color="tab:orange")
    axes.set_xlabel(_titles(panel)[0], fontsize=6)


def _table(axes: Axes, panel: Json, found: list[list[Drawn]]) -> None:
    axes.set_axis_off()
    columns = _now(found)
    variants = sorted({variant for column in columns for variant in column})
    cells = [[variant, *(_cell(column.get(variant)) for column in columns)] for variant in variants]
    table = axes.table(cells, colLabels=["variant", *_titles(panel)], loc="upper center")
    table.set_fontsize(7)


def _cell(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"


def _titles(panel: Json) -> list[str]:
    organize = next(one for one in panel["transformations"] if one["id"] == "organize")
    return list(organize["options"]["renameByName"].values())


_KINDS: dict[str, Callable[[Axes, Json, list[list[Drawn]]], None]] = {
    "timeseries": _lines,
    "stat": _number,
    "heatmap": _heat,
    "xychart": _points,
    "table": _table,
}


def save(url: str, folder: Path, *, job: str, span_s: float) -> list[Path]:
    """One picture for each dashboard; their files."""
    variables = {"job": job, "instance": ".*", "__rate_interval": f"{max(span_s / 50, 4):.0f}s"}
    files = []
    for name, dashboard in dashboards().items():
        figure = draw(dashboard, partial(ask, url, variables, span_s))
        files.append(folder / f"{name}.png")
        figure.savefig(files[-1], dpi=90)
        plt.close(figure)
    return files


def main() -> None:
    """Draw what a Prometheus knows."""
    parser = argparse.ArgumentParser(description="Draw the dashboards without Grafana.")
    parser.add_argument("url", help="of Prometheus, e.g. http://localhost:9090")
    parser.add_argument("--out", type=Path, default=Path(), help="folder for the pictures")
    parser.add_argument("--job", default="effserve", help="whose series")
    parser.add_argument("--minutes", type=float, default=60.0, help="how far back")
    asked = parser.parse_args()
    save(asked.url.rstrip("/"), asked.out, job=asked.job, span_s=asked.minutes * 60)


if __name__ == "__main__":
    main()
