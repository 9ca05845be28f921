"""Checkout: the road of an acquire, and the way back."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

from typing_extensions import TypeVar

from nebula_resource.errors import (
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
from nebula_resource.model.ports import Ticket, Tracing
from nebula_resource.model.scope import Scope, Strategy

if TYPE_CHECKING:
    from nebula_resource.manager.open_scope import OpenScope
    from nebula_resource.pool.handle import Handle
    from nebula_resource.pool.pool import Pool

__all__ = ["Checkout", "go_on", "refused", "time_left", "traced", "was_swapped"]

T = TypeVar("T")
_NOT_IN_A_SCOPE = (
    "; no scope is open here: if it is a tenant's, wrap the call: async with manager.scope(tenant=...)"
)


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
                go_on(pool, error)
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


def go_on(pool: Pool[Any, Any, Any], error: Unavailable) -> None:
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
