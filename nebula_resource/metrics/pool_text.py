"""PoolText: the families of pools as text; what is written of a pool that has not changed is kept."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from nebula_resource.metrics.grouped import Grouped
from nebula_resource.metrics.readout import PoolReading
from nebula_resource.metrics.rows import Part, RowText, counts, histograms, numbers
from nebula_resource.metrics.totals import PoolLabels, PoolTotals
from nebula_resource.model.histogram import HistogramSnapshot

__all__ = ["POOL_FAMILIES", "PoolText"]


class PoolText:
    """Writes the pools of one scrape: those of one resource in many tenants are one."""

    def __init__(self) -> None:
        self._text: RowText[PoolTotals] = RowText(("pool", "driver", "scope_level"), _PARTS)
        self._grouped: Grouped[PoolReading, PoolTotals] = Grouped(_labels, _labels, PoolTotals)

    def write(self, pools: Sequence[PoolReading], *, openmetrics: bool) -> Iterator[bytes]:
        """Yield the text in pieces, and an empty piece after each slice of work."""
        yield from self._grouped.update(pools)
        yield from self._text.write(self._grouped.totals, openmetrics=openmetrics)


def _labels(pool: PoolReading) -> PoolLabels:
    return pool.resource_id, pool.driver, pool.scope_level


# ── what is read of each pool ─────────────────────────────────────────────────────────────────────────────────────


def _states(total: PoolTotals) -> tuple[int, ...]:
    stats = total.stats
    return stats.idle, stats.in_use, stats.checking, stats.creating, stats.retiring


def _waits(total: PoolTotals) -> Mapping[str, HistogramSnapshot]:
    stats = total.stats
    return {"ok": stats.wait, "timeout": stats.wait_timeout, "refused": stats.wait_refused}


_PARTS: tuple[Part[PoolTotals], ...] = (
    numbers(
        "pool_instances", _states, label="state", values=("idle", "used", "checking", "creating", "retiring")
    ),
    numbers("pool_instances_max", lambda total: (total.stats.max,)),
    numbers("pool_instances_min", lambda total: (total.stats.min,)),
    numbers("pool_pending_acquires", lambda total: (total.stats.waiting,)),
    numbers("pool_saturation_ratio", lambda total: (total.saturation,), place="%a"),
    counts("pool_acquires", "outcome", lambda total: total.acquires),
    histograms("pool_acquire_duration_seconds", "outcome", _waits),
    histograms("pool_use_duration_seconds", "", lambda total: {"": total.stats.use}),
    numbers("pool_releases", lambda total: (total.stats.releases,)),
    numbers(
        "pool_instances_created",
        lambda total: (total.stats.created, total.stats.create_failures),
        label="outcome",
        values=("ok", "failed"),
    ),
    histograms("pool_instance_create_duration_seconds", "outcome", lambda total: {"ok": total.stats.create}),
    counts("pool_instances_destroyed", "reason", lambda total: total.stats.destroyed),
    histograms("pool_instance_cleanup_duration_seconds", "", lambda total: {"": total.stats.cleanup}),
    numbers("pool_leaks", lambda total: (total.stats.leaks,)),
    numbers("pool_draining", lambda total: (total.draining,)),
    numbers("autoscale_target_instances", lambda total: () if total.target is None else (total.target,)),
)

POOL_FAMILIES = frozenset(part.name for part in _PARTS)
"""Names of the families that are written here."""
