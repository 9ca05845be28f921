"""Probes: how the health of a registration is looked at without disturbing callers."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from nebula_resource.health import ConnectivityStage, HealthPipeline
from nebula_resource.model.health import HealthCheckable, HealthPolicy, HealthStatus, Postponed
from nebula_resource.pool.ledger import PoolState

if TYPE_CHECKING:
    from nebula_resource.manager.registration import Registration
    from nebula_resource.model.context import ResourceContext

__all__ = ["Probes"]


class Probes:
    """One registration's checks: on a reserved idle instance, or on a fresh one that counts like any other."""

    def __init__(self, registration: Registration, policy: HealthPolicy, context: ResourceContext) -> None:
        self._registration = registration
        self._context = context
        resource = registration.resource
        self._pipeline: HealthPipeline | None = None
        if policy.stages is not None:
            self._pipeline = HealthPipeline(policy.stages)
        elif not isinstance(resource, HealthCheckable):
            self._pipeline = HealthPipeline((ConnectivityStage(resource.is_valid),))

    async def idle_or_fresh(self) -> HealthStatus:
        """The periodic check. Raises `Postponed` when there is nothing to check with."""
        return await self._check(fresh=False)

    async def fresh(self) -> HealthStatus:
        """The check of a recovery: on an instance made for it."""
        return await self._check(fresh=True)

    async def _check(self, *, fresh: bool) -> HealthStatus:
        pool = self._registration.pool
        if pool.state is not PoolState.OPEN:
            raise Postponed(f"the pool is {pool.state.value}")
        async with pool.borrow(fresh=fresh) as borrowed:
            status = await self._look(borrowed.instance)
            # One that fails its check goes; whether the resource is ill is for the board to say.
            borrowed.is_good = status.is_usable()
            return status

    async def _look(self, instance: Any) -> HealthStatus:
        if self._pipeline is not None:
            return await self._pipeline.check(instance, self._context)
        resource = self._registration.resource
        assert isinstance(resource, HealthCheckable), "the constructor looked"
        started = time.perf_counter()
        status = await resource.health_check(instance, self._context)
        if status.latency_s:
            return status
        return HealthStatus(status.state, time.perf_counter() - started, status.metadata, status.checked_at)
