"""Exposition: how names, labels, numbers and histograms are spelt in Prometheus text 0.0.4 and OpenMetrics 1.0."""

from __future__ import annotations

from itertools import accumulate

from nebula_resource.metrics.catalogue import Metric
from nebula_resource.model.histogram import HistogramSnapshot

__all__ = ["escaped", "head", "histogram_prefixes", "histogram_values", "labelled", "number", "prefix"]


def head(metric: Metric, *, openmetrics: bool) -> str:
    """Return the lines before a family's samples."""
    # OpenMetrics names the family, the older format the series.
    name = metric.series_name
    if openmetrics and metric.kind == "counter":
        name = name.removesuffix("_total")
    text = metric.help.replace("\\", "\\\\").replace("\n", "\\n")
    return f"# HELP {name} {text}\n# TYPE {name} {metric.kind}\n"


def labelled(names: tuple[str, ...], values: tuple[str, ...]) -> str:
    """Return the text between the braces."""
    return ",".join(f'{name}="{escaped(value)}"' for name, value in zip(names, values, strict=True))


def escaped(value: str) -> str:
    """Return the value of a label as it stands between its quotes."""
    # A lone surrogate has no UTF-8: whatever an id holds, the text can be sent.
    value = value.encode("utf-8", "replace").decode("utf-8")
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def number(value: int | float) -> str:
    """Return a sample's number."""
    if isinstance(value, int):
        return str(int(value))  # True is a number here
    if value != value:
        return "NaN"
    if value in (float("inf"), float("-inf")):
        return "+Inf" if value > 0 else "-Inf"
    return repr(value)


def prefix(series: str, labels: str) -> str:
    """Return a line up to its number."""
    return f"{series}{{{labels}}} " if labels else f"{series} "


def histogram_prefixes(series: str, labels: str, bounds: tuple[float, ...]) -> list[str]:
    """Return the lines of a histogram up to their numbers: the buckets, the sum, the count."""
    before = f"{labels}," if labels else ""
    buckets = [
        prefix(f"{series}_bucket", f'{before}le="{number(bound)}"') for bound in (*bounds, float("inf"))
    ]
    return [*buckets, prefix(f"{series}_sum", labels), prefix(f"{series}_count", labels)]


def histogram_values(snapshot: HistogramSnapshot) -> list[int | float]:
    """Return the numbers that belong to `histogram_prefixes`."""
    values: list[int | float] = [*accumulate(snapshot.counts)]
    values += (snapshot.total_s, values[-1])
    return values
