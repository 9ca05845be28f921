"""Total: the readings of pools that share one set of labels, as one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from nebula_resource.metrics.family import merged
from nebula_resource.metrics.readout import PoolReading
from nebula_resource.model.histogram import HistogramSnapshot
from nebula_resource.model.numbers import PoolNumbers

__all__ = ["total"]


def total(pools: Sequence[PoolReading]) -> PoolReading:
    """Add numbers, histograms and counts by reason; state and generation are the first pool's and unused."""
    first = pools[0]
    if len(pools) == 1:
        return first
    values: dict[str, Any] = {}
    for name in PoolNumbers._fields:
        held = [getattr(pool.stats, name) for pool in pools]
        values[name] = held[0] if name in ("state", "generation") else _sum(held)
    targets = [pool.target for pool in pools if pool.target is not None]
    return first._replace(
        stats=PoolNumbers(**values),
        refused=_added(pool.refused for pool in pools),
        target=sum(targets) if targets else None,
        fullest=max(pool.saturation for pool in pools),
        pools_draining=sum(pool.draining for pool in pools),
    )


def _sum(held: Sequence[Any]) -> object:
    if isinstance(held[0], HistogramSnapshot):
        return merged(held)
    return _added(held) if isinstance(held[0], Mapping) else sum(held)


def _added(many: Iterable[Mapping[str, int]]) -> dict[str, int]:
    total: dict[str, int] = {}
    for counts in many:
        for name, count in counts.items():
            total[name] = total.get(name, 0) + count
    return total
