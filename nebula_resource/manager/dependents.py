"""Dependents: finds the instances that hold something of a pool which is to be emptied, and lets them go."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from nebula_resource.manager.creation import Dependencies
from nebula_resource.model.reasons import CleanupReason
from nebula_resource.pool import Pool
from nebula_resource.pool.state import PoolState

if TYPE_CHECKING:
    from nebula_resource.manager.registration import Registration

__all__ = ["retire_holders"]

AnyPool = Pool[Any, Any, Any]


def retire_holders(
    dependents: Iterable[Registration],
    beside: Callable[[Registration], Iterable[AnyPool]],
    held: AnyPool,
) -> None:
    """Retire every instance that holds something of ``held``: idle now, busy when it comes back.

    Those that are being made count, and those of pools that are only being opened: ``beside`` tells of a registration's
    pools beside the one that serves.
    """
    for dependent in dependents:
        for pool in (dependent.pool, *beside(dependent)):
            if pool.was_opened and pool.state not in {PoolState.CLOSING, PoolState.CLOSED}:
                _retire(pool, held)


def _retire(pool: AnyPool, held: AnyPool) -> None:
    def holds(instance: Any) -> bool:
        return any(
            entry.instance is instance
            and isinstance(entry.dependencies, Dependencies)
            and entry.dependencies.holds_from(held)
            for entry in pool.ledger.entries
        )

    pool.retire_where(holds, CleanupReason.CONFIG_CHANGED)
