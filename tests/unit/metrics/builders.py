"""Builders of readings for the tests of metrics."""

from __future__ import annotations

from typing import Any

from nebula_resource.metrics import PoolReading
from nebula_resource.model.histogram import Histogram, HistogramSnapshot
from nebula_resource.model.stats import PoolStats


def histogram(*seconds: float) -> HistogramSnapshot:
    """A histogram of these values."""
    made = Histogram()
    for value in seconds:
        made.add(value)
    return made.snapshot()


def stats(**values: Any) -> PoolStats:
    """The numbers of an untouched pool but for those given."""
    plain: dict[str, Any] = dict.fromkeys(
        [
            "size",
            "idle",
            "in_use",
            "checking",
            "creating",
            "retiring",
            "waiting",
            "min",
            "max",
            "acquisitions",
            "releases",
            "created",
            "timeouts",
            "exhausted",
            "cancelled",
            "create_failures",
            "leaks",
        ],
        0,
    )
    plain |= {"state": "open", "destroyed": {}, "oldest_wait_s": None, "oldest_hold_s": None}
    plain |= {name: histogram() for name in ("wait", "use", "create")}
    return PoolStats(**plain | values)


def pool(
    resource_id: str = "db", *, tenant: str | None = None, scope_level: str = "global", **values: Any
) -> PoolReading:
    """One pool's reading."""
    return PoolReading(
        resource_id=resource_id,
        driver="postgres",
        scope_level=scope_level,
        tenant=tenant,
        refused=values.pop("refused", {}),
        target=values.pop("target", None),
        stats=stats(**values),
    )
