"""The kinds of panel in use, with what all panels of a kind share.

Every panel has a title, a description that says how to read it, a unit, and queries with a legend.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias, TypeVar

from grafana_foundation_sdk.builders import common as common_builders
from grafana_foundation_sdk.builders import dashboard as dashboard_builders
from grafana_foundation_sdk.builders import heatmap, prometheus, stat, table, timeseries, xychart
from grafana_foundation_sdk.models import common, dashboard
from grafana_foundation_sdk.models.heatmap import HeatmapColorMode
from grafana_foundation_sdk.models.prometheus import PromQueryFormat
from grafana_foundation_sdk.models.xychart import SeriesMapping, XYShowMode

SOURCE = dashboard.DataSourceRef(type_val="prometheus", uid="effserve-prometheus")
"""As `deploy/grafana/provisioning/datasources/` names it."""
LAST = common_builders.ReduceDataOptions().calcs(["lastNotNull"])
Panel: TypeAlias = timeseries.Panel | stat.Panel | heatmap.Panel | table.Panel | xychart.Panel
P = TypeVar("P", timeseries.Panel, stat.Panel, heatmap.Panel, table.Panel, xychart.Panel)
T = TypeVar("T", table.Panel, xychart.Panel)


class Unit:
    """Units by Grafana's names."""

    SHARE = "percentunit"
    SECONDS = "s"
    BYTES = "bytes"
    PER_SECOND = "reqps"
    PLAIN = "short"
    RATIO = "none"
    MACS = "flops"


@dataclass(frozen=True, slots=True)
class Query:
    """An expression and how its series are called."""

    expr: str
    legend: str


@dataclass(frozen=True, slots=True)
class About:
    """What each panel needs."""

    title: str
    description: str
    unit: str
    wide: int = 12
    high: int = 8


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table that has a row for each variant: an expression with the label `variant`, as it is now."""

    title: str
    expr: str
    unit: str


def lines(
    about: About, *queries: Query, stacked: bool = False, share: bool = False, from_zero: bool = True
) -> timeseries.Panel:
    """Values over time; `stacked` as areas one on the other, with `share` each as a part of the whole. Not `from_zero`
    where the difference of two lines is what matters."""
    panel = _about(timeseries.Panel(), about).tooltip(_all_series())
    panel = panel.min(0) if from_zero else panel
    panel = panel.legend(_legend()).line_width(1).show_points(common.VisibilityMode.NEVER)
    if stacked or share:
        mode = common.StackingMode.PERCENT if share else common.StackingMode.NORMAL
        panel = panel.fill_opacity(40).stacking(common_builders.StackingConfig().mode(mode).group("A"))
    return panel.targets([_target(number, query).range() for number, query in enumerate(queries)])


def number(about: About, query: Query, steps: Sequence[tuple[float | None, str]] = ((None, "blue"),)) -> stat.Panel:
    """One value, as it is now, over its course. `steps`: from which value on it has which colour."""
    panel = _about(stat.Panel(), about).reduce_options(LAST).graph_mode(common.BigValueGraphMode.AREA)
    thresholds = dashboard_builders.ThresholdsConfig().mode(dashboard.ThresholdsMode.ABSOLUTE)
    panel = panel.thresholds(thresholds.steps([dashboard.Threshold(value, colour) for value, colour in steps]))
    return panel.no_value("–").targets([_target(0, query).range()])


def heat(about: About, expr: str) -> heatmap.Panel:
    """How a histogram's buckets fill over time; `expr` has the label `le`."""
    axis = heatmap.YAxisConfig().unit(about.unit)
    colour = heatmap.HeatmapColorOptions().mode(HeatmapColorMode.SCHEME).scheme("Blues").steps(64).exponent(0.5)
    panel = _about(heatmap.Panel(), about).calculate(False).y_axis(axis).color(colour)
    return panel.targets([_target(0, Query(expr, "{{le}}")).format(PromQueryFormat.HEATMAP).range()])


def by_variant(about: About, *columns: Column) -> table.Panel:
    """A row for each variant, a column for each expression."""
    panel = _joined(_about(table.Panel(), about), columns)
    for column in columns:
        panel = panel.override_by_name(column.title, [dashboard.DynamicConfigValue("unit", column.unit)])
    return panel.override_by_name("variant", [dashboard.DynamicConfigValue("custom.minWidth", 120)])


def against(about: About, x: Column, y: Column, line: Column) -> xychart.Panel:
    """A point for each variant at (`x`, `y`), and a line through those that `line` has a value for."""
    panel = _joined(_about(xychart.Panel(), about), (x, y, line)).with_transformation(
        dashboard.DataTransformerConfig("sortBy", options={"sort": [{"field": x.title}]})
    )
    series = [_pair(x, y).name(xychart.XychartXYSeriesConfigName().fixed(y.title)), _pair(x, line)]
    panel = panel.mapping(SeriesMapping.MANUAL).series([series[0], series[1]]).legend(_legend())
    panel = panel.show(XYShowMode.POINTS).point_size(xychart.XychartFieldConfigPointSize().fixed(10))
    panel = panel.override_by_name(x.title, _axis(x)).override_by_name(y.title, _axis(y))
    drawn = [dashboard.DynamicConfigValue("custom.show", XYShowMode.POINTS_AND_LINES)]
    return panel.override_by_name(line.title, [*_axis(line), *drawn]).tooltip(_all_series())


def _about(panel: P, about: About) -> P:
    made = panel.title(about.title).description(about.description).unit(about.unit).datasource(SOURCE)
    return made.span(about.wide).height(about.high)


def _target(number: int, query: Query) -> prometheus.Dataquery:
    made = prometheus.Dataquery().expr(query.expr).legend_format(query.legend)
    return made.ref_id(chr(ord("A") + number)).datasource(SOURCE)


def _joined(panel: T, columns: Sequence[Column]) -> T:
    """The columns' present values as one table by variant, with their titles and nothing else."""
    targets = [
        _target(number, Query(f"sum by (variant) ({column.expr})", "__auto")).format(PromQueryFormat.TABLE).instant()
        for number, column in enumerate(columns)
    ]
    names = {f"Value #{chr(ord('A') + number)}": column.title for number, column in enumerate(columns)}
    times = {f"Time {number}": True for number in range(1, len(columns) + 1)} | {"Time": True}
    join = dashboard.DataTransformerConfig("joinByField", options={"byField": "variant", "mode": "outer"})
    shown = dashboard.DataTransformerConfig("organize", options={"excludeByName": times, "renameByName": names})
    for target in targets:
        panel = panel.with_target(target)
    return panel.with_transformation(join).with_transformation(shown)


def _pair(x: Column, y: Column) -> xychart.XYSeriesConfig:
    made = xychart.XYSeriesConfig().x(xychart.XychartXYSeriesConfigX().matcher(_named(x.title)))
    return made.y(xychart.XychartXYSeriesConfigY().matcher(_named(y.title)))


def _named(title: str) -> xychart.MatcherConfig:
    return xychart.MatcherConfig().id("byName").options(title)


def _axis(column: Column) -> list[dashboard.DynamicConfigValue]:
    return [
        dashboard.DynamicConfigValue("unit", column.unit),
        dashboard.DynamicConfigValue("custom.axisLabel", column.title),
    ]


def _legend() -> common_builders.VizLegendOptions:
    made = common_builders.VizLegendOptions().display_mode(common.LegendDisplayMode.LIST)
    return made.placement(common.LegendPlacement.BOTTOM).show_legend(True)


def _all_series() -> common_builders.VizTooltipOptions:
    return common_builders.VizTooltipOptions().mode(common.TooltipDisplayMode.MULTI)
