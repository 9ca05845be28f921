"""Manager: the one object a service holds: register resources, acquire them, open scopes, shut down."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar, overload

from nebula_resource._aio import leave
from nebula_resource.errors import AlreadyRegistered, DependencyFailure, InvalidScope
from nebula_resource.manager.acquisition import ManagedAcquisition, ScopedAcquisition
from nebula_resource.manager.block import Block, QuickBlock
from nebula_resource.manager.current import Detached, current_scope, innermost_of
from nebula_resource.manager.operations import Operations
from nebula_resource.manager.parts import CLEANUP, DRAIN, TERMINATE
from nebula_resource.manager.registration import Registration, RegistrationState
from nebula_resource.manager.shutdown import ShutdownReport
from nebula_resource.model.context import ResourceContext
from nebula_resource.model.health import HealthPolicy
from nebula_resource.model.key import ResourceKey
from nebula_resource.model.policy import Off
from nebula_resource.model.scope import Scope, ScopeLevel, Strategy
from nebula_resource.pool import PoolConfig
from nebula_resource.pool.quick import FRESH
from nebula_resource.quarantine import QuarantinePolicy

if TYPE_CHECKING:
    from nebula_resource.manager.open_scope import OpenScope
    from nebula_resource.model.credentials import CredentialProvider
    from nebula_resource.model.ports import Capacity
    from nebula_resource.model.resource import Resource

__all__ = ["Manager"]

T = TypeVar("T")


class Manager(Operations):
    """Keeps resources for a service: it introduces the parts to each other and holds nothing but them.

    Works entered (``async with Manager() as manager``, which shuts down at the end) or not. None as a policy of a
    registration inherits the manager's; ``OFF`` turns it off.

    Args:
        strategy: which registration serves a caller.
        health: how health is checked.
        quarantine: how what fails is isolated and recovered.
        credentials: where creates get credentials from.
        cancellation: cancelling it shuts the manager down.
    """

    def __repr__(self) -> str:
        open_, state = sum(each.is_open for each in self.registry), " shutting down" if self.is_ending else ""
        return f"<Manager{state}: {len(self.registry)} registered, {open_} open, {len(self.watch.quarantine)} quarantined>"

    async def __aenter__(self) -> Manager:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.shutdown()

    # ── register ──

    async def register(
        self,
        resource: Resource[Any, Any, Any],
        config: Any = None,
        *,
        pool: PoolConfig | Mapping[str, Any] | None = None,
        scope: Scope = Scope.GLOBAL,
        health: HealthPolicy | Off | None = None,
        quarantine: QuarantinePolicy | Off | None = None,
        autoscale: Off | None = None,
        credentials: CredentialProvider | None = None,
        budget: Capacity | None = None,
        required: bool = False,
        cross_tenant: bool = False,
        replace: bool = False,
    ) -> Registration:
        """Register a resource in a scope, and open it when what it needs is open.

        Everything is validated first; an invalid call leaves no trace. When opening fails, ``required=True`` raises
        and leaves no trace either; otherwise the registration stays, quarantined and recovering. Cancelled before it
        is open, it leaves no trace; later it stays, and what waited for it opens by itself. ``replace=True`` makes a
        registration that exists what this call describes, as a reload does.

        Raises `ValidationFailed` with every violation, `CircularDependency`, `AmbiguousScope` (of a dependency),
        `AlreadyRegistered`, `Unavailable` after the shutdown, and (required) what the opening raised.
        """
        self.refuse_when_ending(resource)

        def propose() -> Registration:
            return self.propose(
                resource,
                config,
                pool=pool,
                scope=scope,
                health=health,
                quarantine=quarantine,
                autoscale=autoscale,
                credentials=credentials,
                budget=budget,
                required=required,
                cross_tenant=cross_tenant,
            )

        standing = self.registry.at(str(getattr(resource, "id", "")), scope) if replace else None
        if standing is not None:
            await self._reloaded(standing, propose)
            return standing
        registration = propose()
        if self.registry.at(registration.key, scope) is not None:
            raise AlreadyRegistered(registration.key, scope=scope)
        self._enrolment.enter(registration)
        if not required:
            self._enrolment.announce(registration)
        try:
            await self._bring_up(registration)
        finally:
            self._enrolment.announce(registration)  # whatever became of the caller: once it is open it stays
        return registration

    async def _bring_up(self, registration: Registration) -> None:
        """Open it; where that ends the registration, strike it out."""
        try:
            await self._startup.open(registration, required=registration.required)
        except Exception:
            if registration.required:
                self._enrolment.forget(registration)
            if registration.required or registration.is_going:
                raise
            # It stays, quarantined and recovering.
        except BaseException:
            if not registration.is_open:
                self._enrolment.forget(registration)
            raise

    async def deregister(self, key: str, *, scope: Scope | None = None, cascade: bool = False) -> None:
        """Take a resource out, its pool drained and closed; with ``cascade`` those that need it too, first.

        A cancelled caller stops waiting; the end goes on. Raises `NotRegistered`, `AmbiguousScope`, and
        `DependencyFailure` when open ones need it and ``cascade`` is not given.
        """
        registration = self.registry.resolve(key, scope)
        needed_by = [
            each
            for dependent in self.dependencies.dependents(registration.public_id)
            if (each := self.registry.get(dependent)) is not None
            and each.state in {RegistrationState.OPENING, RegistrationState.READY}
        ]
        if needed_by and not cascade:
            raise DependencyFailure(registration.key, resource_id=needed_by[0].key)
        await self._take_down([*needed_by, registration], DRAIN, CLEANUP, TERMINATE)

    async def _take_down(
        self, going: list[Registration], drain: float, cleanup: float, terminate: float
    ) -> ShutdownReport:
        """End these and strike them out, whatever becomes of the caller."""

        async def work() -> ShutdownReport:
            report = await self._shutdown.run(going, drain=drain, cleanup=cleanup, terminate=terminate)
            for each in going:
                self._enrolment.forget(each)
            return report

        self._shutdown.refuse(going)
        return await leave(work(), self._tasks, name="take down")

    # ── acquire ──

    @overload
    def acquire(
        self,
        key: ResourceKey[T],
        context: ResourceContext | None = None,
        *,
        timeout: float | None = None,
        strategy: Strategy | str | None = None,
    ) -> ManagedAcquisition[T]: ...

    @overload
    def acquire(
        self,
        key: str,
        context: ResourceContext | None = None,
        *,
        timeout: float | None = None,
        strategy: Strategy | str | None = None,
    ) -> ManagedAcquisition[Any]: ...

    def acquire(
        self,
        key: str,
        context: ResourceContext | None = None,
        *,
        timeout: float | None = None,
        strategy: Strategy | str | None = None,
    ) -> ManagedAcquisition[Any]:
        """Ask for a use: ``async with manager.acquire("db") as db`` or ``handle = await manager.acquire("db")``.

        Without a context the caller is the innermost open scope, else GLOBAL. ``timeout`` is in seconds. Raises, on
        entering, `ResourceNotFound` (unknown and foreign alike), `AmbiguousScope`, the registration's refusal, and
        what `Pool.acquire` raises.
        """
        if context is timeout is strategy:  # type: ignore[comparison-overlap]  # that is: none was given
            acquisition = self._quick()
            acquisition._key = key
            acquisition._entry = FRESH
            return acquisition
        chosen = None if strategy is None else Strategy.parse(strategy)
        return ManagedAcquisition(self._checkout, key, context, timeout, chosen)

    def acquire_within(self, scope: OpenScope, key: str) -> ScopedAcquisition[Any]:
        """An acquire on behalf of an open scope, whatever the innermost one is."""
        return ScopedAcquisition(self._checkout, key, scope)

    # ── scopes ──

    def scope(
        self,
        scope: Scope | ResourceContext | None = None,
        *,
        tenant: str | None = None,
        user: str | None = None,
        workflow: str | None = None,
        execution: str | None = None,
        action: str | None = None,
    ) -> Block:
        """``async with manager.scope(tenant="acme", execution="e1") as scope``, or with a scope or context as value.

        Opens every named level that is not open yet, outermost first. Inside an open scope the new one is nested in
        it. Raises `InvalidScope` where the two contradict each other, and for ids beside a value, which would be lost.
        """
        context: ResourceContext | None = None
        if type(scope) is Scope:  # no class is made of it
            value = scope
        elif scope is None:
            value = Scope.of(tenant=tenant, user=user, workflow=workflow, execution=execution, action=action)
        else:
            context, value = scope, scope.scope
        if (tenant or user or workflow or execution or action) and scope is not None:
            raise InvalidScope("say a scope as a value or by its ids: value.nest(Scope.of(...)) has both")
        here = current_scope()
        if here is not None and here._manager is not self:
            here = innermost_of(self)
        if here is not None and not here.scope.contains(value):
            value = here.scope.nest(value)
        block: Block = QuickBlock()  # its slots are set here: it is made with every request
        block._manager = self
        block._context = context
        block._parent = here
        block._rare = block._entry = block._more = block._closed = block._outer = None
        block.scope = value
        return block

    @property
    def open_scopes(self) -> Counter[ScopeLevel]:
        """How many open scopes there are, by level."""
        counts = list(enumerate(self.scope_counts))
        return Counter({each: sum(n for bits, n in counts if bits >> each & 1) for each in ScopeLevel})

    def detached(self) -> Detached:
        """``with manager.detached():`` leaves the open scopes of this call chain; for operators and janitors."""
        return Detached()

    def scope_opened(self, scope: Scope) -> None:
        """An open scope was entered."""
        self.scope_counts[1 << scope.level] += 1
        for listener in self.scope_listeners:
            listener.opened(scope)

    def scope_closed(self, scope: Scope) -> None:
        """It was left."""
        self.scope_counts[1 << scope.level] -= 1
        for listener in self.scope_listeners:
            listener.closed(scope)

    # ── the end ──

    async def shutdown(
        self, drain: float = DRAIN, cleanup: float = CLEANUP, terminate: float = TERMINATE
    ) -> ShutdownReport:
        """Drain (it ends the moment the last handle is back), clean up dependents first, terminate; times in seconds.

        Idempotent; concurrent calls share one shutdown, which a cancelled caller does not stop.
        """
        ending = self._end_once(drain, cleanup, terminate)
        await asyncio.wait((ending,))
        return ending.result()

    async def shutdown_scope(
        self, scope: Scope, drain: float = DRAIN, cleanup: float = CLEANUP, terminate: float = TERMINATE
    ) -> ShutdownReport:
        """The same for what ``scope`` contains; nothing else is touched."""
        going = [each for each in self.registry if scope.contains(each.scope)]
        return await self._take_down(going, drain, cleanup, terminate)
