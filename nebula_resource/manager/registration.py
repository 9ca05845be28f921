"""Registration: one resource in one scope: its pool, its policies, and whether callers may have it."""

from __future__ import annotations

import asyncio
import base64
import hashlib
from collections.abc import Callable
from datetime import UTC, datetime
from enum import Enum, IntEnum
from typing import Any

from nebula_resource.errors import (
    AcquireCancelled,
    AcquireTimeout,
    CircuitOpen,
    CreateFailed,
    HookCancelled,
    PoolExhausted,
    QuotaExceeded,
    ResourceError,
    Unavailable,
)
from nebula_resource.hooks import ResourceHook
from nebula_resource.manager.overheard import Secrets
from nebula_resource.model.credentials import CredentialProvider
from nebula_resource.model.health import HealthPolicy
from nebula_resource.model.ports import Capacity, Gate
from nebula_resource.model.resource import Resource
from nebula_resource.model.scope import Scope
from nebula_resource.pool import Pool, PoolConfig
from nebula_resource.pool.entry import Entry
from nebula_resource.quarantine import QuarantinePolicy

__all__ = ["Cause", "Registration", "RegistrationState", "public_id"]

Refusal = Callable[[], ResourceError]

_BY_POOL = (AcquireTimeout, PoolExhausted)
"""What the pool itself counts, as it does every cancellation."""
_OUTCOMES: dict[type[BaseException], str] = {
    CircuitOpen: "circuit_open",
    CreateFailed: "create_failed",
    HookCancelled: "hook_cancelled",
    QuotaExceeded: "quota",
}
FAILED = "failed"
_WHY = frozenset({"not_open", "draining", "suspended", "quarantined", "unhealthy", "closed"})


class RegistrationState(Enum):
    """How far a registration has come."""

    CREATED = "created"
    """It waits for a dependency, or for a recovery to open it."""
    OPENING = "opening"
    READY = "ready"
    DRAINING = "draining"
    CLOSED = "closed"


class Cause(IntEnum):
    """Why callers are refused, the strongest first."""

    CLOSED = 0
    DRAINING = 1
    GROUP = 2
    """It went down with something that it needs (a cascade)."""
    QUARANTINED = 3
    NOT_OPEN = 4
    UNHEALTHY = 5


def public_id(resource_id: str, scope: Scope) -> str:
    """The id that the outside sees: the resource id, and below GLOBAL a digest of the scope that tells nothing of it."""
    if scope == Scope.GLOBAL:
        return resource_id
    digest = hashlib.sha256(str(scope).encode()).digest()
    return f"{resource_id}~{base64.b32encode(digest).decode().lower()[:10]}"


