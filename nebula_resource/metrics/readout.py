"""Readings: the numbers of one scrape, as plain values that know nothing of pools, checkers or buses."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import NamedTuple

from nebula_resource.metrics.family import Family
from nebula_resource.model.histogram import HistogramSnapshot
from nebula_resource.model.numbers import PoolNumbers
from nebula_resource.model.stats import PoolStats

__all__ = [
    "HealthReading",
    "PoolReading",
    "PoolReadout",
    "QuarantineReading",
    "Readings",
    "by_outcome",
]


class PoolReading(NamedTuple):
    """One pool's numbers and labels, or the sum of several (`PoolSums`).

    ``tenant`` is no label unless it is allow-listed (`TextRenderer`).
    """

    resource_id: str
    stats: PoolNumbers
    driver: str = "custom"
    scope_level: str = "global"
    tenant: str | None = None
    refused: Mapping[str, int] = MappingProxyType({})
    """Acquires that never reached the pool, by outcome: quarantined, unhealthy, scope_denied, hook_cancelled, …"""
    target: int | None = None
    """Effective maximum set by a scaler; None: no scaler."""
    fullest: float | None = None
    """Where the reading is a sum of pools: the share in use of the fullest, 0…1; None: follows from ``stats``."""
    pools_draining: int | None = None
    """Where it is a sum: how many of them drain; None: follows from ``stats``."""

    is_gone: bool = False
    """There is no pool any more: its counters stand, gauges of nothing are not written."""

    @property
    def saturation(self) -> float:
        """Share in use of its fullest pool: one full pool among ninety idle ones is what an alert must see."""
        return self.stats.utilisation if self.fullest is None else self.fullest

    @property
    def draining(self) -> int:
        """How many of its pools drain."""
        return int(self.stats.state == "draining") if self.pools_draining is None else self.pools_draining

    @property
    def acquires(self) -> Mapping[str, int]:
        """Acquires by outcome."""
        stats = self.stats
        return by_outcome(stats.acquisitions, stats.timeouts, stats.exhausted, stats.cancelled, self.refused)


def by_outcome(
    ok: int, timeout: int, exhausted: int, cancelled: int, refused: Mapping[str, int]
) -> Mapping[str, int]:
    """Acquires by outcome; ok and timeout stand at 0 from the start, since ``increase()`` misses a first 1."""
    counts = {"ok": ok, "timeout": timeout}
    if exhausted:
        counts["exhausted"] = exhausted
    if cancelled:
        counts["cancelled"] = cancelled
    for outcome, count in refused.items():
        counts[outcome] = counts.get(outcome, 0) + count
    return counts


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolReadout:
    """Where a pool's numbers come from: its labels, fixed, and what is called at scrape time."""

    resource_id: str
    driver: str = "custom"
    scope_level: str = "global"
    tenant: str | None = None
    stats: Callable[[], PoolStats]
    refused: Callable[[], Mapping[str, int]] | None = None
    target: Callable[[], int | None] | None = None

    def read(self) -> PoolReading:
        """Return the numbers of now."""
        return PoolReading(
            resource_id=self.resource_id,
            driver=self.driver,
            scope_level=self.scope_level,
            tenant=self.tenant,
            stats=PoolNumbers.of(self.stats()),
            refused={} if self.refused is None else self.refused(),
            target=None if self.target is None else self.target(),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthReading:
    """The effective health of one registration."""

    resource_id: str
    driver: str = "custom"
    state: str
    """healthy, degraded, unhealthy or unknown."""
    score: float
    last_check_at: float | None = None
    """Unix time, seconds; None: never checked."""
    checks: Mapping[str, int] = field(default_factory=dict)
    """Checks so far by result."""
    durations: Mapping[str, HistogramSnapshot] = field(default_factory=dict)
    """How long they took by stage."""


@dataclass(frozen=True, slots=True, kw_only=True)
class QuarantineReading:
    """One registration in quarantine."""

    resource_id: str
    reason: str
    """consecutive_failures, cascade or manual."""
    attempts: int = 0
    next_attempt_at: float | None = None
    """Unix time, seconds; None: no attempt is due."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Readings:
    """Everything one scrape writes out; what is left empty is left out."""

    pools: tuple[PoolReading, ...] = ()
    health: tuple[HealthReading, ...] = ()
    quarantine: tuple[QuarantineReading, ...] = ()
    scopes: Mapping[str, int] = field(default_factory=dict)
    """Open scopes by level."""
    events_emitted: Mapping[str, int] = field(default_factory=dict)
    events_dropped: Mapping[str, int] = field(default_factory=dict)
    events_subscribers: int | None = None
    hooks: Mapping[tuple[str, str, str], HistogramSnapshot] = field(default_factory=dict)
    """How long hooks took, by (hook, phase, outcome)."""
    families: tuple[Family, ...] = ()
    """What others have counted: an `EventTally`, the admin API, tenancy."""
    version: str | None = None
    """Of the library."""
