"""Inspector: asks instances whether they still work: before they are lent, in upkeep, and to keep them alive."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from nebula_resource.model.lifecycle import Lifecycle
from nebula_resource.model.reasons import CleanupReason
from nebula_resource.pool.maker import is_ours

if TYPE_CHECKING:
    from nebula_resource.pool.entry import Entry
    from nebula_resource.pool.pool import Pool
    from nebula_resource.pool.waiters import Waiter

__all__ = ["Inspector"]


class Inspector:
    """Runs ``Resource.is_valid`` in tasks of the pool, the entry reserved (MAINTENANCE) meanwhile.

    A caller for whom an instance is checked only watches its future; when the instance proves useless, the caller
    looks again before everybody who came later.
    """

    __slots__ = ("_pool",)

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    def check(self, entry: Entry, waiter: Waiter | None = None) -> asyncio.Task[None]:
        """Reserve an entry that was just taken off the shelf, and check it."""
        entry.move(Lifecycle.MAINTENANCE)
        return self._pool.spawn(self._check(entry, waiter), "validate")

    async def _check(self, entry: Entry, waiter: Waiter | None) -> None:
        pool = self._pool
        error: BaseException | None = None
        valid = False
        try:
            async with asyncio.timeout(pool.config.validate_timeout):
                valid = bool(await pool.resource.is_valid(entry.instance))
        except BaseException as raised:
            # Anything but True counts as no (SPEC §2); its connection may be in the middle of an answer.
            error = raised
            if is_ours(raised):
                pool.retirer.retire(entry, pool.unwanted() or CleanupReason.BROKEN)
                if waiter is not None:
                    pool.desk.again(waiter)
                raise
        if valid:
            self._passed(entry, waiter)
        else:
            pool.observer.validation_failed(error)
            pool.retirer.retire(entry, CleanupReason.HEALTH_CHECK_FAILED)
            if waiter is not None:
                pool.desk.again(waiter)

    def _passed(self, entry: Entry, waiter: Waiter | None) -> None:
        pool = self._pool
        entry.checked_at = pool.loop.time()
        entry.move(Lifecycle.READY)
        if waiter is None or waiter.done():
            pool.desk.offer(entry)
        elif (reason := entry.doom or pool.unwanted()) is not None:
            pool.retirer.retire(entry, reason)
            pool.desk.again(waiter)
        else:
            pool.desk.hand_over(entry, waiter)
