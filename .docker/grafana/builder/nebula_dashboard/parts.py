"""Parts: one panel of each kind, given what differs; everything else about them is the same everywhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from grafana_foundation_sdk.builders import (
    common,
    dashboard,
    heatmap,
    prometheus,
    stat,
    statetimeline,
    table,
    timeseries,
)
from grafana_foundation_sdk.models import common as common_values
from grafana_foundation_sdk.models import dashboard as values
from grafana_foundation_sdk.models import heatmap as heatmap_values
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

__all__ = ["SOURCE", "PanelBuilder", "Query", "graph", "heat", "listing", "number", "timeline"]

SOURCE = values.DataSourceRef(type_val="prometheus", uid="${datasource}")
HEIGHT = 8
WIDTH = 8  # of 24: three in a row

PanelBuilder: TypeAlias = timeseries.Panel | stat.Panel | statetimeline.Panel | heatmap.Panel | table.Panel
Steps: TypeAlias = Sequence[tuple[float | None, str]]
"""From which value on which colour; None: from the beginning."""


@dataclass(frozen=True, slots=True)
class Query:
    """One PromQL question, and what a series of its answer is called."""

    expr: str
    legend: str = ""


def graph(
    title: str,
    why: str,
    *queries: Query,
    unit: str = "short",
    stacked: bool = False,
    top: float | None = None,
    steps: Steps = (),
) -> timeseries.Panel:
    """Lines over time; ``steps`` are drawn as lines of their own."""
    panel = timeseries.Panel().title(title).description(why).datasource(SOURCE).height(HEIGHT).span(WIDTH)
    panel.unit(unit).min(0).fill_opacity(30 if stacked else 5).show_points(common_values.VisibilityMode.NEVER)
    panel.legend(common.VizLegendOptions().show_legend(True))
    panel.tooltip(common.VizTooltipOptions().mode(common_values.TooltipDisplayMode.MULTI))
    if stacked:
        panel.stacking(common.StackingConfig().mode(common_values.StackingMode.NORMAL))
    if top is not None:
        panel.max(top)
    if steps:
        panel.thresholds(_thresholds(steps)).thresholds_style(
            common.GraphThresholdsStyleConfig().mode(common_values.GraphThresholdsStyleMode.LINE)
        )
    for letter, query in zip("ABCDEF", queries, strict=False):
        panel.with_target(_target(letter, query).range())
    return panel


def number(title: str, why: str, query: Query, *, steps: Steps = (), names: bool = False) -> stat.Panel:
    """The number of now, large, 0 where there is none; ``names``: the name of the series is what is worth reading."""
    panel = stat.Panel().title(title).description(why).datasource(SOURCE).height(4).span(4).no_value("0")
    panel.with_target(_target("A", query).instant())
    panel.reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
    if names:
        panel.text_mode(common_values.BigValueTextMode.NAME)
    if steps:
        panel.thresholds(_thresholds(steps))
    return panel


def timeline(
    title: str, why: str, query: Query, states: Mapping[int, tuple[str, str]], *, width: int = WIDTH
) -> statetimeline.Panel:
    """A coloured bar for each series; ``states``: what a number is called, and its colour."""
    panel = statetimeline.Panel().title(title).description(why).datasource(SOURCE).height(HEIGHT).span(width)
    panel.with_target(_target("A", query).range()).merge_values(True)
    shown = {
        str(code): values.ValueMappingResult(text=text, color=colour, index=code)
        for code, (text, colour) in states.items()
    }
    return panel.mappings([values.ValueMap(options=shown)])


def heat(title: str, why: str, query: Query, *, unit: str) -> heatmap.Panel:
    """How many lay in which bucket, over time."""
    panel = heatmap.Panel().title(title).description(why).datasource(SOURCE).height(HEIGHT).span(WIDTH)
    panel.with_target(_target("A", query).range().format(PromQueryFormat.HEATMAP))
    panel.y_axis(heatmap.YAxisConfig().unit(unit))
    return panel.color(
        heatmap.HeatmapColorOptions().mode(heatmap_values.HeatmapColorMode.SCHEME).scheme("Oranges")
    )


def listing(title: str, why: str, columns: Mapping[str, Query], *, width: int = WIDTH) -> table.Panel:
    """A table of now: a row for each set of labels, a column for each query."""
    panel = table.Panel().title(title).description(why).datasource(SOURCE).height(HEIGHT).span(width)
    for letter, query in zip("ABCDEF", columns.values(), strict=False):
        panel.with_target(_target(letter, query).instant().format(PromQueryFormat.TABLE))
    panel.show_header(True)
    renamed = {f"Value #{letter}": name for letter, name in zip("ABCDEF", columns, strict=False)}
    panel.with_transformation(values.DataTransformerConfig(id_val="merge", options={}))
    return panel.with_transformation(
        values.DataTransformerConfig(
            id_val="organize", options={"excludeByName": {"Time": True}, "renameByName": renamed}
        )
    )


def _target(letter: str, query: Query) -> prometheus.Dataquery:
    target = prometheus.Dataquery().expr(query.expr).ref_id(letter).datasource(SOURCE)
    return target.legend_format(query.legend) if query.legend else target


def _thresholds(steps: Steps) -> dashboard.ThresholdsConfig:
    made = [values.Threshold(value=value, color=colour) for value, colour in steps]
    return dashboard.ThresholdsConfig().mode(values.ThresholdsMode.ABSOLUTE).steps(made)
