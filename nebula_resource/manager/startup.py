"""Startup: opens a registration as soon as what it needs is open, and whatever waited for it after it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

from nebula_resource.errors import AmbiguousScope, DependencyFailure, ResourceNotFound, Unavailable
from nebula_resource.manager.dependencies import DependencyGraph
from nebula_resource.manager.registration import Cause, Registration, RegistrationState, public_id
from nebula_resource.manager.registry import Registry
from nebula_resource.model.scope import Scope, Strategy

if TYPE_CHECKING:
    from nebula_resource._aio import OwnedTasks
    from nebula_resource.manager.watch import Watch

__all__ = ["Startup"]

_STAYS_CLOSED = (
    "; its opening failed, and with quarantine off nobody tries again: deregister and register it anew"
)


class Startup:
    """Brings registrations up, in whatever order they come.

    Each is opened by a task of the manager, one at a time: who registers, who recovers and what it waited for share
    it. So nobody's cancellation leaves one half open, and an opening that fails always has somebody who acts on it.
    """

    def __init__(
        self,
        registry: Registry,
        graph: DependencyGraph[str],
        watch: Watch,
        tasks: OwnedTasks,
        *,
        build: Callable[[Registration], None],
        opened: Callable[[Registration], None],
    ) -> None:
        self._registry = registry
        self._graph = graph
        self._watch = watch
        self._tasks = tasks
        self._build = build
        self._opened = opened
        self._openings: dict[Registration, asyncio.Task[Exception | None]] = {}

    # ── who needs whom ──

    def link(self, registration: Registration, wanted: Registration | None = None) -> None:
        """Enter its edges in the graph, or those of what it is ``wanted`` to be.

        Raises `CircularDependency` and `AmbiguousScope`, with nothing changed.
        """
        self._graph.add(registration.public_id, self._targets(wanted or registration, strictly=True))

    def unlink(self, registration: Registration) -> None:
        """Take its edges out, until it is linked again."""
        self._graph.add(registration.public_id)

    def relink(self, key: str) -> None:
        """An id came or went: those who need it may mean another registration now. Raises `CircularDependency`."""
        for each in self._registry.needing(key):
            self._graph.add(each.public_id, self._targets(each))

    def _targets(self, registration: Registration, *, strictly: bool = False) -> list[str]:
        """The public ids of what it needs; of what is not registered yet, the id it would have globally."""
        targets = []
        for key in registration.dependencies:
            try:
                found = self._registry.search(key, registration.scope, Strategy.HIERARCHICAL)
                targets.append(found.public_id)
            except AmbiguousScope:
                if strictly:
                    raise
                targets.append(public_id(key, Scope.GLOBAL))
            except ResourceNotFound:
                targets.append(public_id(key, Scope.GLOBAL))
        return targets

    def dependency(self, registration: Registration, key: str) -> Registration | None:
        """The registration that a dependency means, seen from the dependent's own scope; None: there is no one such."""
        try:
            return self._registry.search(key, registration.scope, Strategy.HIERARCHICAL)
        except (ResourceNotFound, AmbiguousScope):
            return None

    def missing(self, registration: Registration) -> str | None:
        """The first dependency that is not open."""
        for key in registration.dependencies:
            found = self.dependency(registration, key)
            if found is None or not found.is_open:
                return key
        return None

    # ── opening ──

    async def reopen(self, registration: Registration) -> None:
        """Open it for a recovery, with one instance at most: the rest is made when it is released. Raises as `open`."""
        await self.open(registration, upfront=1)

    async def open(
        self, registration: Registration, *, required: bool = False, upfront: int | None = None
    ) -> None:
        """Open it, and those that waited for it; or wait for the opening under way. Without what it needs it stays.

        ``upfront``: how many instances it waits for at most. A cancelled caller stops waiting; the opening goes on.
        Raises what the opening raised, and `Unavailable` when it was taken down meanwhile.
        """
        opening = self.begin(registration, required=required, upfront=upfront)
        if opening is None:
            return
        await asyncio.wait((opening,))
        error = (
            Unavailable("closed", resource_id=registration.key) if opening.cancelled() else opening.result()
        )
        if error is not None:
            raise error

    def begin(
        self, registration: Registration, *, required: bool = False, upfront: int | None = None
    ) -> asyncio.Task[Exception | None] | None:
        """Start to open it, or join the opening under way; None: there is nothing to do, or something is missing.

        The task returns why it failed. With ``required`` the caller acts on that; else it is quarantined.
        """
        opening = self.opening(registration)
        if opening is not None or registration.state is not RegistrationState.CREATED:
            return opening
        missing = self.missing(registration)
        if missing is not None:
            registration.refuse(Cause.NOT_OPEN, self._needs(registration, missing))
            return None
        registration.state = RegistrationState.OPENING
        registration.refuse(Cause.NOT_OPEN, self._not_open(registration))
        opening = self._tasks.spawn(
            self._open(registration, required=required, upfront=upfront),
            name=f"open {registration.public_id}",
            awaited=True,
        )
        self._openings[registration] = opening
        opening.add_done_callback(lambda _: self._openings.pop(registration, None))
        return opening

    def opening(self, registration: Registration) -> asyncio.Task[Exception | None] | None:
        """The opening under way, if there is one."""
        return self._openings.get(registration)

    async def _open(
        self, registration: Registration, *, required: bool, upfront: int | None
    ) -> Exception | None:
        failure: Exception | None = None
        try:
            if registration.pool.was_opened:
                self._build(registration)  # what an attempt that failed left is closed
            await registration.pool.open(upfront=upfront)
        except Exception as error:
            failure = error
        if registration.state is not RegistrationState.OPENING:
            # It was taken down meanwhile, and its pool with it.
            return Unavailable("closed", resource_id=registration.key)
        if failure is not None:
            registration.state = RegistrationState.CREATED
            if registration.quarantine is None:
                registration.refuse(Cause.NOT_OPEN, self._stays_closed(registration))
            if not required:
                self._watch.quarantine_failed_opening(registration)
            return failure
        registration.state = RegistrationState.READY
        registration.allow(Cause.NOT_OPEN)
        self._opened(registration)
        await self.open_dependents(registration)
        return None

    async def open_dependents(self, registration: Registration) -> None:
        """Open those that waited for it, now that it can be had; one that fails is quarantined."""
        if registration.is_refused(Cause.QUARANTINED):
            return  # its release asks again
        openings = self.begin_dependents(registration.key)
        if openings:
            await asyncio.wait(openings)

    def begin_dependents(self, key: str) -> list[asyncio.Task[Exception | None]]:
        """Start to open whatever needs this id, is not quarantined, and lacks nothing any more."""
        waiting = [
            each
            for each in self._registry.needing(key)
            if each.state is RegistrationState.CREATED and each.public_id not in self._watch.quarantine
        ]
        return [opening for each in waiting if (opening := self.begin(each)) is not None]

    def _needs(self, registration: Registration, missing: str) -> Callable[[], DependencyFailure]:
        return lambda: DependencyFailure(self.missing(registration) or missing, resource_id=registration.key)

    def _not_open(self, registration: Registration) -> Callable[[], Unavailable]:
        return lambda: Unavailable("not_open", resource_id=registration.key, retryable=True)

    def _stays_closed(self, registration: Registration) -> Callable[[], Unavailable]:
        return lambda: Unavailable("not_open", resource_id=registration.key, hint=_STAYS_CLOSED)
