"""Checkout: the road of an acquire, and the way back."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Generator
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic

from typing_extensions import TypeVar

from nebula_resource.errors import (
    InternalError,
    QuotaExceeded,
    ResourceError,
    ResourceNotFound,
    Unavailable,
)
from nebula_resource.events import Acquired, AcquireRejected, Event, EventBus, RejectReason
from nebula_resource.hooks import HookRegistry, HookRun
from nebula_resource.manager.around import Around
from nebula_resource.manager.handle import ManagedHandle, end_hooks, is_leaving, leave_all
from nebula_resource.manager.registration import Registration
from nebula_resource.manager.registry import Registry
from nebula_resource.model.context import ResourceContext
from nebula_resource.model.lifecycle import Lifecycle
from nebula_resource.model.ports import Ticket, Tracing
from nebula_resource.model.scope import Scope, Strategy
from nebula_resource.pool.handle import entered_twice, warn_released_twice
from nebula_resource.pool.quick import FRESH, SPENT, marker

if TYPE_CHECKING:
    from nebula_resource.manager.open_scope import OpenScope
    from nebula_resource.pool.entry import Entry
    from nebula_resource.pool.handle import Handle
    from nebula_resource.pool.pool import Pool

__all__ = ["Checkout", "ManagedAcquisition", "ScopedAcquisition"]

T = TypeVar("T")
IN_USE, IDLE = Lifecycle.IN_USE, Lifecycle.IDLE
_NOT_IN_A_SCOPE = (
    "; no scope is open here: if it is a tenant's, wrap the call: async with manager.scope(tenant=...)"
)
HELD = marker()
"""In place of an entry: the use took the whole road, and a handle holds it."""


class Checkout:
    """Finds who serves a caller, asks whether it may, and goes to the pool. It owns nothing."""

    __slots__ = ("bus", "for_all", "here", "hooks", "registry", "strategy", "tracing")

    def __init__(
        self,
        registry: Registry,
        hooks: HookRegistry,
        bus: EventBus,
        strategy: Strategy,
        here: Callable[[], OpenScope | None],
    ) -> None:
        self.registry = registry
        self.here = here
        """The open scope of the manager in which a caller stands."""
        self.hooks = hooks
        self.bus = bus
        self.strategy = strategy
        self.for_all = registry.for_all
        self.tracing: Tracing | None = None
        """Stands around what does not find an idle instance on the short way."""

    # ── go ──

    def locate(
        self, key: str, context: ResourceContext | None, strategy: Strategy | None
    ) -> tuple[Registration, Scope]:
        """Who serves this caller. Raises `ResourceNotFound` and `AmbiguousScope`."""
        here = self.here()
        if context is None:
            scope = Scope.GLOBAL if here is None else here.scope
        else:
            scope = context.scope
            if here is not None and not here.scope.contains(scope):
                # A caller may look deeper, never beside or above: manager.detached() is the spelt-out way out.
                raise ResourceNotFound(key, scope=here.scope)
        try:
            return self.find(key, scope, strategy), scope
        except ResourceNotFound:
            if here is not None or context is not None:
                raise
            # Said of what is foreign and of what is unknown, so it tells nothing of either.
            raise ResourceNotFound(key, scope=scope, hint=_NOT_IN_A_SCOPE) from None

    def finder(self) -> Callable[[str, Scope], Registration]:
        """What finds the registration that serves a scope, without the detour where the strategy needs none."""
        if self.strategy is Strategy.STRICT:
            self.for_all = {}  # the equal scope alone serves
            return lambda key, scope: self.registry.search(key, scope, Strategy.STRICT)
        return self.registry.find

    def find(self, key: str, scope: Scope, strategy: Strategy | None) -> Registration:
        """The registration that serves ``scope``."""
        if (strategy or self.strategy) is Strategy.STRICT:
            return self.registry.search(key, scope, Strategy.STRICT)
        return self.registry.find(key, scope)

    def take(
        self,
        registration: Registration,
        scope: Scope,
        context: ResourceContext | None,
        timeout: float | None,
    ) -> Coroutine[Any, Any, ManagedHandle[Any]]:
        """Walk the whole road: refusal, gates, hooks, pool, refusal again, hooks, event."""
        work = self._walk(registration, scope, context, timeout)
        return work if self.tracing is None else traced(self.tracing, registration, scope, work)

    async def _walk(
        self,
        registration: Registration,
        scope: Scope,
        context: ResourceContext | None,
        timeout: float | None,
    ) -> ManagedHandle[Any]:
        if registration.refusal is not None:
            raise refused(registration, scope)
        tickets: list[Ticket] = []
        around: Around | None = None
        run: HookRun | None = None
        handle: Handle[Any] | None = None
        try:
            for gate in registration.gates:
                ticket = gate.enter()
                if ticket is not None:
                    tickets.append(ticket)
            if registration.acquire_hooks:
                around = Around(self.hooks, registration, scope, context, timeout)
                run = await around.before()
                timeout = around.time_left
            handle = await self._obtain(registration, scope, context, timeout)
            # ours from here on
            if registration.refusal is not None:
                if handle.forgo():
                    handle = None
                raise registration.refusal()  # counted below, as every error of this road
            managed = ManagedHandle(handle, self, registration, scope, tickets)
        except BaseException as error:
            leave_all(tickets, error, self.bus)
            self._note_failure(registration, scope, error)
            try:
                if handle is not None:
                    await handle.release()
            finally:
                if run is not None:
                    await end_hooks(run, error, leaving=is_leaving(error))
            raise
        if run is not None and around is not None:
            await around.after(run, managed)
        if self.bus.wants(Acquired):  # only now: whoever is called off in a hook's after never had it
            self._publish(registration, Acquired, waited_s=managed.usage.waited_s)
        return managed

    async def _obtain(
        self,
        registration: Registration,
        scope: Scope,
        context: ResourceContext | None,
        timeout: float | None,
    ) -> Handle[Any]:
        """Take an instance; whoever waits for the old pool when a reload swaps it goes on waiting for the new one."""
        pool = registration.pool
        since = pool.clock()
        while True:
            try:
                return await pool.obtain_handle(_for_pool(context, scope, registration), timeout)
            except Unavailable as error:
                if not was_swapped(registration, pool):
                    raise
                _go_on(pool, error)
                timeout = time_left(pool, since, timeout)
                pool = registration.pool
                since = pool.clock()

    def _note_failure(self, registration: Registration, scope: Scope, error: BaseException) -> None:
        registration.count_refused(error)
        if isinstance(error, ResourceError) and error.scope is None:
            error.scope = scope
        if isinstance(error, QuotaExceeded):
            self._publish(registration, AcquireRejected, reason=RejectReason.QUOTA, quota=error.quota)

    def _publish(self, registration: Registration, event: type[Event], **fields: Any) -> None:
        self.bus.publish(
            event, registration.key, registration.scope, public_id=registration.public_id, **fields
        )


async def traced(
    tracing: Tracing, registration: Registration, scope: Scope, work: Coroutine[Any, Any, T]
) -> T:
    """An acquire, with somebody standing around it."""
    with tracing.around("acquire", registration.key, registration.public_id, scope):
        return await work


def refused(registration: Registration, scope: Scope) -> ResourceError:
    """The error of a caller who is turned away by the registration's refusal."""
    assert registration.refusal is not None, "whoever asks has looked"
    error = registration.refusal()
    registration.count_refused(error)
    if error.scope is None:
        error.scope = scope
    return error


def was_swapped(registration: Registration, pool: Pool[Any, Any, Any]) -> bool:
    """Whether a reload put another pool in the place of this one, and callers may have it."""
    return registration.pool is not pool and registration.refusal is None


def _go_on(pool: Pool[Any, Any, Any], error: Unavailable) -> None:
    """Whom a pool refused that was swapped is not refused: its one wait ends, and is counted, at the new one."""
    if error.waited_s is not None:
        pool.ledger.forget_refused(error.waited_s)


def time_left(pool: Pool[Any, Any, Any], since: float, timeout: float | None) -> float:
    """Seconds that are left of a wait which began at ``since``."""
    limit = pool.config.acquire_timeout
    return since + (limit if timeout is None else min(limit, timeout)) - pool.clock()


def _for_pool(
    context: ResourceContext | None, scope: Scope, registration: Registration
) -> ResourceContext | None:
    """What the pool is told of a caller without a context; without a lease it needs to know nothing."""
    if context is None and registration.pool.leases:
        return ResourceContext(scope)
    return context


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
                _go_on(pool, error)
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
