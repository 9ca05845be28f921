"""Metrics: the numbers of a scrape as Prometheus or OpenMetrics text, and events as log lines."""

from nebula_resource.metrics.catalogue import CATALOGUE, PREFIX, Metric
from nebula_resource.metrics.family import Family
from nebula_resource.metrics.logging import EventLog
from nebula_resource.metrics.readout import (
    HealthReading,
    PoolReading,
    PoolReadout,
    QuarantineReading,
    Readings,
)
from nebula_resource.metrics.tally import EventTally
from nebula_resource.metrics.text import CONTENT_TYPE, OPENMETRICS_CONTENT_TYPE, TextRenderer, render

__all__ = [
    "CATALOGUE",
    "CONTENT_TYPE",
    "OPENMETRICS_CONTENT_TYPE",
    "PREFIX",
    "EventLog",
    "EventTally",
    "Family",
    "HealthReading",
    "Metric",
    "PoolReading",
    "PoolReadout",
    "QuarantineReading",
    "Readings",
    "TextRenderer",
    "render",
]
