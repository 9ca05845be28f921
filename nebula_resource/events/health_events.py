"""Events of health: changes, quarantine, cascades, circuits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import ClassVar

from nebula_resource.events.event import Event, Severity

__all__ = [
    "AdmissionStepped",
    "CascadeDetected",
    "CascadeResolved",
    "CheckerSuspected",
    "CircuitClosed",
    "CircuitOpened",
    "HealthChanged",
    "QuarantineExhausted",
    "QuarantineReleased",
    "Quarantined",
    "RecoveryAttempted",
]


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
        """By where it went: unhealthy is critical, degraded and unknown a warning.

        Unknown because the evidence was forgotten is none: a release from quarantine does that, on the way back.
        """
        if self.new == "unknown" and (self.old == "unhealthy" or self.because[:1] == ("reset",)):
            return Severity.INFO
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

    @property
    def severity(self) -> Severity:
        """Critical; a warning where somebody meant it."""
        return self.default_severity if self.by is None else Severity.WARNING


@dataclass(frozen=True, slots=True, kw_only=True)
class RecoveryAttempted(Event):
    """A quarantined resource was tried."""

    name: ClassVar[str] = "quarantine.probe"

    outcome: str
    """Recovered, failed or postponed."""
    attempt: int = 0
    """Its number, the first is 1."""
    next_in_s: float | None = None
    """Seconds to the next; None: none comes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AdmissionStepped(Event):
    """A released resource admits more, or all again."""

    name: ClassVar[str] = "quarantine.admission"

    permits: int
    """Uses at a time; the pool's ``max_size`` when all are admitted again."""


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


_OF_STATE: Mapping[str, Severity] = MappingProxyType(
    {"healthy": Severity.INFO, "unhealthy": Severity.CRITICAL}
)
