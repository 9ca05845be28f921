"""Acquisition: a use of a manager's resource that is asked for and not taken yet."""

from __future__ import annotations

from collections.abc import Coroutine, Generator
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic

from typing_extensions import TypeVar

from nebula_resource.errors import InternalError, ResourceError, Unavailable
from nebula_resource.manager.checkout import Checkout, go_on, refused, time_left, traced, was_swapped
from nebula_resource.manager.handle import ManagedHandle
from nebula_resource.manager.registration import Registration
from nebula_resource.model.context import ResourceContext
from nebula_resource.model.lifecycle import Lifecycle
from nebula_resource.model.scope import Scope, Strategy
from nebula_resource.pool.handle import entered_twice, warn_released_twice
from nebula_resource.pool.quick import FRESH, SPENT, marker

if TYPE_CHECKING:
    from nebula_resource.manager.open_scope import OpenScope
    from nebula_resource.pool.entry import Entry
    from nebula_resource.pool.pool import Pool

__all__ = ["ManagedAcquisition", "ScopedAcquisition"]

T = TypeVar("T")
IN_USE, IDLE = Lifecycle.IN_USE, Lifecycle.IDLE
HELD = marker()
"""In place of an entry: the use took the whole road, and a handle holds it."""


class ManagedAcquisition(Generic[T]):
    """A use of a manager's resource that is asked for and not taken yet: enter it, or await it for the handle; once.

    The shortest road (a plain registration with something idle) is written out here; it is `Checkout.take` with
    everything left out that this registration does not have.
    """

    __slots__ = ("_checkout", "_context", "_entry", "_handle", "_key", "_pool", "_strategy", "_timeout")

    _entry: Entry
    _pool: Pool[Any, Any, Any]
    _handle: ManagedHandle[Any] | None

    def __init__(
        self,
        checkout: Checkout,
        key: str,
        context: ResourceContext | None,
        timeout: float | None,
        strategy: Strategy | None,
    ) -> None:
        self._checkout = checkout
        self._key = key
        self._context = context
        self._timeout = timeout
        self._strategy = strategy
        self._entry = FRESH

    async def __aenter__(self) -> T:
        if self._entry is not FRESH:
            raise entered_twice(self._key)
        registration, scope = self._locate()
        if not registration.is_plain or registration.refusal is not None:
            return await self._enter_fully(registration, scope)
        if self._context is not None and self._context.cancellation is not None:
            return await self._enter_slowly(registration, scope)  # there the token is looked at
        pool = self._pool = registration.pool
        try:
            self._entry = entry = pool.take()
        except IndexError:
            return await self._enter_slowly(registration, scope)
        entry.state = IN_USE
        entry.uses = uses = entry.uses + 1
        if uses < entry.timed_next:
            return entry.instance  # type: ignore[no-any-return]  # the key says what it is
        return pool.time_this(entry)  # type: ignore[no-any-return]  # the same

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        entry = self._entry
        self._entry = SPENT
        if kind is None and (
            not entry.attention or (entry.sampled_at is not None and self._pool.timed(entry))
        ):
            pool = self._pool
            if pool.line.waiters:
                pool.desk.pass_on(entry)
            else:
                entry.state = IDLE
                pool.shelf.put_hot(entry)
            return
        await self._leave_slowly(entry, error)

    def _locate(self) -> tuple[Registration, Scope]:
        return self._checkout.locate(self._key, self._context, self._strategy)

    # ── the longer roads ──

    def _enter_slowly(self, registration: Registration, scope: Scope) -> Coroutine[Any, Any, T]:
        """Nothing idle: wait, and ask again whether it may be had."""
        tracing = self._checkout.tracing
        work = self._wait(registration, scope)
        return work if tracing is None else traced(tracing, registration, scope, work)

    async def _wait(self, registration: Registration, scope: Scope) -> T:
        pool = self._pool = registration.pool
        since = pool.clock()
        context = self._brought()
        try:
            if self._timeout is None and (context is None or not context.bounds_waits):
                entry, waited = await pool.wait()
            else:
                entry, waited = await pool.obtain(context, self._timeout)
        except ResourceError as error:
            if isinstance(error, Unavailable) and was_swapped(registration, pool):
                go_on(pool, error)
                self._timeout = time_left(pool, since, self._timeout)
                return await self._enter_fully(registration, scope)
            registration.count_refused(error)
            if error.scope is None:
                error.scope = scope
            raise
        # ours from here on
        if registration.refusal is not None:
            pool.obtainer.forgo(entry, waited)
            raise refused(registration, scope)
        self._entry = entry
        if entry.uses >= entry.timed_next:
            pool.time_this(entry)
        return entry.instance  # type: ignore[no-any-return]  # the key says what it is

    def _brought(self) -> ResourceContext | None:
        """What goes with this acquire: the caller's own context, else that of the scope it is made in."""
        if self._context is None and (here := self._checkout.here()) is not None:
            return here.context
        return self._context

    async def _enter_fully(self, registration: Registration, scope: Scope) -> T:
        handle = await self._checkout.take(registration, scope, self._brought(), self._timeout)
        self._handle = handle
        self._entry = HELD
        self._pool = registration.pool
        return handle._value  # type: ignore[no-any-return]  # the key says what it is

    async def _leave_slowly(self, entry: Entry, error: BaseException | None) -> None:
        if entry is HELD:
            handle = self._handle
            assert handle is not None, "HELD is set beside the handle"
            if not handle.is_released:
                await handle.release(error)
        elif entry is SPENT:
            warn_released_twice(self._key)
        elif entry is FRESH:
            raise InternalError("this acquisition is left without having been entered", resource_id=self._key)
        elif (observer := self._pool.observer).traces:
            with observer.around("release"):
                await self._pool.give_back(entry, entry.use, error)
        else:
            await self._pool.give_back(entry, entry.use, error)

    def lose(self) -> None:
        """It is never given back, and its loop does not run here."""
        entry, self._entry = self._entry, SPENT
        if entry is not HELD:
            self._pool.returns.report_lost(entry, entry.use)
        elif self._handle is not None:
            self._handle.lose()

    # ── awaited: a handle ──

    def __await__(self) -> Generator[Any, Any, ManagedHandle[T]]:
        return self._as_handle().__await__()

    async def _as_handle(self) -> ManagedHandle[T]:
        if self._entry is not FRESH:
            raise entered_twice(self._key)
        self._entry = SPENT
        registration, scope = self._locate()
        return await self._checkout.take(registration, scope, self._brought(), self._timeout)


class ScopedAcquisition(ManagedAcquisition[T]):
    """An acquire of an open scope, in that scope whatever the innermost one is."""

    __slots__ = ("_within",)

    def __init__(self, checkout: Checkout, key: str, within: OpenScope) -> None:
        # Written out: it is made with every request.
        self._checkout = checkout
        self._key = key
        self._context = None
        self._timeout = None
        self._strategy = None
        self._entry = FRESH
        self._within = within

    def _locate(self) -> tuple[Registration, Scope]:
        context = self._context = self._within.context
        return self._checkout.find(self._key, context.scope, None), context.scope
