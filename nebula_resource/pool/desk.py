"""Desk: serves whoever asks: an idle entry, an instance made for them, or a place in line."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nebula_resource.errors import CircuitOpen, CreateFailed, PoolExhausted, ResourceError, Unavailable
from nebula_resource.model.lifecycle import Lifecycle
from nebula_resource.model.reasons import CleanupReason
from nebula_resource.pool.config import Backpressure
from nebula_resource.pool.ledger import PoolState

if TYPE_CHECKING:
    from nebula_resource.pool.entry import Entry
    from nebula_resource.pool.pool import Pool
    from nebula_resource.pool.waiters import Waiter

__all__ = ["Desk"]


class Desk:
    """Decides, synchronously, who gets what. It never waits; what takes time is started in tasks of the pool.

    The rule that keeps everybody served: whoever frees something passes it on. `offer` passes on an instance,
    `serve` a vacancy (the right to make one).
    """

    __slots__ = ("_pool",)

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    # ── a caller asks ──

    def seek(self, waiter: Waiter, *, since: float, front: bool = False) -> None:
        """Serve this waiter now, start what will serve it, or put it in line; ``front``: it was served before.

        Raises what a refused caller is to see.
        """
        pool = self._pool
        self.refuse_if_shut()
        if pool.state is PoolState.OPEN and (front or not pool.line) and self._attend(waiter):
            return
        if not front:
            self._refuse_if_hopeless()
        pool.line.join(waiter, since, front=front)
        self.want()

    def _attend(self, waiter: Waiter) -> bool:
        """Hand over an idle entry, or start to check or make one for this waiter; False: it can only wait."""
        pool = self._pool
        entry = self._take_living()
        if entry is None:
            return pool.maker.start(waiter) is not None
        if entry.is_due(pool.loop.time(), pool.config.validation_interval):
            pool.inspector.check(entry, waiter)
        else:
            self.hand_over(entry, waiter)
        pool.sort_shelf()
        return True

    def _take_living(self) -> Entry | None:
        """The next idle entry whose time is not over; what is past it is retired on the way."""
        pool = self._pool
        now = pool.loop.time()
        while (entry := pool.shelf.take()) is not None:
            if entry.doom is None and not entry.is_expired(now):
                return entry
            pool.retirer.retire(entry, entry.doom or CleanupReason.EXPIRED)
        return None

    def take_ready(self) -> Entry | None:
        """The next idle entry that may be lent without any step that waits; None when there is none."""
        pool = self._pool
        now = pool.loop.time()
        for entry in pool.shelf.in_order():
            if entry.doom is None and not entry.is_expired(now):
                if not entry.is_due(now, pool.config.validation_interval):
                    pool.shelf.remove(entry)
                    entry.move(Lifecycle.IN_USE)
                    entry.uses += 1
                    return entry
        return None

    def refuse_if_shut(self) -> None:
        """Raise where a caller is not even put in line."""
        error = self._pool.shut_error()
        if error is not None:
            raise error

    def _refuse_if_hopeless(self) -> None:
        """Raise where waiting is forbidden, or could end well in no way."""
        pool = self._pool
        config = pool.config
        if config.backpressure is Backpressure.FAIL_FAST or (
            config.max_waiting is not None and len(pool.line) >= config.max_waiting
        ):
            pool.ledger.exhausted += 1
            pool.observer.rejected("exhausted")
            raise PoolExhausted(pool.ledger.max_size, len(pool.line), **pool.names)
        if pool.state is PoolState.OPEN and pool.ledger.size == 0 and not pool.maker.circuit.is_closed:
            pool.observer.rejected("circuit")
            raise self._circuit_error()

    def want(self) -> None:
        """Tell a budget how many wait."""
        if self._pool.is_budgeted:
            self._pool.capacity.want(len(self._pool.line))

    # ── something is free ──

    def hand_over(self, entry: Entry, waiter: Waiter) -> None:
        """This entry is the waiter's from here on."""
        if entry.state is Lifecycle.IN_USE:
            entry.move(Lifecycle.READY)
        entry.move(Lifecycle.IN_USE)
        entry.uses += 1
        waiter.set_result(entry)

    def offer(self, entry: Entry) -> None:
        """Pass on a clean instance: to the first in line, else to the shelf; or retire it where it is not wanted."""
        pool = self._pool
        reason = entry.doom or pool.unwanted()
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

    def serve(self) -> None:
        """Pass on a vacancy: start an instance for the first in line as long as one may be made.

        Called whenever room, a create slot, capacity or time to try again turns up; idle ones (left when a pool
        resumes) go first.
        """
        pool = self._pool
        while pool.state is PoolState.OPEN and (waiter := pool.line.first()) is not None:
            if not self._attend(waiter):
                break
            pool.line.leave(waiter)
        self.want()
        pool.changed()

    def again(self, waiter: Waiter) -> None:
        """What this waiter was promised proved useless: it looks again, before all who came later."""
        if waiter.done():
            return
        try:
            self.seek(waiter, since=self._pool.loop.time(), front=True)
        except ResourceError as error:
            waiter.set_result(error)

    def give_up(self, waiter: Waiter) -> None:
        """A caller stopped waiting; if it had been served by then, what it got is passed on."""
        self._pool.line.leave(waiter)
        if waiter.done() and not waiter.cancelled():
            result = waiter.result()
            if not isinstance(result, BaseException):
                self.take_back(result)
        self.want()

    def take_back(self, entry: Entry) -> None:
        """An entry that was handed over and never used goes on, uncounted."""
        entry.uses -= 1
        self.offer(entry)

    # ── nothing will be free for a while ──

    def create_failed(self, failure: CreateFailed, waiter: Waiter | None) -> None:
        """Tell the caller for whom it was made."""
        if waiter is not None and not waiter.done():
            waiter.set_result(failure)

    def fail_hopeless(self) -> None:
        """The create circuit opened: whoever waits for a pool without a single instance is told so now."""
        pool = self._pool
        if pool.ledger.size == 0 and not pool.maker.circuit.is_closed:
            for _ in range(pool.line.fail(self._circuit_error)):
                pool.observer.rejected("circuit")

    def _circuit_error(self) -> CircuitOpen:
        pool = self._pool
        error = CircuitOpen(
            "create", retry_after=pool.maker.circuit.retry_after(pool.loop.time()), **pool.names
        )
        if pool.ledger.last_create_error is not None:
            error.__cause__ = pool.ledger.last_create_error[1]
        return error

    def refusal(self, why: str) -> Unavailable:
        """The error of a caller who is turned away because of the pool's state."""
        return Unavailable(why, retryable=why in {"suspended", "draining"}, **self._pool.names)
