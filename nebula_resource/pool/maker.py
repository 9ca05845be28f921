"""Maker: makes instances, for a caller or ahead of need, a bounded number at a time."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from nebula_resource._aio import watch_steps
from nebula_resource.errors import AcquireTimeout, CreateFailed, InternalError
from nebula_resource.model.circuit import Circuit
from nebula_resource.model.reasons import CleanupReason
from nebula_resource.pool.config import Sharing
from nebula_resource.pool.entry import Entry
from nebula_resource.pool.ledger import PoolState

if TYPE_CHECKING:
    from nebula_resource.pool.pool import Pool
    from nebula_resource.pool.waiters import Waiter

__all__ = ["Maker"]

BLOCKED_AFTER = 0.1
"""Seconds that one step of a create may hold the loop before it is reported (asyncio's own debug threshold)."""


class Maker:
    """Runs ``Resource.create`` in tasks of the pool, so that no caller's cancellation can tear one in two.

    A caller for whom an instance is made only watches its future. When it has left by the time the instance is there,
    the instance goes to the next in line or on the shelf.
    """

    __slots__ = ("_pool", "circuit", "retry_timer")

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self.circuit = Circuit(pool.config.circuit_threshold, pool.config.circuit_open_for)
        self.retry_timer: asyncio.TimerHandle | None = None
        """Serves the line when the open circuit may be tried again."""

    def start(self, waiter: Waiter | None) -> asyncio.Task[None] | None:
        """Begin one creation if there is room, a slot, a closed circuit and capacity; None otherwise."""
        pool = self._pool
        ledger = pool.ledger
        if (
            not ledger.has_room
            or ledger.creating >= pool.config.max_concurrent_creates
            or not self.circuit.passes(pool.loop.time())
            or not pool.capacity.take()
        ):
            return None
        ledger.creating += 1
        self.circuit.start()
        # ours from here on: the task gives back the place, whatever happens
        return pool.spawn(self._make(waiter), "create")

    async def _make(self, waiter: Waiter | None) -> None:
        pool = self._pool
        observer = pool.observer
        started = pool.loop.time()
        token: object = None
        failure: BaseException | None = None
        hooked = observer.hooks_create
        try:
            if hooked:
                token = await observer.before_create()
            made = await self._create()
        except BaseException as error:
            failure = error
            self._undo(error, waiter)
            if is_ours(error):
                raise
        else:
            # ours from here on: it is in the books before anything can wait
            self._made(made, waiter, pool.loop.time() - started)
        if hooked and token is not None:
            await observer.after_create(token, failure)

    async def _create(self) -> tuple[Any, Any]:
        """One creation within its time limit; whatever is raised is why it failed."""
        pool = self._pool
        context, dependencies = pool.creation_context()
        limit = pool.config.create_timeout
        try:
            async with asyncio.timeout(limit) as watch:
                instance = await watch_steps(
                    pool.resource.create(pool.resource_config, context), BLOCKED_AFTER, self._blocked
                )
            self._accept(instance)
        except BaseException as error:
            if dependencies is not None:
                dependencies.release()
            if isinstance(error, TimeoutError) and watch.expired():
                raise AcquireTimeout("create", limit or 0.0, **pool.names) from error
            raise
        return instance, dependencies

    def _undo(self, error: BaseException, waiter: Waiter | None) -> None:
        """No instance came of it: the place is free again, and whoever can use it gets it."""
        pool = self._pool
        pool.ledger.creating -= 1
        pool.capacity.give_back()
        if is_ours(error):
            self.circuit.abandoned()
            if waiter is not None and not waiter.done():
                waiter.set_result(pool.desk.refusal("closed"))
            pool.desk.serve()
            return
        self._failed(error, waiter)

    def _accept(self, instance: Any) -> None:
        pool = self._pool
        if instance is None:
            raise InternalError(
                "create returned None; it must return an instance", resource_id=pool.resource.id
            )
        if any(entry.instance is instance for entry in pool.ledger.entries):
            raise InternalError(
                "create returned an instance that the pool has already; every call must make a new one",
                resource_id=pool.resource.id,
            )

    def _made(self, made: tuple[Any, Any], waiter: Waiter | None, seconds: float) -> None:
        pool = self._pool
        ledger = pool.ledger
        now = pool.loop.time()
        ledger.creating -= 1
        ledger.births += 1
        entry = Entry(
            made[0],
            now=now,
            expires_at=pool.draw_expiry(now),
            birth=ledger.births,
            generation=ledger.generation,
        )
        entry.dependencies = made[1]
        ledger.enter(entry)
        ledger.create_times.add(seconds)
        if self.circuit.succeeded():
            pool.observer.circuit_closed("create")
        pool.upkeep.create_went_well()
        pool.observer.created(seconds)
        if pool.config.sharing is Sharing.SHARED or waiter is None or waiter.done():
            pool.desk.offer(entry)
        elif pool.unwanted() is not None:
            pool.retirer.retire(entry, CleanupReason.CREATE_CANCELLED)
            pool.desk.again(waiter)
        else:
            pool.desk.hand_over(entry, waiter)
        pool.desk.serve()

    def _failed(self, error: BaseException, waiter: Waiter | None) -> None:
        pool = self._pool
        now = pool.loop.time()
        failure = error if isinstance(error, CreateFailed) else CreateFailed(error, **pool.names)
        pool.ledger.create_failures += 1
        pool.ledger.last_create_error = (now, failure)
        if self.circuit.failed(now):
            self._opened(now)
        pool.upkeep.create_failed(now)
        pool.observer.create_failed(failure)
        pool.desk.create_failed(failure, waiter)
        pool.desk.fail_hopeless()
        pool.desk.serve()

    def _opened(self, now: float) -> None:
        pool = self._pool
        wait = self.circuit.retry_after(now)
        self.stop_timer()
        if pool.state is not PoolState.CLOSING:
            self.retry_timer = pool.loop.call_later(wait, pool.desk.serve)
        pool.observer.circuit_opened("create", wait)

    def stop_timer(self) -> None:
        """Forget the planned retry."""
        if self.retry_timer is not None:
            self.retry_timer.cancel()
            self.retry_timer = None

    def _blocked(self, seconds: float) -> None:
        self._pool.observer.loop_blocked("create", seconds)


def is_ours(error: BaseException) -> bool:
    """Whether an error means that this very task was cancelled from outside.

    A CancelledError that a user's code raises by itself is a failure like any other.
    """
    task = asyncio.current_task()
    return isinstance(error, asyncio.CancelledError) and task is not None and task.cancelling() > 0
