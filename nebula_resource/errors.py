"""Errors: what can go wrong, as data; each class carries its fields and writes its own message.

No message holds a secret, an input value of a configuration, or a scope other than the caller's. The wording of a
foreign error (a driver's, a user's) stays on ``__cause__``; only its type name appears in a text of ours.
"""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

__all__ = [
    "AcquireCancelled",
    "AcquireTimeout",
    "AlreadyQuarantined",
    "AlreadyRegistered",
    "AmbiguousScope",
    "BackendUnavailable",
    "CircuitOpen",
    "CircularDependency",
    "CleanupError",
    "ConfigurationError",
    "CreateFailed",
    "CredentialRevoked",
    "DependencyFailure",
    "FieldViolation",
    "HandleReleased",
    "HealthCheckFailed",
    "HookCancelled",
    "InitializationError",
    "InternalError",
    "InvalidScope",
    "InvalidStateTransition",
    "MissingCredential",
    "NoOpenScope",
    "NotQuarantined",
    "NotRegistered",
    "PoolExhausted",
    "ProbeFailed",
    "QuotaExceeded",
    "ResourceError",
    "ResourceNotFound",
    "ScopeNotFound",
    "TooManyScopes",
    "Unavailable",
    "ValidationFailed",
    "WrongEventLoop",
]


@dataclass(frozen=True, slots=True)
class FieldViolation:
    """One field that breaks one rule.

    ``field`` is a dotted path (``config.pool.max_size``), ``constraint`` the rule in words, ``actual`` what was found:
    a number, a short word or a type name, never a secret; empty where there is nothing to say of it.
    """

    field: str
    constraint: str
    actual: str

    def __str__(self) -> str:
        found = f" (got {self.actual})" if self.actual else ""
        return f"{self.field}: {self.constraint}{found}"


