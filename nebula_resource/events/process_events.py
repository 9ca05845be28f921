"""Events of what surrounds the pools: scopes, credentials, hooks, backends, workflows, shutdown."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from nebula_resource.events.event import Event, Severity

__all__ = [
    "BackendDown",
    "BackendUp",
    "CredentialRevoked",
    "CredentialRotated",
    "ErrorOccurred",
    "HookFailed",
    "LeaseLost",
    "LoopBlocked",
    "QuotaChanged",
    "ScopeCleanedUp",
    "ScopeCreated",
    "ShutdownFinished",
    "ShutdownStarted",
    "WorkflowProgress",
]


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


@dataclass(frozen=True, slots=True, kw_only=True)
class HookFailed(Event):
    """A hook raised, hung or was cancelled."""

    name: ClassVar[str] = "hook.failed"
    default_severity: ClassVar[Severity] = Severity.WARNING

    hook: str
    phase: str
    """Before or after."""
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


_ROUTINE = frozenset({"started", "step_started", "step_succeeded", "succeeded"})
_AMISS = frozenset({"failed", "step_retrying"})


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

    @property
    def severity(self) -> Severity:
        """A warning where something failed; that somebody cancelled it is none."""
        return Severity.WARNING if self.status in _AMISS else self.default_severity

    @property
    def is_routine(self) -> bool:
        """Whether it goes as planned. Such events are as frequent as acquires: who keeps what matters leaves them out."""
        return self.status in _ROUTINE


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
    """Pools whose every handle came back in time."""
    forced: int = 0
    """Handles that did not."""
    failed: int = 0
    """Cleanups that raised or timed out."""
    left: int = 0
    """Steps that did not end even when they were cancelled."""
    duration_s: float = 0.0
    """Seconds."""
