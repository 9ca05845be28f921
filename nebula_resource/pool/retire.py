"""Retirer: ends instances, each within its time limit, and passes on the place they leave."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from nebula_resource.errors import AcquireTimeout, CleanupError
from nebula_resource.model.lifecycle import Lifecycle
from nebula_resource.model.reasons import CleanupReason
from nebula_resource.model.resource import overrides
from nebula_resource.pool.maker import is_ours

if TYPE_CHECKING:
    from nebula_resource.pool.entry import Entry
    from nebula_resource.pool.pool import Pool

__all__ = ["Retirer"]


class Retirer:
    """Runs ``Resource.cleanup`` in tasks of the pool; an instance counts until that has ended, one way or another."""

    __slots__ = ("_cleans", "_pool")

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._cleans = overrides(pool.resource, "cleanup")

    def retire(self, entry: Entry, reason: CleanupReason) -> None:
        """End this entry's instance; the caller has it, it is on no shelf."""
        pool = self._pool
        entry.move(Lifecycle.CLEANUP)
        entry.doom = reason
        entry.attention = True
        pool.observer.retired(reason)
        if self._cleans or pool.observer.hooks_cleanup or entry.dependencies is not None:
            pool.spawn(self._clean(entry, reason), "cleanup")
        else:
            self._gone(entry, reason, None)

    def forget(self, entry: Entry) -> None:
        """The holder keeps the instance: it leaves the pool without a cleanup (DETACHED)."""
        entry.move(Lifecycle.CLEANUP)
        if entry.dependencies is not None:
            entry.dependencies.release()
        self._gone(entry, CleanupReason.DETACHED, None)

    async def _clean(self, entry: Entry, reason: CleanupReason) -> None:
        pool = self._pool
        observer = pool.observer
        hooked = observer.hooks_cleanup
        token: object = None
        failure: BaseException | None = None
        gone = False
        try:
            if hooked:
                token = await observer.before_cleanup(reason)
            failure = await self._cleanup(entry)
        finally:
            # Also when this task is cancelled: the books must not wait for an instance that nobody ends any more.
            if entry.dependencies is not None:
                entry.dependencies.release()
            self._gone(entry, reason, failure)
            gone = True
        if hooked and gone and token is not None:
            await observer.after_cleanup(token, reason, failure)

    async def _cleanup(self, entry: Entry) -> BaseException | None:
        """Run the user's cleanup; what it raises is returned, for there is no caller to raise it to."""
        pool = self._pool
        limit = pool.config.cleanup_timeout
        try:
            async with asyncio.timeout(limit) as watch:
                await pool.resource.cleanup(entry.instance)
        except BaseException as error:
            if is_ours(error):
                raise
            if isinstance(error, TimeoutError) and watch.expired():
                return AcquireTimeout("cleanup", limit or 0.0, **pool.names)
            return error
        return None

    def _gone(self, entry: Entry, reason: CleanupReason, failure: BaseException | None) -> None:
        pool = self._pool
        entry.move(Lifecycle.TERMINATED)
        pool.ledger.leave(entry, reason)
        pool.capacity.give_back()
        if failure is not None:
            pool.closing.count_failure()
            pool.observer.failed(CleanupError(failure, resource_id=pool.resource.id))
        pool.observer.cleaned_up(reason, failure)
        pool.refresh()
        pool.desk.serve()
        pool.upkeep.refill()
