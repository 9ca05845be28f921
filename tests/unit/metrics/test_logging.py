"""Events as log lines: constant messages, fields, levels, and nothing of a tenant unasked."""

from __future__ import annotations

import io
import logging
from typing import Any

import pytest
import structlog

from nebula_resource.events import (
    EVENTS,
    Acquired,
    ErrorOccurred,
    EventBus,
    HealthChanged,
    Quarantined,
    Registered,
    Released,
    ShutdownStarted,
    WorkflowProgress,
)
from nebula_resource.metrics import EventLog
from nebula_resource.model.scope import Scope
from tests.unit.metrics.builders import stats

SCOPE = Scope.workflow("w", tenant="acme")


@pytest.fixture
def bus() -> EventBus:
    """A bus of the test's own."""
    return EventBus()


@pytest.mark.parametrize(
    ("event_type", "fields", "level"),
    [
        (Acquired, {"waited_s": 0.5}, logging.DEBUG),
        (Released, {}, logging.DEBUG),
        (WorkflowProgress, {"workflow": "w", "execution": "1", "status": "step_started"}, logging.DEBUG),
        (WorkflowProgress, {"workflow": "w", "execution": "1", "status": "failed"}, logging.WARNING),
        (Registered, {}, logging.INFO),
        (HealthChanged, {"old": "unknown", "new": "healthy"}, logging.INFO),
        (HealthChanged, {"old": "healthy", "new": "degraded"}, logging.WARNING),
        (HealthChanged, {"old": "healthy", "new": "unhealthy"}, logging.ERROR),
        (Quarantined, {"reason": "manual"}, logging.ERROR),
        (ErrorOccurred, {"code": "internal_error"}, logging.ERROR),
    ],
)
def test_levels(
    event_type: Any, fields: dict[str, Any], level: int, bus: EventBus, caplog: pytest.LogCaptureFixture
) -> None:
    """Failures are errors, degradation warns, the life cycle informs, use is for debugging."""
    with caplog.at_level(logging.DEBUG, "nebula_resource"):
        EventLog().attach(bus)
        bus.publish(event_type, "db", **fields)
    (record,) = caplog.records
    assert (record.message, record.levelno) == (event_type.name, level)


def test_fields_stand_beside_the_message(bus: EventBus, caplog: pytest.LogCaptureFixture) -> None:
    """Id, level of the scope, the event's own fields and the pool's numbers."""
    numbers = {"db~x": stats(size=7, idle=2)}
    with caplog.at_level(logging.INFO, "nebula_resource"):
        EventLog(stats=numbers.get).attach(bus)
        bus.publish(
            HealthChanged, "db", SCOPE, public_id="db~x", old="healthy", new="degraded", because=("vault",)
        )
    fields = caplog.records[0].__dict__
    wanted = {
        "event.seq": 1,
        "resource.id": "db",
        "resource.public_id": "db~x",
        "resource.scope": "workflow",
        "event.old": "healthy",
        "event.new": "degraded",
        "event.because": ["vault"],
        "pool.size": 7,
        "pool.available": 2,
    }
    assert {name: fields[name] for name in wanted} == wanted
    assert "acme" not in str(fields)


def test_an_event_about_no_resource_has_no_id(bus: EventBus, caplog: pytest.LogCaptureFixture) -> None:
    """No field is written that has no value."""
    with caplog.at_level(logging.INFO, "nebula_resource"):
        EventLog().attach(bus)
        bus.publish(ShutdownStarted)
    assert not {"resource.id", "resource.public_id"} & caplog.records[0].__dict__.keys()


def test_a_pool_nobody_knows_has_no_numbers(bus: EventBus, caplog: pytest.LogCaptureFixture) -> None:
    """The line is written without them."""
    with caplog.at_level(logging.INFO, "nebula_resource"):
        EventLog(stats=lambda _: None).attach(bus)
        bus.publish(Registered, "db", public_id="db")
    assert "pool.size" not in caplog.records[0].__dict__


@pytest.mark.parametrize(
    ("tenants", "scope", "written"),
    [
        (("acme",), SCOPE, "tenant:acme/workflow:w"),
        (("globex",), SCOPE, "workflow"),
        (("globex",), Scope.GLOBAL, "global"),
        ("all", SCOPE, "tenant:acme/workflow:w"),
        ((), Scope.workflow("w"), "workflow"),
    ],
)
def test_tenants_are_named_only_when_allowed(
    tenants: Any, scope: Scope, written: str, bus: EventBus, caplog: pytest.LogCaptureFixture
) -> None:
    """The allow-list decides, for each tenant."""
    with caplog.at_level(logging.INFO, "nebula_resource"):
        EventLog(tenants=tenants).attach(bus)
        bus.publish(Registered, "db", scope)
    assert caplog.records[0].__dict__["resource.scope"] == written


def test_debug_events_are_asked_for_only_when_they_would_be_written(bus: EventBus) -> None:
    """A logger at INFO costs the hot path nothing."""
    logger = logging.getLogger("nebula_resource.test_levels")
    logger.setLevel(logging.INFO)
    EventLog(logger).attach(bus)
    assert not bus.wants(Acquired)
    assert bus.wants(Registered)
    logger.setLevel(logging.DEBUG)
    assert set(EventLog(logger).types()) == set(EVENTS)


def test_a_level_that_is_not_written_costs_no_fields(bus: EventBus) -> None:
    """Nothing is put together for an event below the logger's level."""
    logger = logging.getLogger("nebula_resource.test_quiet")
    logger.setLevel(logging.ERROR)
    asked: list[str] = []

    def ask(public_id: str) -> None:
        asked.append(public_id)

    EventLog(logger, stats=ask).attach(bus)
    bus.publish(Registered, "db", public_id="db")
    assert asked == []


def test_detaching_ends_it(bus: EventBus, caplog: pytest.LogCaptureFixture) -> None:
    """Afterwards nothing is written."""
    with caplog.at_level(logging.INFO, "nebula_resource"):
        detach = EventLog().attach(bus)
        detach()
        bus.publish(Registered, "db")
    assert caplog.records == []


def test_one_event_is_one_line(bus: EventBus) -> None:
    """Line breaks and control characters in ids and texts arrive as escapes, so nobody can forge a line."""
    out = io.StringIO()
    handler = logging.StreamHandler(out)
    handler.setFormatter(
        logging.Formatter("%(levelname)s %(message)s %(event.reason)s %(resource.id)s %(event.detail)s")
    )
    logger = logging.getLogger("nebula_resource.test_lines")
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    EventLog(logger).attach(bus)
    bus.publish(Quarantined, "db\nERROR forged", reason="a\r\n\x1b[31mb", detail="x\u2028y\u202e")
    logger.removeHandler(handler)
    assert out.getvalue().splitlines() == [
        "ERROR quarantine.entered a\\r\\n\\x1b[31mb db\\nERROR forged x\\u2028y\\u202e"
    ]


def test_structlog_gets_the_same(bus: EventBus) -> None:
    """Its logger is called with the name as the message and the fields as keywords."""
    with structlog.testing.capture_logs() as lines:
        EventLog(structlog.get_logger()).attach(bus)
        bus.publish(Acquired, "db", waited_s=0.25)
        bus.publish(HealthChanged, "db", old="healthy", new="unhealthy")
    assert [(line["event"], line["log_level"]) for line in lines] == [
        ("resource.acquired", "debug"),
        ("health.changed", "error"),
    ]
    assert lines[0]["resource.id"] == "db"
    assert lines[0]["event.waited_s"] == 0.25
