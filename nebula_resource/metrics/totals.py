"""PoolTotals: the numbers of all pools that share one set of labels, added up."""

from __future__ import annotations

from collections.abc import Iterable

from nebula_resource.metrics.family import merged
from nebula_resource.metrics.readout import PoolReading
from nebula_resource.model.histogram import HistogramSnapshot
from nebula_resource.model.stats import PoolStats

__all__ = ["PoolLabels", "PoolTotals", "totals_by_labels"]

PoolLabels = tuple[str, str, str]
"""(resource id, driver, scope level)."""


class PoolTotals:
    """Sums, except for saturation, which is the fullest pool's, and bounds and targets, which are sums too."""

    __slots__ = (
        "_create",
        "_use",
        "_wait",
        "acquires",
        "create_failures",
        "created",
        "destroyed",
        "draining",
        "leaks",
        "max",
        "min",
        "releases",
        "saturation",
        "states",
        "target",
        "waiting",
    )  # fmt: skip  # a word a slot, not a line

    def __init__(self, first: PoolReading) -> None:
        stats = first.stats
        self.states = _states(stats)
        self.max = stats.max
        self.min = stats.min
        self.waiting = stats.waiting
        self.saturation = stats.utilisation
        self.acquires = _outcomes(first)
        self.releases = stats.releases
        self.created = stats.created
        self.create_failures = stats.create_failures
        self.destroyed = dict(stats.destroyed)
        self.leaks = stats.leaks
        self.draining = int(stats.state == "draining")
        self.target = first.target
        self._wait = [stats.wait]
        self._use = [stats.use]
        self._create = [stats.create]

    def add(self, other: PoolReading) -> None:
        """Add one more pool."""
        stats = other.stats
        self.states = tuple(map(sum, zip(self.states, _states(stats), strict=True)))
        self.max += stats.max
        self.min += stats.min
        self.waiting += stats.waiting
        self.saturation = max(self.saturation, stats.utilisation)
        _add(self.acquires, _outcomes(other))
        self.releases += stats.releases
        self.created += stats.created
        self.create_failures += stats.create_failures
        _add(self.destroyed, dict(stats.destroyed))
        self.leaks += stats.leaks
        self.draining += stats.state == "draining"
        if other.target is not None:
            self.target = (self.target or 0) + other.target
        self._wait.append(stats.wait)
        self._use.append(stats.use)
        self._create.append(stats.create)

    @property
    def wait(self) -> HistogramSnapshot:
        """Waits of acquires that succeeded."""
        return merged(self._wait)

    @property
    def use(self) -> HistogramSnapshot:
        """Uses that were timed."""
        return merged(self._use)

    @property
    def create(self) -> HistogramSnapshot:
        """Creates that succeeded."""
        return merged(self._create)


STATES = ("idle", "used", "checking", "creating", "retiring")
"""What the instances of a pool do; their numbers add up to its size."""


def totals_by_labels(pools: Iterable[PoolReading]) -> dict[PoolLabels, PoolTotals]:
    """Return the totals of each set of labels: the pools of one resource in many tenants are one."""
    found: dict[PoolLabels, PoolTotals] = {}
    for pool in pools:
        labels = (pool.resource_id, pool.driver, pool.scope_level)
        totals = found.get(labels)
        if totals is None:
            found[labels] = PoolTotals(pool)
        else:
            totals.add(pool)
    return found


def _states(stats: PoolStats) -> tuple[int, ...]:
    return (stats.idle, stats.in_use, stats.checking, stats.creating, stats.retiring)


def _outcomes(pool: PoolReading) -> dict[str, int]:
    stats = pool.stats
    counts = {"ok": stats.acquisitions, "timeout": stats.timeouts}
    if stats.exhausted:
        counts["exhausted"] = stats.exhausted
    if stats.cancelled:
        counts["cancelled"] = stats.cancelled
    if stats.create_failures:
        counts["create_failed"] = stats.create_failures
    if pool.refused:
        _add(counts, dict(pool.refused))
    return counts


def _add(counts: dict[str, int], more: dict[str, int]) -> None:
    for name, count in more.items():
        counts[name] = counts.get(name, 0) + count
