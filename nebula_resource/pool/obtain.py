"""Obtainer: takes an instance for a caller: one wait, at most, and then the lease."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

from nebula_resource._aio import TokenGuard, earliest
from nebula_resource.errors import AcquireCancelled, AcquireTimeout, Unavailable
from nebula_resource.model.context import ResourceContext
from nebula_resource.model.lifecycle import Lifecycle
from nebula_resource.pool.config import Backpressure, Sharing
from nebula_resource.pool.entry import Entry, Use
from nebula_resource.pool.handle import Handle
from nebula_resource.pool.leaks import caller_frame, capture_six
from nebula_resource.pool.state import PoolState
from nebula_resource.pool.waiters import CALLED_OFF, TIMED_OUT, call_off, time_out

if TYPE_CHECKING:
    from nebula_resource.pool.parts import PoolParts
    from nebula_resource.pool.waiters import Waiter

__all__ = ["Obtainer", "Taken"]

Taken: TypeAlias = "tuple[Entry, float | None]"
"""An entry, and how long its caller waited for it (seconds); None: not at all, it was there."""


class Obtainer:
    """The way in, for everybody who does not find an idle instance on the short way."""

    __slots__ = ("_pool", "joins")

    def __init__(self, pool: PoolParts) -> None:
        self._pool = pool
        config = pool.config
        self.joins = (
            config.max_waiting is None
            and config.backpressure is Backpressure.WAIT
            and config.sharing is Sharing.EXCLUSIVE
            and not pool.is_budgeted
        )
        """Where somebody waits unattended, a further caller simply stands behind: there is nothing that `Desk.seek`
        could find, or refuse. (Behind attended callers alone there may be room for another creation.)"""

    # ── a caller with neither a context nor a limit ──

    async def plainly(self) -> Taken:
        """`take` for those who bring nothing, written in three steps, for contention pays each of them."""
        since = self._pool.clock()
        waiter = self.ask(since)
        try:
            result = await waiter
        except BaseException as error:
            self.gave_up(waiter, error)
            raise
        if type(result) is not Entry:
            raise self.translated(result, waiter, since)
        waited = self._pool.clock() - since
        self._pool.ledger.wait_times.add(waited)
        return result, waited

    def ask(self, since: float) -> Waiter:
        """Join the line, or whatever else serves this caller; returns what to await."""
        pool = self._pool
        waiter: Waiter = pool.create_future()
        if self.joins and pool.state is PoolState.OPEN and pool.line.join_others(waiter, since):
            return waiter
        pool.check_owner()
        pool.desk.seek(waiter, since)
        return waiter

    def gave_up(self, waiter: Waiter, error: BaseException) -> None:
        """The wait was torn; ``error`` is to be raised on."""
        pool = self._pool
        pool.ledger.cancelled += 1
        pool.desk.give_up(waiter)
        if isinstance(error, RuntimeError):
            pool.check_owner()  # another loop's task cannot wait here: say so in our words

    # ── everybody else ──

    async def handle(self, context: ResourceContext | None, timeout: float | None) -> Handle[Any]:
        """Take an instance and wrap it, its lease entered."""
        pool = self._pool
        use = Use()
        entry, use.waited = await self.take(context, timeout)
        # ours from here on
        self.note(entry, use)
        if not pool.leases:
            return Handle(pool, entry, use, entry.instance)
        return Handle(pool, entry, use, await self._enter_lease(entry, use, context, timeout))

    async def take(self, context: ResourceContext | None, timeout: float | None) -> Taken:
        """Take an entry: idle, made for us, or handed to us in line."""
        pool = self._pool
        pool.check_owner()
        loop = pool.loop
        token = context.cancellation if context is not None else None
        if token is not None and token.cancelled:
            pool.ledger.cancelled += 1
            raise AcquireCancelled(**pool.names)
        if pool.shelf.hot:  # may be lent as it is, and nobody stands in line for it
            ready = pool.shelf.hot.popleft()
            ready.state = Lifecycle.IN_USE
            ready.uses += 1
            return ready, None
        since = loop.time()
        waiter: Waiter = loop.create_future()
        pool.desk.seek(waiter, since)
        waited: float | None = None
        if waiter.done():
            result = waiter.result()
        else:
            result = await self._watch(waiter, since, context, timeout)
            waited = loop.time() - since
        if type(result) is not Entry:
            raise self.translated(result, waiter, since)
        if waited is not None and not pool.leases:  # else its lease is still to be entered
            pool.ledger.wait_times.add(waited)
        return result, waited

    async def _watch(
        self, waiter: Waiter, since: float, context: ResourceContext | None, timeout: float | None
    ) -> Entry | BaseException:
        pool = self._pool
        loop = pool.loop
        timer: asyncio.TimerHandle | None = None
        unsubscribe: Callable[[], None] | None = None
        deadline = self.deadline(since, context, timeout)
        if deadline <= since:
            time_out(waiter)
        elif deadline < since + pool.config.acquire_timeout:  # else the line's own timer does it
            timer = loop.call_at(deadline, time_out, waiter)
        if context is not None and context.cancellation is not None:
            unsubscribe = context.cancellation.subscribe(partial(call_off, waiter))
        try:
            return await waiter
        except BaseException:
            pool.ledger.cancelled += 1
            pool.desk.give_up(waiter)
            raise
        finally:
            if timer is not None:
                timer.cancel()
            if unsubscribe is not None:
                unsubscribe()

    def deadline(self, since: float, context: ResourceContext | None, timeout: float | None) -> float:
        """The earliest of all that bound a wait which began at ``since``."""
        limit = self._pool.config.acquire_timeout
        deadline = since + (limit if timeout is None else min(limit, timeout))
        if context is not None and context.deadline is not None:
            return min(deadline, context.deadline)
        return deadline

    def translated(self, told: object, waiter: Waiter, since: float) -> BaseException:
        """What a caller who got no instance is to see."""
        pool = self._pool
        assert isinstance(told, BaseException), "a waiter is told an entry or an error"
        if told is TIMED_OUT:
            pool.desk.give_up(waiter)
            told = self.timed_out("acquire", since)
        elif told is CALLED_OFF:
            pool.desk.give_up(waiter)
            pool.ledger.cancelled += 1
            told = AcquireCancelled(**pool.names)
        else:
            waited = pool.loop.time() - since
            pool.ledger.add_refused(waited)
            if isinstance(told, Unavailable):
                told.waited_s = waited
        told.__suppress_context__ = True  # that the quick way found nothing is no caller's business
        return told

    def timed_out(self, operation: str, since: float) -> AcquireTimeout:
        """A caller's time is over, whatever it waited for since then."""
        pool = self._pool
        waited = pool.loop.time() - since
        pool.ledger.add_timeout(waited)
        pool.observer.rejected("timeout", waited)
        error = AcquireTimeout(operation, waited, **pool.names)
        last = pool.ledger.last_create_error
        if last is not None and last[0] >= since:
            error.__cause__ = last[1]
        return error

    def forgo(self, entry: Entry, waited: float | None) -> None:
        """Whoever was just served is refused after all: the use that never began is not counted, nor its wait."""
        if waited is not None:
            self._pool.ledger.unserve(waited)
        self._pool.desk.take_back(entry)

    # ── a use begins ──

    def note(self, entry: Entry, use: Use) -> Use:
        """Remember what a handle's use needs to be told, timed and traced."""
        pool = self._pool
        config = pool.config
        if entry.uses >= entry.timed_next:
            entry.timed_next = entry.uses + pool.timing_gap
            use.started = pool.loop.time()
        if config.leak_threshold is not None:
            use.frames = capture_six(caller_frame())
        if config.sharing is Sharing.SHARED:
            pool.ledger.shared_uses[use] = entry
        else:
            entry.use = use
            entry.frames = use.frames
            entry.attention = True
        return use

    async def _enter_lease(
        self, entry: Entry, use: Use, context: ResourceContext | None, timeout: float | None
    ) -> Any:
        """Let the resource make what the caller gets; the instance is given back when it cannot."""
        pool = self._pool
        now = pool.loop.time()
        since = now - (use.waited or 0.0)
        limit = pool.config.lease_timeout
        deadline = earliest(self.deadline(since, context, timeout), None if limit is None else now + limit)
        lent_to = context if context is not None else ResourceContext()
        watch = asyncio.timeout_at(deadline)
        try:
            guard = TokenGuard(lent_to.cancellation, error=partial(AcquireCancelled, **pool.names))
            async with guard, watch:
                cm = pool.resource.lease(entry.instance, lent_to)
                value = await cm.__aenter__()
                use.cm = cm
            if entry.state is not Lifecycle.IN_USE:
                # A close took it meanwhile: nobody is lent what is cleaned up.
                refusal = pool.desk.refusal("closed")
                if use.waited is not None:
                    refusal.waited_s = pool.loop.time() - since
                    pool.ledger.add_refused(refusal.waited_s)
                raise refusal
            pool.ledger.begin_lease(use)
            return value
        except BaseException as error:
            use.started = None  # no use to be timed
            pool.returns.begin(entry, use, error)
            if isinstance(error, asyncio.CancelledError | AcquireCancelled):
                pool.ledger.cancelled += 1
            if isinstance(error, TimeoutError) and watch.expired():
                raise self.timed_out("lease entry", since) from error
            raise
