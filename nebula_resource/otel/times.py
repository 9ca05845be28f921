"""WithPoolTimes: an exporter that adds how long pools took, from the buckets that they keep anyway."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    Histogram,
    HistogramDataPoint,
    Metric,
    MetricExporter,
    MetricExportResult,
    MetricsData,
    ResourceMetrics,
    ScopeMetrics,
)
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

from nebula_resource.model.histogram import HistogramSnapshot
from nebula_resource.model.numbers import PoolNumbers
from nebula_resource.otel import conventions
from nebula_resource.otel.connections import ConnectionMetrics
from nebula_resource.otel.conventions import POOL_NAME, Convention

__all__ = ["WithPoolTimes"]

_TIMES: Mapping[Convention, Callable[[PoolNumbers], HistogramSnapshot]] = {
    conventions.CREATE_TIME: lambda numbers: numbers.create,
    conventions.WAIT_TIME: lambda numbers: numbers.wait,
    conventions.USE_TIME: lambda numbers: numbers.use,
}


class WithPoolTimes(MetricExporter):
    """Exports what it is given and, beside it, `create_time`, `wait_time` and `use_time` of `db.client.connection`.

    OpenTelemetry has no histogram that is read at collection, and one that is written at every acquire would cost the
    hot path; so the pools' own buckets are put into the export. Sums grow from the first export on (cumulative). Uses
    are timed as the pool's ``use_timing`` says: by default 1 in 64.

    Args:
        exporter: which exporter does the work.
        connections: whose pools; None where they are known later.
    """

    def __init__(self, exporter: MetricExporter, connections: ConnectionMetrics | None) -> None:
        super().__init__(
            preferred_temporality=exporter._preferred_temporality,
            preferred_aggregation=exporter._preferred_aggregation,
        )
        self._exporter = exporter
        self.connections = connections
        """Whose pools; None: not known yet, and nothing is added."""
        self._began = time.time_ns()

    def export(
        self, metrics_data: MetricsData, timeout_millis: float = 10_000, **kwargs: Any
    ) -> MetricExportResult:
        """Export one collection."""
        return self._exporter.export(self._with_times(metrics_data), timeout_millis, **kwargs)

    def force_flush(self, timeout_millis: float = 10_000) -> bool:
        """As the exporter does."""
        return self._exporter.force_flush(timeout_millis)

    def shutdown(self, timeout_millis: float = 30_000, **kwargs: Any) -> None:
        """As the exporter does."""
        self._exporter.shutdown(timeout_millis, **kwargs)

    def _with_times(self, data: MetricsData) -> MetricsData:
        pools = {} if self.connections is None else self.connections.read()
        if not pools:
            return data
        now = max(time.time_ns(), self._began)  # the system's clock may have been set back
        ours = ScopeMetrics(
            scope=InstrumentationScope("nebula_resource"),
            metrics=[self._metric(convention, read, pools, now) for convention, read in _TIMES.items()],
            schema_url="",
        )
        first, *others = data.resource_metrics or [ResourceMetrics(Resource.create(), [], "")]
        return MetricsData([replace(first, scope_metrics=[*first.scope_metrics, ours]), *others])

    def _metric(
        self,
        convention: Convention,
        read: Callable[[PoolNumbers], HistogramSnapshot],
        pools: Mapping[str, Sequence[PoolNumbers]],
        now: int,
    ) -> Metric:
        points = [self._point(name, [read(each) for each in of], now) for name, of in pools.items()]
        data = Histogram(points, AggregationTemporality.CUMULATIVE)
        return Metric(convention.name, convention.description, convention.unit, data)

    def _point(self, name: str, held: Sequence[HistogramSnapshot], now: int) -> HistogramDataPoint:
        counts = [sum(bucket) for bucket in zip(*(each.counts for each in held), strict=True)]
        return HistogramDataPoint(
            attributes={POOL_NAME: name},
            start_time_unix_nano=self._began,
            time_unix_nano=now,
            count=sum(counts),
            sum=sum(each.total_s for each in held),
            bucket_counts=counts,
            explicit_bounds=held[0].bounds,
            min=float("nan"),  # not kept
            max=float("nan"),
        )
