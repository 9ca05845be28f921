"""The dashboard: rows of panels, and the choices at its top that narrow them all."""

from __future__ import annotations

import json
from itertools import count
from pathlib import Path

from grafana_foundation_sdk.builders import dashboard
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import dashboard as values

from nebula_dashboard.panels import ROWS
from nebula_dashboard.parts import SOURCE
from nebula_dashboard.queries import N, grown, here

__all__ = ["FILE", "VARIABLES", "text"]

FILE = Path(__file__).parents[2] / "dashboards" / "nebula-resource.json"

VARIABLES = {
    "job": f"label_values({N}build_info, job)",
    "instance": f'label_values({N}build_info{{job=~"$job"}}, instance)',
    "pool": f'label_values({N}pool_instances_max{{job=~"$job", instance=~"$instance"}}, pool)',
    "driver": f'label_values({N}pool_instances_max{{job=~"$job", instance=~"$instance"}}, driver)',
}
"""What each choice offers, besides all."""


def text() -> str:
    """The dashboard as Grafana reads it."""
    return json.dumps(_built(), cls=JSONEncoder, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def _built() -> values.Dashboard:
    made = dashboard.Dashboard("nebula-resource").uid("nebula-resource").tags(["nebula-resource"])
    made.description(
        "Pools, health, quarantine and the service around them. Built in code: edits here are lost."
    )
    made.readonly().refresh("10s").time("now-1h", "now").timezone("browser")
    made.tooltip(values.DashboardCursorSync.CROSSHAIR)
    made.with_variable(dashboard.DatasourceVariable("datasource").label("Prometheus").type("prometheus"))
    for name, query in VARIABLES.items():
        made.with_variable(_choice(name, query))
    made.annotation(_cascades())
    numbers = count(1)
    for title, panels in ROWS:
        made.with_row(dashboard.Row(title).id(next(numbers)))
        for panel in panels:
            made.with_panel(panel.id(next(numbers)))
    return made.build()


def _choice(name: str, query: str) -> dashboard.QueryVariable:
    choice = dashboard.QueryVariable(name).label(name.capitalize()).datasource(SOURCE)
    choice.query({"query": query, "refId": name}).refresh(values.VariableRefresh.ON_TIME_RANGE_CHANGED)
    choice.sort(values.VariableSort.ALPHABETICAL_ASC).multi(True).include_all(True).all_value(".*")
    return choice.current(values.VariableOption(selected=True, text="All", value="$__all"))


class _Mark(values.AnnotationQuery, Builder[values.AnnotationQuery]):
    """A mark on every panel, with what Grafana's Prometheus source writes beside it and the schema does not know."""

    def __init__(self, name: str, expr: str, saying: str) -> None:
        super().__init__(name=name, datasource=SOURCE, enable=True, icon_color="red", expr=expr)
        self._saying = saying

    def build(self) -> values.AnnotationQuery:
        """It is one already."""
        return self

    def to_json(self) -> dict[str, object]:
        """As Grafana reads it."""
        return {**super().to_json(), "titleFormat": self.name, "textFormat": self._saying}


def _cascades() -> _Mark:
    """Where a cascade began. Grafana asks for one value a minute."""
    return _Mark("Cascades", f"{grown(here('cascades_total'), 'root', '1m')} > 0", "from {{root}}")
