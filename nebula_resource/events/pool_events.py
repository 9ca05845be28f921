"""Events of pools: registrations, instances, handles, bounds."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import ClassVar

from nebula_resource.events.event import Event, Severity
from nebula_resource.model.reasons import CleanupReason

__all__ = [
    "AcquireRejected",
    "Acquired",
    "AutoScaleBlocked",
    "AutoScaled",
    "CleanedUp",
    "ConfigReloadRejected",
    "ConfigReloaded",
    "Created",
    "Deregistered",
    "InstanceRetired",
    "LeakSuspected",
    "PoolDrained",
    "PoolDraining",
    "PoolResized",
    "PoolResumed",
    "PoolSuspended",
    "Registered",
    "RejectReason",
    "Released",
]


class RejectReason(Enum):
    """Why a caller got an error instead of a handle."""

    EXHAUSTED = "exhausted"
    TIMEOUT = "timeout"
    CIRCUIT = "circuit"
    QUOTA = "quota"


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
    """Each violation as text: its dotted path, its rule, what was found."""


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
    """Seconds the caller had waited; None when it was a quota, which is asked before anything is waited for."""
    quota: str | None = None
    """Which quota; None when it was none."""


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
    """Seconds its cleanup took, hooks included; None when it had none: its holder keeps it (detached)."""
    error: str | None = None
    """Type name of what cleanup raised; None: nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LeakSuspected(Event):
    """A handle is out for too long, or was lost unreleased."""

    name: ClassVar[str] = "instance.leaked"
    default_severity: ClassVar[Severity] = Severity.WARNING

    held_s: float | None
    """Seconds it has been out; None when untimed."""
    where: tuple[str, ...] = ()
    """Lines of the stack of its acquire, outermost first."""


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
