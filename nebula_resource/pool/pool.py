"""Pool: the front of one resource's pool: acquire, give back, and the operator's verbs."""

from __future__ import annotations

import asyncio
import logging
import time
from asyncio import base_events
from collections.abc import Callable, Coroutine
from contextlib import AbstractAsyncContextManager
from contextvars import Context
from functools import partial
from typing import TYPE_CHECKING, Any, Generic

from typing_extensions import TypeVar

from nebula_resource._aio import OwnedTasks
from nebula_resource.errors import (
    AcquireCancelled,
    AcquireTimeout,
    ConfigurationError,
    InternalError,
    ResourceError,
    WrongEventLoop,
)
from nebula_resource.model.context import ResourceContext
from nebula_resource.model.lifecycle import Lifecycle
from nebula_resource.model.ports import Capacity, PoolObserver, Unlimited
from nebula_resource.model.reasons import CleanupReason
from nebula_resource.model.resource import Resource, overrides
from nebula_resource.pool.borrow import Borrowed, borrow
from nebula_resource.pool.closing import CloseReport, Closing
from nebula_resource.pool.config import PoolConfig, Sharing, UseTiming
from nebula_resource.pool.desk import Desk
from nebula_resource.pool.entry import Entry, Use
from nebula_resource.pool.handle import Acquisition, Handle, is_closing, watch
from nebula_resource.pool.inspector import Inspector
from nebula_resource.pool.leaks import Positions, caller_frame, capture_six, describe
from nebula_resource.pool.ledger import Ledger, PoolState
from nebula_resource.pool.maker import Maker
from nebula_resource.pool.quick import FRESH, SAMPLE, quick_class
from nebula_resource.pool.release import Releaser
from nebula_resource.pool.report import report
from nebula_resource.pool.retire import Retirer
from nebula_resource.pool.shared import SharedDesk, SharedReleaser
from nebula_resource.pool.shelf import Shelf
from nebula_resource.pool.sizing import Sizing
from nebula_resource.pool.upkeep import Upkeep
from nebula_resource.pool.waiters import CALLED_OFF, TIMED_OUT, Line, Waiter, call_off, time_out

if TYPE_CHECKING:
    from nebula_resource.model.stats import PoolStats

__all__ = ["Pool"]

ConfigT = TypeVar("ConfigT")
InstanceT = TypeVar("InstanceT")
LeaseT = TypeVar("LeaseT", default=InstanceT)

_WHY = {
    PoolState.NEW: "not_open",
    PoolState.SUSPENDED: "suspended",
    PoolState.DRAINING: "draining",
    PoolState.DRAINED: "draining",
    PoolState.CLOSING: "closed",
    PoolState.CLOSED: "closed",
}


class HandleLost(Exception):
    """What a lease is told whose handle was lost."""


log = logging.getLogger("nebula_resource.pool")

ContextFactory = Callable[[], "tuple[ResourceContext, Any]"]


