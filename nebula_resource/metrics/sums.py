"""PoolSums: the pools of one resource in many scopes added up, at the cost of those that have changed.

Ten thousand tenants' pools make a handful of readings. A pool that is gone takes its gauges along and leaves its
counters behind: a sum of counters never falls while one of its pools is there, or Prometheus would take the fall for a
restart and count everything twice.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from operator import add, sub
from typing import Any

from nebula_resource.metrics.readout import PoolReading
from nebula_resource.model.histogram import HistogramSnapshot
from nebula_resource.model.stats import PoolStats

__all__ = ["PoolSums"]

_GAUGES = ("size", "idle", "in_use", "checking", "creating", "retiring", "waiting", "min", "max")
_COUNTERS = (
    "acquisitions", "releases", "created", "timeouts", "exhausted", "cancelled", "create_failures", "leaks",
)  # fmt: skip  # one list of names
_TIMES = ("wait", "use", "create", "wait_timeout", "wait_refused", "cleanup")

Labels = tuple[str, str, str, str | None]
"""(resource id, driver, scope level, tenant's label)."""


class PoolSums:
    """Holds the last reading of each pool; `readings` gives one for each set of labels, the same object until it changes."""

    def __init__(self) -> None:
        self._groups: dict[Labels, _Group] = {}
        self._labels: dict[Hashable, Labels] = {}

    def put(self, pool: Hashable, reading: PoolReading) -> None:
        """Take in a pool's numbers; the very object that is known says that nothing has changed."""
        labels = (reading.resource_id, reading.driver, reading.scope_level, reading.tenant)
        known = self._labels.get(pool)
        if known is not None and known != labels:
            self.drop(pool)
        self._labels[pool] = labels
        group = self._groups.get(labels)
        if group is None:
            group = self._groups[labels] = _Group()
        group.put(pool, reading)

    def drop(self, pool: Hashable) -> None:
        """A pool is gone, with the numbers that were put last."""
        labels = self._labels.pop(pool)
        group = self._groups[labels]
        group.drop(pool)
        if not group.members:
            del self._groups[labels]  # its series end; one that comes later starts anew

    def readings(self) -> tuple[PoolReading, ...]:
        """One reading for each set of labels, in the order in which they came."""
        return tuple(group.reading() for group in self._groups.values())


class _Group:
    """The pools that share their labels."""

    __slots__ = ("_counts", "_made", "_sums", "members")

    def __init__(self) -> None:
        self.members: dict[Hashable, PoolReading] = {}
        self._sums: list[Any] | None = None
        """Gauges, counters and the histograms in a row; None as long as there was but one member: its reading is the sum."""
        self._counts: dict[str, dict[str, int]] = {"destroyed": {}, "refused": {}}
        self._made: PoolReading | None = None

    def put(self, pool: Hashable, reading: PoolReading) -> None:
        before = self.members.get(pool)
        if before is reading:
            return
        self._made = None
        if self._sums is None and before is None and self.members:
            (first,) = self.members.values()
            self._add(first, None)
        self.members[pool] = reading
        if self._sums is not None:
            self._add(reading, before)

    def drop(self, pool: Hashable) -> None:
        reading = self.members.pop(pool)
        self._made = None
        if self._sums is not None:  # else it was the only one
            gone = _row(reading.stats)[: len(_GAUGES)]
            self._sums[: len(_GAUGES)] = map(sub, self._sums, gone)

    def reading(self) -> PoolReading:
        if self._made is None:
            first = next(iter(self.members.values()))
            self._made = first if self._sums is None else self._sum(first, self._sums)
        return self._made

    def _add(self, reading: PoolReading, before: PoolReading | None) -> None:
        """What one member has more than before."""
        new = _row(reading.stats)
        if before is not None:
            new = [*map(sub, new, _row(before.stats))]
        self._sums = new if self._sums is None else [*map(add, self._sums, new)]
        self._count("destroyed", reading.stats.destroyed, None if before is None else before.stats.destroyed)
        self._count("refused", reading.refused, None if before is None else before.refused)

    def _sum(self, first: PoolReading, sums: list[Any]) -> PoolReading:
        members = self.members.values()
        targets = [one.target for one in members if one.target is not None]
        return PoolReading(
            resource_id=first.resource_id,
            driver=first.driver,
            scope_level=first.scope_level,
            tenant=first.tenant,
            stats=_stats(first.stats, sums, self._counts["destroyed"]),
            refused=dict(self._counts["refused"]),
            target=sum(targets) if targets else None,
            saturation=max(one.stats.utilisation for one in members),
            pools_draining=sum(one.draining for one in members),
        )

    def _count(self, name: str, new: Mapping[str, int], old: Mapping[str, int] | None) -> None:
        counts = self._counts[name]
        for key, count in new.items():
            more = count - (old or {}).get(key, 0)
            if more:
                counts[key] = counts.get(key, 0) + more


def _row(stats: PoolStats) -> list[Any]:
    """Every number that can be added, in one row."""
    row: list[Any] = [getattr(stats, name) for name in (*_GAUGES, *_COUNTERS)]
    for name in _TIMES:
        held = getattr(stats, name)
        row += (*held.counts, held.total_s)
    return row


def _stats(first: PoolStats, row: list[Any], destroyed: Mapping[str, int]) -> PoolStats:
    """The row as stats; state, ages and generation of a sum are nobody's."""
    names = (*_GAUGES, *_COUNTERS)
    values: dict[str, Any] = dict(zip(names, row, strict=False))
    at = len(names)
    for name in _TIMES:
        bounds = getattr(first, name).bounds
        *counts, total = row[at : at + len(bounds) + 2]
        at += len(bounds) + 2
        values[name] = HistogramSnapshot(bounds=bounds, counts=tuple(counts), total_s=total)
    return PoolStats(
        state="open", destroyed=dict(destroyed), oldest_wait_s=None, oldest_hold_s=None, **values
    )
