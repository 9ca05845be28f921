"""Pool: the front of one resource's pool: acquire, and the operator's verbs."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import TYPE_CHECKING, Generic

from typing_extensions import TypeVar

from nebula_resource.errors import ConfigurationError, InternalError, InvalidStateTransition
from nebula_resource.model.ports import Capacity, PoolObserver
from nebula_resource.model.reasons import CleanupReason
from nebula_resource.model.resource import Resource
from nebula_resource.pool.borrow import Borrowed, borrow
from nebula_resource.pool.closing import CloseReport
from nebula_resource.pool.config import PoolConfig, Sharing
from nebula_resource.pool.entry import Use
from nebula_resource.pool.handle import Acquire, Acquisition, Handle
from nebula_resource.pool.parts import ContextFactory, PoolParts
from nebula_resource.pool.quick import quick_acquire
from nebula_resource.pool.report import numbers, report
from nebula_resource.pool.state import PoolState

if TYPE_CHECKING:
    from nebula_resource.model.numbers import PoolNumbers
    from nebula_resource.model.stats import PoolStats

__all__ = ["Pool"]

ConfigT = TypeVar("ConfigT")
InstanceT = TypeVar("InstanceT")
LeaseT = TypeVar("LeaseT", default=InstanceT)


class Pool(PoolParts, Generic[ConfigT, InstanceT, LeaseT]):
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

    __slots__ = ("acquire",)

    acquire: Acquire[LeaseT]
    """``acquire(context=None, *, timeout=None)``: ask for a use.

    ``async with pool.acquire() as value`` or ``handle = await pool.acquire()``. Nothing is taken before it is entered or
    awaited. ``timeout`` (seconds), the context's deadline and the pool's ``acquire_timeout`` all bound the wait. Raises,
    on entering, `AcquireTimeout`, `PoolExhausted`, `CreateFailed`, `CircuitOpen`, `Unavailable`, `AcquireCancelled`,
    `WrongEventLoop`. (A function of its own for each pool: see pool/quick.py.)
    """

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
        super().__init__(
            resource,
            config,
            PoolConfig.of(pool_config),
            context_factory=context_factory,
            capacity=capacity,
            observer=observer,
        )
        self.acquire = partial(Acquisition, self)

    def __repr__(self) -> str:
        ledger = self.ledger
        return (
            f"<Pool '{self.resource.id}' {self.state.value}: {ledger.in_use} in use, {len(self.shelf)} idle, "
            f"{len(self.line)} waiting, max {ledger.max_size}>"
        )

    # ── open ──

    async def open(self, *, upfront: int | None = None) -> None:
        """Fill to ``min_size`` (with ``warm_on_register``) and begin to serve.

        ``upfront``: wait for so many of them at most, the others follow by themselves. Raises `CreateFailed` when not
        one of the first instances can be made (the pool is closed then), and `InvalidStateTransition` when it was
        opened before.
        """
        if self.was_opened or self.state is not PoolState.NEW:
            raise InvalidStateTransition(self.state, PoolState.OPEN, resource_id=self.resource.id)
        self.settle_in()
        try:
            await self._warm(upfront)
        except BaseException:
            self.closing.begin(0.0)
            raise
        if self.state is not PoolState.NEW:
            raise self.desk.refusal("closed")
        self.closing.become(PoolState.OPEN)
        if not self.leases and self.config.sharing is Sharing.EXCLUSIVE and not self.loop.get_debug():
            self.acquire = quick_acquire(self)
        self.upkeep.wake()
        if self.config.warm_on_register:
            self.upkeep.refill()

    async def _warm(self, upfront: int | None) -> None:
        if self.config.warm_on_register:
            wanted = self.ledger.min_size
            await self.sizing.make(wanted if upfront is None else min(upfront, wanted))
            if not self.ledger.entries and self.ledger.last_create_error is not None:
                raise self.ledger.last_create_error[1]

    # ── acquire ──

    def try_acquire(self) -> Handle[LeaseT] | None:
        """A handle if one may be had without any wait; None otherwise.

        Raises `ConfigurationError` where a use begins with a lease (that takes an await), `Unavailable` and
        `WrongEventLoop`.
        """
        self.check_owner()
        if self.leases:
            raise ConfigurationError(
                "a lease is entered asynchronously: use acquire(timeout=…), which bounds that as well",
                resource_id=self.resource.id,
            )
        self.desk.refuse_if_shut()
        if self.line or self.state is not PoolState.OPEN:
            return None
        entry = self.desk.take_ready()
        if entry is None:
            return None
        return Handle(self, entry, self.obtainer.note(entry, Use()), entry.instance)

    # ── what it has ──

    def stats(self) -> PoolStats:
        """Every number of the pool, now."""
        return report(self)

    def numbers(self) -> PoolNumbers:
        """`stats` without the two ages: what is equal says that nothing has happened. For who asks many pools often."""
        return numbers(self)

    def check(self) -> None:
        """Raise `InternalError` where an invariant does not hold (SPEC §5)."""
        self.ledger.check()
        if self.state is PoolState.OPEN and self.line and self.desk.could_serve():
            raise InternalError(f"somebody waits although something is free: {self!r}")

    def fail_line(self, error: Callable[[], BaseException]) -> int:
        """Tell everybody who waits an error of their own; returns how many there were."""
        return self.desk.fail(error)

    def borrow(self, *, fresh: bool = False) -> AbstractAsyncContextManager[Borrowed]:
        """An instance for a probe: an idle one reserved, or (``fresh``, or none idle) one made for it.

        Raises, on entering, `Postponed` and `CreateFailed`.
        """
        return borrow(self, fresh=fresh)

    # ── how many ──

    def resize(self, *, min_size: int | None = None, max_size: int | None = None) -> None:
        """Move the bounds; idle ones above them go now, busy ones on return. Raises `ValidationFailed`."""
        self._check_owner_once_open()
        self.sizing.resize(min_size, max_size)

    async def scale_up(self, count: int) -> int:
        """Make up to ``count`` instances ahead of need; returns how many were made. Raises `Unavailable`."""
        self.check_owner()
        self.desk.refuse_if_shut()
        return await self.sizing.scale_up(count)

    def scale_down(self, count: int) -> int:
        """Retire up to ``count`` idle instances, never below ``min_size``; returns how many go."""
        self._check_owner_once_open()
        return self.sizing.scale_down(count)

    def retain(self, predicate: Callable[[InstanceT], bool]) -> int:
        """Retire every idle instance for which ``predicate`` is False; returns how many go."""
        self._check_owner_once_open()
        return self.sizing.retain(predicate)

    def retire_where(
        self, predicate: Callable[[InstanceT], bool], reason: CleanupReason = CleanupReason.EVICTED
    ) -> int:
        """Retire every instance for which ``predicate`` is True, busy ones on return; returns how many.

        It is asked as well about those that are being made, as soon as they are.
        """
        self._check_owner_once_open()
        return self.sizing.retire_where(predicate, reason)

    def recycle_all(self) -> int:
        """Replace every instance, busy ones on return; returns how many."""
        self._check_owner_once_open()
        return self.sizing.recycle_all()

    def _check_owner_once_open(self) -> None:
        """Before it is opened it has no owner, and its bounds may be moved from anywhere."""
        if self.was_opened:
            self.check_owner()

    # ── for a while, and for good ──

    def suspend(self, *, fail: bool = False) -> None:
        """Hand out nothing until `resume`; callers wait, or are refused when ``fail``."""
        self.check_owner()
        self.closing.suspend(fail=fail)

    def resume(self) -> None:
        """Serve again after `suspend` or `drain`."""
        self.check_owner()
        self.closing.resume()

    async def drain(self, timeout: float | None = None) -> bool:
        """Refuse new callers, retire what is idle, wait up to ``timeout`` seconds for what is out.

        Returns whether everything came back in time; if not, the drain goes on by itself.
        """
        self.check_owner()
        return await self.closing.drain(timeout)

    @property
    def can_drain(self) -> bool:
        """Whether `drain` makes sense now."""
        return self.state in {PoolState.DRAINING, PoolState.DRAINED} or self.state.can_become(
            PoolState.DRAINING
        )

    async def close(self, timeout: float | None = 5.0) -> CloseReport:
        """End the pool: wait up to ``timeout`` seconds for handles and releases, then end them by force.

        Idempotent; concurrent calls share one end, which a cancelled caller does not stop.
        """
        self._check_owner_once_open()
        return await self.closing.close(timeout)

    # ── as a budget sees it ──

    def grant(self) -> None:
        """A place may be had now: try again."""
        self.desk.serve()
        self.upkeep.refill()

    def spare(self) -> bool:
        """Retire the instance that lies idle longest to make room elsewhere; False when none is idle."""
        entry = next(iter(self.shelf), None)
        if entry is None:
            return False
        self.sizing.dismiss(entry, CleanupReason.STOLEN)
        return True
