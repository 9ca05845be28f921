"""EventTally: counts what is told by rare events, so that nobody else has to."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from nebula_resource.events.event import Event
from nebula_resource.events.types import (
    AcquireRejected,
    AutoScaleBlocked,
    AutoScaled,
    CascadeDetected,
    CircuitClosed,
    CircuitOpened,
    ConfigReloaded,
    ConfigReloadRejected,
    HealthChanged,
    Quarantined,
    QuarantineExhausted,
    QuarantineReleased,
    RecoveryAttempted,
    RejectReason,
    ScopeCleanedUp,
    ScopeCreated,
)
from nebula_resource.metrics.budget import SeriesBudget
from nebula_resource.metrics.family import Family

__all__ = ["EventTally"]

OTHER = "_other"
OVERFLOW = "_overflow"


class EventTally:
    """A listener of the event bus that counts; give its `families` to the readings.

    ``bus.add_listener(tally, types=tally.types)``. It hears neither Acquired nor Released, so nothing is built on the
    hot path for its sake. Ids of tenants and operators' names never become labels.

    Args:
        budget: of series, shared with others that make up labels; what it has no room for is counted as ``_overflow``.
    """

    def __init__(self, budget: SeriesBudget | None = None) -> None:
        self._budget = budget or SeriesBudget()
        self._counts: dict[str, dict[tuple[str, ...], int]] = {}
        self._overflows: dict[str, int] = {}
        self._reloaded_at: float | None = None
        self._by_type: dict[type[Event], Callable[[Any], None]] = {
            HealthChanged: self._health,
            Quarantined: self._quarantined,
            QuarantineReleased: self._released,
            RecoveryAttempted: self._attempt,
            QuarantineExhausted: self._exhausted,
            CircuitOpened: self._opened,
            CircuitClosed: self._closed,
            CascadeDetected: self._cascade,
            AutoScaled: self._scaled,
            AutoScaleBlocked: self._blocked,
            ConfigReloaded: self._reloaded,
            ConfigReloadRejected: self._reload_rejected,
            ScopeCreated: self._scope_created,
            ScopeCleanedUp: self._scope_gone,
            AcquireRejected: self._rejected,
        }

    @property
    def types(self) -> tuple[type[Event], ...]:
        """What it wants to hear of."""
        return tuple(self._by_type)

    def __call__(self, event: Event) -> None:
        """Count one event."""
        count = self._by_type.get(type(event))
        if count is not None:
            count(event)

    def families(self) -> tuple[Family, ...]:
        """Return what was counted so far."""
        found = [Family.of(name, dict(counts)) for name, counts in self._counts.items()]
        if self._reloaded_at is not None:
            found.append(Family.of("config_last_reload_success_timestamp_seconds", {(): self._reloaded_at}))
        if self._overflows:
            found.append(
                Family.of(
                    "metrics_series_overflow", {(name,): count for name, count in self._overflows.items()}
                )
            )
        return tuple(found)

    def _count(self, name: str, *labels: str) -> None:
        counts = self._counts.setdefault(name, {})
        if labels not in counts and not self._budget.take(1):
            self._overflows[name] = self._overflows.get(name, 0) + 1
            labels = (OVERFLOW,) * len(labels)
        counts[labels] = counts.get(labels, 0) + 1

    # ── what each event counts as ─────────────────────────────────────────────────────────────────────────────────

    def _health(self, event: HealthChanged) -> None:
        self._count("health_transitions", _id(event), event.old, event.new)

    def _quarantined(self, event: Quarantined) -> None:
        self._count("quarantines", _id(event), _one_of(event.reason, _REASONS))

    def _released(self, event: QuarantineReleased) -> None:
        # Anything but the machine's own triggers is the name of an operator, and no label.
        self._count("quarantine_releases", _id(event), _TRIGGERS.get(event.by, "manual"))

    def _attempt(self, event: RecoveryAttempted) -> None:
        self._count("quarantine_recovery_attempts", _id(event), _one_of(event.outcome, _ATTEMPTS))

    def _exhausted(self, event: QuarantineExhausted) -> None:
        # Once for each quarantine, beside the failed attempt that was the last.
        self._count("quarantine_recovery_attempts", _id(event), "exhausted")

    def _opened(self, event: CircuitOpened) -> None:
        self._count("breaker_transitions", _id(event), "closed", "open")

    def _closed(self, event: CircuitClosed) -> None:
        self._count("breaker_transitions", _id(event), "open", "closed")

    def _cascade(self, event: CascadeDetected) -> None:
        self._count("cascades", _id(event))  # not its public id, which tells scopes apart

    def _scaled(self, event: AutoScaled) -> None:
        self._count(
            "autoscale_actions", _id(event), _level(event), _one_of(event.direction, _DIRECTIONS), "applied"
        )

    def _blocked(self, event: AutoScaleBlocked) -> None:
        self._count("autoscale_actions", _id(event), _level(event), "up", "blocked")

    def _reloaded(self, event: ConfigReloaded) -> None:
        self._reloaded_at = event.at.timestamp()
        self._count("config_reloads", "ok")

    def _reload_rejected(self, event: ConfigReloadRejected) -> None:
        self._count("config_reloads", "rejected")

    def _scope_created(self, event: ScopeCreated) -> None:
        self._count("scopes_created", _level(event))

    def _scope_gone(self, event: ScopeCleanedUp) -> None:
        self._count("scopes_cleaned_up", _level(event), _one_of(event.reason, _ENDS))

    def _rejected(self, event: AcquireRejected) -> None:
        if event.reason is RejectReason.QUOTA:
            self._count("quota_rejections", _level(event), event.quota or OTHER)


_REASONS = frozenset({"consecutive_failures", "cascade", "manual"})
_TRIGGERS = {"recovery": "recovered", "expiry": "expired", "config": "config"}
_ATTEMPTS = frozenset({"recovered", "failed", "postponed"})
_DIRECTIONS = frozenset({"up", "down"})
_ENDS = frozenset({"ttl", "request", "shutdown"})


def _one_of(value: str, known: frozenset[str]) -> str:
    """A text that was meant to be one of a few: what is not becomes one label, not many."""
    return value if value in known else OTHER


def _id(event: Event) -> str:
    return event.resource_id or ""


def _level(event: Event) -> str:
    return event.scope.level.name.lower()
