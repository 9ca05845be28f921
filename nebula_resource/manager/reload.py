"""Reload: puts a new configuration in the place of the old one without a moment in which neither serves."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from nebula_resource.manager.registration import Registration
from nebula_resource.model.config import fingerprint
from nebula_resource.model.resource import Resource
from nebula_resource.pool import Pool, PoolConfig

if TYPE_CHECKING:
    from nebula_resource._aio import OwnedTasks

__all__ = ["Reload", "ReloadOutcome", "ReloadResult"]

OLD_HANDLES = 300.0
"""Seconds in which handles of the old configuration may still come back by themselves."""


class ReloadResult(Enum):
    """What a reload did."""

    NO_CHANGE = "no_change"
    SWAPPED = "swapped"


@dataclass(frozen=True, slots=True)
class ReloadOutcome:
    """What a reload did, and the generation that serves now."""

    result: ReloadResult
    generation: int


class Reload:
    """Builds the new pool, opens it, swaps, and lets the old one drain in the background."""

    def __init__(self, build: Callable[[Registration], None], tasks: OwnedTasks) -> None:
        self._build = build
        self._tasks = tasks

    async def run(
        self,
        registration: Registration,
        resource: Resource[Any, Any, Any],
        config: Any,
        pool_config: PoolConfig,
    ) -> ReloadOutcome:
        """Swap; raises what opening the new pool raised, with the old one untouched."""
        if (
            resource is registration.resource
            and pool_config == registration.pool_config
            and _same(config, registration.config)
        ):
            return ReloadOutcome(ReloadResult.NO_CHANGE, registration.generation)
        old = registration.pool
        before = (
            registration.resource,
            registration.config,
            registration.pool_config,
            registration.generation,
        )
        registration.resource, registration.config = resource, config
        registration.pool_config = pool_config
        registration.generation += 1
        if registration.is_open:
            try:
                self._build(registration)
                new = registration.pool
                registration.pool = old  # it serves until the new one can
                await new.open()
            except BaseException:
                registration.pool = old
                (
                    registration.resource,
                    registration.config,
                    registration.pool_config,
                    registration.generation,
                ) = before
                raise
            registration.pool = new
            self._tasks.start(_retire(old), name=f"retire {registration.public_id}")
        return ReloadOutcome(ReloadResult.SWAPPED, registration.generation)


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, BaseModel) and isinstance(other, BaseModel):
        return type(one) is type(other) and fingerprint(one) == fingerprint(other)
    return bool(one == other)


async def _retire(pool: Pool[Any, Any, Any]) -> None:
    if pool.can_drain:
        await pool.drain(OLD_HANDLES)
    await pool.close(0.0)
