"""Desk: serves whoever asks: an idle entry, an instance made for them, or a place in line."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from nebula_resource.errors import CircuitOpen, CreateFailed, PoolExhausted, Unavailable
from nebula_resource.model.lifecycle import Lifecycle
from nebula_resource.model.reasons import CleanupReason
from nebula_resource.pool.config import Backpressure
from nebula_resource.pool.entry import Entry
from nebula_resource.pool.state import PoolState

if TYPE_CHECKING:
    from nebula_resource.pool.parts import PoolParts
    from nebula_resource.pool.waiters import Waiter

__all__ = ["Desk"]

_WHY = {
    PoolState.NEW: "not_open",
    PoolState.SUSPENDED: "suspended",
    PoolState.DRAINING: "draining",
    PoolState.DRAINED: "draining",
    PoolState.CLOSING: "closed",
    PoolState.CLOSED: "closed",
}


class Desk:
    """Decides, synchronously, who gets what. It never waits; what takes time is started in tasks of the pool.

    The rule that keeps everybody served: whoever frees something passes it on. `offer` passes on an instance,
    `serve` a vacancy (the right to make one).
    """

    __slots__ = ("_pool",)

    def __init__(self, pool: PoolParts) -> None:
        self._pool = pool

    # ── a caller asks ──

    def seek(self, waiter: Waiter, since: float) -> None:
        """Serve this waiter now, start what will serve it, or put it in line. Raises what a refused caller is to see.

        It may be asked while the quick way's IndexError is handled; no caller is to read of that.
        """
        pool = self._pool
        self.refuse_if_shut()
        if pool.state is PoolState.OPEN and not pool.line and self._attend(waiter, joins_at=since):
            return
        self._refuse_if_hopeless()
        pool.line.join(waiter, since)
        self.want()

    def _attend(self, waiter: Waiter, *, joins_at: float | None = None) -> bool:
        """Hand over an idle entry, or start to check or make one for this waiter; False: it can only wait.

        ``joins_at``: it does not stand in line yet, and has waited since then.
        """
        pool = self._pool
        entry = self._take_living()
        if entry is None:
            if not pool.maker.start(waiter):
                return False
            self._promise(waiter, joins_at)
            return True
        if entry.is_due(pool.loop.time(), pool.inspector.interval):
            self._promise(waiter, joins_at)
            pool.inspector.check(entry, waiter)
        else:
            self.hand_over(entry, waiter)
        pool.sort_shelf()
        return True

    def _promise(self, waiter: Waiter, joins_at: float | None) -> None:
        """Something is being done for this one, who keeps its place in line."""
        if joins_at is not None:
            self._pool.line.join(waiter, joins_at)
        self._pool.line.attend(waiter)

    def _take_living(self) -> Entry | None:
        """The next idle entry whose time is not over; what is past it is retired on the way."""
        pool = self._pool
        now = pool.loop.time()
        while (entry := pool.shelf.take()) is not None:
            if entry.doom is None and not entry.is_expired(now):
                return entry
            pool.retirer.retire(entry, entry.doom or CleanupReason.EXPIRED)
        return None

    def is_past(self, entry: Entry, now: float) -> bool:
        """Whether its life time is over, and it is to go for that."""
        return entry.is_expired(now)

    def take_ready(self) -> Entry | None:
        """Lend the next idle entry that needs no step that waits; None when there is none."""
        entry = self._pick_ready()
        if entry is not None:
            self._lend(entry)
        return entry

    def _pick_ready(self) -> Entry | None:
        """Take off the shelf the next entry that may be lent as it is."""
        pool = self._pool
        now = pool.loop.time()
        for entry in pool.shelf.in_order():
            if (
                entry.doom is None
                and not entry.is_expired(now)
                and not entry.is_due(now, pool.inspector.interval)
            ):
                pool.shelf.remove(entry)
                return entry
        return None

    def refuse_if_shut(self) -> None:
        """Raise where a caller is not even put in line."""
        pool = self._pool
        if pool.state is PoolState.OPEN or (pool.state is PoolState.SUSPENDED and not pool.fails_suspended):
            return
        raise self.refusal(_WHY[pool.state]) from None

    def refusal(self, why: str) -> Unavailable:
        """The error of a caller who is turned away because of the pool's state."""
        return Unavailable(why, retryable=why in {"suspended", "draining"}, **self._pool.names)

    def _refuse_if_hopeless(self) -> None:
        """Raise where waiting is forbidden, or could end well in no way."""
        pool = self._pool
        config = pool.config
        if self.is_hopeless():
            pool.observer.rejected("circuit", 0.0)
            error = self._circuit_error()
            raise error from error.__cause__
        if config.backpressure is Backpressure.FAIL_FAST or (
            config.max_waiting is not None and pool.line.is_longer_than(config.max_waiting - 1)
        ):
            pool.ledger.exhausted += 1
            pool.observer.rejected("exhausted", 0.0)
            raise PoolExhausted(pool.ledger.max_size, len(pool.line), **pool.names) from None

    def want(self) -> None:
        """Tell a budget how many wait."""
        if self._pool.is_budgeted:
            self._pool.capacity.want(len(self._pool.line))

    # ── something is free ──

    def hand_over(self, entry: Entry, waiter: Waiter) -> None:
        """This entry is the waiter's from here on."""
        self._lend(entry)
        self._pool.line.tell(waiter, entry)
        self.want()

    def _lend(self, entry: Entry) -> None:
        if entry.state is Lifecycle.IN_USE:
            entry.move(Lifecycle.READY)
        entry.move(Lifecycle.IN_USE)
        entry.uses += 1

    def offer(self, entry: Entry) -> None:
        """Pass on a clean instance: to the first who waits, else to the shelf; or retire it where it is not wanted."""
        pool = self._pool
        reason = self._why_not(entry)
        if reason is not None:
            pool.retirer.retire(entry, reason)
            return
        waiter = pool.line.next() if pool.state is PoolState.OPEN else None
        if waiter is not None:
            self.hand_over(entry, waiter)
            return
        entry.move(Lifecycle.IDLE)
        pool.shelf.put(entry)
        pool.changed()

    def deliver(self, entry: Entry, waiter: Waiter | None) -> None:
        """What was made or checked, for this waiter or for nobody in particular, is there."""
        pool = self._pool
        if waiter is None or waiter.done():
            self.offer(entry)
        elif (reason := entry.doom or pool.unwanted()) is not None:
            pool.retirer.retire(entry, reason)
            self.again(waiter)
        elif pool.state is PoolState.OPEN:
            self.hand_over(entry, waiter)
        else:  # suspended meanwhile: both wait, each at its place
            pool.line.neglect(waiter)
            self.offer(entry)

    def pass_on(self, entry: Entry) -> None:
        """`offer`, for an entry that wants no attention and a line that is not empty."""
        waiter = self._pool.line.next()
        if waiter is None:
            entry.state = Lifecycle.IDLE
            self._pool.shelf.put(entry)
            return
        # By way of READY: it came back, and is lent again in the same breath.
        entry.uses += 1
        waiter.set_result(entry)
        if self._pool.is_budgeted:
            self.want()

    def _why_not(self, entry: Entry) -> CleanupReason | None:
        """Why this entry is not to be lent again; None: it is."""
        pool = self._pool
        return entry.doom or pool.unwanted() or (CleanupReason.EVICTED if pool.ledger.is_over else None)

    def serve(self) -> None:
        """Pass on a vacancy: start an instance for the first in line as long as one may be made.

        Called whenever room, a create slot, capacity or time to try again turns up.
        """
        pool = self._pool
        line = pool.line
        while pool.state is PoolState.OPEN and (place := line.first()) is not None:
            if not self._attend(place[0]):
                if self.is_hopeless():
                    now = pool.loop.time()
                    waits = [now - since for waiter, since in line if not waiter.done()]
                    self.fail(self._circuit_error)
                    for waited in waits:
                        pool.observer.rejected("circuit", waited)
                break
        self.want()
        pool.changed()

    def hand_out(self) -> None:
        """Give what lies idle since a suspension to whoever came first, even if one is being made for them."""
        line = self._pool.line
        while line.waiters and (entry := self._pick_ready()) is not None:
            waiter = line.next()
            if waiter is None:
                self._pool.shelf.put(entry)
                break
            self.hand_over(entry, waiter)

    def again(self, waiter: Waiter | None) -> None:
        """What this waiter was promised proved useless: it looks again, at its old place."""
        if waiter is not None:
            self._pool.line.neglect(waiter)
        self.serve()

    def give_up(self, waiter: Waiter) -> None:
        """A caller stopped waiting; if it had been served by then, what it got is passed on."""
        pool = self._pool
        if not pool.is_running:
            pool.returns.report_torn(waiter)
            return
        if not waiter.done():
            waiter.cancel()  # its coroutine is closed: what is made for it must find nobody
        pool.line.leave(waiter)
        if not waiter.cancelled() and isinstance(result := waiter.result(), Entry):
            self.take_back(result)
        self.want()

    def take_back(self, entry: Entry) -> None:
        """An entry that was handed over and never used goes on, uncounted."""
        entry.uses -= 1
        self.offer(entry)

    # ── nothing will be free for a while ──

    def create_failed(self, failure: CreateFailed, waiter: Waiter | None) -> None:
        """Tell the caller for whom it was made."""
        if waiter is not None:
            self._pool.line.tell(waiter, failure)

    def fail(self, error: Callable[[], BaseException]) -> int:
        """Tell everybody who waits an error of their own; returns how many there were."""
        told = self._pool.line.fail(error)
        self.want()
        return told

    def is_hopeless(self) -> bool:
        """Whether waiting could end well in no way: not one instance, and the create circuit open."""
        pool = self._pool
        return pool.state is PoolState.OPEN and pool.ledger.size == 0 and not pool.maker.circuit.is_closed

    def could_serve(self) -> bool:
        """Whether somebody who waits unattended could be helped now; then nobody may be waiting.

        What a budget would say is left out: asking it is taking.
        """
        return bool(self._pool.shelf) or (self._pool.maker.may_start() and not self._pool.is_budgeted)

    def _circuit_error(self) -> CircuitOpen:
        pool = self._pool
        error = CircuitOpen(
            "create", retry_after=pool.maker.circuit.retry_after(pool.loop.time()), **pool.names
        )
        assert pool.ledger.last_create_error is not None, "a circuit opens when a create has failed"
        error.__cause__ = pool.ledger.last_create_error[1]
        return error
