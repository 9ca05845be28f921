"""The catalogue of events: names, severities, JSON."""

from __future__ import annotations

import dataclasses
import json
import re
from datetime import UTC, datetime
from enum import Enum
from typing import Any, get_type_hints

import pytest

import nebula_resource
from nebula_resource.events import (
    EVENT_TYPES,
    EVENTS,
    Acquired,
    CleanupReason,
    Event,
    HealthChanged,
    InstanceRetired,
    Quarantined,
    Severity,
    WorkflowProgress,
    event_from_json,
)
from nebula_resource.events.event import builder
from nebula_resource.model.scope import Scope

AT = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)

SPECIFIED = [
    "Registered",
    "Deregistered",
    "Created",
    "Acquired",
    "Released",
    "AcquireRejected",
    "HealthChanged",
    "InstanceRetired",
    "CleanedUp",
    "Quarantined",
    "RecoveryAttempted",
    "AdmissionStepped",
    "QuarantineReleased",
    "QuarantineExhausted",
    "CascadeDetected",
    "CascadeResolved",
    "CheckerSuspected",
    "CircuitOpened",
    "CircuitClosed",
    "PoolResized",
    "PoolDraining",
    "PoolDrained",
    "PoolSuspended",
    "PoolResumed",
    "AutoScaled",
    "AutoScaleBlocked",
    "ConfigReloaded",
    "ConfigReloadRejected",
    "ScopeCreated",
    "ScopeCleanedUp",
    "QuotaChanged",
    "CredentialRotated",
    "CredentialRevoked",
    "LeakSuspected",
    "HookFailed",
    "LoopBlocked",
    "LeaseLost",
    "BackendDown",
    "BackendUp",
    "WorkflowProgress",
    "ErrorOccurred",
    "ShutdownStarted",
    "ShutdownFinished",
]


def own_fields(event_type: type[Event]) -> dict[str, Any]:
    """A value of the right kind for every field of the event's own."""
    hints = get_type_hints(event_type)
    common = {field.name for field in dataclasses.fields(Event)}
    return {
        field.name: _value(hints[field.name])
        for field in dataclasses.fields(event_type)
        if field.name not in common
    }


def _value(hint: Any) -> Any:
    if isinstance(hint, type) and issubclass(hint, Enum):
        return list(hint)[-1]
    for kind, value in ((tuple[str, ...], ("a", "b")), (int, 3), (float, 0.25), (str, "text")):
        if hint == kind or hint == (kind | None):
            return value
    raise AssertionError(f"a field of an event may not be {hint}")


def sample(event_type: type[Event]) -> Event:
    """One event of the type with every field set."""
    return event_type(
        seq=7,
        at=AT,
        resource_id="db",
        public_id="db~abc",
        scope=Scope.tenant("acme"),
        **own_fields(event_type),
    )


def test_the_catalogue_is_the_specified_one() -> None:
    """Every event of the specification has a type, and there is no other."""
    assert [event_type.__name__ for event_type in EVENTS if event_type.__name__ not in SPECIFIED] == []
    assert sorted(event_type.__name__ for event_type in EVENTS) == sorted(SPECIFIED)


def test_the_top_of_the_package_has_no_event() -> None:
    """Some are named as errors are: `nebula_resource.CredentialRevoked` is what is raised, the event is told."""
    top = {name: getattr(nebula_resource, name) for name in nebula_resource.__all__}
    assert not [name for name, held in top.items() if isinstance(held, type) and issubclass(held, Event)]
    assert issubclass(nebula_resource.CredentialRevoked, Exception)


def test_cleanup_reasons_are_the_specified_ones() -> None:
    """Each reason of the specification is a member whose value is its lower-case name."""
    specified = """EXPIRED IDLE_TIMEOUT HEALTH_CHECK_FAILED RECYCLE_FAILED BROKEN TAINTED BODY_FAILED EVICTED
    CONFIG_CHANGED CREDENTIAL_REVOKED UNHEALTHY DETACHED STOLEN SCOPE_CLOSED DRAINED LEAKED CREATE_CANCELLED
    SHUTDOWN"""
    assert {reason.name: reason.value for reason in CleanupReason} == {
        name: name.lower() for name in specified.split()
    }


def test_names_are_dotted_and_unique() -> None:
    """A name stands for one type."""
    assert len(EVENT_TYPES) == len(EVENTS)
    for name in EVENT_TYPES:
        assert re.fullmatch(r"[a-z]+(\.[a-z_]+)?", name)


@pytest.mark.parametrize("event_type", EVENTS, ids=lambda event_type: event_type.name)
def test_every_event_survives_json(event_type: type[Event]) -> None:
    """What to_json wrote, through real JSON text, is the same event again."""
    event = sample(event_type)
    assert event_from_json(json.loads(json.dumps(event.to_json()))) == event


@pytest.mark.parametrize("event_type", EVENTS, ids=lambda event_type: event_type.name)
def test_an_event_without_its_optional_fields_survives_json(event_type: type[Event]) -> None:
    """Defaults, None among them, come back as they were."""
    required = {
        field.name
        for field in dataclasses.fields(event_type)
        if field.default is dataclasses.MISSING and field.name not in ("seq", "at")
    }
    own = {name: value for name, value in own_fields(event_type).items() if name in required}
    event = event_type(seq=1, at=AT, **own)
    assert event_from_json(json.loads(json.dumps(event.to_json()))) == event


