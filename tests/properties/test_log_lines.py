"""One event is one log line, whatever texts its ids and reasons hold."""

from __future__ import annotations

import io
import json
import logging
import unicodedata
from collections.abc import Generator
from contextlib import contextmanager

import pytest
import structlog
from hypothesis import given, settings
from hypothesis import strategies as st

from nebula_resource.errors import InvalidScope
from nebula_resource.events import ConfigReloadRejected, EventBus, Quarantined
from nebula_resource.metrics import EventLog
from nebula_resource.model.printable import printable
from nebula_resource.model.scope import Scope
from nebula_resource.service.logs import LogFormat, configure_logs

BREAKERS = "\r\n\v\f\x1b[2J\x00\x85\u2028\u2029\u202e\u2066\u200f\ud800\"'\\={}%s INFO ERROR"
TEXTS = st.text(st.one_of(st.sampled_from(BREAKERS), st.characters()), max_size=30)
FORMAT = (
    "%(levelname)s %(name)s %(message)s %(resource.id)s %(event.reason)s %(event.detail)s %(resource.scope)s"
)


@contextmanager
def logging_to(form: LogFormat) -> Generator[io.StringIO]:
    """The process's logs in one format, and as they were afterwards."""
    names = ("uvicorn.error", "httpx", "httpcore", "aiosqlite", "asyncio")
    root = logging.getLogger()
    before = list(root.handlers), root.level, {name: logging.getLogger(name).level for name in names}
    out = io.StringIO()
    try:
        configure_logs(form, "INFO", stream=out)
        yield out
    finally:
        root.handlers[:], level, levels = before
        root.setLevel(level)
        for name, old in levels.items():
            logging.getLogger(name).setLevel(old)


def lines(text: str) -> list[str]:
    """What a reader who breaks lines at every chance would see."""
    return [line for line in text.splitlines() if line]


def publish(bus: EventBus, text: str, reason: str) -> None:
    """One event with these texts wherever a text may stand."""
    bus.publish(Quarantined, text, public_id=text, reason=reason, detail=reason, by=text)


@settings(max_examples=1000)
@given(TEXTS, TEXTS)
def test_the_stdlib_gets_fields_that_fit_a_line(text: str, reason: str) -> None:
    """Whoever formats the fields with a format string of their own gets one line for one event."""
    out = io.StringIO()
    handler = logging.StreamHandler(out)
    handler.setFormatter(logging.Formatter(FORMAT))
    logger = logging.getLogger("nebula_resource.a_property")
    logger.setLevel(logging.INFO)
    logger.handlers[:] = [handler]
    logger.propagate = False
    bus = EventBus()
    EventLog(logger).attach(bus)
    publish(bus, text, reason)
    [line] = lines(out.getvalue())
    assert line.startswith("WARNING nebula_resource.a_property quarantine.entered ")
    assert line.isprintable()


@given(TEXTS, TEXTS)
def test_json_is_one_line_with_the_texts_in_it(text: str, reason: str) -> None:
    """Each line is one JSON value, and what it says is what was published, escapes apart."""
    with logging_to("json") as out:
        bus = EventBus()
        EventLog().attach(bus)
        publish(bus, text, reason)
    [line] = lines(out.getvalue())
    held = json.loads(line)
    assert (held["event"], held["level"]) == ("quarantine.entered", "warning")
    assert held["resource.id"] == printable(text)
    assert held["event.detail"] == printable(reason)


@given(TEXTS, TEXTS)
def test_the_console_has_one_line(text: str, reason: str) -> None:
    """A person's terminal is not steered, and no text looks like a line of its own."""
    with logging_to("console") as out:
        bus = EventBus()
        EventLog().attach(bus)
        publish(bus, text, reason)
    [line] = lines(out.getvalue())
    assert line.isprintable()
    assert "quarantine.entered" in line


@given(TEXTS, st.lists(TEXTS, max_size=3))
def test_structlog_gets_fields_that_fit_a_line(text: str, several: list[str]) -> None:
    """Texts in tuples too."""
    with structlog.testing.capture_logs() as captured:
        bus = EventBus()
        EventLog(structlog.get_logger()).attach(bus)
        bus.publish(ConfigReloadRejected, text, public_id=text, violations=tuple(several))
    [line] = captured
    assert line["log_level"] == "warning"
    held = [line["resource.id"], line["resource.public_id"], *line["event.violations"]]
    assert all(each.isprintable() for each in held)


@given(TEXTS, TEXTS)
@pytest.mark.parametrize("form", ["json", "console"])
def test_foreign_records_are_lines_too(form: LogFormat, text: str, reason: str) -> None:
    """What others log (a message of theirs, fields, a traceback with a text in it) forges no record."""
    with logging_to(form) as out:
        try:
            raise LookupError(reason)
        except LookupError:
            logging.getLogger("somebody").exception(text, extra={"field": [reason]})
    first, *others = lines(out.getvalue())
    assert "somebody" in first
    assert all(line.startswith("    ") for line in others)
    assert all(line.isprintable() for line in (first, *others))
    assert form == "console" or not others


@given(st.text(min_size=8, max_size=20).map(lambda text: unicodedata.normalize("NFC", text)))
def test_a_tenant_is_named_only_where_it_may_be(tenant: str) -> None:
    """The level of the scope stands in the line; the id only for the tenants that were allowed, in one line."""
    try:
        scope = Scope.tenant(tenant)
    except InvalidScope:
        return
    out = io.StringIO()
    handler = logging.StreamHandler(out)
    handler.setFormatter(logging.Formatter(FORMAT))
    logger = logging.getLogger("nebula_resource.a_property")
    logger.setLevel(logging.INFO)
    logger.handlers[:] = [handler]
    logger.propagate = False
    for tenants, written in (((), "tenant"), (("another",), "tenant"), ((tenant,), str(scope))):
        out.truncate(out.seek(0))
        bus = EventBus()
        detach = EventLog(logger, tenants=tenants).attach(bus)
        bus.publish(Quarantined, "db", scope, reason="manual", detail="x")
        detach()
        [line] = lines(out.getvalue())
        assert line == f"ERROR nebula_resource.a_property quarantine.entered db manual x {printable(written)}"
