"""PoolSums: the pools of one resource in many scopes added up, at the cost of those that have changed.

Ten thousand tenants' pools make a handful of readings. A pool that is gone takes its gauges along and leaves its
counters behind: a sum of counters never falls, or Prometheus would take the fall for a restart and count everything
twice; and what the last pool of a resource did in the end is told by the scrapes that come after it.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from operator import add, sub
from typing import Any

from nebula_resource.metrics.readout import PoolReading
from nebula_resource.model.histogram import HistogramSnapshot
from nebula_resource.model.numbers import PoolNumbers

__all__ = ["PoolSums"]

_GAUGES = ("size", "idle", "in_use", "checking", "creating", "retiring", "waiting", "min", "max")
_COUNTERS = (
    "acquisitions", "releases", "created", "timeouts", "exhausted", "cancelled", "create_failures", "leaks",
)  # fmt: skip  # one list of names
_TIMES = ("wait", "use", "create", "wait_timeout", "wait_refused", "cleanup")

KEPT = 1000
"""Sets of labels without a pool whose counters are kept; beyond them those that are so longest end, as series do."""

Labels = tuple[str, str, str, str | None]
"""(resource id, driver, scope level, tenant's label)."""


class PoolSums:
    """Holds the last reading of each pool; `readings` gives one for each set of labels, the same object until it changes."""

    def __init__(self) -> None:
        self._groups: dict[Labels, _Group] = {}
        self._labels: dict[Hashable, Labels] = {}
        self._empty: dict[Labels, None] = {}  # without a pool, the longest first

    def put(self, pool: Hashable, reading: PoolReading) -> None:
        """Take in a pool's numbers; the very object that is known says that nothing has changed."""
        labels = (reading.resource_id, reading.driver, reading.scope_level, reading.tenant)
        known = self._labels.get(pool)
        if known == labels:
            self._groups[labels].put(pool, reading)
            return
        if known is not None:
            self._move(pool, known)
        self._labels[pool] = labels
        self._empty.pop(labels, None)
        group = self._groups.get(labels)
        if group is None:
            group = self._groups[labels] = _Group()
        group.put(pool, reading)

    def drop(self, pool: Hashable) -> None:
        """A pool is gone; what was put last is what it did."""
        labels = self._labels.pop(pool)
        group = self._groups[labels]
        group.drop(pool)
        if not group.members:
            self._empty[labels] = None
            if len(self._empty) > KEPT:
                oldest = next(iter(self._empty))
                del self._empty[oldest], self._groups[oldest]

    def _move(self, pool: Hashable, known: Labels) -> None:
        """It has other labels now: what is nobody's is not kept."""
        self._groups[known].drop(pool)
        if not self._groups[known].members:
            del self._groups[known]

    def readings(self) -> tuple[PoolReading, ...]:
        """One reading for each set of labels, in the order in which they came."""
        return tuple(group.reading() for group in self._groups.values())


class _Group:
    """The pools that share their labels."""

    __slots__ = ("_counts", "_last", "_made", "_sums", "members")

    def __init__(self) -> None:
        self.members: dict[Hashable, PoolReading] = {}
        self._sums: list[Any] | None = None
        """Gauges, counters and the histograms in a row; None as long as there was but one member: its reading is the sum."""
        self._counts: dict[str, dict[str, int]] = {"destroyed": {}, "refused": {}}
        self._made: PoolReading | None = None
        self._last: PoolReading | None = None
        """Of the pool that went last: it has the labels when there is none."""

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
        reading = self._last = self.members.pop(pool)
        self._made = None
        if self._sums is None:  # it was the only one
            self._add(reading, None)
        assert self._sums is not None, "something was added"
        gone = _row(reading.stats)[: len(_GAUGES)]
        self._sums[: len(_GAUGES)] = map(sub, self._sums, gone)

    def reading(self) -> PoolReading:
        if self._made is None:
            first = next(iter(self.members.values()), self._last)
            assert first is not None, "a group has, or had, a pool"
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
            stats=_numbers(first.stats, sums, self._counts["destroyed"]),
            refused=dict(self._counts["refused"]),
            target=sum(targets) if targets else None,
            fullest=max((one.stats.utilisation for one in members), default=0.0),
            pools_draining=sum(one.draining for one in members),
            is_gone=not members,
        )

    def _count(self, name: str, new: Mapping[str, int], old: Mapping[str, int] | None) -> None:
        counts = self._counts[name]
        for key, count in new.items():
            more = count - (old or {}).get(key, 0)
            if more:
                counts[key] = counts.get(key, 0) + more


def _row(stats: PoolNumbers) -> list[Any]:
    """Every number that can be added, in one row."""
    row: list[Any] = [getattr(stats, name) for name in (*_GAUGES, *_COUNTERS)]
    for name in _TIMES:
        held = getattr(stats, name)
        row += (*held.counts, held.total_s)
    return row


def _numbers(first: PoolNumbers, row: list[Any], destroyed: Mapping[str, int]) -> PoolNumbers:
    """The row as numbers; state and generation of a sum are nobody's."""
    names = (*_GAUGES, *_COUNTERS)
    values: dict[str, Any] = dict(zip(names, row, strict=False))
    at = len(names)
    for name in _TIMES:
        bounds = getattr(first, name).bounds
        *counts, total = row[at : at + len(bounds) + 2]
        at += len(bounds) + 2
        values[name] = HistogramSnapshot(bounds=bounds, counts=tuple(counts), total_s=total)
    return PoolNumbers(state="open", generation=0, destroyed=dict(destroyed), **values)