class ResourceError(Exception):
    """Base of every error of this library.

    ``resource_id`` names the resource as the caller named it, ``scope`` is the caller's own scope; ``retryable`` says
    whether the same call may succeed later, ``retry_after`` (seconds) when; ``code`` is stable and safe to match on.
    """

    code: ClassVar[str] = "resource_error"
    default_retryable: ClassVar[bool] = False

    def __init__(
        self,
        message: str,
        *,
        resource_id: str | None = None,
        scope: object | None = None,
        retryable: bool | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.resource_id = resource_id
        self.scope = scope
        self.retryable = self.default_retryable if retryable is None else retryable
        self.retry_after = retry_after

    @property
    def message(self) -> str:
        """The text alone."""
        return str(self.args[0]) if self.args else ""

    def is_of_another(self, resource_id: str) -> bool:
        """Whether this names a resource, and not that one."""
        return self.resource_id not in {None, resource_id}

    def __reduce__(self) -> tuple[Any, ...]:
        state = self.__dict__.copy()
        cause = state.get("cause")
        if isinstance(cause, BaseException):
            state["cause"] = _portable(cause)
        return _rebuild, (type(self), self.args, state)


def _rebuild(cls: type[ResourceError], args: tuple[Any, ...], state: dict[str, Any]) -> ResourceError:
    """Unpickle without calling the class's own constructor, whose arguments are not ``args``."""
    error = cls.__new__(cls, *args)
    error.args = args
    error.__dict__.update(state)
    error.__cause__ = state.get("cause")
    return error


def _portable(cause: BaseException) -> BaseException:
    """The cause itself if it survives a pickle; many a driver's error holds a socket, or cannot be made again."""
    try:
        pickle.loads(pickle.dumps(cause))  # noqa: S301  # our own bytes, written in the same line
    except Exception:
        return InternalError(f"{type(cause).__name__} (it could not be carried over)")
    return cause


def _named(resource_id: str | None) -> str:
    return f"resource '{resource_id}'" if resource_id is not None else "the resource"


# ── what was asked for is wrong ───────────────────────────────────────────────────────────────────────────────────


class ConfigurationError(ResourceError):
    """Something was declared or called wrongly; the message says how to put it right."""

    code = "configuration"


class ValidationFailed(ConfigurationError):
    """A configuration breaks rules; ``violations`` lists all of them."""

    code = "validation_failed"

    def __init__(self, violations: Sequence[FieldViolation], *, resource_id: str | None = None) -> None:
        self.violations = tuple(violations)
        what = _named(resource_id) if resource_id is not None else "the configuration"
        listed = "; ".join(str(violation) for violation in self.violations)
        super().__init__(f"{what} is not valid: {listed}", resource_id=resource_id)


class CircularDependency(ConfigurationError):
    """Resources need each other in a circle; ``cycle`` is the path, its first id repeated at the end."""

    code = "circular_dependency"

    def __init__(self, cycle: Sequence[str]) -> None:
        self.cycle = tuple(cycle)
        super().__init__(
            f"circular dependency: {' → '.join(self.cycle)}",
            resource_id=self.cycle[0] if self.cycle else None,
        )


class InvalidScope(ConfigurationError):
    """A scope, or a combination of two, that cannot be."""

    code = "invalid_scope"


class InvalidStateTransition(ResourceError):
    """A move that the life cycle's table does not have."""

    code = "invalid_state_transition"

    def __init__(self, old: object, new: object, *, resource_id: str | None = None) -> None:
        self.old = old
        self.new = new
        old_name = getattr(old, "name", old)
        new_name = getattr(new, "name", new)
        super().__init__(
            f"{_named(resource_id)} cannot go from {old_name} to {new_name}", resource_id=resource_id
        )


# ── what was asked for is not there, or already is ─────────────────────────────────────────────────────────────────


class ResourceNotFound(ResourceError):
    """No registration serves this caller: unknown and foreign look the same, on purpose.

    ``hint`` is added to the message. It may depend on the caller alone, never on what is registered.
    """

    code = "resource_not_found"

    def __init__(self, resource_id: str, *, scope: object | None = None, hint: str = "") -> None:
        super().__init__(
            f"no resource '{resource_id}' for this scope{hint}", resource_id=resource_id, scope=scope
        )


class NotRegistered(ResourceNotFound):
    """An operator's call names no registration."""

    code = "not_registered"


class ScopeNotFound(ResourceError):
    """An operator's call names no scope that is known."""

    code = "scope_not_found"

    def __init__(self, scope: object | None = None) -> None:
        super().__init__("no such scope", scope=scope)


class NotQuarantined(ResourceError):
    """A release of what is not quarantined."""

    code = "not_quarantined"

    def __init__(self, resource_id: str, *, scope: object | None = None) -> None:
        super().__init__(f"{_named(resource_id)} is not quarantined", resource_id=resource_id, scope=scope)


class AlreadyRegistered(ResourceError):
    """The id is taken in this scope; ``replace=True`` would reload it."""

    code = "already_registered"

    def __init__(self, resource_id: str, *, scope: object | None = None) -> None:
        super().__init__(
            f"{_named(resource_id)} is already registered in this scope; pass replace=True to reload it",
            resource_id=resource_id,
            scope=scope,
        )


class AlreadyQuarantined(ResourceError):
    """The resource is quarantined already."""

    code = "already_quarantined"

    def __init__(self, resource_id: str, *, scope: object | None = None) -> None:
        super().__init__(
            f"{_named(resource_id)} is already quarantined", resource_id=resource_id, scope=scope
        )


class AmbiguousScope(ResourceError):
    """More than one registration answers; ``candidates`` are the public ids the caller may see."""

    code = "ambiguous_scope"

    def __init__(
        self, resource_id: str, *, candidates: Sequence[str] = (), scope: object | None = None
    ) -> None:
        self.candidates = tuple(candidates)
        hint = f": {', '.join(self.candidates)}" if self.candidates else ""
        super().__init__(
            f"more than one registration of '{resource_id}' fits{hint}", resource_id=resource_id, scope=scope
        )


class HookCancelled(ResourceError):
    """A hook stopped the operation."""

    code = "hook_cancelled"

    def __init__(
        self, hook: str, reason: str, *, resource_id: str | None = None, scope: object | None = None
    ) -> None:
        self.hook = hook
        self.reason = reason
        super().__init__(
            f"hook '{hook}' refused {_named(resource_id)}: {reason}", resource_id=resource_id, scope=scope
        )


# ── it is there and cannot be had now ──────────────────────────────────────────────────────────────────────────────


def _is_retryable(cause: BaseException | None) -> bool:
    """A failed step is as retryable as its cause: ours say so themselves, the network's errors pass."""
    said = getattr(cause, "retryable", None)
    return said if isinstance(said, bool) else isinstance(cause, OSError | TimeoutError)


class InitializationError(ResourceError):
    """A resource could not be brought up."""

    code = "initialization_failed"


class CreateFailed(InitializationError):
    """``Resource.create`` failed; ``cause`` is what it raised (also ``__cause__``)."""

    code = "create_failed"

    def __init__(
        self, cause: BaseException, *, resource_id: str | None = None, scope: object | None = None
    ) -> None:
        self.cause = cause
        self.__cause__ = cause
        super().__init__(
            f"could not create an instance of {_named(resource_id)}: {type(cause).__name__}",
            resource_id=resource_id,
            scope=scope,
            retryable=_is_retryable(cause),
        )


class Unavailable(ResourceError):
    """Refused for now; ``why`` is one of not_open, draining, suspended, quarantined, unhealthy, closed.

    ``waited_s`` says how long the caller had stood in line by then (seconds); None: it was not even put there.
    """

    code = "unavailable"
    waited_s: float | None = None

    def __init__(
        self,
        why: str,
        *,
        resource_id: str | None = None,
        scope: object | None = None,
        retryable: bool = False,
        retry_after: float | None = None,
        hint: str = "",
    ) -> None:
        self.why = why
        later = f"; try again in {retry_after:.1f} s" if retry_after is not None else ""
        super().__init__(
            f"{_named(resource_id)} is {why.replace('_', ' ')}{hint}{later}",
            resource_id=resource_id,
            scope=scope,
            retryable=retryable,
            retry_after=retry_after,
        )


class HealthCheckFailed(ResourceError):
    """A health check could not be carried out or said no."""

    code = "health_check_failed"

    def __init__(self, reason: str, *, resource_id: str | None = None) -> None:
        self.reason = reason
        super().__init__(f"health check of {_named(resource_id)} failed: {reason}", resource_id=resource_id)


class ProbeFailed(ResourceError):
    """A release by probe was refused because the probe failed; ``health`` is its result."""

    code = "probe_failed"
    default_retryable = True

    def __init__(
        self, health: object, *, resource_id: str | None = None, scope: object | None = None
    ) -> None:
        self.health = health
        super().__init__(
            f"{_named(resource_id)} is not well yet: its probe failed", resource_id=resource_id, scope=scope
        )


class DependencyFailure(ResourceError):
    """A resource that this one needs is not open."""

    code = "dependency_failure"

    def __init__(
        self, dependency_id: str, *, resource_id: str | None = None, scope: object | None = None
    ) -> None:
        self.dependency_id = dependency_id
        super().__init__(
            f"{_named(resource_id)} needs '{dependency_id}', which is not open",
            resource_id=resource_id,
            scope=scope,
        )


class MissingCredential(ResourceError):
    """A credential that the resource declares is not to be had."""

    code = "missing_credential"

    def __init__(self, key: str, *, resource_id: str | None = None) -> None:
        self.key = key
        super().__init__(
            f"{_named(resource_id)} needs the credential '{key}', which no provider has",
            resource_id=resource_id,
        )


class CredentialRevoked(ResourceError):
    """The credential behind this instance was revoked."""

    code = "credential_revoked"
    default_retryable = True

    def __init__(self, key: str, *, resource_id: str | None = None) -> None:
        self.key = key
        super().__init__(
            f"the credential '{key}' of {_named(resource_id)} was revoked", resource_id=resource_id
        )


class BackendUnavailable(ResourceError):
    """A shared backend (quotas, events) is away."""

    code = "backend_unavailable"
    default_retryable = True


class AcquireCancelled(ResourceError):
    """The cancellation token of the caller's context was cancelled while it waited."""

    code = "acquire_cancelled"

    def __init__(self, *, resource_id: str | None = None, scope: object | None = None) -> None:
        super().__init__(
            f"the acquire of {_named(resource_id)} was cancelled by its token",
            resource_id=resource_id,
            scope=scope,
        )


class AcquireTimeout(ResourceError, TimeoutError):
    """A deadline passed; ``operation`` says in which step, ``waited_s`` (seconds) after how long."""

    code = "acquire_timeout"
    default_retryable = True

    def __init__(
        self,
        operation: str,
        waited_s: float,
        *,
        resource_id: str | None = None,
        scope: object | None = None,
        retry_after: float | None = None,
    ) -> None:
        self.operation = operation
        self.waited_s = waited_s
        super().__init__(
            f"{operation} of {_named(resource_id)} timed out after {waited_s:.3f} s",
            resource_id=resource_id,
            scope=scope,
            retry_after=retry_after,
        )


class CircuitOpen(ResourceError):
    """A circuit refuses the operation for now."""

    code = "circuit_open"
    default_retryable = True

    def __init__(
        self,
        operation: str,
        *,
        retry_after: float | None = None,
        resource_id: str | None = None,
        scope: object | None = None,
    ) -> None:
        self.operation = operation
        super().__init__(
            f"{operation} of {_named(resource_id)} failed too often; its circuit is open",
            resource_id=resource_id,
            scope=scope,
            retry_after=retry_after,
        )


class PoolExhausted(ResourceError):
    """Refused without waiting: nothing idle, no room, and the line is full or forbidden."""

    code = "pool_exhausted"
    default_retryable = True

    def __init__(
        self, max_size: int, waiting: int, *, resource_id: str | None = None, scope: object | None = None
    ) -> None:
        self.max_size = max_size
        self.waiting = waiting
        super().__init__(
            f"{_named(resource_id)} is exhausted: max {max_size}, {waiting} waiting",
            resource_id=resource_id,
            scope=scope,
        )


class QuotaExceeded(ResourceError):
    """A quota of the caller's scope is used up."""

    code = "quota_exceeded"
    default_retryable = True

    def __init__(
        self,
        quota: str,
        limit: float,
        current: float,
        *,
        resource_id: str | None = None,
        scope: object | None = None,
        retry_after: float | None = None,
    ) -> None:
        self.quota = quota
        self.limit = limit
        self.current = current
        super().__init__(
            f"quota {quota} is used up: limit {limit:g}, now {current:g}",
            resource_id=resource_id,
            scope=scope,
            retry_after=retry_after,
        )


class TooManyScopes(ResourceError):
    """No further managed scope may be created."""

    code = "too_many_scopes"
    default_retryable = True

    def __init__(self, current: int, limit: int) -> None:
        self.current = current
        self.limit = limit
        super().__init__(f"too many scopes: {current} of {limit}")


# ── somebody called wrongly at run time, or we did ────────────────────────────────────────────────────────────────


class NoOpenScope(ResourceError):
    """A lease was asked for outside an open scope; the message says which call to wrap."""

    code = "no_open_scope"


class HandleReleased(ResourceError):
    """The handle was released, detached or never entered."""

    code = "handle_released"

    def __init__(self, *, resource_id: str | None = None) -> None:
        super().__init__(
            f"the handle of {_named(resource_id)} holds nothing: it was released", resource_id=resource_id
        )


class WrongEventLoop(ResourceError):
    """A pool was used from another event loop, thread or process than the one that owns it."""

    code = "wrong_event_loop"

    def __init__(self, *, resource_id: str | None = None, forked: bool = False) -> None:
        self.forked = forked
        where = "a forked process" if forked else "another event loop or thread"
        super().__init__(
            f"{_named(resource_id)} is used from {where}; one event loop owns a pool: open one per loop",
            resource_id=resource_id,
        )


class CleanupError(ResourceError):
    """``Resource.cleanup`` failed or timed out; reported, never raised into a caller's release."""

    code = "cleanup_failed"

    def __init__(self, cause: BaseException, *, resource_id: str | None = None) -> None:
        self.cause = cause
        self.__cause__ = cause
        super().__init__(
            f"cleanup of {_named(resource_id)} failed: {type(cause).__name__}", resource_id=resource_id
        )


class InternalError(ResourceError):
    """A rule of this library was broken, by a user's resource or by us; the message says which."""

    code = "internal"
