"""Writes the dashboards' JSON; `--check` only compares."""

import argparse
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType

from grafana_foundation_sdk.builders import dashboard as builders
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import dashboard as models

from deploy.dashboards import capacity, service, tradeoff
from deploy.dashboards.panels import SOURCE
from service.telemetry import table

FOLDER = Path(__file__).resolve().parents[1] / "grafana" / "dashboards"
TAG = "effserve"
DASHBOARDS: dict[str, ModuleType] = {"tradeoff": tradeoff, "service": service, "capacity": capacity}
"""By their file's name, which is the end of their address, too."""


def texts() -> dict[str, str]:
    """Each file's content by its name."""
    return {f"{name}.json": _text(_dashboard(name, module)) for name, module in DASHBOARDS.items()}


def _dashboard(name: str, module: ModuleType) -> models.Dashboard:
    made = builders.Dashboard(module.TITLE).description(module.DESCRIPTION).uid(f"effserve-{name}").tags([TAG])
    made = made.time("now-1h", "now").refresh("10s").timezone("browser").readonly()
    made = made.tooltip(models.DashboardCursorSync.CROSSHAIR).link(_others())
    made = made.with_variable(_variable("job", "Job", "")).with_variable(_instances())
    for title, panels in module.rows().items():
        made = made.with_row(builders.Row(title))
        for panel in panels:
            made = made.with_panel(panel)
    built = made.build()
    for number, panel in enumerate(built.panels or (), start=1):
        panel.id_val = number
    return built


def _instances() -> builders.QueryVariable:
    everything = models.VariableOption(selected=True, text="All", value="$__all")
    made = _variable("instance", "Instance", '{job="$job"}').multi(True).include_all(True)
    return made.all_value(".*").current(everything)


def _variable(label: str, words: str, matcher: str) -> builders.QueryVariable:
    """Values of a label that metrics of ours have."""
    made = builders.QueryVariable(label).label(words).datasource(SOURCE)
    made = made.query(f"label_values({table.READY.exposed_name}{matcher}, {label})")
    return made.refresh(models.VariableRefresh.ON_TIME_RANGE_CHANGED).sort(models.VariableSort.ALPHABETICAL_ASC)


def _others() -> builders.DashboardLink:
    """A menu of the other dashboards, with the same time and variables."""
    made = builders.DashboardLink("effserve").type(models.DashboardLinkType.DASHBOARDS).tags([TAG])
    return made.as_dropdown(True).include_vars(True).keep_time(True)


def _text(dashboard: models.Dashboard) -> str:
    return json.dumps(dashboard, cls=JSONEncoder, indent=1, ensure_ascii=False, sort_keys=True) + "\n"


def differing(wanted: Mapping[str, str], folder: Path) -> list[str]:
    """Names of files that are missing in `folder`, have other content, or are nobody's."""
    there = {path.name: path.read_text(encoding="utf-8") for path in folder.glob("*.json")}
    return sorted(name for name in wanted.keys() | there.keys() if wanted.get(name) != there.get(name))


def main(arguments: list[str] | None = None, folder: Path = FOLDER) -> int:
    """Write the dashboards, or compare them; the exit status."""
    parser = argparse.ArgumentParser(description="Write Grafana's dashboards.")
    parser.add_argument("--check", action="store_true", help="change nothing; exit 1 when a dashboard is out of date")
    checking = parser.parse_args(arguments).check
    wanted = texts()
    stale = differing(wanted, folder)
    if checking:
        if stale:
            sys.stderr.write(
                f"{', '.join(stale)} in deploy/grafana/dashboards/ differ from the code: run `make docs`\n"
            )
        return 1 if stale else 0
    for name in stale:
        if name in wanted:
            (folder / name).write_text(wanted[name], encoding="utf-8")
        else:
            (folder / name).unlink()
    return 0
