"""Operations: what an operator does with a manager's registrations, by public id or by id and scope."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from nebula_resource.errors import (
    ConfigurationError,
    NotQuarantined,
    ResourceError,
    Unavailable,
    ValidationFailed,
)
from nebula_resource.events import ConfigReloaded, ConfigReloadRejected, Event, Overflow, Subscription
from nebula_resource.manager.dependents import retire_holders
from nebula_resource.manager.parts import ManagerParts, chosen_policy, refuse_autoscale
from nebula_resource.manager.proposal import check_policies, check_proposal
from nebula_resource.manager.registration import Registration
from nebula_resource.manager.reload import ReloadOutcome, ReloadResult
from nebula_resource.model.health import HealthPolicy, HealthStatus
from nebula_resource.model.policy import Off
from nebula_resource.model.scope import Scope
from nebula_resource.pool import PoolConfig
from nebula_resource.quarantine import Manual, QuarantineEntry, QuarantinePolicy

if TYPE_CHECKING:
    from nebula_resource.model.credentials import CredentialProvider
    from nebula_resource.model.ports import Capacity
    from nebula_resource.model.resource import Resource
    from nebula_resource.model.stats import PoolStats

__all__ = ["OF_ANOTHER", "Operations"]

OF_ANOTHER = "another resource of the same reload was refused"
"""All a registration's event says where nothing was wrong with it."""


class Operations(ManagerParts):
    """Each takes an exact public id, else the only registration with that id, else raises `AmbiguousScope`."""

    # ── change ──

    async def reload(
        self,
        key: str,
        new_config: Any,
        *,
        scope: Scope | None = None,
        pool: PoolConfig | Mapping[str, Any] | None = None,
    ) -> ReloadOutcome:
        """Put a new configuration in place; old handles are not interrupted, no acquire fails because of it.

        One that waits for a dependency, or whose opening failed, gets the new configuration and is tried with it at
        once. Raises `NotRegistered`, `AmbiguousScope`, `ValidationFailed`, `Unavailable` (it is being taken down) and
        what opening raised; then the old one serves on.
        """
        registration = self.registry.resolve(key, scope)
        return await self._reloaded(
            registration,
            lambda: registration.with_config(
                *check_proposal(
                    registration.resource,
                    new_config,
                    registration.pool_config if pool is None else pool,
                    registration.scope,
                )
            ),
        )

    def propose(
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
    ) -> Registration:
        """Check what `register` would be given and return it as a value: in no book, without a pool.

        Raises `ValidationFailed` with every violation, and `ConfigurationError`.
        """
        refuse_autoscale(autoscale)
        check_policies(health, quarantine)
        return Registration(
            resource,
            *check_proposal(resource, config, pool, scope),
            scope,
            health=chosen_policy(health, self._health),
            quarantine=chosen_policy(quarantine, self._quarantine),
            credentials=credentials,
            budget=budget,
            required=required,
            cross_tenant=cross_tenant,
        )

    async def replace_all(self, wanted: Sequence[Registration]) -> tuple[ReloadOutcome, ...]:
        """Make several registrations what they are `propose`-d to be, all or none; returns how each went.

        Every new pool is open before the first is swapped in, and all are swapped in one step: no caller sees some of
        them new and others old. Raises `NotRegistered`, and what `reload` raises, as an `ExceptionGroup` where several
        cannot be opened; then all old ones serve on.
        """
        changes = [(self.registry.resolve(each.key, each.scope), each) for each in wanted]
        try:
            outcomes = await self._together.run(changes)
        except Exception as error:
            for registration, _ in changes:
                self._publish(registration, ConfigReloadRejected, violations=_told_to(registration, error))
            raise
        for (registration, _), outcome in zip(changes, outcomes, strict=True):
            if outcome.result is ReloadResult.SWAPPED:
                self._publish(registration, ConfigReloaded, generation=outcome.generation)
        return outcomes

    async def _reloaded(
        self, registration: Registration, propose: Callable[[], Registration]
    ) -> ReloadOutcome:
        """Make it what is proposed, and tell how that went."""
        try:
            outcome = await self._reload.run(registration, propose())
        except Exception as error:
            self._publish(registration, ConfigReloadRejected, violations=_reasons(error))
            raise
        if outcome.result is ReloadResult.SWAPPED:
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

        One that is in on evidence is taken over: recovery leaves it alone from then on. One that a person isolated
        already is `AlreadyQuarantined`.

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
        """Refuse new callers and wait up to ``timeout`` seconds for what is out; returns whether all came back.

        Instances of dependents that hold something of it are retired, busy ones on return; what a busy one still holds is
        in use as before, and no drain waits for it.
        """
        registration = self.registry.resolve(key, scope)
        retire_holders(self.registry.needing(registration.key), self._reload.beside, registration.pool)
        return await registration.pool.drain(timeout)

    def resume(self, key: str, *, scope: Scope | None = None) -> None:
        """Serve again after `drain`. Raises `Unavailable` for one that is being taken down."""
        registration = self.registry.resolve(key, scope)
        if registration.is_going:
            raise Unavailable("draining", resource_id=registration.key)
        registration.pool.resume()

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


def _told_to(registration: Registration, error: Exception) -> tuple[str, ...]:
    """What of a refusal of several stands in one's event: whoever sees that one need not see the others."""
    errors = error.exceptions if isinstance(error, ExceptionGroup) else (error,)
    own = (reason for each in errors if _concerns(registration, each) for reason in _reasons(each))
    return tuple(dict.fromkeys(own)) or (OF_ANOTHER,)


def _concerns(registration: Registration, error: Exception) -> bool:
    return not isinstance(error, ResourceError) or (
        not error.is_of_another(registration.key) and error.scope in {None, registration.scope}
    )


def _reasons(error: Exception) -> tuple[str, ...]:
    """Each violation as text; of any other error its type."""
    return (
        tuple(map(str, error.violations)) if isinstance(error, ValidationFailed) else (type(error).__name__,)
    )
