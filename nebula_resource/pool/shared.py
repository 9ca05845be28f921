"""Shared pools: one resident instance, many handles at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nebula_resource.errors import CreateFailed
from nebula_resource.model.lifecycle import Lifecycle
from nebula_resource.model.reasons import CleanupReason
from nebula_resource.pool.desk import Desk
from nebula_resource.pool.release import Release, Releaser
from nebula_resource.pool.state import PoolState

if TYPE_CHECKING:
    from nebula_resource.pool.entry import Entry, Use
    from nebula_resource.pool.waiters import Waiter

__all__ = ["SharedDesk", "SharedReleaser"]


class SharedDesk(Desk):
    """Hands the resident instance to everybody; replaces it, one at a time, when it must go.

    A doomed resident counts until its last holder leaves, which is why ``max_size`` is at least 2. Nobody is attended
    singly: what is made or checked is for all who wait.
    """

    __slots__ = ()

    def resident(self) -> Entry | None:
        """The instance that callers get now."""
        for entry in self._pool.ledger.entries:
            if entry.state in {Lifecycle.IDLE, Lifecycle.IN_USE} and entry.doom is None:
                return entry
        return None

    def _living_resident(self) -> Entry | None:
        """The resident, unless its time is over; then it is dismissed.

        As long as nothing can be put in its place an old one is better than none: another may be held for hours, and a
        budget may have no place for a second.
        """
        pool = self._pool
        entry = self.resident()
        if entry is None or not entry.is_expired(pool.loop.time()):
            return entry
        if entry.holders and pool.maker.start() is None:
            return entry
        pool.sizing.dismiss(entry, CleanupReason.EXPIRED)
        return None

    def is_past(self, entry: Entry, now: float) -> bool:
        """One in use goes when another is made, and that is when somebody asks for it."""
        return not entry.holders and entry.is_expired(now)

    def _attend(self, waiter: Waiter, *, joins_at: float | None = None) -> bool:
        pool = self._pool
        entry = self._living_resident()
        if entry is None:
            if not self._is_coming():
                pool.maker.start()
            return False
        if entry.state is Lifecycle.IDLE and entry.is_due(pool.loop.time(), pool.inspector.interval):
            pool.shelf.remove(entry)
            pool.inspector.check(entry)
            return False
        self.hand_over(entry, waiter)
        return True

    def _is_coming(self) -> bool:
        """Whether one is being made or checked."""
        ledger = self._pool.ledger
        return ledger.creating > 0 or ledger.count(Lifecycle.MAINTENANCE) > 0

    def _refuse_if_hopeless(self) -> None:
        """Whoever comes while one is being made or checked has not to wait for anybody else's return."""
        if not self._is_coming():
            super()._refuse_if_hopeless()

    def could_serve(self) -> bool:
        may_make = not self._is_coming() and self._pool.maker.may_start() and not self._pool.is_budgeted
        return self.resident() is not None or may_make

    def _pick_ready(self) -> Entry | None:
        pool = self._pool
        entry = self._living_resident()
        if entry is None or entry.is_due(pool.loop.time(), pool.inspector.interval):
            return None
        return entry

    def _lend(self, entry: Entry) -> None:
        if entry.holders == 0:
            self._pool.shelf.remove(entry)
            entry.move(Lifecycle.IN_USE)
        entry.holders += 1
        entry.uses += 1

    def offer(self, entry: Entry) -> None:
        pool = self._pool
        reason = self._why_not(entry)
        if reason is None and self.resident() is not None:
            reason = CleanupReason.EVICTED
        if reason is not None:
            pool.retirer.retire(entry, reason)
            return
        entry.move(Lifecycle.IDLE)
        pool.shelf.put(entry)
        while pool.state is PoolState.OPEN and (waiter := pool.line.next()) is not None:
            self.hand_over(entry, waiter)
        pool.changed()

    def hand_out(self) -> None:
        """Nothing special: `serve` gives the resident to all."""

    def take_back(self, entry: Entry) -> None:
        entry.uses -= 1
        self.let_go(entry)

    def let_go(self, entry: Entry) -> None:
        """One holder less."""
        pool = self._pool
        entry.holders -= 1
        if entry.holders > 0:
            pool.changed()  # those that are left may all be what no drain waits for
            return
        reason = self._why_not(entry)
        if reason is None and entry.is_expired(pool.loop.time()):
            reason = CleanupReason.EXPIRED
        if reason is not None:
            pool.retirer.retire(entry, reason)
            return
        entry.move(Lifecycle.IDLE)
        pool.shelf.put(entry)
        pool.changed()

    def create_failed(self, failure: CreateFailed, waiter: Waiter | None) -> None:
        """The one creation was for everybody in line, so everybody learns of it."""
        super().create_failed(failure, waiter)
        self.fail(lambda: CreateFailed(failure.cause, **self._pool.names))


class SharedReleaser(Releaser):
    """Takes back one handle of many: no recycle, no ``on_error``; a broken resident is replaced."""

    __slots__ = ()

    def _count(self, entry: Entry, use: Use) -> None:
        pool = self._pool
        pool.ledger.shared_uses.pop(use, None)
        if use.started is not None:
            pool.ledger.use_times.add(max(0.0, pool.loop.time() - use.started))

    def _return(self, entry: Entry, error: BaseException | None) -> Release | None:
        pool = self._pool
        if entry.doom is None and self._is_broken(entry):
            pool.ledger.doom(entry, CleanupReason.BROKEN)
        desk = pool.desk
        assert isinstance(desk, SharedDesk), "a shared pool is built with a shared desk"
        desk.let_go(entry)
        return None
