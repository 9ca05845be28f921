"""The tally: which events count as what, and what never becomes a label."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from nebula_resource.events import (
    Acquired,
    AcquireRejected,
    AutoScaleBlocked,
    AutoScaled,
    CascadeDetected,
    CircuitClosed,
    CircuitOpened,
    ConfigReloaded,
    ConfigReloadRejected,
    Event,
    EventBus,
    HealthChanged,
    Quarantined,
    QuarantineExhausted,
    QuarantineReleased,
    RecoveryAttempted,
    RejectReason,
    ScopeCleanedUp,
    ScopeCreated,
)
from nebula_resource.metrics import EventTally, Readings, render
from nebula_resource.metrics.budget import SeriesBudget
from nebula_resource.model.scope import Scope

SCOPE = Scope.workflow("w", tenant="acme")


@pytest.mark.parametrize(
    ("event_type", "fields", "family", "labels"),
    [
        (
            HealthChanged,
            {"old": "healthy", "new": "unhealthy"},
            "health_transitions",
            ("db", "healthy", "unhealthy"),
        ),
        (Quarantined, {"reason": "cascade"}, "quarantines", ("db", "cascade")),
        (Quarantined, {"reason": "because acme said so"}, "quarantines", ("db", "_other")),
        (QuarantineReleased, {"by": "recovery"}, "quarantine_releases", ("db", "recovered")),
        (QuarantineReleased, {"by": "expiry"}, "quarantine_releases", ("db", "expired")),
        (QuarantineReleased, {"by": "alice"}, "quarantine_releases", ("db", "manual")),
        (RecoveryAttempted, {"outcome": "failed"}, "quarantine_recovery_attempts", ("db", "failed")),
        (QuarantineExhausted, {"attempts": 10}, "quarantine_recovery_attempts", ("db", "exhausted")),
        (CircuitOpened, {}, "breaker_transitions", ("db", "closed", "open")),
        (CircuitClosed, {}, "breaker_transitions", ("db", "open", "closed")),
        (CascadeDetected, {"root": "vault", "affected": ("db",), "incident": "i"}, "cascades", ("db",)),
        (
            AutoScaled,
            {"direction": "up", "old": 1, "new": 3},
            "autoscale_actions",
            ("db", "workflow", "up", "applied"),
        ),
        (AutoScaleBlocked, {"why": "draining"}, "autoscale_actions", ("db", "workflow", "up", "blocked")),
        (ConfigReloaded, {"generation": 2}, "config_reloads", ("ok",)),
        (ConfigReloadRejected, {"violations": ("x",)}, "config_reloads", ("rejected",)),
        (ScopeCreated, {}, "scopes_created", ("workflow",)),
        (ScopeCleanedUp, {"reason": "ttl"}, "scopes_cleaned_up", ("workflow", "ttl")),
        (
            AcquireRejected,
            {"reason": RejectReason.QUOTA, "quota": "max_connections"},
            "quota_rejections",
            ("workflow", "max_connections"),
        ),
    ],
    ids=lambda value: getattr(value, "name", None),
)
def test_each_event_counts(
    event_type: type[Event], fields: dict[str, Any], family: str, labels: tuple[str, ...]
) -> None:
    """Once, under its family and labels, and the text of it names no tenant."""
    tally, bus = EventTally(), EventBus()
    bus.add_listener(tally, types=tally.types)
    for _ in range(2):
        bus.publish(event_type, "db", SCOPE, public_id="db~x", **fields)
    assert bus.stats().malformed == 0
    assert bus.stats().listener_errors == 0
    counted = {one.metric.name: dict(one.samples) for one in tally.families()}
    assert counted[family] == {labels: 2}
    text = render(Readings(families=tally.families()))
    assert "acme" not in text
    assert "alice" not in text


def test_the_hot_path_is_not_heard() -> None:
    """Nothing is built for the tally when a handle is acquired or released."""
    assert not {"resource.acquired", "resource.released"} & {one.name for one in EventTally().types}


def test_rejections_by_other_reasons_are_the_pools_own_numbers() -> None:
    """They are counted where they happen, and not twice."""
    tally = EventTally()
    tally(AcquireRejected(seq=1, at=datetime.now(UTC), reason=RejectReason.TIMEOUT))
    assert tally.families() == ()


def test_the_last_good_reload_is_remembered() -> None:
    """As the time of the event; one that is rejected does not move it."""
    at = datetime(2026, 1, 1, tzinfo=UTC)
    tally = EventTally()
    tally(ConfigReloaded(seq=1, at=at, generation=2))
    tally(ConfigReloadRejected(seq=2, at=datetime(2026, 1, 2, tzinfo=UTC), violations=()))
    found = {one.metric.name: dict(one.samples) for one in tally.families()}
    assert found["config_last_reload_success_timestamp_seconds"] == {(): at.timestamp()}


def test_labels_are_bounded() -> None:
    """What is beyond is counted as _overflow, and that it is."""
    tally, at = EventTally(SeriesBudget(100)), datetime.now(UTC)
    for number in range(110):
        tally(CircuitOpened(seq=number, at=at, resource_id=f"db-{number}"))
    found = {one.metric.name: dict(one.samples) for one in tally.families()}
    assert len(found["breaker_transitions"]) == 101
    assert found["breaker_transitions"][("_overflow",) * 3] == 10
    assert found["metrics_series_overflow"] == {("breaker_transitions",): 10}


def test_other_events_are_ignored() -> None:
    """A tally that hears everything counts no more than one that hears its own."""
    tally = EventTally()
    tally(Acquired(seq=1, at=datetime.now(UTC), waited_s=1.0))
    assert tally.families() == ()
