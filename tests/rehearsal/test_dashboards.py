"""Every panel of every dashboard finds data in the real Prometheus."""

import math
import re
from pathlib import Path
from typing import Any

import pytest

from deploy.dashboards.picture import save
from deploy.dashboards.reading import dashboards, filled, panels
from tests.rehearsal.prometheus import Prometheus
from tests.rehearsal.tools import BROUGHT

VARIABLES = {"job": "effserve", "instance": ".*", "__rate_interval": "1m"}
MAY_BE_EMPTY = {
    "Hold": "only an answer in hand whose bettering is terminated is held, and the load need not lead to one",
    "Accuracy lost, by budget": "there is no series before the first answer that load made worse",
    "Downgraded answers": "likewise",
}
"""Panels that may have nothing to show in a service that does well, and why."""
ALL = [
    pytest.param(panel, id=f"{name}-{panel['title']}")
    for name, dashboard in dashboards().items()
    for panel in panels(dashboard)
]


@pytest.mark.parametrize("panel", ALL)
def test_a_panel_has_data(watched: Prometheus, panel: dict[str, Any]) -> None:
    """Each of its queries returns at least one series, and numbers."""
    for target in panel["targets"]:
        found = watched.instant(filled(target["expr"], VARIABLES))
        if panel["title"] not in MAY_BE_EMPTY:
            assert found != [], target["expr"]
        assert all(math.isfinite(value) for series in found for _, value in series.points), target["expr"]
        _shaped(panel, [dict(series.labels) for series in found])


def _shaped(panel: dict[str, Any], found: list[dict[str, str]]) -> None:
    """The labels that the kind of panel and the legend count on are there, and tell the series apart."""
    match panel["type"]:
        case "heatmap":
            assert not found or {"le": "+Inf"} in found
        case "table" | "xychart":
            assert all(labels.keys() == {"variant"} for labels in found)
        case "stat":
            assert len(found) <= 1
        case _:
            for target in panel["targets"]:
                named = set(re.findall(r"{{(\w+)}}", target["legendFormat"]))
                assert len(panel["targets"]) > 1 or all(named <= labels.keys() for labels in found)


def test_what_may_be_empty_is_a_panel() -> None:
    """Else the reason is about nothing."""
    assert MAY_BE_EMPTY.keys() <= {panel["title"] for board in dashboards().values() for panel in panels(board)}


@pytest.mark.parametrize("name", sorted(dashboards()))
def test_variables_have_values(watched: Prometheus, name: str) -> None:
    """The queries behind them, in Grafana's way of writing."""
    for variable in dashboards()[name]["templating"]["list"]:
        found = re.fullmatch(r"label_values\((.+), (\w+)\)", variable["query"])
        assert found is not None
        assert watched.label_values(filled(found[1], VARIABLES), found[2]) != []


def test_the_dashboards_can_be_looked_at(watched: Prometheus) -> None:
    """Pictures of what this run had to show, in `.rehearsal/`, for whoever wants to see them."""
    folder = BROUGHT / "pictures"
    folder.mkdir(parents=True, exist_ok=True)
    drawn = save(watched.url, folder, job="effserve", span_s=60)
    assert [path.name for path in drawn] == ["capacity.png", "service.png", "tradeoff.png"]
    assert all(Path(path).stat().st_size > 50_000 for path in drawn)
