"""Releaser: takes instances back: ends the lease, judges, resets, and passes on what is clean."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import TYPE_CHECKING

from nebula_resource.errors import AcquireTimeout
from nebula_resource.model.circuit import Circuit
from nebula_resource.model.reasons import CleanupReason
from nebula_resource.model.resource import overrides
from nebula_resource.pool.config import OnError, Sharing
from nebula_resource.pool.maker import is_ours

if TYPE_CHECKING:
    from nebula_resource.pool.entry import Entry, Use
    from nebula_resource.pool.pool import Pool

__all__ = ["Releaser"]


class Releaser:
    """Decides, synchronously, what becomes of an instance that comes back; what takes time is the pool's own work.

    A release always ends: the caller may stop watching (a cancellation), the work goes on.
    """

    __slots__ = ("_pool", "_recycles", "_retires_on_error", "circuit", "looks")

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        shared = pool.config.sharing is Sharing.SHARED
        self._recycles = overrides(pool.resource, "recycle") and not shared
        self._retires_on_error = not shared and (pool.config.on_error is OnError.RETIRE or not self._recycles)
        self.looks = self._recycles or overrides(pool.resource, "is_broken")
        """Whether every single return needs a look."""
        self.circuit = Circuit(pool.config.circuit_threshold, pool.config.circuit_open_for)

    def begin(
        self, entry: Entry, use: Use | None, error: BaseException | None
    ) -> asyncio.Task[BaseException | None] | None:
        """Take an entry back, after a body that ended with ``error``; ours from here on, whatever the caller does.

        Returns None when all is done, or the task that goes on with it. The task never raises: its result is what the
        caller is to be told (the lease could not end well), or None.
        """
        pool = self._pool
        if error is not None and self._is_fault(error):
            pool.observer.body_failed(error)
        elif error is None:
            pool.observer.served()
        if use is not None:
            self._count(entry, use)
            if use.cm is not None:
                # The lease may look at the caller's context variables, so it keeps them.
                return pool.tasks.spawn(self._end_lease(entry, use, error), name="lease exit", awaited=True)
        return self._return(entry, error, tainted=use is not None and use.taint)

    def _is_fault(self, error: BaseException) -> bool:
        pool = self._pool
        try:
            return pool.resource.is_fault(error)
        except Exception as raised:
            pool.observer.failed(raised)
            return False

    def _count(self, entry: Entry, use: Use) -> None:
        pool = self._pool
        entry.use = None
        pool.ledger.look_again(entry)
        if use.started is not None:
            pool.ledger.use_times.add(max(0.0, pool.loop.time() - use.started))

    async def _end_lease(self, entry: Entry, use: Use, error: BaseException | None) -> BaseException | None:
        pool = self._pool
        failure: BaseException | None = None
        assert use.cm is not None, "begin looked"
        try:
            failure = await self._exit(use, error)
        except BaseException as raised:
            # Only our own cancellation comes here: the pool ends by force, the lease did not end.
            pool.retirer.retire(entry, pool.unwanted() or CleanupReason.LEAKED)
            if is_ours(raised):
                raise
            return raised
        work = self._return(entry, error if error is not None else failure, tainted=use.taint)
        if work is not None:
            await asyncio.wait((work,))
        return failure

    async def _exit(self, use: Use, error: BaseException | None) -> BaseException | None:
        """Let the lease learn the outcome; return what it raised of its own."""
        pool = self._pool
        limit = pool.config.lease_timeout
        assert use.cm is not None
        try:
            async with asyncio.timeout(limit) as watch:
                if error is None:
                    await use.cm.__aexit__(None, None, None)
                else:
                    await use.cm.__aexit__(type(error), error, error.__traceback__)
        except BaseException as raised:
            if raised is error:
                return None
            if is_ours(raised):
                raise
            use.taint = use.taint or not isinstance(raised, Exception)
            if isinstance(raised, TimeoutError) and watch.expired():
                use.taint = True
                return AcquireTimeout("lease exit", limit or 0.0, **pool.names)
            return raised
        return None

    # ── back to the pool ──

    def _return(
        self, entry: Entry, error: BaseException | None, *, tainted: bool
    ) -> asyncio.Task[BaseException | None] | None:
        pool = self._pool
        reason = self._verdict(entry, error, tainted)
        if reason is not None:
            pool.retirer.retire(entry, reason)
            pool.changed()
            return None
        if not self._recycles:
            pool.desk.offer(entry)
            return None
        self.circuit.start()
        try:
            step = pool.resource.recycle(entry.instance)
        except BaseException as raised:
            self._recycle_failed(entry, raised)
            if not isinstance(raised, Exception | asyncio.CancelledError):
                raise
            return None
        if step is None:
            self._recycled(entry)
            return None
        return pool.spawn(self._recycle(entry, step), "recycle")

    def _verdict(self, entry: Entry, error: BaseException | None, tainted: bool) -> CleanupReason | None:
        """Why this instance must not be lent again; None: it may."""
        pool = self._pool
        reason = entry.doom or pool.unwanted()
        if reason is not None:
            return reason
        if tainted:
            return CleanupReason.TAINTED
        try:
            if pool.resource.is_broken(entry.instance):
                return CleanupReason.BROKEN
        except Exception as raised:
            pool.observer.failed(raised)
            return CleanupReason.BROKEN
        now = pool.loop.time()
        if entry.is_expired(now):
            return CleanupReason.EXPIRED
        if pool.ledger.is_over:
            return CleanupReason.EVICTED
        if error is not None and self._retires_on_error:
            return CleanupReason.BODY_FAILED
        if self._recycles and not self.circuit.passes(now):
            return CleanupReason.RECYCLE_FAILED
        return None

    async def _recycle(self, entry: Entry, step: Awaitable[None]) -> BaseException | None:
        pool = self._pool
        try:
            async with asyncio.timeout(pool.config.recycle_timeout):
                await step
        except BaseException as raised:
            if is_ours(raised):
                self.circuit.abandoned()
                pool.retirer.retire(entry, pool.unwanted() or CleanupReason.RECYCLE_FAILED)
                raise
            self._recycle_failed(entry, raised)
            return None
        self._recycled(entry)
        return None

    def _recycled(self, entry: Entry) -> None:
        pool = self._pool
        if self.circuit.succeeded():
            pool.observer.circuit_closed("recycle")
        entry.checked_at = pool.loop.time()
        pool.desk.offer(entry)

    def _recycle_failed(self, entry: Entry, error: BaseException) -> None:
        pool = self._pool
        now = pool.loop.time()
        if self.circuit.failed(now):
            pool.observer.circuit_opened("recycle", self.circuit.retry_after(now))
        pool.observer.failed(error)
        pool.retirer.retire(entry, CleanupReason.RECYCLE_FAILED)
        pool.changed()