class Registration:
    """One resource registered in one scope.

    ``refusal`` is the one slot that a caller's way looks at: None, or what makes the error of the strongest standing
    cause. ``is_plain`` says that there is nothing else to look at: no gate, no hook, nobody who listens, no lease.
    """

    __slots__ = (
        "__weakref__", "_causes", "acquire_hooks", "budget", "config", "credentials", "cross_tenant", "dependencies",
        "gates", "generation", "health", "is_plain", "key", "pool", "pool_config", "public_id", "quarantine",
        "refusal", "refused", "registered_at", "release_hooks", "required", "resource", "scope", "secrets",
        "state", "swapping", "take",
    )  # fmt: skip  # one list of names

    def __init__(
        self,
        resource: Resource[Any, Any, Any],
        config: Any,
        pool_config: PoolConfig,
        scope: Scope,
        *,
        health: HealthPolicy | None = None,
        quarantine: QuarantinePolicy | None = None,
        credentials: CredentialProvider | None = None,
        budget: Capacity | None = None,
        required: bool = False,
        cross_tenant: bool = False,
    ) -> None:
        self.key = str(resource.id)
        self.scope = scope
        self.public_id = public_id(self.key, scope)
        self.resource = resource
        self.config = config
        self.pool_config = pool_config
        self.health = health
        self.quarantine = quarantine
        self.credentials = credentials
        self.secrets = Secrets()
        """What its provider gave: no reason of a check, or of a hook, may quote it."""
        self.budget = budget
        self.required = required
        self.cross_tenant = cross_tenant
        self.dependencies: tuple[str, ...] = tuple(resource.dependencies)
        self.registered_at = datetime.now(UTC)
        self.generation = 1
        self.state = RegistrationState.CREATED
        self.pool: Pool[Any, Any, Any] = None  # type: ignore[assignment]  # set by whoever builds the pool, at once
        self.refusal: Refusal | None = None
        self.refused: dict[str, int] = {}
        """How many callers got an error that no counter of the pool tells of, by what metrics call it."""
        self.gates: tuple[Gate, ...] = ()
        self.acquire_hooks: tuple[ResourceHook, ...] = ()
        self.release_hooks: tuple[ResourceHook, ...] = ()
        self.is_plain = False
        self.take: Callable[[], Entry] | None = None
        """Takes an idle entry off the shelf, IndexError without one; None: there is more to look at than that."""
        self.swapping = asyncio.Lock()
        """Held while a reload changes it: one after the other."""
        self._causes: dict[Cause, Refusal] = {}

    def __repr__(self) -> str:
        refused = "" if not self._causes else f" refused: {min(self._causes).name.lower()}"
        return f"<Registration '{self.public_id}' {self.state.value} generation {self.generation}{refused}>"

    @property
    def is_open(self) -> bool:
        """Whether its pool serves."""
        return self.state is RegistrationState.READY

    @property
    def is_going(self) -> bool:
        """Whether it is being taken down, or was."""
        return self.state in {RegistrationState.DRAINING, RegistrationState.CLOSED}

    def what_is_secret(self) -> tuple[object, ...]:
        """What holds its secrets: nothing that a check, a recovery strategy or a hook says may quote one."""
        return (self.config, *self.secrets.all())

    def with_config(self, config: Any, pool_config: PoolConfig) -> Registration:
        """One like it, with another configuration: what it is wanted to be; it is in no book and has no pool."""
        return Registration(
            self.resource,
            config,
            pool_config,
            self.scope,
            health=self.health,
            quarantine=self.quarantine,
            credentials=self.credentials,
            budget=self.budget,
            required=self.required,
            cross_tenant=self.cross_tenant,
        )

    def become(self, wanted: Registration, pool: Pool[Any, Any, Any]) -> None:
        """Take over what it is wanted to be, and a pool made for that; callers notice nothing."""
        self.resource, self.config, self.pool_config = wanted.resource, wanted.config, wanted.pool_config
        self.health, self.quarantine = wanted.health, wanted.quarantine
        self.credentials, self.budget = wanted.credentials, wanted.budget
        self.required, self.cross_tenant = wanted.required, wanted.cross_tenant
        self.dependencies = wanted.dependencies
        self.generation += 1
        self.pool = pool
        self.refused = {}  # who was turned away from the old pool belongs to its numbers
        self.pave(False)  # the short road led to the old pool

    def refuse(self, cause: Cause, refusal: Refusal) -> None:
        """Refuse callers for a cause; whoever waits in line under the strongest is told at once."""
        self._causes[cause] = refusal
        self._settle()
        assert self.refusal is not None, "there is a cause"
        self.pool.fail_line(self.refusal)

    def allow(self, cause: Cause) -> None:
        """This cause is over."""
        if self._causes.pop(cause, None) is not None:
            self._settle()

    def is_refused(self, cause: Cause) -> bool:
        """Whether this cause stands."""
        return cause in self._causes

    @property
    def causes(self) -> tuple[Cause, ...]:
        """All standing causes, the strongest first."""
        return tuple(sorted(self._causes))

    def count_refused(self, error: BaseException) -> None:
        """A caller got this error instead of a handle: one outcome; what the pool itself counts is left out."""
        outcome = self._outcome(error)
        if outcome is not None:
            self.refused[outcome] = self.refused.get(outcome, 0) + 1

    def _outcome(self, error: BaseException) -> str | None:
        if not isinstance(error, Exception) or isinstance(error, AcquireCancelled):
            return None
        if isinstance(error, ResourceError) and error.resource_id in (None, self.key):
            if isinstance(error, _BY_POOL):
                return None
            if isinstance(error, Unavailable):
                return error.why if error.why in _WHY else "unavailable"  # a user's own word is no label
            return _OUTCOMES.get(type(error), FAILED)
        return FAILED  # the lease's entry raised it: something foreign, or of another resource that it needs

    def _settle(self) -> None:
        self.refusal = self._causes[min(self._causes)] if self._causes else None
        self.pave(self.is_plain)

    def pave(self, is_plain: bool) -> None:
        """Say whether there is nothing to look at but the refusal, and derive the short road from both."""
        self.is_plain = is_plain
        self.take = self.pool.take if is_plain and self.refusal is None else None
