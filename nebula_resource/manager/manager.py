"""Manager: the one object a service holds: register resources, acquire them, open scopes, shut down."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, TypeVar, overload

from nebula_resource._aio import CancellationToken, OwnedTasks
from nebula_resource.errors import (
    AlreadyRegistered,
    ConfigurationError,
    DependencyFailure,
    NotQuarantined,
    Unavailable,
    ValidationFailed,
)
from nebula_resource.events import (
    Acquired,
    ConfigReloaded,
    ConfigReloadRejected,
    Deregistered,
    ErrorOccurred,
    Event,
    EventBus,
    HookFailed,
    Overflow,
    Registered,
    Released,
    ShutdownFinished,
    ShutdownStarted,
    Subscription,
)
from nebula_resource.hooks import HookEvent, HookPayload, HookRegistry
from nebula_resource.manager.checkout import NOT_NOW, Checkout, ManagedAcquisition, ScopedAcquisition
from nebula_resource.manager.creation import Creation
from nebula_resource.manager.current import Detached, current_scope
from nebula_resource.manager.dependencies import DependencyGraph
from nebula_resource.manager.observer import RegistrationObserver
from nebula_resource.manager.quick import quick_class
from nebula_resource.manager.registration import Registration, RegistrationState
from nebula_resource.manager.registry import Registry
from nebula_resource.manager.reload import Reload, ReloadOutcome, ReloadResult
from nebula_resource.manager.scope_block import ScopeBlock
from nebula_resource.manager.shutdown import Shutdown, ShutdownReport
from nebula_resource.manager.startup import Startup
from nebula_resource.manager.watch import Watch
from nebula_resource.model.context import ResourceContext
from nebula_resource.model.health import HealthPolicy, HealthStatus
from nebula_resource.model.key import ResourceKey
from nebula_resource.model.policy import OFF, Off
from nebula_resource.model.ports import ScopeListener
from nebula_resource.model.scope import Scope, ScopeLevel, Strategy
from nebula_resource.pool import Pool, PoolConfig, Sharing, UseTiming
from nebula_resource.pool.ledger import PoolState
from nebula_resource.pool.quick import FRESH
from nebula_resource.quarantine import Manual, QuarantineEntry, QuarantinePolicy

if TYPE_CHECKING:
    from nebula_resource.manager.open_scope import OpenScope
    from nebula_resource.model.credentials import CredentialProvider
    from nebula_resource.model.ports import Capacity
    from nebula_resource.model.resource import Resource
    from nebula_resource.model.stats import PoolStats

__all__ = ["Manager"]

T = TypeVar("T")


class Manager:
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

    def __init__(
        self,
        *,
        strategy: Strategy | str = Strategy.HIERARCHICAL,
        health: HealthPolicy | Off = HealthPolicy(),  # noqa: B008  # a frozen value
        quarantine: QuarantinePolicy | Off = QuarantinePolicy(),  # noqa: B008  # a frozen value
        autoscale: None = None,
        credentials: CredentialProvider | None = None,
        cancellation: CancellationToken | None = None,
    ) -> None:
        _refuse_autoscale(autoscale)
        self._health = health
        self._quarantine = quarantine
        self._credentials = credentials
        self._cancellation = cancellation
        self._unsubscribe_token = None if cancellation is None else cancellation.subscribe(self._on_cancel)
        self._tasks = OwnedTasks("nebula manager", on_error=self._task_failed)
        self.events = EventBus()
        self.hooks = HookRegistry(on_failure_report=self._hook_failed)
        self.registry = Registry()
        self.dependencies: DependencyGraph[str] = DependencyGraph()
        self.watch = Watch(self.registry, self.dependencies, self.events, self.hooks, self._tasks)
        self._checkout = Checkout(self.registry, self.hooks, self.events, Strategy.parse(strategy))
        self._quick = quick_class(self._checkout)
        self._startup = Startup(self.registry, self.dependencies, self.watch, self._build, self._pool_opened)
        self._reload = Reload(self._build, self._tasks)
        self._shutdown = Shutdown(self.dependencies, self.watch, self._tasks)
        self._creations: dict[str, Creation] = {}
        self._observers: dict[str, RegistrationObserver] = {}
        self._ending: asyncio.Task[ShutdownReport] | None = None
        self.scope_listeners: tuple[ScopeListener, ...] = ()
        self.open_scopes: Counter[ScopeLevel] = Counter()
        """How many open scopes there are, by level."""
        self.not_now = NOT_NOW
        self.watch.reopen = self._startup.reopen
        self.watch.on_road_changed = self._pave
        self.watch.on_released = self._released
        self.hooks.on_change(self._pave_all)
        self.events.on_interest(self._pave_all)

    def __repr__(self) -> str:
        open_ = sum(registration.is_open for registration in self.registry)
        state = "" if self._ending is None else " shutting down"
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
        and leaves no trace either; otherwise the registration stays, quarantined and recovering. ``replace=True``
        reloads a registration that exists.

        Raises `ValidationFailed` with every violation, `CircularDependency`, `AlreadyRegistered`, `Unavailable` after
        the shutdown, and (required) what the opening raised.
        """
        if self._ending is not None:
            raise Unavailable("closed", resource_id=getattr(resource, "id", None))
        _refuse_autoscale(autoscale)
        checked, pool_config = self._startup.check(resource, config, pool, scope)
        standing = next((each for each in self.registry.named(resource.id) if each.scope == scope), None)
        if standing is not None:
            if not replace:
                raise AlreadyRegistered(resource.id, scope=scope)
            await self._swap(standing, resource, checked, pool_config)
            return standing
        registration = Registration(
            resource,
            checked,
            pool_config,
            scope,
            health=_policy(health, self._health),
            quarantine=_policy(quarantine, self._quarantine),
            credentials=credentials,
            budget=budget,
            required=required,
            cross_tenant=cross_tenant,
        )
        self._enter(registration)
        if required:
            try:
                await self._startup.open(registration)
            except BaseException:
                self._forget(registration)
                raise
        else:
            await self._startup.open_or_quarantine(registration)
        return registration

    def _enter(self, registration: Registration) -> None:
        """Put it in the books; all or nothing."""
        self._startup.link(registration)
        self._build(registration)
        self.registry.add(registration)
        try:
            self._startup.relink(registration.key)
        except BaseException:
            self.registry.remove(registration)
            self.dependencies.remove(registration.public_id)
            self._startup.relink(registration.key)
            raise
        self._pave(registration)
        self.watch.begin(registration, self._creations[registration.public_id])
        self.events.publish(
            Registered, registration.key, registration.scope, public_id=registration.public_id, generation=1
        )

    def _build(self, registration: Registration) -> None:
        """Give it a new pool, not open yet."""
        creation = Creation(registration, self._checkout, self._tasks, self._credentials)
        observer = RegistrationObserver(registration, self.events, self.hooks, self.watch)
        self._creations[registration.public_id] = creation
        self._observers[registration.public_id] = observer
        registration.pool = Pool(
            registration.resource,
            registration.config,
            registration.pool_config,
            context_factory=creation,
            capacity=registration.budget,
            observer=observer,
        )

    def _released(self, registration: Registration) -> None:
        """What waited for it can be opened now."""
        self._tasks.start(
            self._startup.open_dependents(registration), name=f"open dependents of {registration.public_id}"
        )

    def _pool_opened(self, registration: Registration) -> None:
        self._pave(registration)

    async def deregister(self, key: str, *, scope: Scope | None = None, cascade: bool = False) -> None:
        """Take a resource out, its pool drained and closed; with ``cascade`` those that need it too, first.

        Raises `NotRegistered`, `AmbiguousScope`, and `DependencyFailure` when open ones need it and ``cascade`` is
        not given.
        """
        registration = self.registry.resolve(key, scope)
        needed_by = [
            each
            for dependent in self.dependencies.dependents(registration.public_id)
            if (each := self.registry.get(dependent)) is not None and each.is_open
        ]
        if needed_by and not cascade:
            raise DependencyFailure(registration.key, resource_id=needed_by[0].key)
        going = [*needed_by, registration]
        await self._shutdown.run(going, drain=30.0, cleanup=10.0, terminate=5.0)
        for each in going:
            self._forget(each)

    def _forget(self, registration: Registration) -> None:
        """Take it out of the books."""
        if self.registry.get(registration.public_id) is not registration:
            return
        registration.state = RegistrationState.CLOSED
        self.watch.end(registration)
        self.registry.remove(registration)
        self.dependencies.remove(registration.public_id)
        self._creations.pop(registration.public_id, None)
        self._observers.pop(registration.public_id, None)
        self._startup.relink(registration.key)
        if registration.pool.state not in {PoolState.CLOSING, PoolState.CLOSED}:
            self._tasks.start(registration.pool.close(0.0), name=f"close {registration.public_id}")
        self.events.publish(
            Deregistered, registration.key, registration.scope, public_id=registration.public_id
        )

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
    ) -> ScopeBlock:
        """``async with manager.scope(tenant="acme", execution="e1") as scope``, or with a scope or context as value.

        Opens every named level that is not open yet, outermost first. Inside an open scope the new one is nested in
        it. Raises `InvalidScope` where the two contradict each other.
        """
        context = scope if isinstance(scope, ResourceContext) else None
        if context is not None:
            value = context.scope
        elif isinstance(scope, Scope):
            value = scope
        else:
            value = Scope.of(tenant=tenant, user=user, workflow=workflow, execution=execution, action=action)
        here = current_scope()
        if here is not None and here.manager is not self:
            here = None
        if here is not None and not here.scope.contains(value):
            value = here.scope.nest(value)
        if context is None:
            context = ResourceContext(value) if here is None else here.context.with_scope(value)
        elif context.scope is not value:
            context = context.with_scope(value)
        return ScopeBlock(self, context, parent=here, opener=here)

    def detached(self) -> Detached:
        """``with manager.detached():`` leaves the open scopes of this call chain; for operators and janitors."""
        return Detached()

    def scope_opened(self, scope: Scope) -> None:
        """An open scope was entered."""
        self.open_scopes[scope.level] += 1
        for listener in self.scope_listeners:
            listener.opened(scope)

    def scope_closed(self, scope: Scope) -> None:
        """It was left."""
        self.open_scopes[scope.level] -= 1
        for listener in self.scope_listeners:
            listener.closed(scope)

    # ── operators ──

    async def reload(
        self,
        key: str,
        new_config: Any,
        *,
        scope: Scope | None = None,
        pool: PoolConfig | Mapping[str, Any] | None = None,
    ) -> ReloadOutcome:
        """Put a new configuration in place; old handles are not interrupted, no acquire fails because of it.

        Raises `NotRegistered`, `AmbiguousScope`, `ValidationFailed` and what opening raised; then the old one serves
        on.
        """
        registration = self.registry.resolve(key, scope)
        try:
            checked, pool_config = self._startup.check(
                registration.resource,
                new_config,
                registration.pool_config if pool is None else pool,
                registration.scope,
            )
        except ValidationFailed as error:
            self._publish(registration, ConfigReloadRejected, violations=tuple(map(str, error.violations)))
            raise
        return await self._swap(registration, registration.resource, checked, pool_config)

    async def _swap(
        self,
        registration: Registration,
        resource: Resource[Any, Any, Any],
        config: Any,
        pool_config: PoolConfig,
    ) -> ReloadOutcome:
        try:
            outcome = await self._reload.run(registration, resource, config, pool_config)
        except Exception as error:
            self._publish(registration, ConfigReloadRejected, violations=(type(error).__name__,))
            raise
        if outcome.result is ReloadResult.SWAPPED:
            registration.dependencies = tuple(resource.dependencies)
            self._pave(registration)
            self._publish(registration, ConfigReloaded, generation=outcome.generation)
        return outcome

    def quarantine(
        self,
        key: str,
        reason: str,
        *,
        scope: Scope | None = None,
        expires_in: float | None = None,
        by: str = "operator",
    ) -> QuarantineEntry:
        """Keep callers away from a resource until a person releases it, or for ``expires_in`` seconds.

        Raises `NotRegistered`, `AmbiguousScope`, `AlreadyQuarantined`, `ValidationFailed`.
        """
        registration = self.registry.resolve(key, scope)
        return self.watch.quarantine.enter(
            registration.public_id,
            Manual(reason),
            by=by,
            resource_id=registration.key,
            scope=registration.scope,
            policy=registration.quarantine,
            expires_in=expires_in,
        )

    async def release(
        self,
        key: str,
        mode: Literal["probe", "force"] = "probe",
        *,
        scope: Scope | None = None,
        by: str = "operator",
    ) -> QuarantineEntry:
        """End a quarantine: when the probe passes, or (``force``) at once.

        Raises `NotRegistered`, `AmbiguousScope`, `NotQuarantined`, `ProbeFailed`.
        """
        registration = self.registry.resolve(key, scope)
        if registration.public_id not in self.watch.quarantine:
            raise NotQuarantined(registration.key, scope=registration.scope)
        if mode == "probe":
            return await self.watch.quarantine.release_if_well(registration.public_id, by)
        if mode != "force":
            raise ConfigurationError("mode is 'probe' or 'force'", resource_id=registration.key)
        return self.watch.quarantine.release(registration.public_id, by)

    async def check(self, key: str, *, scope: Scope | None = None) -> HealthStatus:
        """Check the health now, or wait for the check under way. Raises `NotRegistered`, `AmbiguousScope`."""
        return await self.watch.check(self.registry.resolve(key, scope))

    def resize(
        self,
        key: str,
        *,
        scope: Scope | None = None,
        min_size: int | None = None,
        max_size: int | None = None,
    ) -> None:
        """Move a pool's bounds. Raises `NotRegistered`, `AmbiguousScope`, `ValidationFailed`."""
        self.registry.resolve(key, scope).pool.resize(min_size=min_size, max_size=max_size)

    async def drain(self, key: str, *, scope: Scope | None = None, timeout: float | None = None) -> bool:
        """Refuse new callers and wait for what is out; returns whether all came back in time."""
        return await self.registry.resolve(key, scope).pool.drain(timeout)

    def resume(self, key: str, *, scope: Scope | None = None) -> None:
        """Serve again after `drain`."""
        self.registry.resolve(key, scope).pool.resume()

    def recycle(self, key: str, *, scope: Scope | None = None) -> int:
        """Replace every instance, busy ones on return; returns how many."""
        return self.registry.resolve(key, scope).pool.recycle_all()

    # ── what is there ──

    def stats(self) -> dict[str, PoolStats]:
        """Every pool's numbers, by public id."""
        return {each.public_id: each.pool.stats() for each in self.registry}

    def pools(self) -> tuple[Registration, ...]:
        """All registrations, in the order they came."""
        return tuple(self.registry)

    def subscribe(
        self,
        types: type[Event] | Iterable[type[Event]] | None = None,
        resource: str | None = None,
        scope: Scope | None = None,
        buffer: int = 1024,
        overflow: Overflow = Overflow.DROP_OLDEST,
    ) -> Subscription:
        """Events from now on, as an async iterator; see `EventBus.subscribe`."""
        return self.events.subscribe(types, resource, scope, buffer, overflow)

    # ── the end ──

    async def shutdown(
        self, drain: float = 30.0, cleanup: float = 10.0, terminate: float = 5.0
    ) -> ShutdownReport:
        """Drain (it ends the moment the last handle is back), clean up dependents first, terminate; times in seconds.

        Idempotent; concurrent calls share one shutdown, which a cancelled caller does not stop.
        """
        if self._ending is None:
            self._ending = self._tasks.spawn(
                self._end(drain, cleanup, terminate), name="shutdown", awaited=True
            )
        await asyncio.wait((self._ending,))
        return self._ending.result()

    async def _end(self, drain: float, cleanup: float, terminate: float) -> ShutdownReport:
        self.events.publish(ShutdownStarted)
        if self._unsubscribe_token is not None:
            self._unsubscribe_token()
        await self.watch.close()
        report = await self._shutdown.run(self.registry, drain=drain, cleanup=cleanup, terminate=terminate)
        await self.hooks.close(terminate)
        self.events.publish(
            ShutdownFinished,
            drained=report.drained,
            forced=report.forced,
            failed=report.failed,
            left=report.left,
            duration_s=report.duration_s,
        )
        self.events.close()
        return report

    async def shutdown_scope(
        self, scope: Scope, drain: float = 30.0, cleanup: float = 10.0, terminate: float = 5.0
    ) -> ShutdownReport:
        """The same for what ``scope`` contains; nothing else is touched."""
        going = [each for each in self.registry if scope.contains(each.scope)]
        report = await self._shutdown.run(going, drain=drain, cleanup=cleanup, terminate=terminate)
        for each in going:
            self._forget(each)
        return report

    def _on_cancel(self) -> None:
        if self._ending is None:
            self._ending = self._tasks.spawn(self._end(30.0, 10.0, 5.0), name="shutdown", awaited=True)

    # ── the short road ──

    def _pave(self, registration: Registration) -> None:
        """Derive what an acquire of this registration has to look at; done when something changes, not per acquire."""
        key = registration.key
        registration.acquire_hooks = self.hooks.for_resource(key, HookEvent.ACQUIRE)
        registration.release_hooks = self.hooks.for_resource(key, HookEvent.RELEASE)
        observer = self._observers.get(registration.public_id)
        if observer is not None:
            observer.look_at_hooks()
        pool = registration.pool
        registration.pave(
            registration.is_open
            and not registration.gates
            and not registration.acquire_hooks
            and not registration.release_hooks
            and not pool.leases
            and pool.config.sharing is Sharing.EXCLUSIVE
            and pool.config.leak_threshold is None
            and pool.config.use_timing is not UseTiming.ALWAYS
            and not self.events.wants(Acquired)
            and not self.events.wants(Released)
            and not pool.loop.get_debug()
        )

    def _pave_all(self) -> None:
        for registration in self.registry:
            self._pave(registration)

    def _hook_failed(self, hook: str, phase: str, error: BaseException, payload: HookPayload) -> None:
        self.events.publish(
            HookFailed,
            payload.resource_id,
            payload.scope,
            public_id=payload.public_id,
            hook=hook,
            phase=phase,
            error=type(error).__name__,
        )

    def _publish(self, registration: Registration, event: type[Event], **fields: Any) -> None:
        self.events.publish(
            event, registration.key, registration.scope, public_id=registration.public_id, **fields
        )

    def _task_failed(self, error: BaseException, task: str) -> None:
        self.events.publish(ErrorOccurred, code="internal", error=type(error).__name__)


P = TypeVar("P")


def _refuse_autoscale(policy: object) -> None:
    """A setting that does nothing yet is refused, not ignored."""
    if policy is not None and policy is not OFF:
        raise ConfigurationError(
            "auto-scaling is not built yet: leave autoscale out; resize() moves the bounds"
        )


def _policy(own: P | Off | None, inherited: P | Off) -> P | None:
    """None inherits, OFF turns off."""
    chosen = inherited if own is None else own
    return None if chosen is OFF else chosen
