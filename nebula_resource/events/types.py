"""The catalogue of events: everything that is told about resources, pools, scopes and the process (SPEC §9)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from types import MappingProxyType
from typing import Any, ClassVar

from nebula_resource.events.event import Event, Severity
from nebula_resource.model.reasons import CleanupReason

__all__ = [
    "EVENTS",
    "EVENT_TYPES",
    "AcquireRejected",
    "Acquired",
    "AdmissionStepped",
    "AutoScaleBlocked",
    "AutoScaled",
    "BackendDown",
    "BackendUp",
    "CascadeDetected",
    "CascadeResolved",
    "CheckerSuspected",
    "CircuitClosed",
    "CircuitOpened",
    "CleanedUp",
    "CleanupReason",
    "ConfigReloadRejected",
    "ConfigReloaded",
    "Created",
    "CredentialRevoked",
    "CredentialRotated",
    "Deregistered",
    "ErrorOccurred",
    "Event",
    "HealthChanged",
    "HookFailed",
    "InstanceRetired",
    "LeakSuspected",
    "LeaseLost",
    "LoopBlocked",
    "PoolDrained",
    "PoolDraining",
    "PoolResized",
    "PoolResumed",
    "PoolSuspended",
    "QuarantineExhausted",
    "QuarantineReleased",
    "Quarantined",
    "QuotaChanged",
    "RecoveryAttempted",
    "Registered",
    "RejectReason",
    "Released",
    "ScopeCleanedUp",
    "ScopeCreated",
    "Severity",
    "ShutdownFinished",
    "ShutdownStarted",
    "WorkflowProgress",
    "event_from_json",
]


class RejectReason(Enum):
    """Why a caller got an error instead of a handle."""

    EXHAUSTED = "exhausted"
    TIMEOUT = "timeout"
    CIRCUIT = "circuit"
    QUOTA = "quota"


# ── registrations ────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True, kw_only=True)
class Registered(Event):
    """A resource was registered."""

    name: ClassVar[str] = "pool.registered"

    generation: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Deregistered(Event):
    """A registration is gone."""

    name: ClassVar[str] = "pool.removed"


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigReloaded(Event):
    """A new configuration took over."""

    name: ClassVar[str] = "pool.config_reloaded"

    generation: int
    """The generation that serves now."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigReloadRejected(Event):
    """A new configuration was refused; the old one serves on."""

    name: ClassVar[str] = "pool.config_rejected"
    default_severity: ClassVar[Severity] = Severity.WARNING

    violations: tuple[str, ...]
    """Dotted path and rule of each violation, never a value."""


# ── instances and their use ──────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True, kw_only=True)
class Created(Event):
    """An instance was made."""

    name: ClassVar[str] = "instance.created"

    duration_s: float | None = None
    """Seconds that it took."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Acquired(Event):
    """A caller got a handle."""

    name: ClassVar[str] = "resource.acquired"

    waited_s: float
    """Seconds from the call to the handle."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Released(Event):
    """A handle came back."""

    name: ClassVar[str] = "resource.released"

    held_s: float | None = None
    """Seconds it was out; None when this use was not timed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AcquireRejected(Event):
    """A caller got an error instead of a handle."""

    name: ClassVar[str] = "resource.rejected"
    default_severity: ClassVar[Severity] = Severity.WARNING

    reason: RejectReason
    waited_s: float | None = None
    """Seconds the caller had waited."""
    quota: str | None = None
    """Which quota, when it was one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceRetired(Event):
    """An instance was taken out of use."""

    name: ClassVar[str] = "instance.retired"

    reason: CleanupReason


