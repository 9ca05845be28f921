"""Maker: makes instances, for a caller or ahead of need, a bounded number at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from nebula_resource.errors import (
    CreateFailed,
    HookCancelled,
    InitializationError,
    InternalError,
    ResourceError,
)
from nebula_resource.model.circuit import Circuit
from nebula_resource.model.health import Postponed
from nebula_resource.model.lifecycle import Lifecycle
from nebula_resource.model.reasons import CleanupReason
from nebula_resource.pool.entry import Entry
from nebula_resource.pool.steps import is_stopped, must_pass, run_step

if TYPE_CHECKING:
    from nebula_resource.pool.parts import PoolParts
    from nebula_resource.pool.waiters import Waiter

__all__ = ["Maker"]


class Made(NamedTuple):
    """What a create came to."""

    instance: Any
    dependencies: Any
    seconds: float


class Maker:
    """Runs ``Resource.create`` in tasks of the pool, so that no caller's cancellation can tear one in two.

    A caller for whom an instance is made only watches its future. When it has left, or was served something else, by
    the time the instance is there, the instance goes to the next in line or on the shelf.
    """

    __slots__ = ("_judgements", "_pool", "_retry_timer", "circuit")

    def __init__(self, pool: PoolParts) -> None:
        self._pool = pool
        self.circuit = Circuit(pool.config.circuit_threshold, pool.config.circuit_open_for)
        self._retry_timer: asyncio.TimerHandle | None = None
        """Serves the line when the open circuit may be tried again."""
        self._judgements: list[tuple[Callable[[Entry], bool], CleanupReason]] = []
        """What was decided over all instances while some were being made."""

    def may_start(self, *, for_probe: bool = False) -> bool:
        """Whether one may be made as far as the pool itself can tell; a budget is not asked.

        A probe passes an open circuit: whether the server is back is what it is there to find out.
        """
        pool = self._pool
        ledger = pool.ledger
        return (
            ledger.has_room
            and ledger.creating < pool.config.max_concurrent_creates
            and (for_probe or self.circuit.passes(pool.loop.time()))
            and pool.unwanted() is None
        )

    def start(self, waiter: Waiter | None = None, *, for_probe: bool = False) -> asyncio.Task[bool] | None:
        """Begin one creation if there is room, a slot, a closed circuit and capacity; None otherwise.

        The task tells whether an instance came of it.
        """
        pool = self._pool
        if not self.may_start(for_probe=for_probe) or not pool.capacity.take():
            return None
        pool.ledger.creating += 1
        self.circuit.start()
        # ours from here on: the task gives back the place, whatever happens
        return pool.spawn(self._make(waiter, for_probe=for_probe), "create")

    def judge(self, chosen: Callable[[Entry], bool], reason: CleanupReason) -> None:
        """Apply this also to the instances that are being made now, when they are there."""
        if self._pool.ledger.creating:
            self._judgements.append((chosen, reason))

    async def _make(self, waiter: Waiter | None, *, for_probe: bool) -> bool:
        pool = self._pool
        observer = pool.observer
        started = pool.loop.time()
        judged = len(self._judgements)
        token: object = None
        failure: BaseException | None = None
        try:
            if observer.hooks_create:
                token = await observer.before_create()
            instance, dependencies = await self._create()
        except GeneratorExit:  # the loop is gone, and everything with it
            raise
        except BaseException as error:
            failure = error
            self._undo(error, waiter)
        else:
            # ours from here on: it is in the books before anything can wait
            made = Made(instance, dependencies, pool.loop.time() - started)
            self._made(made, waiter, judged, for_probe=for_probe)
        if token is not None:
            await observer.after_create(token, failure)
        if failure is not None and must_pass(failure):
            raise failure
        return failure is None

    async def _create(self) -> tuple[Any, Any]:
        """One creation within its time limit; whatever is raised is why it failed."""
        pool = self._pool
        context, dependencies = pool.creation_context()
        try:
            step = pool.resource.create(pool.resource_config, context)
            instance = await run_step(pool, "create", step, pool.config.create_timeout)
            self._accept(instance)
        except BaseException:
            if dependencies is not None:
                dependencies.release()
            raise
        return instance, dependencies

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

    # ── it went well ──

    def _made(self, made: Made, waiter: Waiter | None, judged: int, *, for_probe: bool) -> None:
        pool = self._pool
        entry = self._enter(made, judged)
        if self.circuit.succeeded():
            pool.observer.circuit_closed("create")
        pool.upkeep.create_went_well()
        pool.observer.created(made.seconds)
        if not for_probe or waiter is None or waiter.done():
            pool.desk.deliver(entry, waiter)
        elif (reason := entry.doom or pool.unwanted()) is not None:
            pool.retirer.retire(entry, reason)
            pool.line.tell(waiter, Postponed("the instance was retired as soon as it was made"))
        else:
            entry.move(Lifecycle.MAINTENANCE)
            pool.line.tell(waiter, entry)
        pool.desk.serve()

    def _enter(self, made: Made, judged: int) -> Entry:
        """Write the new instance into the books."""
        pool = self._pool
        ledger = pool.ledger
        now = pool.loop.time()
        ledger.creating -= 1
        ledger.births += 1
        entry = Entry(made.instance, now=now, expires_at=pool.upkeep.draw_expiry(now), birth=ledger.births)
        entry.move(Lifecycle.INITIALIZING)
        entry.move(Lifecycle.READY)
        entry.dependencies = made.dependencies
        entry.timed_next = pool.timing_gap
        ledger.enter(entry)
        ledger.create_times.add(made.seconds)
        for chosen, reason in self._judgements[judged:]:
            if self._is_chosen(chosen, entry):
                ledger.doom(entry, reason)
        self._forget_judgements()
        return entry

    def _is_chosen(self, chosen: Callable[[Entry], bool], entry: Entry) -> bool:
        """A predicate that fails is told of, and means this one: of what must go nothing is kept by a mistake."""
        try:
            return chosen(entry)
        except Exception as error:
            self._pool.observer.failed(error)
            return True

    # ── it did not ──

    def _undo(self, error: BaseException, waiter: Waiter | None) -> None:
        """No instance came of it: the place is free again, and whoever can use it gets it."""
        pool = self._pool
        pool.ledger.creating -= 1
        pool.capacity.give_back()
        self._forget_judgements()
        if is_stopped(error):
            self.circuit.abandoned()
            pool.closing.step_stopped()
            if waiter is not None:
                pool.line.tell(waiter, pool.desk.refusal("closed"))
        elif isinstance(error, HookCancelled):
            # Nobody asked the server: this speaks neither for nor against it.
            self.circuit.abandoned()
            pool.upkeep.create_failed(pool.loop.time())
            if waiter is not None:
                pool.line.tell(waiter, error)
        else:
            self._failed(error, waiter)
        pool.desk.serve()

    def _failed(self, error: BaseException, waiter: Waiter | None) -> None:
        pool = self._pool
        now = pool.loop.time()
        failure = error if isinstance(error, CreateFailed) else CreateFailed(error, **pool.names)
        pool.ledger.create_failures += 1
        pool.ledger.last_create_error = (now, failure)
        if self._was_refused(error):
            # Something that it needs is refused: the server of this pool was not asked.
            self.circuit.abandoned()
        elif self.circuit.failed(now):
            self._opened(now)
        pool.upkeep.create_failed(now)
        # Before whoever observes the pool may refuse everybody in line for it: this caller hears what went wrong.
        pool.desk.create_failed(failure, waiter)
        pool.observer.create_failed(failure)

    def _was_refused(self, error: BaseException) -> bool:
        return (
            isinstance(error, ResourceError)
            and not isinstance(error, InitializationError)
            and error.is_of_another(self._pool.resource.id)
        )

    def _opened(self, now: float) -> None:
        pool = self._pool
        wait = self.circuit.retry_after(now)
        self.stop_timer()
        if pool.unwanted() is None:
            self._retry_timer = pool.loop.call_later(wait, pool.desk.serve)
        pool.observer.circuit_opened("create", wait)

    def stop_timer(self) -> None:
        """Forget the planned retry."""
        if self._retry_timer is not None:
            self._retry_timer.cancel()
            self._retry_timer = None

    def _forget_judgements(self) -> None:
        if not self._pool.ledger.creating:
            self._judgements.clear()
