"""TenantFamilies: the numbers of the few tenants whose ids may be labels, within a budget of series."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from nebula_resource.errors import ConfigurationError
from nebula_resource.metrics.budget import SeriesBudget
from nebula_resource.metrics.family import Family
from nebula_resource.metrics.readout import PoolReading

__all__ = ["MAX_TENANTS", "OTHER", "OVERFLOW", "TenantFamilies"]

MAX_TENANTS = 50
"""Most tenants that may be allow-listed (SPEC §22)."""
OTHER = "_other"
"""The tenant of all that are not allow-listed."""
OVERFLOW = "_overflow"
"""The pool of all that the budget has no place for."""

_SERIES_EACH = 4
"""Series a pair of tenant and pool has: idle and used, ok and timeout."""


class TenantFamilies:
    """Adds pools up by tenant and resource. Which pairs have labels of their own is decided when they first appear."""

    def __init__(self, allowed: Collection[str], budget: SeriesBudget) -> None:
        if len(allowed) > MAX_TENANTS:
            raise ConfigurationError(
                f"at most {MAX_TENANTS} tenants may have metrics of their own (got {len(allowed)})"
            )
        self._allowed = frozenset(allowed)
        self._budget = budget
        # One _overflow for each tenant and for all others must have room whatever happens.
        budget.take(min(budget.left, _SERIES_EACH * (len(self._allowed) + 1)))
        self._placed: set[tuple[str, str]] = set()
        self._folded: set[tuple[str, str]] = set()

    def families(self, pools: Iterable[PoolReading]) -> list[Family]:
        """Return the families of one scrape; pools without a tenant are left out."""
        mine = [(self.label(pool.tenant), pool) for pool in pools if pool.tenant is not None]
        gone = self._placed - {(tenant, pool.resource_id) for tenant, pool in mine}
        self._placed -= gone
        self._budget.give_back(_SERIES_EACH * len(gone))
        instances: dict[tuple[str, ...], int] = {}
        acquires: dict[tuple[str, ...], int] = {}
        for tenant, pool in mine:
            label = self._pool_label(tenant, pool.resource_id)
            stats = pool.stats
            for state, count in (("idle", stats.idle), ("used", stats.in_use)) if not pool.is_gone else ():
                key = (tenant, label, state)
                instances[key] = instances.get(key, 0) + count
            for outcome, count in (("ok", stats.acquisitions), ("timeout", stats.timeouts)):
                key = (tenant, label, outcome)
                acquires[key] = acquires.get(key, 0) + count
        found = [Family.of("tenant_pool_instances", instances), Family.of("tenant_acquires", acquires)]
        if self._folded:
            found.append(Family.of("metrics_series_overflow", {("tenant",): len(self._folded)}))
        return found

    def label(self, tenant: str) -> str:
        """What a tenant is called."""
        return tenant if tenant in self._allowed else OTHER

    def _pool_label(self, tenant: str, resource_id: str) -> str:
        pair = (tenant, resource_id)
        if pair in self._placed:
            return resource_id
        if self._budget.take(_SERIES_EACH):
            self._placed.add(pair)
            return resource_id
        self._folded.add(pair)
        return OVERFLOW