@pytest.mark.parametrize("event_type", EVENTS, ids=lambda event_type: event_type.name)
def test_events_are_frozen_and_slotted(event_type: type[Event]) -> None:
    """Nobody who hears of an event can change it for the next one."""
    event = sample(event_type)
    with pytest.raises(dataclasses.FrozenInstanceError):
        event.seq = 8  # type: ignore[misc]  # that is the point
    assert not hasattr(event, "__dict__")


@pytest.mark.parametrize("event_type", EVENTS, ids=lambda event_type: event_type.name)
def test_the_fast_way_to_build_makes_the_same_event(event_type: type[Event]) -> None:
    """What is built and what the constructor gives are equal, of one class, and frozen."""
    build = builder(event_type)
    event = build(7, AT, "db", Scope.tenant("acme"), "db~abc", own_fields(event_type))
    assert event == sample(event_type)
    assert type(event) is event_type
    with pytest.raises(dataclasses.FrozenInstanceError):
        event.seq = 8  # type: ignore[misc]  # that is the point


@pytest.mark.parametrize("held", [{"seq": 5}, {"waited": 0.5}, {}, {"waited_s": 0.5, "more": 1}])
def test_what_does_not_fit_a_type_is_not_built(held: dict[str, Any]) -> None:
    """As many fields as there are, but others; too few; too many."""
    with pytest.raises((TypeError, KeyError)):
        builder(Acquired)(1, AT, None, Scope.GLOBAL, None, held)


def test_building_leaves_defaults_to_the_constructor() -> None:
    """A call that gives only some of the fields gets the others' defaults."""
    event = builder(HealthChanged)(1, AT, None, Scope.GLOBAL, None, {"old": "unknown", "new": "healthy"})
    assert event == HealthChanged(seq=1, at=AT, old="unknown", new="healthy", because=())


@pytest.mark.parametrize(
    ("old", "new", "severity"),
    [
        ("unhealthy", "healthy", Severity.INFO),
        ("unhealthy", "unknown", Severity.INFO),  # released from quarantine
        ("healthy", "degraded", Severity.WARNING),
        ("unhealthy", "degraded", Severity.WARNING),
        ("healthy", "unknown", Severity.WARNING),
        ("degraded", "unknown", Severity.WARNING),
        ("healthy", "unhealthy", Severity.CRITICAL),
        ("unknown", "unhealthy", Severity.CRITICAL),
    ],
)
def test_a_change_of_health_is_as_severe_as_where_it_went(old: str, new: str, severity: Severity) -> None:
    """Unhealthy is critical, and each step of a recovery is information."""
    assert HealthChanged(seq=1, at=AT, old=old, new=new).severity is severity


def test_a_quarantine_that_somebody_meant_is_a_warning() -> None:
    """Nobody is to be woken by what a colleague did on purpose."""
    own = Quarantined(seq=1, at=AT, reason="consecutive_failures")
    meant = Quarantined(seq=2, at=AT, reason="manual", by="ana")
    assert (own.severity, meant.severity) == (Severity.CRITICAL, Severity.WARNING)


@pytest.mark.parametrize(
    ("status", "severity"),
    [
        ("started", Severity.INFO),
        ("succeeded", Severity.INFO),
        ("cancelled", Severity.INFO),
        ("step_retrying", Severity.WARNING),
        ("failed", Severity.WARNING),
    ],
)
def test_a_workflow_that_fails_is_a_warning(status: str, severity: Severity) -> None:
    """So that one who asks for warnings alone hears of it; a cancellation is somebody's wish."""
    event = WorkflowProgress(seq=1, at=AT, workflow="w", execution="e", status=status)
    assert event.severity is severity


def test_data_is_ready_for_json() -> None:
    """Enums are their values and tuples are lists."""
    assert InstanceRetired(seq=1, at=AT, reason=CleanupReason.STOLEN).data() == {"reason": "stolen"}
    assert HealthChanged(seq=1, at=AT, old="healthy", new="degraded", because=("db",)).data() == {
        "old": "healthy",
        "new": "degraded",
        "because": ["db"],
    }


@pytest.mark.parametrize(
    "change",
    [
        {"name": "no.such"},
        {"name": None},
        {"at": "s3cret"},
        {"seq": "s3cret"},
        {"scope": "s3cret"},
        {"data": {"reason": "s3cret"}},
        {"data": {"s3cret": 1}},
        {"data": None},
    ],
    ids=str,
)
def test_foreign_json_is_refused_without_repeating_it(change: dict[str, Any]) -> None:
    """What is no event raises ValueError, and its text holds nothing of the input."""
    value = sample(InstanceRetired).to_json() | change
    with pytest.raises(ValueError, match="event") as caught:
        event_from_json(value)
    assert "s3cret" not in str(caught.value)
    assert caught.value.__context__ is None or "s3cret" not in str(caught.value.__cause__)