class Pool(Generic[ConfigT, InstanceT, LeaseT]):
    """Instances of one resource, each lent to one caller at a time (or one to all, when shared).

    Usable without a manager: ``await pool.open()``, ``async with pool.acquire() as value``, ``await pool.close()``.
    One event loop owns it. A hit (something idle that may be lent as it is) is synchronous: it reads no clock and
    never yields to the loop.

    Args:
        resource: the recipe.
        config: what ``resource.create`` is given.
        pool_config: the settings.
        context_factory: makes the context of a create, and what to release when its instance is gone (or None).
        capacity: a budget to ask before each create; unlimited without.
        observer: who is told what happens.
    """

    __slots__ = (
        "_context_factory", "_loop", "_quick", "__weakref__", "capacity", "clock", "closers", "closing", "config",
        "desk", "fails_suspended", "inspector", "is_budgeted", "leases", "ledger", "line", "maker", "names",
        "observer", "releaser", "resource", "resource_config", "retirer", "sample_mask", "shelf", "sizing", "state", "tasks",
        "upkeep",
    )  # fmt: skip  # one list of names

    def __init__(
        self,
        resource: Resource[ConfigT, InstanceT, LeaseT],
        config: ConfigT,
        pool_config: PoolConfig | None = None,
        *,
        context_factory: ContextFactory | None = None,
        capacity: Capacity | None = None,
        observer: PoolObserver | None = None,
    ) -> None:
        self.resource = resource
        self.resource_config = config
        self.config = PoolConfig.of(pool_config)
        self.names: dict[str, Any] = {"resource_id": resource.id}
        self.observer = observer or PoolObserver()
        self.capacity: Capacity = capacity or Unlimited()
        self.is_budgeted = capacity is not None
        self.state = PoolState.NEW
        self.fails_suspended = False
        self.leases = overrides(resource, "lease")
        # With timing off no number has none of these bits, so no use is ever picked.
        self.sample_mask = SAMPLE if self.config.use_timing is UseTiming.SAMPLED else -1
        self.clock: Callable[[], float] = time.monotonic
        self._context_factory = context_factory
        self._loop: asyncio.AbstractEventLoop | None = None
        self._quick: Callable[[], Any] = partial(Acquisition, self, None, None)
        shared = self.config.sharing is Sharing.SHARED
        self.ledger = Ledger(self.config.min_size, self.config.max_size)
        self.shelf = Shelf(self.config.strategy)
        self.shelf.seal()
        self.line = Line()
        self.tasks = OwnedTasks(f"pool {resource.id}", on_error=self._task_failed)
        self.closers = OwnedTasks(f"pool {resource.id}", on_error=self._task_failed)
        self.desk: Desk = (SharedDesk if shared else Desk)(self)
        self.maker = Maker(self)
        self.inspector = Inspector(self)
        self.retirer = Retirer(self)
        self.releaser: Releaser = (SharedReleaser if shared else Releaser)(self)
        self.upkeep = Upkeep(self)
        self.sizing = Sizing(self)
        self.closing = Closing(self)

    def __repr__(self) -> str:
        ledger = self.ledger
        return (
            f"<Pool '{self.resource.id}' {self.state.value}: {ledger.in_use} in use, {len(self.shelf)} idle, "
            f"{len(self.line)} waiting, max {ledger.max_size}>"
        )

    # ── open ──

    async def open(self) -> None:
        """Fill to ``min_size`` (with ``warm_on_register``) and begin to serve.

        Raises `CreateFailed` when the first instances cannot be made; the pool is closed then.
        """
        if self.state is not PoolState.NEW:
            raise self.desk.refusal("closed" if self.state is not PoolState.OPEN else "open already")
        self._loop = loop = asyncio.get_running_loop()
        if type(loop).time is base_events.BaseEventLoop.time:
            # The stock loop's clock, without the method around it.
            self.clock = time.monotonic
        else:
            self.clock = loop.time
        try:
            if self.config.warm_on_register and self.ledger.min_size:
                await self.sizing.fill(self.ledger.min_size)
                if not self.ledger.entries and self.ledger.last_create_error is not None:
                    raise self.ledger.last_create_error[1]
        except BaseException:
            self.closers.spawn(self.closing.close(0.0), name="close after a failed open")
            raise
        self.state = PoolState.OPEN
        if not self.leases and self.config.sharing is Sharing.EXCLUSIVE and not loop.get_debug():
            self._quick = quick_class(self)
        self.refresh()
        self.upkeep.refill()
        self.upkeep.wake()

    @property
    def has_loop(self) -> bool:
        """Whether it was opened, and so belongs to a loop."""
        return self._loop is not None

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The loop that owns it. Raises `Unavailable` before it was opened."""
        if self._loop is None:
            raise self.desk.refusal("not_open")
        return self._loop

    def check_owner(self) -> None:
        """Raise `WrongEventLoop` outside the loop that owns the pool, a forked process included."""
        if self._loop is None:
            raise self.desk.refusal("not_open")
        # The running loop is looked up by thread and process, so this catches a fork as well.
        if asyncio._get_running_loop() is not self._loop:
            raise WrongEventLoop(resource_id=self.resource.id)

    # ── acquire ──

    def acquire(
        self, context: ResourceContext | None = None, *, timeout: float | None = None
    ) -> Acquisition[LeaseT]:
        """Ask for a use: ``async with pool.acquire() as value`` or ``handle = await pool.acquire()``.

        Nothing is taken before it is entered or awaited. ``timeout`` (seconds), the context's deadline and the pool's
        ``acquire_timeout`` all bound the wait. Raises, on entering, `AcquireTimeout`, `PoolExhausted`, `CreateFailed`,
        `CircuitOpen`, `Unavailable`, `AcquireCancelled`, `WrongEventLoop`.
        """
        if context is timeout:  # that is: neither was given
            acquisition = self._quick()
            acquisition._entry = FRESH
            return acquisition  # type: ignore[no-any-return]  # a pool's own quick class has the same three methods
        return Acquisition(self, context, timeout)

    def try_acquire(self) -> Handle[LeaseT] | None:
        """A handle if one may be had without any wait; None otherwise.

        Raises `ConfigurationError` where a use begins with a lease (that takes an await), and `Unavailable`.
        """
        self.check_owner()
        if self.leases:
            raise ConfigurationError(
                "a lease is entered asynchronously; use acquire(timeout=0)", resource_id=self.resource.id
            )
        self.desk.refuse_if_shut()
        if self.line or self.state is not PoolState.OPEN:
            return None
        entry = self.desk.take_ready()
        if entry is None:
            return None
        return Handle(self, entry, self._note_use(entry, Use()), entry.instance)

    async def obtain_handle(self, context: ResourceContext | None, timeout: float | None) -> Handle[LeaseT]:
        """Take an instance and wrap it, its lease entered."""
        use = Use()
        entry = await self.obtain(context, timeout, use)
        # ours from here on
        self._note_use(entry, use)
        if not self.leases:
            return Handle(self, entry, use, entry.instance)
        return Handle(self, entry, use, await self._enter_lease(entry, use, context, timeout))

    async def obtain(
        self, context: ResourceContext | None, timeout: float | None, use: Use | None = None
    ) -> Entry:
        """Take an entry: idle, made for us, or handed to us in line. One await, at most."""
        self.check_owner()
        loop = self._loop
        assert loop is not None, "check_owner looked"
        token = context.cancellation if context is not None else None
        if token is not None and token.cancelled:
            raise AcquireCancelled(**self.names)
        since = loop.time()
        waiter: Waiter = loop.create_future()
        self.desk.seek(waiter, since=since)
        if waiter.done():
            result = waiter.result()
        else:
            result = await self._watch(waiter, since, context, timeout)
            waited = loop.time() - since
            if use is not None:
                use.waited = waited
            if type(result) is Entry:
                self.ledger.wait_times.add(waited)
        if type(result) is Entry:
            return result
        assert isinstance(result, BaseException), "a waiter is told an entry or an error"
        raise self._translated(result, since)

    async def _watch(
        self, waiter: Waiter, since: float, context: ResourceContext | None, timeout: float | None
    ) -> Entry | BaseException:
        loop = self.loop
        timer: asyncio.TimerHandle | None = None
        unsubscribe: Callable[[], None] | None = None
        deadline = self._deadline(since, context, timeout)
        if context is None and timeout is None:
            self.line.expire_at(deadline, waiter, loop)
        elif deadline <= since:
            time_out(waiter)
        else:
            timer = loop.call_at(deadline, time_out, waiter)
            if context is not None and context.cancellation is not None:
                unsubscribe = context.cancellation.subscribe(partial(call_off, waiter))
        try:
            return await waiter
        except BaseException:
            self.ledger.cancelled += 1
            self.desk.give_up(waiter)
            raise
        finally:
            if timer is not None:
                timer.cancel()
            if unsubscribe is not None:
                unsubscribe()

    def _deadline(self, since: float, context: ResourceContext | None, timeout: float | None) -> float:
        """The earliest of all that bound a wait which began at ``since``."""
        limit = self.config.acquire_timeout
        deadline = since + (limit if timeout is None else min(limit, timeout))
        if context is not None and context.deadline is not None:
            return min(deadline, context.deadline)
        return deadline

    def _translated(self, told: BaseException, since: float) -> BaseException:
        """What a caller who got no instance is to see."""
        if told is TIMED_OUT:
            self.ledger.timeouts += 1
            self.observer.rejected("timeout")
            error: ResourceError = AcquireTimeout("acquire", self.loop.time() - since, **self.names)
            last = self.ledger.last_create_error
            if last is not None and last[0] >= since:
                error.__cause__ = last[1]
            return error
        if told is CALLED_OFF:
            self.ledger.cancelled += 1
            return AcquireCancelled(**self.names)
        return told

    def _note_use(self, entry: Entry, use: Use) -> Use:
        """Remember what a handle's use needs to be told, timed and traced."""
        config = self.config
        if (
            config.use_timing is UseTiming.ALWAYS
            or config.leak_threshold is not None
            or (config.use_timing is UseTiming.SAMPLED and not entry.uses & SAMPLE)
        ):
            use.started = self.loop.time()
        frames: Positions | None = None
        if config.leak_threshold is not None:
            frames = capture_six(caller_frame())
        if config.sharing is Sharing.SHARED:
            use.frames = frames
            self.ledger.shared_uses[use] = entry
        else:
            entry.frames = frames
            entry.use = use
            entry.attention = True
        return use

    def time_this(self, entry: Entry) -> Any:
        """A quick use whose turn it is to be timed; returns what the caller gets."""
        use = entry.use = Use()
        use.started = self.loop.time()
        entry.attention = True
        return entry.value

    async def _enter_lease(
        self, entry: Entry, use: Use, context: ResourceContext | None, timeout: float | None
    ) -> LeaseT:
        """Let the resource make what the caller gets; the instance is given back when it cannot."""
        loop = self.loop
        limit = self.config.lease_timeout
        deadline = self._deadline(loop.time() - use.waited, context, timeout)
        if limit is not None:
            deadline = min(deadline, loop.time() + limit)
        lent_to = context if context is not None else ResourceContext()
        token = lent_to.cancellation
        unsubscribe: Callable[[], None] | None = None
        try:
            cm = self.resource.lease(entry.instance, lent_to)
            async with asyncio.timeout_at(deadline) as watched:
                if token is not None:
                    unsubscribe = token.subscribe(lambda: watched.reschedule(loop.time()))
                value = await cm.__aenter__()
        except BaseException as error:
            self.releaser.begin(entry, use, error)
            if isinstance(error, TimeoutError) and watched.expired():
                if token is not None and token.cancelled:
                    raise AcquireCancelled(**self.names) from error
                self.ledger.timeouts += 1
                raise AcquireTimeout("lease entry", limit or 0.0, **self.names) from error
            raise
        finally:
            if unsubscribe is not None:
                unsubscribe()
        use.cm = cm
        return value

    # ── release ──

    async def give_back(self, entry: Entry, use: Use | None, error: BaseException | None) -> None:
        """Take an instance back from whoever held it; the work goes on when the caller does not wait for it.

        Raises what its lease raised while it ended, unless the caller is being cancelled.
        """
        if entry.state is not Lifecycle.IN_USE:
            return  # the pool was closed by force and has taken it back already
        work = self.releaser.begin(entry, use, error)
        if work is None:
            return
        if is_closing(error):
            work.add_done_callback(self._report_outcome)
            return
        try:
            failure = await watch(work)
        except BaseException:
            work.add_done_callback(self._report_outcome)
            raise
        if failure is None:
            return
        if isinstance(error, asyncio.CancelledError):
            # A cancellation is never turned into another error: this one is reported and noted.
            error.add_note(f"its lease ended with {type(failure).__name__}")
            self.observer.failed(failure)
            return
        raise failure

    def _report_outcome(self, work: asyncio.Task[BaseException | None]) -> None:
        failure = None if work.cancelled() else work.result()
        if failure is not None:
            self.observer.failed(failure)

    def report_lost(self, entry: Entry, use: Use) -> None:
        """A handle was collected unreleased. Called by the garbage collector: in any thread, at any moment."""
        try:
            self.loop.call_soon_threadsafe(self.lost, entry, use)
        except RuntimeError:
            log.warning(
                "a handle was lost after its event loop ended", extra={"resource.id": self.resource.id}
            )

    def lost(self, entry: Entry, use: Use | None) -> None:
        """Nobody holds this entry any more, and nobody gave it back: it is never lent again."""
        if entry.state is not Lifecycle.IN_USE:
            return
        held = 0.0 if use is None or use.started is None else self.loop.time() - use.started
        self.report_leak(held, entry.frames if use is None or use.frames is None else use.frames)
        if self.config.sharing is Sharing.EXCLUSIVE:
            self.ledger.doom(entry, CleanupReason.LEAKED)
        work = self.releaser.begin(entry, use, HandleLost("the handle was lost without a release"))
        if work is not None:
            work.add_done_callback(self._report_outcome)

    def report_leak(self, held_s: float, frames: Positions | None) -> None:
        """Count and tell a handle that is held too long or was lost."""
        self.ledger.leaks += 1
        self.observer.leaked(held_s, describe(frames))

    def log_taint(self, reason: str) -> None:
        """A holder said that its instance must not be lent again."""
        log.info("instance tainted", extra={"resource.id": self.resource.id, "reason": reason})

    # ── what the parts ask of each other ──

    def spawn(self, work: Coroutine[Any, Any, Any], name: str) -> asyncio.Task[Any]:
        """Start work of the pool's own; it sees no context variable of whoever happened to cause it."""
        return self.tasks.spawn(work, name=name, context=Context())

    def creation_context(self) -> tuple[ResourceContext, Any]:
        """The context of a create, and what to release when its instance is gone."""
        return self._context_factory() if self._context_factory is not None else (ResourceContext(), None)

    def draw_expiry(self, now: float) -> float | None:
        """When an instance made now has lived long enough."""
        lifetime = self.config.max_lifetime
        return None if lifetime is None else now + self.upkeep.draw_lifetime(lifetime)

    def unwanted(self) -> CleanupReason | None:
        """Why this pool takes no instance in; None: it does."""
        if self.state in {PoolState.CLOSING, PoolState.CLOSED}:
            return CleanupReason.SHUTDOWN
        return CleanupReason.DRAINED if self.state in {PoolState.DRAINING, PoolState.DRAINED} else None

    def shut_error(self) -> ResourceError | None:
        """Why callers are turned away; None: they are served, or may wait."""
        state = self.state
        if state is PoolState.OPEN or (state is PoolState.SUSPENDED and not self.fails_suspended):
            return None
        return self.desk.refusal(_WHY[state])

    def take_off(self, entry: Entry) -> None:
        """Take an idle entry off the shelf."""
        self.shelf.remove(entry)

    def sort_shelf(self) -> None:
        """Part what may be lent as it is from what must be looked at first."""
        now = self.loop.time()
        interval = self.config.validation_interval
        self.shelf.sort(lambda entry: entry.doom is not None or entry.is_due(now, interval))
        self.refresh()

    def refresh(self) -> None:
        """Derive anew whether hits and returns may take the short way."""
        shelf = self.shelf
        sealed = (
            self.state is not PoolState.OPEN
            or self.config.validation_interval == 0
            or self.config.sharing is Sharing.SHARED
        )
        if sealed and not shelf.sealed:
            shelf.seal()
        elif shelf.sealed and not sealed:
            shelf.sealed = False
            self.sort_shelf()
            return
        self.ledger.be_careful(sealed or self.releaser.looks or self.ledger.is_over or bool(shelf.cold))

    def changed(self) -> None:
        """An instance came back or went."""
        self.closing.look()

    def _task_failed(self, error: BaseException, task: str) -> None:
        """A step of ours raised: that is a fault of ours, and is told."""
        log.error(
            "a task of the pool failed", exc_info=error, extra={"resource.id": self.resource.id, "task": task}
        )
        self.observer.failed(error)

    # ── the operator's verbs ──

    def stats(self) -> PoolStats:
        """Every number of the pool, now."""
        return report(self)

    def check(self) -> None:
        """Raise `InternalError` where an invariant does not hold (SPEC §5)."""
        self.ledger.check()
        can_create = (
            self.ledger.has_room
            and self.ledger.creating < self.config.max_concurrent_creates
            and self.maker.circuit.is_closed
            and not self.is_budgeted
        )
        if self.line and self.state is PoolState.OPEN and (len(self.shelf) or can_create):
            raise InternalError(f"somebody waits although something is free: {self!r}")

    def fail_line(self, error: Callable[[], BaseException]) -> int:
        """Tell everybody in line an error of their own; returns how many there were."""
        return self.line.fail(error)

    def borrow(self, *, fresh: bool = False) -> AbstractAsyncContextManager[Borrowed]:
        """An instance for a probe: an idle one reserved, or (``fresh``, or none idle) one made for it.

        Raises, on entering, `Postponed` and `CreateFailed`.
        """
        return borrow(self, fresh=fresh)

    def resize(self, *, min_size: int | None = None, max_size: int | None = None) -> None:
        """Move the bounds; idle ones above them go now, busy ones on return. Raises `ValidationFailed`."""
        self.sizing.resize(min_size, max_size)

    async def scale_up(self, count: int) -> int:
        """Make up to ``count`` instances ahead of need; returns how many were made."""
        return await self.sizing.scale_up(count)

    def scale_down(self, count: int) -> int:
        """Retire up to ``count`` idle instances, never below ``min_size``; returns how many go."""
        return self.sizing.scale_down(count)

    def retain(self, predicate: Callable[[InstanceT], bool]) -> int:
        """Retire every idle instance for which ``predicate`` is False; returns how many go."""
        return self.sizing.retain(predicate)

    def retire_where(
        self, predicate: Callable[[InstanceT], bool], reason: CleanupReason = CleanupReason.EVICTED
    ) -> int:
        """Retire every instance for which ``predicate`` is True, busy ones on return; returns how many."""
        return self.sizing.retire_where(predicate, reason)

    def recycle_all(self) -> int:
        """Replace every instance, busy ones on return; returns how many."""
        return self.sizing.recycle_all()

    def suspend(self, *, fail: bool = False) -> None:
        """Hand out nothing until `resume`; callers wait, or are refused when ``fail``."""
        self.closing.suspend(fail=fail)

    def resume(self) -> None:
        """Serve again after `suspend` or `drain`."""
        self.closing.resume()

    async def drain(self, timeout: float | None = None) -> bool:
        """Refuse new callers, retire what is idle, wait up to ``timeout`` seconds for what is out.

        Returns whether everything came back in time; if not, the drain goes on by itself.
        """
        return await self.closing.drain(timeout)

    @property
    def can_drain(self) -> bool:
        """Whether `drain` makes sense now."""
        return self.state in {PoolState.DRAINING, PoolState.DRAINED} or self.state.can_become(PoolState.DRAINING)

    async def close(self, timeout: float | None = 5.0) -> CloseReport:
        """End the pool: wait up to ``timeout`` seconds for handles and releases, then end them by force.

        Idempotent; concurrent calls share one end, which a cancelled caller does not stop.
        """
        return await self.closing.close(timeout)

    # ── as a budget sees it ──

    def grant(self) -> None:
        """A place may be had now: try again."""
        self.desk.serve()

    def spare(self) -> bool:
        """Retire one idle instance to make room elsewhere; False when there is none to spare."""
        entry = self.shelf.take()
        if entry is None:
            return False
        self.retirer.retire(entry, CleanupReason.STOLEN)
        return True
