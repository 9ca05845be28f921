"""PoolTotals: the numbers of the readings that share one set of labels, added up."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields

from nebula_resource.metrics.family import merged
from nebula_resource.metrics.readout import PoolReading
from nebula_resource.model.stats import PoolStats

__all__ = ["PoolLabels", "PoolTotals"]

PoolLabels = tuple[str, str, str]
"""(resource id, driver, scope level)."""


class PoolTotals:
    """One reading, or the sum of several, with what is no sum beside it."""

    __slots__ = ("acquires", "draining", "saturation", "stats", "target")

    def __init__(self, pools: Sequence[PoolReading]) -> None:
        first = pools[0]
        if len(pools) == 1:  # nearly always: nothing to add up
            self.stats = first.stats
            self.acquires = _outcomes(first)
            self.saturation = first.stats.utilisation if first.saturation is None else first.saturation
            self.draining = first.draining
            self.target = first.target
            return
        self.stats = _sum([pool.stats for pool in pools])
        self.acquires = _added(_outcomes(pool) for pool in pools)
        self.saturation = max(
            pool.stats.utilisation if pool.saturation is None else pool.saturation for pool in pools
        )
        """Of the fullest: one full pool among ninety idle ones is what an alert must see."""
        self.draining = sum(pool.draining for pool in pools)
        targets = [pool.target for pool in pools if pool.target is not None]
        self.target = sum(targets) if targets else None


def _sum(stats: Sequence[PoolStats]) -> PoolStats:
    """Add numbers, histograms and counts by reason; state, ages and generation are the first pool's and unused."""
    first = stats[0]
    values = {field.name: getattr(first, field.name) for field in fields(PoolStats)}
    for name, value in values.items():
        if isinstance(value, int) and name != "generation":
            values[name] = sum(getattr(one, name) for one in stats)
    values["destroyed"] = _added(one.destroyed for one in stats)
    for name in ("wait", "use", "create", "wait_timeout", "wait_refused", "cleanup"):
        values[name] = merged([getattr(one, name) for one in stats])
    return PoolStats(**values)


def _outcomes(pool: PoolReading) -> dict[str, int]:
    """Acquires by outcome; ok and timeout stand at 0 from the start, since ``increase()`` misses a first 1."""
    stats = pool.stats
    counts = {"ok": stats.acquisitions, "timeout": stats.timeouts}
    if stats.exhausted:
        counts["exhausted"] = stats.exhausted
    if stats.cancelled:
        counts["cancelled"] = stats.cancelled
    return _added((counts, pool.refused)) if pool.refused else counts


def _added(many: Iterable[Mapping[str, int]]) -> dict[str, int]:
    total: dict[str, int] = {}
    for counts in many:
        for name, count in counts.items():
            total[name] = total.get(name, 0) + count
    return total