@dataclass(frozen=True, slots=True, kw_only=True)
class CleanedUp(Event):
    """A retired instance is gone."""

    name: ClassVar[str] = "instance.cleaned_up"

    reason: CleanupReason
    duration_s: float | None = None
    """Seconds its cleanup took."""
    error: str | None = None
    """Type name of what cleanup raised."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LeakSuspected(Event):
    """A handle is out for too long, or was lost unreleased."""

    name: ClassVar[str] = "instance.leaked"
    default_severity: ClassVar[Severity] = Severity.WARNING

    held_s: float | None
    """Seconds it has been out; None when untimed."""
    where: tuple[str, ...] = ()
    """Lines of the stack of its acquire, outermost first."""


# ── health and quarantine ────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthChanged(Event):
    """The effective health of a resource is another; states are the lower-case names of §11."""

    name: ClassVar[str] = "health.changed"
    default_severity: ClassVar[Severity] = Severity.WARNING

    old: str
    new: str
    because: tuple[str, ...] = ()
    """The causes, as texts; a dependency's by its id."""

    @property
    def severity(self) -> Severity:
        """By where it went: unhealthy is critical, degraded and unknown a warning."""
        return _OF_STATE.get(self.new, Severity.WARNING)


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckerSuspected(Event):
    """So much failed at once that the checker doubts itself; quarantine is frozen."""

    name: ClassVar[str] = "health.checker_suspected"
    default_severity: ClassVar[Severity] = Severity.CRITICAL

    failing: int = 0
    probed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Quarantined(Event):
    """A resource was cut off."""

    name: ClassVar[str] = "quarantine.entered"
    default_severity: ClassVar[Severity] = Severity.CRITICAL

    reason: str
    """Consecutive_failures, cascade or manual."""
    detail: str = ""
    """The reason's own number, root or text."""
    by: str | None = None
    """The operator; None when automatic."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RecoveryAttempted(Event):
    """A quarantined resource was tried."""

    name: ClassVar[str] = "quarantine.probe"

    outcome: str
    """Recovered, failed or postponed."""
    attempt: int = 0
    """Its number, the first is 1."""
    next_in_s: float | None = None
    """Seconds to the next."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AdmissionStepped(Event):
    """A released resource admits more, or all again."""

    name: ClassVar[str] = "quarantine.admission"

    permits: int | None
    """Uses at a time; None: no limit any more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class QuarantineReleased(Event):
    """A quarantine ended."""

    name: ClassVar[str] = "quarantine.released"

    by: str
    """Recovery, expiry or the operator."""
    attempts: int = 0
    """Recovery attempts until then."""


@dataclass(frozen=True, slots=True, kw_only=True)
class QuarantineExhausted(Event):
    """Every recovery attempt failed."""

    name: ClassVar[str] = "quarantine.exhausted"
    default_severity: ClassVar[Severity] = Severity.CRITICAL

    attempts: int = 0
    then: str = "park"
    """Park: probed every few minutes; stop: until a person releases it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CascadeDetected(Event):
    """One failure took its dependents along."""

    name: ClassVar[str] = "cascade.detected"
    default_severity: ClassVar[Severity] = Severity.CRITICAL

    root: str
    affected: tuple[str, ...]
    incident: str
    """Id that the pair of events shares."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CascadeResolved(Event):
    """The root of a cascade is well again."""

    name: ClassVar[str] = "cascade.resolved"

    root: str = ""
    incident: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class CircuitOpened(Event):
    """An operation failed too often and is refused for a while."""

    name: ClassVar[str] = "circuit.opened"
    default_severity: ClassVar[Severity] = Severity.WARNING

    operation: str = "create"
    """Create, recycle or group."""
    open_for_s: float | None = None
    """Seconds until one trial."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CircuitClosed(Event):
    """An operation that was refused is allowed again."""

    name: ClassVar[str] = "circuit.closed"

    operation: str = "create"


# ── pools ────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolResized(Event):
    """A pool has other bounds."""

    name: ClassVar[str] = "pool.resized"

    min_size: int
    max_size: int
    old_min_size: int | None = None
    old_max_size: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolDraining(Event):
    """A pool gives out nothing more and waits for what is out."""

    name: ClassVar[str] = "pool.draining"


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolDrained(Event):
    """Nothing of a draining pool is out any more."""

    name: ClassVar[str] = "pool.drained"

    left: int = 0
    """Handles still out when its time was up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolSuspended(Event):
    """A pool holds its callers back."""

    name: ClassVar[str] = "pool.suspended"


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolResumed(Event):
    """A pool serves again."""

    name: ClassVar[str] = "pool.resumed"


@dataclass(frozen=True, slots=True, kw_only=True)
class AutoScaled(Event):
    """The scaler moved a pool's effective maximum."""

    name: ClassVar[str] = "autoscale.applied"

    direction: str
    """Up or down."""
    old: int
    new: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AutoScaleBlocked(Event):
    """The scaler wanted to and was not allowed."""

    name: ClassVar[str] = "autoscale.blocked"

    why: str


# ── scopes, quotas, credentials ──────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True, kw_only=True)
class ScopeCreated(Event):
    """A managed scope began."""

    name: ClassVar[str] = "scope.created"


@dataclass(frozen=True, slots=True, kw_only=True)
class ScopeCleanedUp(Event):
    """A managed scope ended with all it owned."""

    name: ClassVar[str] = "scope.cleaned_up"

    reason: str
    """Ttl, request or shutdown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class QuotaChanged(Event):
    """A scope has another quota."""

    name: ClassVar[str] = "scope.quota_changed"

    quota: str = ""
    """The fields that changed, joined by a comma."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CredentialRotated(Event):
    """A credential has a new version."""

    name: ClassVar[str] = "credential.rotated"

    key: str
    strategy: str = "hot_swap"


