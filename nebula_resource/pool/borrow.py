"""Borrowing: an instance for a probe, reserved or made for it, counted like any other."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from nebula_resource.model.health import Postponed
from nebula_resource.model.lifecycle import Lifecycle
from nebula_resource.model.reasons import CleanupReason

if TYPE_CHECKING:
    from nebula_resource.pool.entry import Entry
    from nebula_resource.pool.pool import Pool

__all__ = ["Borrowed", "borrow"]


class Borrowed:
    """What a probe works with; ``is_good = False`` retires the instance afterwards."""

    __slots__ = ("instance", "is_good")

    def __init__(self, instance: Any) -> None:
        self.instance = instance
        self.is_good = True


@asynccontextmanager
async def borrow(pool: Pool[Any, Any, Any], *, fresh: bool) -> AsyncGenerator[Borrowed]:
    """Reserve an idle instance (MAINTENANCE), or make one; afterwards it goes back to the pool.

    An exception, a cancellation too, retires it: what a torn check leaves behind is unknown. Raises `Postponed` when
    nothing is idle and there is no room, and `CreateFailed`.
    """
    entry = None if fresh else pool.shelf.take()
    if entry is None:
        entry = await _made_for_it(pool)
    # ours from here on
    if entry.state is Lifecycle.IN_USE:
        entry.move(Lifecycle.READY)
    entry.move(Lifecycle.MAINTENANCE)
    borrowed = Borrowed(entry.instance)
    try:
        yield borrowed
    except BaseException:
        pool.retirer.retire(entry, CleanupReason.HEALTH_CHECK_FAILED)
        raise
    if not borrowed.is_good:
        pool.retirer.retire(entry, CleanupReason.HEALTH_CHECK_FAILED)
        return
    entry.checked_at = pool.loop.time()
    entry.move(Lifecycle.READY)
    pool.desk.offer(entry)


async def _made_for_it(pool: Pool[Any, Any, Any]) -> Entry:
    waiter = pool.loop.create_future()
    if pool.maker.start(waiter) is None:
        raise Postponed("nothing is idle, and there is no room for one more")
    try:
        found = await waiter
    except BaseException:
        pool.desk.give_up(waiter)
        raise
    if isinstance(found, BaseException):
        raise found
    entry: Entry = found
    entry.uses -= 1  # a probe is no use
    return entry
