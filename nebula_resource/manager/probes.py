"""Probes: how the health of a registration is looked at without disturbing callers."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any

from nebula_resource.errors import AcquireTimeout, CreateFailed, HookCancelled, PoolExhausted
from nebula_resource.health import (
    ConnectivityStage,
    DependencyStage,
    HealthPipeline,
    Schedule,
    UtilizationStage,
)
from nebula_resource.manager.blame import refused_dependency
from nebula_resource.model.censor import censored
from nebula_resource.model.health import (
    HealthCheckable,
    HealthPolicy,
    HealthStage,
    HealthState,
    HealthStatus,
    Postponed,
)
from nebula_resource.model.lifecycle import Lifecycle
from nebula_resource.pool.ledger import PoolState

if TYPE_CHECKING:
    from nebula_resource.manager.registration import Registration
    from nebula_resource.model.context import ResourceContext
    from nebula_resource.model.ports import Tracing
    from nebula_resource.pool.entry import Entry

__all__ = ["Probes"]

IDLE = (Lifecycle.READY, Lifecycle.IDLE)


def _is_shared(entry: Entry) -> bool:
    """Whether it may be looked at while it is in use."""
    return bool(entry.holders) and entry.doom is None


class Probes:
    """One registration's checks: on a reserved idle instance, or on a fresh one that counts like any other.

    Args:
        registration: what is checked.
        policy: its stages and times.
        context: makes what a create of it would get, each time anew: credentials change.
        states: tells the effective health of what it needs, by public id.
        is_failing: whether it has failed by its own evidence and not been well since; in quarantine it has not.
        is_isolated: whether it is in quarantine.
        tracing: who stands around each check, if anybody does.
    """

    def __init__(
        self,
        registration: Registration,
        policy: HealthPolicy,
        context: Callable[[], ResourceContext],
        states: Callable[[], Mapping[str, HealthState]],
        is_failing: Callable[[], bool],
        is_isolated: Callable[[], bool],
        tracing: Callable[[], Tracing | None],
    ) -> None:
        self._is_failing = is_failing
        self._is_isolated = is_isolated
        self._tracing = tracing
        self._registration = registration
        self._context = context
        self._states = states
        self._timeout = Schedule.of(policy, registration.resource).timeout
        self._pipeline: HealthPipeline | None = None
        if policy.stages is not None:
            stages = tuple(self._bound(stage) for stage in policy.stages)
            self._pipeline = HealthPipeline(stages, timeout=self._timeout)
        elif not isinstance(registration.resource, HealthCheckable):
            valid = ConnectivityStage(self._is_valid, timeout=self._timeout)
            self._pipeline = HealthPipeline((valid,), timeout=self._timeout)

    def _bound(self, stage: HealthStage) -> HealthStage:
        """Introduce the stages that want to know the pool, or what the registration needs, to those."""
        if isinstance(stage, UtilizationStage):
            return stage.counting(self._connections)
        if isinstance(stage, DependencyStage):
            return stage.looking_at(self._states)
        return stage

    def _connections(self) -> float:
        ledger = self._registration.pool.ledger
        return ledger.in_use / max(1, ledger.max_size)

    async def _is_valid(self, instance: Any) -> bool:
        given: object = self._registration.resource.is_valid(instance)
        return bool(await given if isinstance(given, Awaitable) else given)  # a plain def, as for the pool

    def rests(self) -> bool:
        """Whether nothing is to be checked: no instance, and no failure of its own that only a check could end.

        A pool that nobody uses is not opened, and not kept open, to be looked at. In quarantine recovery alone connects,
        at its own pace: a check looks at an instance that is idle, and has nothing to do where all are out.
        """
        ledger = self._registration.pool.ledger
        if self._is_isolated():
            return not any(entry.state in IDLE or _is_shared(entry) for entry in ledger.entries)
        return not ledger.living and not self._is_failing()

    async def idle_or_fresh(self) -> HealthStatus:
        """The periodic check. Raises `Postponed` when there is nothing to check with."""
        return await self._check(fresh=False)

    async def fresh(self) -> HealthStatus:
        """The check of a recovery: on an instance made for it."""
        return await self._check(fresh=True)

    async def _check(self, *, fresh: bool) -> HealthStatus:
        tracing = self._tracing()
        if tracing is None:
            return await self._probe(fresh=fresh)
        registration = self._registration
        with tracing.around(
            "health_check", registration.key, registration.public_id, registration.scope
        ) as note:
            status = await self._probe(fresh=fresh)
            if note is not None and isinstance(status, HealthStatus):
                note("nebula.health.state", status.state.kind)
            return status

    async def _probe(self, *, fresh: bool) -> HealthStatus:
        pool = self._registration.pool
        if pool.state is not PoolState.OPEN:
            raise Postponed(f"the pool is {pool.state.value}")
        try:
            async with pool.borrow(fresh=fresh) as borrowed:
                status = await self._look(borrowed.instance)
                if isinstance(status, HealthState):
                    status = HealthStatus(status)
                if isinstance(status, HealthStatus):  # else the caller says what is wrong with it
                    status = censored(status, self._registration.what_is_secret())
                # One that fails its check goes; whether the resource is ill is for the board to say.
                borrowed.is_good = status.is_usable()
                return status
        except HookCancelled as error:
            raise Postponed("a hook refused to let an instance be made") from error  # nobody asked the server
        except CreateFailed as error:
            refusal = refused_dependency(error, self._registration.dependencies)
            if fresh and isinstance(refusal, PoolExhausted | AcquireTimeout) and len(pool.shelf):
                # Its own idle ones may hold all that there are of it, and would for ever: one of those is looked at,
                # as in a pool that has no room itself.
                return await self._probe(fresh=False)
            if refusal is None or self._is_failing():
                raise
            raise Postponed(f"'{refusal.resource_id}', which it needs, refuses") from error

    async def _look(self, instance: Any) -> HealthStatus:
        if self._pipeline is not None:
            return await self._pipeline.check(instance, self._context())
        resource = self._registration.resource
        assert isinstance(resource, HealthCheckable), "the constructor looked"
        started = time.perf_counter()
        limit = asyncio.timeout(self._timeout)
        try:
            async with limit:
                status = await resource.health_check(instance, self._context())
        except TimeoutError:
            if not limit.expired():
                raise
            took = time.perf_counter() - started
            return HealthStatus.unhealthy(f"the check took longer than {self._timeout:g} s", latency_s=took)
        if not isinstance(status, HealthStatus) or status.latency_s:
            return status  # whoever called the check says what is wrong with another answer
        return HealthStatus(status.state, time.perf_counter() - started, status.metadata, status.checked_at)
