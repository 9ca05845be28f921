"""Borrowing: an instance for a probe, reserved or made for it, counted like any other."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from nebula_resource.model.health import Postponed
from nebula_resource.model.lifecycle import Lifecycle
from nebula_resource.model.reasons import CleanupReason
from nebula_resource.pool.entry import Entry

if TYPE_CHECKING:
    from nebula_resource.pool.parts import PoolParts
    from nebula_resource.pool.waiters import Waiter

__all__ = ["Borrowed", "borrow"]


class Borrowed:
    """What a probe works with; ``is_good = False`` retires the instance afterwards."""

    __slots__ = ("instance", "is_good")

    def __init__(self, instance: Any) -> None:
        self.instance = instance
        self.is_good = True


@asynccontextmanager
async def borrow(pool: PoolParts, *, fresh: bool) -> AsyncGenerator[Borrowed]:
    """Reserve an idle instance (MAINTENANCE), or make one; afterwards it goes back to the pool.

    ``fresh``: one made for it where there is room; in a pool full of idle ones, an idle one, or a recovery would be
    postponed for ever. A shared instance that is in use is looked at where it is. An exception, a cancellation too, retires it: what a
    torn check leaves behind is unknown. Raises `Postponed` when nothing is idle and there is no room, `CreateFailed`,
    and `WrongEventLoop`.
    """
    pool.check_owner()
    entry = None if fresh and pool.ledger.has_room else _reserved(pool)
    if entry is None:
        entry = await _made_for_it(pool)
    # ours from here on
    borrowed = Borrowed(entry.instance)
    try:
        yield borrowed
    except BaseException:
        borrowed.is_good = False
        raise
    finally:
        _back(pool, entry, is_good=borrowed.is_good)


def _reserved(pool: PoolParts) -> Entry | None:
    """An instance to look at: idle ones reserved, a shared one in use as it is."""
    entry = pool.shelf.take()
    if entry is not None:
        entry.move(Lifecycle.MAINTENANCE)
        return entry
    return next((each for each in pool.ledger.entries if each.holders and each.doom is None), None)


async def _made_for_it(pool: PoolParts) -> Entry:
    """One more, already reserved."""
    waiter: Waiter = pool.loop.create_future()
    if pool.maker.start(waiter, for_probe=True) is None:
        raise Postponed("nothing is idle, and there is no room for one more")
    try:
        found = await waiter
    except BaseException:
        if waiter.done() and not waiter.cancelled():
            made = waiter.result()
            if isinstance(made, Entry):
                _back(pool, made, is_good=True)
        raise
    if isinstance(found, BaseException):
        raise found
    return found


def _back(pool: PoolParts, entry: Entry, *, is_good: bool) -> None:
    """A probe has ended; a close may have taken the instance meanwhile."""
    if is_good:
        entry.checked_at = pool.loop.time()
    if entry.state is not Lifecycle.MAINTENANCE:
        if not is_good:
            pool.sizing.dismiss(entry, CleanupReason.HEALTH_CHECK_FAILED)
    elif is_good:
        entry.move(Lifecycle.READY)
        pool.desk.offer(entry)
    else:
        pool.retirer.retire(entry, CleanupReason.HEALTH_CHECK_FAILED)
        pool.desk.serve()
