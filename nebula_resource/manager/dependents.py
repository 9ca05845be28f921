"""Dependents: finds the instances that hold something of a pool which is to be emptied, and lets them go."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nebula_resource.manager.creation import Dependencies
from nebula_resource.model.reasons import CleanupReason

if TYPE_CHECKING:
    from nebula_resource.manager.registry import Registry
    from nebula_resource.pool import Pool

__all__ = ["retire_holders"]


def retire_holders(registry: Registry, key: str, pool: Pool[Any, Any, Any]) -> None:
    """Retire every instance that holds something of ``pool``, a pool of ``key``: idle now, busy when it comes back."""
    for dependent in registry.needing(key):
        if dependent.is_open:
            _retire(dependent.pool, pool)


def _retire(pool: Pool[Any, Any, Any], held: Pool[Any, Any, Any]) -> None:
    def holds(instance: Any) -> bool:
        return any(
            entry.instance is instance
            and isinstance(entry.dependencies, Dependencies)
            and entry.dependencies.holds_from(held)
            for entry in pool.ledger.entries
        )

    pool.retire_where(holds, CleanupReason.CONFIG_CHANGED)