@dataclass(frozen=True, slots=True, kw_only=True)
class CredentialRevoked(Event):
    """A credential must not be used any more."""

    name: ClassVar[str] = "credential.revoked"
    default_severity: ClassVar[Severity] = Severity.WARNING

    key: str


# ── the process and its surroundings ─────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True, kw_only=True)
class HookFailed(Event):
    """A hook raised, hung or was cancelled."""

    name: ClassVar[str] = "hook.failed"
    default_severity: ClassVar[Severity] = Severity.WARNING

    hook: str
    phase: str
    """Before, after or filter."""
    error: str
    """Type name of the error."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoopBlocked(Event):
    """The event loop did not turn for a while."""

    name: ClassVar[str] = "loop.blocked"
    default_severity: ClassVar[Severity] = Severity.WARNING

    blocked_s: float
    """Seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseLost(Event):
    """A share that other processes were told of has expired."""

    name: ClassVar[str] = "lease.lost"
    default_severity: ClassVar[Severity] = Severity.WARNING

    lease: str = ""
    """What it was a share of."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BackendDown(Event):
    """A shared backend is away."""

    name: ClassVar[str] = "backend.down"
    default_severity: ClassVar[Severity] = Severity.WARNING

    backend: str


@dataclass(frozen=True, slots=True, kw_only=True)
class BackendUp(Event):
    """A shared backend is back."""

    name: ClassVar[str] = "backend.up"

    backend: str


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkflowProgress(Event):
    """A workflow moved on."""

    name: ClassVar[str] = "workflow.progress"

    workflow: str
    execution: str
    status: str
    step: str | None = None
    done: int = 0
    """Steps finished."""
    total: int = 0
    """Steps in all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorOccurred(Event):
    """Something of ours failed and nobody else reports it."""

    name: ClassVar[str] = "error"
    default_severity: ClassVar[Severity] = Severity.CRITICAL

    code: str
    """`ResourceError.code`, or internal_error."""
    error: str | None = None
    """Type name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ShutdownStarted(Event):
    """The manager began to shut down."""

    name: ClassVar[str] = "shutdown.started"


@dataclass(frozen=True, slots=True, kw_only=True)
class ShutdownFinished(Event):
    """The manager is down."""

    name: ClassVar[str] = "shutdown.finished"

    drained: int = 0
    """Registrations whose handles all came back."""
    forced: int = 0
    """Registrations whose handles did not."""
    failed: int = 0
    """Cleanups that raised or timed out."""
    left: int = 0
    """Instances left behind."""
    duration_s: float = 0.0
    """Seconds."""


_OF_STATE: Mapping[str, Severity] = MappingProxyType(
    {"healthy": Severity.INFO, "unhealthy": Severity.CRITICAL}
)

EVENTS: tuple[type[Event], ...] = (
    Registered,
    Deregistered,
    ConfigReloaded,
    ConfigReloadRejected,
    Created,
    Acquired,
    Released,
    AcquireRejected,
    InstanceRetired,
    CleanedUp,
    LeakSuspected,
    HealthChanged,
    CheckerSuspected,
    Quarantined,
    RecoveryAttempted,
    AdmissionStepped,
    QuarantineReleased,
    QuarantineExhausted,
    CascadeDetected,
    CascadeResolved,
    CircuitOpened,
    CircuitClosed,
    PoolResized,
    PoolDraining,
    PoolDrained,
    PoolSuspended,
    PoolResumed,
    AutoScaled,
    AutoScaleBlocked,
    ScopeCreated,
    ScopeCleanedUp,
    QuotaChanged,
    CredentialRotated,
    CredentialRevoked,
    HookFailed,
    LoopBlocked,
    LeaseLost,
    BackendDown,
    BackendUp,
    WorkflowProgress,
    ErrorOccurred,
    ShutdownStarted,
    ShutdownFinished,
)
"""Every type of the catalogue."""

EVENT_TYPES: Mapping[str, type[Event]] = MappingProxyType(
    {event_type.name: event_type for event_type in EVENTS}
)
"""The types by their dotted names."""


def event_from_json(value: Mapping[str, Any]) -> Event:
    """Return the event that ``Event.to_json`` wrote.

    Raises:
        ValueError: no such event, or a part is missing or not of its kind (the message repeats no input).
    """
    event_type = EVENT_TYPES.get(str(value.get("name")))
    if event_type is None:
        raise ValueError("no event of this catalogue has that name")
    return event_type.from_json(value)
