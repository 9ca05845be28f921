"""HookPayload: what a hook is told about the operation it stands beside."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import ClassVar

from nebula_resource.model.reasons import CleanupReason
from nebula_resource.model.scope import Scope

__all__ = [
    "HookEvent",
    "HookPayload",
    "HookResult",
    "OnAcquire",
    "OnCleanup",
    "OnCreate",
    "OnHealthChange",
    "OnRelease",
    "Outcome",
]


class HookEvent(Enum):
    """The operations a hook may stand beside."""

    ACQUIRE = "acquire"
    RELEASE = "release"
    CREATE = "create"
    CLEANUP = "cleanup"
    HEALTH_CHANGED = "health_changed"

    @property
    def may_cancel(self) -> bool:
        """Whether a hook may stop it."""
        return self is HookEvent.ACQUIRE or self is HookEvent.CREATE


class Outcome(Enum):
    """How the operation went."""

    OK = "ok"
    ERROR = "error"
    REFUSED = "refused"
    """Another hook stopped it."""
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True, kw_only=True)
class HookPayload:
    """Base of the payloads: which registration, for whom. No instance, no configuration, no credential.

    ``scope`` is the caller's for ACQUIRE and RELEASE, the registration's own for the others. One object stands for one
    operation, from before to after: two concurrent acquires of one execution have two.
    """

    kind: ClassVar[HookEvent]

    resource_id: str
    public_id: str
    scope: Scope = Scope.GLOBAL


@dataclass(frozen=True, slots=True, kw_only=True)
class OnAcquire(HookPayload):
    """A caller asks for a handle."""

    kind: ClassVar[HookEvent] = HookEvent.ACQUIRE

    timeout_s: float | None = None
    """Seconds the caller is ready to wait, if it said so."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OnRelease(HookPayload):
    """A handle comes back."""

    kind: ClassVar[HookEvent] = HookEvent.RELEASE

    held_s: float | None = None
    """Seconds it was out; None when this use was not timed."""
    error: str | None = None
    """Type name of the error the use ended with."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OnCreate(HookPayload):
    """An instance is to be made: for a caller, a warm-up, upkeep or a scale-up."""

    kind: ClassVar[HookEvent] = HookEvent.CREATE

    generation: int = 0
    """Generation of the configuration it is made with."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OnCleanup(HookPayload):
    """An instance is retired and goes. One that is detached stays with its holder: it has no cleanup."""

    kind: ClassVar[HookEvent] = HookEvent.CLEANUP

    reason: CleanupReason


@dataclass(frozen=True, slots=True, kw_only=True)
class OnHealthChange(HookPayload):
    """The effective health of a resource is another; states are the lower-case names of SPEC §11."""

    kind: ClassVar[HookEvent] = HookEvent.HEALTH_CHANGED

    old: str
    new: str
    because: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class HookResult:
    """How the operation went, as ``after`` is told."""

    outcome: Outcome
    elapsed_s: float
    """Seconds from the last ``before`` to the first ``after``: the operation alone, without the hooks."""
    error: str | None = None
    """Type name of what it raised."""
    code: str | None = None
    """``ResourceError.code`` of what it raised, if it was one of ours."""
    note: object = None
    """What this hook's own ``before`` returned."""
