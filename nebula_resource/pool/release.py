"""Releaser: takes instances back: ends the lease, judges, resets, and passes on what is clean."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import TYPE_CHECKING, Any

from nebula_resource.errors import ResourceError
from nebula_resource.model.circuit import Circuit
from nebula_resource.model.lifecycle import Lifecycle
from nebula_resource.model.reasons import CleanupReason
from nebula_resource.model.resource import overrides
from nebula_resource.pool.config import OnError, Sharing
from nebula_resource.pool.steps import is_stopped, must_pass, run_step

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager

    from nebula_resource.pool.entry import Entry, Use
    from nebula_resource.pool.parts import PoolParts

__all__ = ["Release", "Releaser"]

Release = asyncio.Task["BaseException | None"]
"""What goes on with an instance that came back; its result is what the caller is to be told, or None."""


class Releaser:
    """Decides, synchronously, what becomes of an instance that comes back; what takes time is the pool's own work.

    A release always ends: the caller may stop watching (a cancellation), the work goes on.
    """

    __slots__ = ("_pool", "_recycles", "_retires_on_error", "circuit", "looks")

    def __init__(self, pool: PoolParts) -> None:
        self._pool = pool
        shared = pool.config.sharing is Sharing.SHARED
        self._recycles = overrides(pool.resource, "recycle") and not shared
        self._retires_on_error = not shared and (pool.config.on_error is OnError.RETIRE or not self._recycles)
        self.looks = self._recycles or overrides(pool.resource, "is_broken")
        """Whether every single return needs a look."""
        self.circuit = Circuit(pool.config.circuit_threshold, pool.config.circuit_open_for)

    def at_once(self, entry: Entry, use: Use) -> bool:
        """Take back the entry of a handle that ended well where there is nothing to look at; False: there is."""
        pool = self._pool
        if (
            use.cm is not None
            or use.started is not None
            or entry.use is not use
            or entry.doom is not None
            or entry.sampled_at is not None
            or entry.state is not Lifecycle.IN_USE
            or pool.ledger.careful
        ):
            return False
        entry.use = None
        entry.attention = False
        if pool.line.waiters:
            pool.desk.pass_on(entry)
        else:
            entry.state = Lifecycle.IDLE
            pool.shelf.put_hot(entry)
        return True

    def begin(self, entry: Entry, use: Use | None, error: BaseException | None) -> Release | None:
        """Take an entry back, after a body that ended with ``error``; ours from here on, whatever the caller does.

        Returns None when all is done, or the task that goes on with it, which does not raise.
        """
        pool = self._pool
        if error is not None and self._is_fault(error):
            pool.observer.body_failed(error)
        if not entry.holders:
            entry.leak_reported = entry.uses  # it comes back: however long that takes, it is no leak
        if use is not None:
            self._count(entry, use)
            if use.cm is not None:
                # The lease may look at the caller's context variables, so it keeps them.
                return pool.tasks.spawn(
                    self._end_lease(entry, use.cm, error), name="lease exit", awaited=True
                )
        return self._return(entry, error)

    def end_late(
        self, entry: Entry, cm: AbstractAsyncContextManager[Any], error: BaseException | None
    ) -> Release:
        """Let a lease learn its outcome although a close took the instance from under it."""
        return self._pool.tasks.spawn(self._exit(entry, cm, error), name="late lease exit", awaited=True)

    def _is_fault(self, error: BaseException) -> bool:
        pool = self._pool
        if _is_of_another(error, pool.resource.id):
            return False
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

    async def _end_lease(
        self, entry: Entry, cm: AbstractAsyncContextManager[Any], error: BaseException | None
    ) -> BaseException | None:
        pool = self._pool
        try:
            failure = await self._exit(entry, cm, error)
        except GeneratorExit:  # the loop is gone, and everything with it
            raise
        except BaseException as raised:
            if is_stopped(raised):
                pool.closing.step_stopped(entry)
            elif entry.state is Lifecycle.IN_USE:
                pool.retirer.retire(entry, entry.doom or CleanupReason.TAINTED)
            raise
        if entry.state is not Lifecycle.IN_USE:
            return failure  # a close took it meanwhile
        work = self._return(entry, error if error is not None else failure)
        if work is not None:
            await asyncio.wait((work,))
        return failure

    async def _exit(
        self, entry: Entry, cm: AbstractAsyncContextManager[Any], error: BaseException | None
    ) -> BaseException | None:
        """Let the lease learn the outcome; return what it raised of its own. What it swallows is not swallowed."""
        pool = self._pool
        try:
            if error is None:
                step = cm.__aexit__(None, None, None)
            else:
                step = cm.__aexit__(type(error), error, error.__traceback__)
            await run_step(pool, "lease exit", step, pool.config.lease_timeout)
        except BaseException as raised:
            if raised is error:
                return None
            if must_pass(raised):
                raise
            # Nobody knows in which state a lease leaves the instance that did not end of itself.
            if isinstance(raised, TimeoutError) or not isinstance(raised, Exception):
                pool.ledger.doom(entry, CleanupReason.TAINTED)
            return raised
        return None

    # ── back to the pool ──

    def _return(self, entry: Entry, error: BaseException | None) -> Release | None:
        pool = self._pool
        reason = self._verdict(entry, error)
        if reason is not None:
            pool.retirer.retire(entry, reason)
            return None
        if not self._recycles:
            pool.desk.offer(entry)
            return None
        self.circuit.start()
        try:
            step = pool.resource.recycle(entry.instance)
        except BaseException as raised:
            self._recycle_failed(entry, raised)
            if must_pass(raised):
                raise
            return None
        if step is None:
            self._recycled(entry)
            return None
        return pool.spawn(self._recycle(entry, step), "recycle")

    def _verdict(self, entry: Entry, error: BaseException | None) -> CleanupReason | None:
        """Why this instance must not be lent again; None: it may."""
        pool = self._pool
        reason = entry.doom or pool.unwanted()
        if reason is not None:
            return reason
        if self._is_broken(entry):
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

    def _is_broken(self, entry: Entry) -> bool:
        pool = self._pool
        try:
            return pool.resource.is_broken(entry.instance)
        except Exception as raised:
            pool.observer.failed(raised)
            return True

    async def _recycle(self, entry: Entry, step: Awaitable[None]) -> BaseException | None:
        pool = self._pool
        try:
            await run_step(pool, "recycle", step, pool.config.recycle_timeout)
        except GeneratorExit:  # the loop is gone, and everything with it
            raise
        except BaseException as raised:
            if is_stopped(raised):
                self.circuit.abandoned()
                pool.closing.step_stopped(entry)
                raise
            self._recycle_failed(entry, raised)
            if must_pass(raised):
                raise
            return None
        self._recycled(entry)
        return None

    def _recycled(self, entry: Entry) -> None:
        pool = self._pool
        if self.circuit.succeeded():
            pool.observer.circuit_closed("recycle")
        if entry.state is Lifecycle.IN_USE:  # else a close took it meanwhile
            entry.checked_at = pool.loop.time()
            pool.desk.offer(entry)

    def _recycle_failed(self, entry: Entry, error: BaseException) -> None:
        pool = self._pool
        now = pool.loop.time()
        if self.circuit.failed(now):
            pool.observer.circuit_opened("recycle", self.circuit.retry_after(now))
        pool.observer.failed(error)
        if entry.state is Lifecycle.IN_USE:  # else a close took it meanwhile
            pool.retirer.retire(entry, CleanupReason.RECYCLE_FAILED)


def _is_of_another(error: BaseException, resource_id: str) -> bool:
    """Whether an error of ours names another resource, or a group holds nothing else: the body wanted that one too.

    ``is_fault`` is not asked about it: an AcquireTimeout is an OSError, and a driver knows its kind of error again when it
    comes from another server.
    """
    if isinstance(error, BaseExceptionGroup):
        return all(_is_of_another(each, resource_id) for each in error.exceptions)
    return isinstance(error, ResourceError) and error.is_of_another(resource_id)
