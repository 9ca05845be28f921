"""The catalogue of events: every type there is, and each by its name (SPEC §9)."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from nebula_resource.events.event import Event
from nebula_resource.events.health_events import (
    AdmissionStepped,
    CascadeDetected,
    CascadeResolved,
    CheckerSuspected,
    CircuitClosed,
    CircuitOpened,
    HealthChanged,
    Quarantined,
    QuarantineExhausted,
    QuarantineReleased,
    RecoveryAttempted,
)
from nebula_resource.events.pool_events import (
    Acquired,
    AcquireRejected,
    AutoScaleBlocked,
    AutoScaled,
    CleanedUp,
    ConfigReloaded,
    ConfigReloadRejected,
    Created,
    Deregistered,
    InstanceRetired,
    LeakSuspected,
    PoolDrained,
    PoolDraining,
    PoolResized,
    PoolResumed,
    PoolSuspended,
    Registered,
    RejectReason,
    Released,
)
from nebula_resource.events.process_events import (
    BackendDown,
    BackendUp,
    CredentialRevoked,
    CredentialRotated,
    ErrorOccurred,
    HookFailed,
    LeaseLost,
    LoopBlocked,
    QuotaChanged,
    ScopeCleanedUp,
    ScopeCreated,
    ShutdownFinished,
    ShutdownStarted,
    WorkflowProgress,
)

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
    "ConfigReloadRejected",
    "ConfigReloaded",
    "Created",
    "CredentialRevoked",
    "CredentialRotated",
    "Deregistered",
    "ErrorOccurred",
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
    "ShutdownFinished",
    "ShutdownStarted",
    "WorkflowProgress",
    "event_from_json",
]

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
