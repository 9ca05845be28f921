"""Together: reloads several registrations as one: all of them, or none."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

from nebula_resource._aio import end_of_all, error_of
from nebula_resource.errors import ResourceError
from nebula_resource.manager.registration import Registration
from nebula_resource.manager.reload import Reload, ReloadOutcome, ReloadResult, differs, take_over_state

if TYPE_CHECKING:
    from nebula_resource.manager.startup import Startup
    from nebula_resource.pool import Pool

__all__ = ["Change", "Together"]

Change = tuple[Registration, Registration]
"""What serves, and what it is wanted to be."""


class Together:
    """Opens every new pool beside the old ones, then swaps all in one step without a wait.

    Until then nothing of any registration changes, so that one failure, or the caller's cancellation, leaves all of
    them as they were. One that does not serve yet gets its new configuration in the same step, and is tried with it
    afterwards; that it still cannot be opened is no failure, as in a single reload.
    """

    def __init__(self, reload: Reload, startup: Startup) -> None:
        self._reload = reload
        self._startup = startup

    async def run(self, changes: Sequence[Change]) -> tuple[ReloadOutcome, ...]:
        """Make all of them what they are wanted to be; each registration stands in ``changes`` once.

        Raises what `Reload.run` raises of the one that cannot be; an `ExceptionGroup` of those where several cannot. An
        error of ours says whose it is, by ``resource_id`` and ``scope``.
        """
        async with AsyncExitStack() as locks:
            # In one order, so that two such calls cannot wait for each other.
            for registration, _ in sorted(changes, key=lambda change: change[0].public_id):
                await locks.enter_async_context(registration.swapping)
                if registration.is_going:
                    raise self._reload._gone(registration)
            differing = [change for change in changes if differs(*change)]
            closed = await self._swap(differing)
            for registration in closed:
                await self._reload.try_open(registration)
        swapped = {registration for registration, _ in differing}
        return tuple(
            ReloadOutcome(
                ReloadResult.SWAPPED if registration in swapped else ReloadResult.NO_CHANGE,
                registration.generation,
            )
            for registration, _ in changes
        )

    async def _swap(self, changes: Sequence[Change]) -> list[Registration]:
        """Put all in place at once; returns those that do not serve, and are to be tried."""
        reload = self._reload
        prepared: dict[Registration, Pool[Any, Any, Any]] = {}
        self._link(changes)
        try:
            await self._prepare(changes, prepared)
            for registration, _ in changes:
                if registration.is_going:
                    raise reload._gone(registration)
            # From here on there is no wait: nobody sees some of them swapped.
            self._link(changes)
        except BaseException:
            for registration, new in prepared.items():
                reload._discard(registration, new)
            raise
        for registration, _ in changes:
            self._startup.unlink(registration)
        closed: list[Registration] = []
        for registration, wanted in changes:
            if registration in prepared:
                reload._commit(registration, wanted, prepared[registration])
            else:
                reload._become(registration, wanted, reload._construction.pool_for(registration, wanted))
                closed.append(registration)
        return closed

    async def _prepare(
        self, changes: Sequence[Change], prepared: dict[Registration, Pool[Any, Any, Any]]
    ) -> None:
        """Open a new pool for each that serves; one that waited may come to serve meanwhile."""
        while True:
            openings = [found for each, _ in changes if (found := self._startup.opening(each)) is not None]
            if openings:
                await asyncio.wait(openings)
                continue
            pending = [change for change in changes if change[0].is_open and change[0] not in prepared]
            if not pending:
                return
            await self._open_beside(pending, prepared)
            for registration, new in prepared.items():
                await take_over_state(registration.pool, new)

    async def _open_beside(
        self, changes: Sequence[Change], prepared: dict[Registration, Pool[Any, Any, Any]]
    ) -> None:
        """Open them at once: many that do not answer cost the time of one, and all that cannot be are named."""
        reload = self._reload
        tasks = {
            reload._tasks.spawn(
                reload._prepare(registration, wanted),
                name=f"open what is to be {registration.public_id}",
                awaited=True,
            ): registration
            for registration, wanted in changes
        }
        try:
            await end_of_all(tasks, reload._tasks)
        finally:
            prepared |= {
                registration: task.result()
                for task, registration in tasks.items()
                if task.done() and error_of(task) is None
            }
        errors: list[BaseException] = []
        for task, registration in tasks.items():
            error = error_of(task)
            if isinstance(error, ResourceError):
                error.scope = error.scope or registration.scope
            if error is not None:
                errors.append(error)
        if errors:
            raise errors[0] if len(errors) == 1 else BaseExceptionGroup("several cannot be opened", errors)

    def _link(self, changes: Sequence[Change]) -> None:
        """See that all the new edges together make no circle; the graph keeps those that hold.

        Raises `CircularDependency`, `AmbiguousScope`.
        """
        try:
            for registration, _ in changes:
                self._startup.unlink(registration)  # an edge turned round is a circle only beside the old one
            for registration, wanted in changes:
                self._startup.link(registration, wanted)
        finally:
            for registration, _ in changes:
                self._startup.unlink(registration)
            for registration, _ in changes:
                self._startup.link(registration)
