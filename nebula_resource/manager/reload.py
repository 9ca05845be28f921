"""Reload: puts a new configuration in the place of the old one without a moment in which neither serves."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from nebula_resource.errors import DependencyFailure, ProbeFailed, Unavailable
from nebula_resource.manager.dependents import retire_holders
from nebula_resource.manager.registration import Registration, RegistrationState
from nebula_resource.model.config import fingerprint
from nebula_resource.pool import Pool
from nebula_resource.pool.state import PoolState
from nebula_resource.quarantine import Manual

if TYPE_CHECKING:
    from nebula_resource._aio import OwnedTasks
    from nebula_resource.manager.construction import Construction
    from nebula_resource.manager.registry import Registry
    from nebula_resource.manager.startup import Startup
    from nebula_resource.manager.watch import Watch

__all__ = ["Reload", "ReloadOutcome", "ReloadResult", "differs", "take_over_state"]


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
    """Builds the new pool, opens it, swaps, and lets the old one drain in the background.

    One reload of a registration at a time. Until the new pool is open nothing of the registration changes, so one
    that fails, or whose caller is cancelled, leaves the old one as it was.
    """

    def __init__(
        self,
        registry: Registry,
        startup: Startup,
        watch: Watch,
        construction: Construction,
        tasks: OwnedTasks,
    ) -> None:
        self._registry = registry
        self._startup = startup
        self._watch = watch
        self._construction = construction
        self._tasks = tasks
        self._beside: dict[Registration, list[Pool[Any, Any, Any]]] = {}
        self.pave: Callable[[Registration], None] | None = None
        """Derives the short road anew; set by the manager."""

    def beside(self, registration: Registration) -> tuple[Pool[Any, Any, Any], ...]:
        """Its pools beside the one that serves: one that is being opened, and old ones that still have handles out."""
        return tuple(self._beside.get(registration, ()))

    async def run(self, registration: Registration, wanted: Registration) -> ReloadOutcome:
        """Make a registration what it is wanted to be.

        Raises what opening the new pool raised, `CircularDependency`, `DependencyFailure` (something that only the new
        one needs is not open) and `Unavailable` (it is being taken down).
        """
        async with registration.swapping:
            opening = self._startup.opening(registration)
            if opening is not None:
                await asyncio.wait((opening,))  # one thing at a time
            if registration.is_going:
                raise self._gone(registration)
            if not differs(registration, wanted):
                return ReloadOutcome(ReloadResult.NO_CHANGE, registration.generation)
            if registration.is_open:
                await self._swap(registration, wanted)
            else:
                await self._replace_closed(registration, wanted)
            return ReloadOutcome(ReloadResult.SWAPPED, registration.generation)

    # ── one that serves ──

    async def _swap(self, registration: Registration, wanted: Registration) -> None:
        self._link(registration, wanted)
        new = await self._prepare(registration, wanted)
        try:
            await take_over_state(registration.pool, new)
            if not registration.is_open:
                raise self._gone(registration)
            # From here on there is no wait: nobody sees it half swapped.
            self._link(registration, wanted)
        except BaseException:
            self._discard(registration, new)
            raise
        self._commit(registration, wanted, new)

    async def _prepare(self, registration: Registration, wanted: Registration) -> Pool[Any, Any, Any]:
        """Open the new pool beside the old one, which serves on; to be committed without a wait, or discarded."""
        missing = self._startup.missing(wanted)
        if missing is not None:
            raise DependencyFailure(missing, resource_id=registration.key)
        new = self._construction.pool_for(registration, wanted)
        self._beside.setdefault(registration, []).append(new)
        try:
            await new.open()
        except BaseException:
            self._discard(registration, new)
            raise
        return new

    def _discard(self, registration: Registration, new: Pool[Any, Any, Any]) -> None:
        """It will not be swapped in."""
        self._forget(registration, new)
        if new.state not in {PoolState.CLOSING, PoolState.CLOSED}:
            self._tasks.start(new.close(0.0), name=f"close what was to be {registration.public_id}")

    def _commit(self, registration: Registration, wanted: Registration, new: Pool[Any, Any, Any]) -> None:
        """Swap what was prepared in; the old one drains in the background."""
        self._forget(registration, new)
        old = registration.pool
        self._become(registration, wanted, new)
        self._beside.setdefault(registration, []).append(old)
        self._tasks.start(self._retire(registration, old), name=f"retire {registration.public_id}")

    def _link(self, registration: Registration, wanted: Registration) -> None:
        """See that the new edges make no circle; the graph keeps those that hold."""
        self._startup.link(registration, wanted)
        self._startup.link(registration)

    def _become(self, registration: Registration, wanted: Registration, pool: Pool[Any, Any, Any]) -> None:
        """Swap, and let everything follow that depends on it."""
        looks_other = wanted.resource is not registration.resource or wanted.health != registration.health
        with self._registry.changing(registration):
            registration.become(wanted, pool)
        self._startup.link(registration)
        if looks_other:
            self._watch.follow(registration, self._construction.creation(registration))
        assert self.pave is not None, "the manager sets it"
        self.pave(registration)

    async def _retire(self, registration: Registration, old: Pool[Any, Any, Any]) -> None:
        """Let the old pool's handles come back, however long that takes; a shutdown does not wait as long."""
        try:
            if old.can_drain:
                retire_holders(self._registry.needing(registration.key), self.beside, old)
                await old.drain(None)
                await old.closing.until_empty()  # nor is a busy instance above interrupted
            await old.close(0.0)
        finally:
            self._forget(registration, old)
            if registration.is_open:
                registration.pool.grant()  # what the old one took of a budget may be had now

    def _forget(self, registration: Registration, pool: Pool[Any, Any, Any]) -> None:
        pools = self._beside[registration]
        pools.remove(pool)
        if not pools:
            del self._beside[registration]

    # ── one that does not serve (yet) ──

    async def _replace_closed(self, registration: Registration, wanted: Registration) -> None:
        """It waits for something, or could not be opened: try at once with the new configuration.

        A failure is no failure of the reload: it stays as it was, waiting or recovering, with the new configuration.
        """
        self._link(registration, wanted)
        self._become(registration, wanted, self._construction.pool_for(registration, wanted))
        await self.try_open(registration)

    async def try_open(self, registration: Registration) -> None:
        """Try one that does not serve, at once, with the configuration it has now."""
        case = self._watch.quarantine.get(registration.public_id)
        try:
            if case is None:
                await self._startup.open(registration)
            elif not isinstance(case.reason, Manual):
                await self._watch.quarantine.release_if_well(registration.public_id, "reload")
        except ProbeFailed:
            pass  # it stays quarantined and recovering
        except Exception:
            if registration.is_going:
                raise
            # It was quarantined for that, and whoever listens was told.

    def _gone(self, registration: Registration) -> Unavailable:
        why = "draining" if registration.state is RegistrationState.DRAINING else "closed"
        return Unavailable(why, resource_id=registration.key, retryable=why == "draining")


async def take_over_state(old: Pool[Any, Any, Any], new: Pool[Any, Any, Any]) -> None:
    """What an operator suspended or drained stays so."""
    if new.state is not PoolState.OPEN:
        return
    if old.state is PoolState.SUSPENDED:
        new.suspend(fail=old.fails_suspended)
    elif old.state in {PoolState.DRAINING, PoolState.DRAINED}:
        await new.drain(0.0)


def differs(registration: Registration, wanted: Registration) -> bool:
    """Whether anything would change."""
    return (
        wanted.resource is not registration.resource
        or wanted.pool_config != registration.pool_config
        or wanted.health != registration.health
        or wanted.quarantine != registration.quarantine
        or wanted.credentials is not registration.credentials
        or wanted.budget is not registration.budget
        or wanted.required != registration.required
        or wanted.cross_tenant != registration.cross_tenant
        or not _same(wanted.config, registration.config)
    )


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, BaseModel) and isinstance(other, BaseModel):
        return type(one) is type(other) and fingerprint(one) == fingerprint(other)
    return bool(one == other)
