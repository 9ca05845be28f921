"""Shared pools: one resident instance, many handles at once."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from nebula_resource.model.lifecycle import Lifecycle
from nebula_resource.model.reasons import CleanupReason
from nebula_resource.pool.desk import Desk
from nebula_resource.pool.ledger import PoolState
from nebula_resource.pool.release import Releaser

if TYPE_CHECKING:
    from nebula_resource.errors import CreateFailed
    from nebula_resource.pool.entry import Entry, Use
    from nebula_resource.pool.waiters import Waiter

__all__ = ["SharedDesk", "SharedReleaser"]


class SharedDesk(Desk):
    """Hands the resident instance to everybody; replaces it, one at a time, when it must go.

    A doomed resident counts until its last holder leaves, which is why ``max_size`` is at least 2.
    """

    __slots__ = ()

    def resident(self) -> Entry | None:
        """The instance that callers get now."""
        pool = self._pool
        now = pool.loop.time()
        for entry in list(pool.ledger.entries):
            if entry.state in {Lifecycle.IDLE, Lifecycle.IN_USE} and entry.doom is None:
                if not entry.is_expired(now):
                    return entry
                self.dismiss(entry, CleanupReason.EXPIRED)
        return None

    def dismiss(self, entry: Entry, reason: CleanupReason) -> None:
        """No new callers get it; it goes when the last holder has left."""
        pool = self._pool
        pool.ledger.doom(entry, reason)
        if entry.holders == 0 and pool.shelf.remove(entry):
            pool.retirer.retire(entry, entry.doom or reason)

    def _attend(self, waiter: Waiter) -> bool:
        pool = self._pool
        entry = self.resident()
        if entry is not None:
            if entry.state is Lifecycle.IDLE and entry.is_due(
                pool.loop.time(), pool.config.validation_interval
            ):
                pool.take_off(entry)
                pool.inspector.check(entry)
                return False
            self.hand_over(entry, waiter)
            return True
        if pool.ledger.creating == 0 and not pool.ledger.count(Lifecycle.MAINTENANCE):
            pool.maker.start(None)
        return False

    def take_ready(self) -> Entry | None:
        pool = self._pool
        entry = self.resident()
        if entry is None or entry.is_due(pool.loop.time(), pool.config.validation_interval):
            return None
        self._lend(entry)
        return entry

    def hand_over(self, entry: Entry, waiter: Waiter) -> None:
        self._lend(entry)
        waiter.set_result(entry)

    def _lend(self, entry: Entry) -> None:
        if entry.holders == 0:
            self._pool.take_off(entry)
            entry.move(Lifecycle.IN_USE)
        entry.holders += 1
        entry.uses += 1

    def offer(self, entry: Entry) -> None:
        pool = self._pool
        reason = entry.doom or pool.unwanted()
        resident = self.resident()
        if reason is None and resident is not None and resident is not entry:
            reason = CleanupReason.EVICTED
        if reason is not None:
            pool.retirer.retire(entry, reason)
            return
        entry.move(Lifecycle.IDLE)
        pool.shelf.put(entry)
        while pool.state is PoolState.OPEN and (waiter := pool.line.next()) is not None:
            self.hand_over(entry, waiter)
        pool.changed()

    def take_back(self, entry: Entry) -> None:
        entry.uses -= 1
        self.let_go(entry)

    def let_go(self, entry: Entry) -> None:
        """One holder less."""
        pool = self._pool
        entry.holders -= 1
        if entry.holders > 0:
            return
        reason = entry.doom or pool.unwanted()
        if reason is not None:
            pool.retirer.retire(entry, reason)
        else:
            entry.move(Lifecycle.IDLE)
            pool.shelf.put(entry)
        pool.changed()

    def create_failed(self, failure: CreateFailed, waiter: Waiter | None) -> None:
        """The one creation was for everybody in line, so everybody learns of it."""
        self._pool.line.fail(lambda: failure)


class SharedReleaser(Releaser):
    """Takes back one handle of many: no recycle, no ``on_error``; a broken or tainted resident is replaced."""

    __slots__ = ()

    def _count(self, entry: Entry, use: Use) -> None:
        self._pool.ledger.shared_uses.pop(use, None)
        if use.started is not None:
            self._pool.ledger.use_times.add(max(0.0, self._pool.loop.time() - use.started))

    def _return(
        self, entry: Entry, error: BaseException | None, *, tainted: bool
    ) -> asyncio.Task[BaseException | None] | None:
        pool = self._pool
        reason = CleanupReason.TAINTED if tainted else None
        try:
            if reason is None and pool.resource.is_broken(entry.instance):
                reason = CleanupReason.BROKEN
        except Exception as raised:
            pool.observer.failed(raised)
            reason = CleanupReason.BROKEN
        if reason is not None:
            pool.ledger.doom(entry, reason)
        desk = pool.desk
        assert isinstance(desk, SharedDesk), "a shared pool is built with a shared desk"
        desk.let_go(entry)
        return None
