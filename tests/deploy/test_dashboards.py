"""The committed dashboards are those that the code makes, and each is one that Grafana can lay out and a reader use."""

import itertools
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.dashboards import promql
from deploy.dashboards.generate import FOLDER, main
from deploy.dashboards.panels import SOURCE
from deploy.dashboards.reading import dashboards, filled, panels
from service.telemetry.table import TABLE, Kind

BOARDS = dashboards()
PANELS = [pytest.param(panel, id=f"{name}-{panel['title']}") for name in BOARDS for panel in panels(BOARDS[name])]
PROVISIONING = FOLDER.parent / "provisioning"
OURS = re.compile(r"\beffserve_\w+")
RECORDED = re.compile(r"\beffserve:[\w:]+")
VARIABLE = re.compile(r"\$(\w+)")
GRAFANAS_OWN = {"__rate_interval"}
KINDS = {"stat", "timeseries", "heatmap", "xychart", "table"}


def known_series() -> set[str]:
    """Whatever name a metric of ours has series under."""
    parts = {Kind.HISTOGRAM: ("_bucket", "_sum", "_count")}
    return {f"{spec.exposed_name}{part}" for spec in TABLE for part in parts.get(spec.kind, ("",))}


def test_the_committed_files_are_current(capsys: pytest.CaptureFixture[str]) -> None:
    """`--check` finds no difference and says nothing."""
    assert main(["--check"]) == 0
    assert capsys.readouterr().err == ""


def test_stale_and_foreign_files_are_named_and_mended(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One that was edited, one that is missing, and one that nobody makes."""
    assert main([], tmp_path) == 0
    (tmp_path / "service.json").write_text("edited")
    (tmp_path / "capacity.json").unlink()
    (tmp_path / "mine.json").write_text("{}")
    assert main(["--check"], tmp_path) == 1
    assert "capacity.json, mine.json, service.json in " in capsys.readouterr().err
    assert main([], tmp_path) == 0
    assert main(["--check"], tmp_path) == 0
    assert not (tmp_path / "mine.json").exists()


def test_a_series_that_no_rule_records_ends_the_generation() -> None:
    """A dashboard cannot ask for what is not made."""
    with pytest.raises(KeyError, match="effserve:nothing"):
        promql.recorded("effserve:nothing")


@pytest.mark.parametrize("panel", PANELS)
def test_queries_name_only_what_exists(panel: dict[str, Any]) -> None:
    """Metrics of the table, series of the recording rules."""
    for target in panel["targets"]:
        assert set(OURS.findall(target["expr"])) <= known_series()
        assert set(RECORDED.findall(target["expr"])) <= promql.recorded_names()


@pytest.mark.parametrize("panel", PANELS)
def test_a_panel_explains_itself(panel: dict[str, Any]) -> None:
    """Title, a description that is a sentence, unit, and a name for each series."""
    assert panel["type"] in KINDS
    assert panel["title"]
    assert panel["description"].endswith(".")
    assert panel["fieldConfig"]["defaults"]["unit"]
    assert panel["datasource"]["uid"] == SOURCE.uid
    assert all(target["legendFormat"] and target["datasource"]["uid"] == SOURCE.uid for target in panel["targets"])
    letters = [target["refId"] for target in panel["targets"]]
    assert letters == sorted(set(letters)) != []


@pytest.mark.parametrize("name", sorted(BOARDS))
def test_panels_have_ids_of_their_own(name: str) -> None:
    """Also rows; and titles are not used twice in a row of sight."""
    found = [panel["id"] for panel in BOARDS[name]["panels"]]
    assert len(set(found)) == len(found)
    places = [(row["title"], panel["title"]) for row, panel in _under_rows(BOARDS[name])]
    assert len(set(places)) == len(places)


def _under_rows(board: dict[str, Any]) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """Each panel with the row that it stands under."""
    found, row = [], board["panels"][0]
    for panel in board["panels"]:
        row = panel if panel["type"] == "row" else row
        if panel is not row:
            found.append((row, panel))
    return found


@pytest.mark.parametrize("name", sorted(BOARDS))
def test_panels_lie_side_by_side(name: str) -> None:
    """In the grid of 24 columns, none over another."""
    boxes = [panel["gridPos"] for panel in BOARDS[name]["panels"]]
    assert all(box["x"] >= 0 and box["w"] > 0 and box["h"] > 0 and box["x"] + box["w"] <= 24 for box in boxes)
    assert not any(_overlap(one, other) for one, other in itertools.combinations(boxes, 2))


def _overlap(one: dict[str, int], other: dict[str, int]) -> bool:
    return all(
        one[start] < other[start] + other[length] and other[start] < one[start] + one[length]
        for start, length in (("x", "w"), ("y", "h"))
    )


@pytest.mark.parametrize("name", sorted(BOARDS))
def test_variables_are_defined_and_used(name: str) -> None:
    """Nothing asks for a variable that is not there, and none is there for nothing."""
    defined = {variable["name"] for variable in BOARDS[name]["templating"]["list"]}
    asked = [target["expr"] for panel in panels(BOARDS[name]) for target in panel["targets"]]
    asked += [variable["query"] for variable in BOARDS[name]["templating"]["list"]]
    used = set(itertools.chain.from_iterable(map(VARIABLE.findall, asked)))
    assert used - GRAFANAS_OWN == defined


def test_dashboards_have_addresses_of_their_own() -> None:
    """And a tag by which each finds the others."""
    assert len({board["uid"] for board in BOARDS.values()}) == len(BOARDS) == 3
    assert all(board["links"][0]["tags"] == board["tags"] == ["effserve"] for board in BOARDS.values())


def test_the_provisioned_source_is_the_one_that_panels_name() -> None:
    """By uid and type; and rates look at as many seconds as there are between scrapes."""
    (source,) = yaml.safe_load((PROVISIONING / "datasources" / "prometheus.yml").read_text())["datasources"]
    scrapes = yaml.safe_load(promql.RULES.with_name("prometheus.yml").read_text())["global"]["scrape_interval"]
    assert (source["uid"], source["type"]) == (SOURCE.uid, SOURCE.type_val)
    assert source["jsonData"]["timeInterval"] == scrapes


def test_a_variable_without_a_value_is_refused() -> None:
    """A query must not reach Prometheus with a dollar in it."""
    assert filled("up{job=$job}[$jobs]", {"job": "a", "jobs": "b"}) == "up{job=a}[b]"
    with pytest.raises(ValueError, match="not given"):
        filled("up{job=$job}", {})
