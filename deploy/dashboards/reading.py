"""The committed dashboards as they stand in their files, and their queries as Grafana would send them."""

import json
from collections.abc import Mapping
from typing import Any

from deploy.dashboards.generate import FOLDER

Json = dict[str, Any]


def dashboards() -> dict[str, Json]:
    """By the file's name without its ending."""
    return {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted(FOLDER.glob("*.json"))}


def panels(dashboard: Json) -> list[Json]:
    """Those with data: rows are left out."""
    return [panel for panel in dashboard["panels"] if panel["type"] != "row"]


def filled(expr: str, variables: Mapping[str, str]) -> str:
    """An expression with its variables replaced, longer names first. Raises `ValueError` when one is not given."""
    for name in sorted(variables, key=len, reverse=True):
        expr = expr.replace(f"${name}", variables[name])
    if "$" in expr:
        raise ValueError(f"a variable of {expr} is not given")
    return expr
