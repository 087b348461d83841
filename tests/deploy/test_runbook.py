"""Each alert leads to a section that says what to do, in words, panels and commands that exist."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.dashboards import promql
from deploy.dashboards.generate import DASHBOARDS
from deploy.dashboards.reading import dashboards, panels
from service import settings
from service.core.values import Reason
from tests.deploy.test_dashboards import OURS, known_series
from tests.docs.test_links import FENCE, anchors

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "runbook.md").read_text(encoding="utf-8")
SECTIONS = dict(re.findall(r"^## (\S+)\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL))
ROUTES = set(
    re.findall(
        r"add_api_route\(\s*\"(/\w+)\"", (ROOT / "service" / "edges" / "http" / "app.py").read_text(encoding="utf-8")
    )
)


def alerts() -> list[dict[str, Any]]:
    """As they are written."""
    groups = yaml.safe_load(promql.RULES.with_name("alerts.yml").read_text(encoding="utf-8"))["groups"]
    return [rule for group in groups for rule in group["rules"]]


def test_every_alert_has_its_section_and_every_section_its_alert() -> None:
    """In the alerts' order."""
    assert list(SECTIONS) == list(dict.fromkeys(rule["alert"] for rule in alerts()))


@pytest.mark.parametrize("rule", alerts(), ids=lambda rule: f"{rule['alert']}-{rule['labels'].get('window', '')}")
def test_an_alert_points_at_its_section(rule: dict[str, Any]) -> None:
    """By file and heading; and says in a line what is the matter."""
    file, _, anchor = rule["annotations"]["runbook_url"].partition("#")
    assert file == "docs/runbook.md"
    assert anchor == rule["alert"].lower()
    assert anchor in anchors(PAGE)
    assert rule["annotations"]["summary"]


@pytest.mark.parametrize("name", SECTIONS)
def test_a_section_says_how_urgent_it_is_what_to_look_at_and_what_to_do(name: str) -> None:
    """In this order, and as urgent as the alert says."""
    (severity,) = {rule["labels"]["severity"] for rule in alerts() if rule["alert"] == name}
    section = SECTIONS[name].strip()
    assert section.startswith(f"`{severity}`. ")
    assert -1 < section.find("**Look at**") < section.find("**Do")


def test_panels_that_are_named_exist() -> None:
    """On the dashboard that is named."""
    titles = {module.TITLE.removeprefix("effserve: "): name for name, module in DASHBOARDS.items()}
    named = re.findall(r"\*(\w[\w-]+): ([^*]+)\*", PAGE.replace("\n", " "))
    assert len(named) > 15
    for board, panel in named:
        if (board, panel) != ("Dashboard", "Panel"):
            assert panel in {one["title"] for one in panels(dashboards()[titles[board.lower()]])}


def test_settings_that_are_named_exist() -> None:
    """By name and by environment variable."""
    groups = "|".join(settings.groups())
    assert set(re.findall(rf"`((?:{groups})\.\w+)`", PAGE)) <= set(settings.names())
    variables = {settings.variable(name) for name in settings.names()}
    assert set(re.findall(r"EFFSERVE_\w+", PAGE)) <= variables


def test_queries_and_reasons_that_are_named_exist() -> None:
    """Metrics of the table, series that are recorded, reasons of decisions."""
    queries = " ".join(block for language, block in FENCE.findall(PAGE) if language == "promql")
    assert set(OURS.findall(queries)) <= known_series()
    assert set(re.findall(r"effserve:[\w:]+", PAGE)) <= promql.recorded_names()
    assert {"protects_waiting", "insures_under_load", "cheapest_none_fits"} <= set(Reason)


def test_addresses_that_are_named_are_served() -> None:
    """Of those that operators use."""
    named = set(re.findall(r"localhost:8000(/[\w/]*)", PAGE))
    assert named
    assert named <= ROUTES
