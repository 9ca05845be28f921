"""Upkeep: what the pool does by itself: marks what is due, retires, checks, refills."""

from __future__ import annotations

import asyncio
import random
import sys
from typing import TYPE_CHECKING

from nebula_resource.model.lifecycle import Lifecycle
from nebula_resource.model.reasons import CleanupReason
from nebula_resource.pool.entry import SLACK
from nebula_resource.pool.state import PoolState

if TYPE_CHECKING:
    from nebula_resource.pool.entry import Entry
    from nebula_resource.pool.parts import PoolParts

__all__ = ["Upkeep"]


def _references_of_a_forgotten_entry() -> int:
    """How many references `Upkeep.mark` sees to an entry that only the ledger knows: counted, not assumed.

    An interpreter's own book-keeping differs between versions; this walks the same way as `mark` does.
    """
    ledger = {object(): None}
    count = 0
    for entry in list(ledger):
        count = sys.getrefcount(entry)
    return count


class Upkeep:
    """Two clocks. The *tick* only marks (synchronous, cheap, exists only while there are entries); the *sweep* acts."""

    __slots__ = ("_failures", "_pool", "_references", "_refill_timer", "_sweep_timer", "_tick_timer")

    def __init__(self, pool: PoolParts) -> None:
        self._pool = pool
        self._references = _references_of_a_forgotten_entry()
        self._tick_timer: asyncio.TimerHandle | None = None
        self._sweep_timer: asyncio.TimerHandle | None = None
        self._refill_timer: asyncio.TimerHandle | None = None
        self._failures = 0

    # ── the tick: mark ──

    def wake(self) -> None:
        """There is an entry to look after."""
        pool = self._pool
        if pool.unwanted() is not None:
            return
        if self._tick_timer is None and pool.config.tick is not None:
            self._tick_timer = pool.loop.call_later(pool.config.tick, self._tick)
        if self._sweep_timer is None and pool.config.maintenance_interval is not None:
            self._sweep_timer = pool.loop.call_later(pool.config.maintenance_interval, self._sweep)

    def _tick(self) -> None:
        pool = self._pool
        self._tick_timer = None
        self.mark()
        if pool.ledger.entries:
            self.wake()

    def mark(self) -> None:
        """Note what was used, what is past its time, what was lost; send what is due to be looked at.

        An entry in use that nobody but the ledger refers to is lost: a handle says so itself when it is collected, a
        quick acquisition (in an exit stack that was dropped, say) is too cheap for that.
        """
        pool = self._pool
        now = pool.loop.time()
        for entry in list(pool.ledger.entries):
            if entry.is_expired(now):
                pool.ledger.doom(entry, CleanupReason.EXPIRED)
            entry.look(now)
            if entry.state is Lifecycle.IN_USE:
                if sys.getrefcount(entry) <= self._references:
                    pool.returns.lost(entry, entry.use)
                else:
                    self._look_after_lent(entry, now)
        self._look_after_shared(now)
        pool.sort_shelf()
        self._keep_alive(now)

    def _look_after_lent(self, entry: Entry, now: float) -> None:
        """Report what is held too long; each use once."""
        pool = self._pool
        threshold = pool.config.leak_threshold
        if threshold is None or entry.leak_reported == entry.uses or entry.holders:
            return
        held = now - entry.held_since(now)
        if held >= threshold - SLACK:
            entry.leak_reported = entry.uses
            pool.returns.report_leak(held, entry.frames)

    def _look_after_shared(self, now: float) -> None:
        threshold = self._pool.config.leak_threshold
        for use in self._pool.ledger.shared_uses:
            if threshold is None or use.started is None or use.reported:
                continue
            if now - use.started >= threshold - SLACK:
                use.reported = True
                self._pool.returns.report_leak(now - use.started, use.frames)

    def _keep_alive(self, now: float) -> None:
        pool = self._pool
        interval = pool.config.keepalive_interval
        if interval is None or not pool.inspector.asks or pool.state is not PoolState.OPEN:
            return
        for entry in list(pool.shelf):
            if entry.doom is None and entry.is_due(now, interval):
                pool.shelf.remove(entry)
                pool.inspector.check(entry)

    # ── the sweep: act ──

    def _sweep(self) -> None:
        self._sweep_timer = None
        self.sweep()
        if self._pool.ledger.entries:
            self.wake()

    def sweep(self) -> None:
        """Retire what is past its time, check what is due, refill to ``min_size``; all of it in tasks of the pool.

        A suspended pool asks nothing of its server: there it only retires.
        """
        pool = self._pool
        if pool.unwanted() is not None:
            return
        self.mark()
        now = pool.loop.time()
        for entry in list(pool.shelf):
            reason = self._reason_to_go(entry, now)
            if reason is not None:
                pool.shelf.remove(entry)
                pool.retirer.retire(entry, reason)
            elif pool.state is PoolState.OPEN and entry.is_due(now, pool.inspector.interval):
                pool.shelf.remove(entry)
                pool.inspector.check(entry)
        self._check_shared(now)
        pool.sort_shelf()
        self.refill()

    def _reason_to_go(self, entry: Entry, now: float) -> CleanupReason | None:
        pool = self._pool
        if entry.doom is not None:
            return entry.doom
        if entry.has_idled(now, pool.config.idle_timeout) and pool.ledger.living > pool.ledger.min_size:
            return CleanupReason.IDLE_TIMEOUT
        return None

    def _check_shared(self, now: float) -> None:
        """A shared instance may never be idle; it is checked where it is."""
        pool = self._pool
        interval = pool.inspector.interval
        if interval is None or pool.state is not PoolState.OPEN:
            return
        for entry in pool.ledger.entries:
            if entry.holders and entry.doom is None and now - entry.checked_at >= interval - SLACK:
                pool.inspector.check_in_place(entry)

    # ── refill, and its back-off ──

    def refill(self) -> None:
        """Start what is missing to ``min_size``, unless creates have just failed: then when the back-off has passed.

        While whoever observes the pool holds it back nothing is made here; a caller or a probe is still served.
        """
        pool = self._pool
        if pool.state is not PoolState.OPEN or self._refill_timer is not None or pool.observer.holds_back:
            return
        ledger = pool.ledger
        for _ in range(min(ledger.min_size - ledger.living, pool.config.warm_concurrency - ledger.creating)):
            if not pool.maker.start():
                break

    def create_went_well(self) -> None:
        """The back-off is over."""
        self._failures = 0
        if self._refill_timer is not None:
            self._refill_timer.cancel()
            self._refill_timer = None
        self.wake()
        if self._pool.state is PoolState.OPEN:
            # Once the instance is where it belongs: there may be more to make.
            self._pool.loop.call_soon(self.refill)

    def create_failed(self, now: float) -> None:
        """Wait longer before the next background create."""
        pool = self._pool
        self._failures += 1
        if self._refill_timer is None and pool.unwanted() is None:
            delay = max(
                pool.config.create_backoff.delay(self._failures, random.Random()),
                pool.maker.circuit.retry_after(now),
            )
            self._refill_timer = pool.loop.call_later(delay, self._refill_again)

    def _refill_again(self) -> None:
        self._refill_timer = None
        self.refill()

    def draw_expiry(self, now: float) -> float | None:
        """When an instance made now has lived long enough: up to 5 % early, so that they do not all end together."""
        lifetime = self._pool.config.max_lifetime
        return None if lifetime is None else now + lifetime * (1 - 0.05 * random.random())

    def stop(self) -> None:
        """Cancel the timers."""
        for timer in (self._tick_timer, self._sweep_timer, self._refill_timer):
            if timer is not None:
                timer.cancel()
        self._tick_timer = self._sweep_timer = self._refill_timer = None
