"""Upkeep: what the pool does by itself: marks what is due, retires, checks, refills."""

from __future__ import annotations

import asyncio
import random
import sys
from typing import TYPE_CHECKING

from nebula_resource._aio import earliest
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
    """Two rhythms, one timer. The *tick* only marks (synchronous, cheap, only while there are entries); the *sweep* acts."""

    __slots__ = (
        "_failures", "_pool", "_references", "_refill_timer", "_rings_at", "_sweeps_at", "_ticks_at", "_timer",
    )  # fmt: skip  # one list of names

    def __init__(self, pool: PoolParts) -> None:
        self._pool = pool
        self._references = _references_of_a_forgotten_entry()
        self._ticks_at: float | None = None
        self._sweeps_at: float | None = None
        """When the next of each comes (loop time, seconds); None: not before there is an entry."""
        self._timer: asyncio.TimerHandle | None = None
        """Rings at the earlier of the two: an idle pool holds nothing but its instances and this."""
        self._rings_at = 0.0
        self._refill_timer: asyncio.TimerHandle | None = None
        self._failures = 0

    # ── when ──

    def wake(self) -> None:
        """There is an entry to look after, in a pool that drains, too: what is held there too long is told."""
        pool = self._pool
        config = pool.config
        if pool.state in {PoolState.CLOSING, PoolState.CLOSED}:
            return
        now = pool.loop.time()
        if self._ticks_at is None and config.tick is not None:
            self._ticks_at = now + config.tick
        if self._sweeps_at is None and config.maintenance_interval is not None:
            self._sweeps_at = now + config.maintenance_interval
        self._set_timer()

    def _set_timer(self) -> None:
        moment = earliest(self._ticks_at, self._sweeps_at)
        if self._timer is not None:
            if moment is None or self._rings_at <= moment:
                return
            self._timer.cancel()
        if moment is not None:
            self._rings_at = moment
            self._timer = self._pool.loop.call_at(moment, self._ring)

    def _ring(self) -> None:
        """A moment has come: for the tick, for the sweep, or for both."""
        pool = self._pool
        self._timer = None
        # What this timer was set for is due, whatever the loop's clock rounds to.
        now = max(pool.loop.time(), self._rings_at)
        if self._ticks_at is not None and self._ticks_at <= now:
            self._ticks_at = None
            self.mark()
        if self._sweeps_at is not None and self._sweeps_at <= now:
            self._sweeps_at = None
            self.sweep()
        if pool.ledger.entries:
            self.wake()
        else:
            self._set_timer()

    # ── the tick: mark ──

    def mark(self) -> None:
        """Note what was used, what is past its time, what was lost; send what is due to be looked at.

        An entry in use that nobody but the ledger refers to is lost: a handle says so itself when it is collected, a
        quick acquisition (in an exit stack that was dropped, say) is too cheap for that.
        """
        pool = self._pool
        now = pool.loop.time()
        for entry in list(pool.ledger.entries):
            if pool.desk.is_past(entry, now):
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

    def sweep(self) -> None:
        """Retire what is past its time, check what is due, refill to ``min_size``; all of it in tasks of the pool.

        A suspended pool asks nothing of its server: there it only retires. One that drains has nothing to look after
        but what is out.
        """
        pool = self._pool
        self.mark()
        if pool.unwanted() is not None:
            return
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
        for timer in (self._timer, self._refill_timer):
            if timer is not None:
                timer.cancel()
        self._timer = self._refill_timer = self._ticks_at = self._sweeps_at = None
