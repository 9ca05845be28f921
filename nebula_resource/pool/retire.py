"""Retirer: ends instances, each within its time limit, and passes on the place they leave."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from contextvars import Context
from typing import TYPE_CHECKING

from nebula_resource.errors import CleanupError
from nebula_resource.model.lifecycle import Lifecycle
from nebula_resource.model.reasons import CleanupReason
from nebula_resource.pool.state import PoolState
from nebula_resource.pool.steps import is_stopped, must_pass, run_step

if TYPE_CHECKING:
    from nebula_resource.pool.entry import Entry
    from nebula_resource.pool.parts import PoolParts

__all__ = ["Retirer"]


class Retirer:
    """Runs ``Resource.cleanup`` in tasks of the pool; an instance counts until that has ended, one way or another."""

    __slots__ = ("_pool",)

    def __init__(self, pool: PoolParts) -> None:
        self._pool = pool

    def retire(self, entry: Entry, reason: CleanupReason) -> None:
        """End this entry's instance; the caller has it, it is on no shelf.

        Nothing is free before its cleanup has ended, so nothing is passed on here: a decision that retires on its
        way is never interrupted by another.
        """
        pool = self._pool
        entry.move(Lifecycle.CLEANUP)
        entry.doom = reason
        entry.attention = True
        pool.observer.retired(reason)
        pool.cleanups.start(self._clean(entry, reason), name="cleanup", context=Context())
        pool.changed()

    def forget(self, entry: Entry) -> None:
        """The holder keeps the instance: it leaves the pool without a cleanup (DETACHED)."""
        entry.move(Lifecycle.CLEANUP)
        self._gone(entry, CleanupReason.DETACHED, None, None)

    def abandon(self, entry: Entry) -> None:
        """The loop ends and nobody can clean up any more: the books are closed over it (LEAKED)."""
        pool = self._pool
        entry.move(Lifecycle.FAILED)
        entry.move(Lifecycle.TERMINATED)
        pool.ledger.leave(entry, CleanupReason.LEAKED)
        pool.capacity.give_back()

    async def _clean(self, entry: Entry, reason: CleanupReason) -> None:
        pool = self._pool
        observer = pool.observer
        token: object = None
        failure: BaseException | None = None
        cut_short: asyncio.CancelledError | None = None
        since = pool.loop.time()
        try:
            if observer.hooks_cleanup:
                try:
                    token = await self._before(reason)
                except asyncio.CancelledError as error:
                    if pool.state is not PoolState.CLOSING or pool.closing.is_cut_off:
                        raise
                    # A close that has no time left for a hook has some for the instance.
                    cut_short = error  # raised below: it is put off, not swallowed
            failure = await self._cleanup(entry)
        except GeneratorExit:  # the loop is gone, and everything with it
            raise
        except BaseException as error:
            # The books must not wait for an instance that nobody ends any more.
            if is_stopped(error):
                pool.closing.step_stopped()
            self._gone(entry, reason, error, pool.loop.time() - since)
            if token is not None:
                await observer.after_cleanup(token, reason, error)
            raise
        took = pool.loop.time() - since
        pool.ledger.add_cleanup(took)
        self._gone(entry, reason, failure, took)
        if token is not None:
            await observer.after_cleanup(token, reason, failure)
        if cut_short is not None:
            raise cut_short

    async def _before(self, reason: CleanupReason) -> object:
        """Hooks may look on; none of them keeps an instance from being cleaned up."""
        observer = self._pool.observer
        try:
            return await observer.before_cleanup(reason)
        except Exception as error:
            observer.failed(error)
            return None

    async def _cleanup(self, entry: Entry) -> BaseException | None:
        """Run the user's cleanup; what it raises is returned, for there is no caller to raise it to."""
        pool = self._pool
        try:
            given: object = pool.resource.cleanup(entry.instance)
            if isinstance(given, Awaitable):  # a plain ``def`` has done it
                await run_step(pool, "cleanup", given, pool.config.cleanup_timeout)
        except BaseException as error:
            if must_pass(error):
                raise
            return error
        return None

    def _gone(
        self, entry: Entry, reason: CleanupReason, failure: BaseException | None, took: float | None
    ) -> None:
        pool = self._pool
        if entry.state is Lifecycle.TERMINATED:
            return  # abandoned meanwhile
        entry.move(Lifecycle.TERMINATED)
        pool.ledger.leave(entry, reason)
        pool.capacity.give_back()
        if failure is not None:
            pool.closing.count_failure()
            pool.observer.failed(CleanupError(failure, resource_id=pool.resource.id))
        if entry.dependencies is not None:
            entry.dependencies.release()
        pool.observer.cleaned_up(reason, failure, took)
        pool.refresh()
        pool.desk.serve()
        pool.upkeep.refill()
