"""CleanupReason: why an instance had to go."""

from __future__ import annotations

from enum import Enum

__all__ = ["CleanupReason"]


class CleanupReason(Enum):
    """Why an instance was retired (SPEC §9); the value is its name in JSON and in metrics."""

    EXPIRED = "expired"
    """Older than ``max_lifetime``."""
    IDLE_TIMEOUT = "idle_timeout"
    """Idle longer than ``idle_timeout``."""
    HEALTH_CHECK_FAILED = "health_check_failed"
    """Validation, or a probe of this one instance, said no."""
    RECYCLE_FAILED = "recycle_failed"
    """It could not be made clean, or the recycle circuit is open."""
    BROKEN = "broken"
    """``Resource.is_broken`` said so when it came back."""
    TAINTED = "tainted"
    """Its holder said so."""
    BODY_FAILED = "body_failed"
    """The body that used it raised or was cancelled, and ``on_error`` is RETIRE."""
    EVICTED = "evicted"
    """A resize, a scale-down or an operator's predicate chose it."""
    CONFIG_CHANGED = "config_changed"
    """It was made for an older generation of the configuration."""
    CREDENTIAL_REVOKED = "credential_revoked"
    """The credential it was made with was revoked."""
    UNHEALTHY = "unhealthy"
    """Its resource is unhealthy and not recoverable."""
    DETACHED = "detached"
    """Its holder took it out of the pool; ``cleanup`` is not called."""
    STOLEN = "stolen"
    """A shared budget needed its place for another scope's waiter."""
    SCOPE_CLOSED = "scope_closed"
    """The managed scope that owned its pool ended."""
    DRAINED = "drained"
    """Its pool, or a pool it depends on, was drained."""
    LEAKED = "leaked"
    """Its handle was lost unreleased, or the loop ended during its release."""
    CREATE_CANCELLED = "create_cancelled"
    """Nobody waited for it any more when it was made."""
    SHUTDOWN = "shutdown"
    """Its pool was closed."""
