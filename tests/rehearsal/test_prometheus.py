"""The real Prometheus understands deploy/prometheus/, and finds in the live service whatever the rules ask for."""

import re
import subprocess
from typing import Any

import pytest
import yaml

from service.telemetry.table import TABLE
from tests.rehearsal.prometheus import CONFIGURATION, Prometheus
from tests.rehearsal.tools import ROOT, need

RUNBOOK = ROOT / "docs" / "runbook.md"
NAME = re.compile(r"\b(?:effserve[:_][\w:]+|up)\b")
NEVER_HERE = {
    "effserve_untrained_answers_total": "all networks of this run are trained",
}
"""Series that a healthy service under this load does not have, and why."""


def rules(file: str) -> list[dict[str, Any]]:
    """Of a file, in order."""
    groups = yaml.safe_load((CONFIGURATION / file).read_text(encoding="utf-8"))["groups"]
    return [rule for group in groups for rule in group["rules"]]


RECORDED = [rule["record"] for rule in rules("recording.yml")]
READ = sorted({name for rule in rules("alerts.yml") for name in NAME.findall(rule["expr"])})


def promtool(*arguments: str) -> None:
    """Its output is shown when it fails."""
    done = subprocess.run(
        [need("promtool"), *arguments], cwd=CONFIGURATION, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("file", sorted(path.name for path in CONFIGURATION.glob("*_test.yml")))
def test_rules_do_what_their_tests_say(file: str) -> None:
    """On series that are written down."""
    promtool("test", "rules", file)


def test_the_configuration_is_valid() -> None:
    """With all files that it names."""
    promtool("check", "config", "prometheus.yml")


def test_the_service_is_scraped_without_complaint(watched: Prometheus) -> None:
    """One target, healthy, in a format that Prometheus takes."""
    (target,) = watched.targets()
    assert (target["health"], target["lastError"]) == ("up", "")
    assert target["labels"]["job"] == "effserve"


@pytest.mark.parametrize("name", RECORDED)
def test_a_recording_rule_returns_data(watched: Prometheus, name: str) -> None:
    """A number, of the job; the objective is of no job."""
    found = watched.instant(name)
    assert found != []
    assert all(value == value for series in found for _, value in series.points)
    if name != "effserve:budget_errors:objective":
        assert {series.labels["job"] for series in found} == {"effserve"}


def test_every_rule_is_evaluated_without_error(watched: Prometheus) -> None:
    """Alerts, too; and all that are written are there."""
    found = watched.rules()
    assert len(found) == len(rules("recording.yml")) + len(rules("alerts.yml"))
    assert {rule["name"]: rule.get("lastError", "") for rule in found if rule["health"] != "ok"} == {}


@pytest.mark.parametrize("name", [name for name in READ if name not in NEVER_HERE])
def test_what_an_alert_reads_is_there(watched: Prometheus, name: str) -> None:
    """An alert about a series that nobody writes would never fire."""
    assert watched.instant(name) != []


@pytest.mark.parametrize("query", re.findall(r"```promql\n(.*?)```", RUNBOOK.read_text(encoding="utf-8"), re.DOTALL))
def test_the_runbooks_queries_can_be_asked(watched: Prometheus, query: str) -> None:
    """They are understood; most of them find nothing in a service that does well."""
    assert isinstance(watched.instant(query), list)


def test_what_is_never_here_exists_all_the_same() -> None:
    """In the table of metrics, and in an alert."""
    assert NEVER_HERE.keys() <= {spec.exposed_name for spec in TABLE} & set(READ)
