"""Audit: who does what, when and why: written down before it is done, and how it went afterwards."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from nebula_resource.admin.auth.principal import Principal
from nebula_resource.admin.problems import AdminProblem
from nebula_resource.admin.sse.frame import Notice
from nebula_resource.admin.sse.hub import Hub
from nebula_resource.admin.times import stamp
from nebula_resource.events import Severity
from nebula_resource.manager import Registration
from nebula_resource.model.printable import printable
from nebula_resource.model.scope import Scope

__all__ = ["Audit", "AuditEntry"]

KEPT = 1000
UNDER_WAY = "under_way"

log = logging.getLogger("nebula_resource.admin.audit")


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """One deed; ``number`` grows by one with each. ``outcome``: under_way, ok, or the code of what stopped it."""

    number: int
    at: datetime
    by: str
    action: str
    pool: str | None
    scope: Scope
    reason: str | None
    outcome: str = UNDER_WAY


class Audit:
    """The last thousand deeds; each is two log lines, two lines of a file where one is given, and one event.

    Args:
        hub: where the events are told.
        file: lines of JSON are added to it, each on the disk before what it tells of is done.
    """

    def __init__(self, hub: Hub, file: Path | None = None) -> None:
        self._hub = hub
        self._file = file
        self._entries: dict[int, AuditEntry] = {}  # the oldest first
        self._count = 0

    @contextmanager
    def deed(
        self, who: Principal, action: str, registration: Registration | None, reason: str | None
    ) -> Generator[None]:
        """Around a change: what is meant is written before it, how it went after it, whatever ends it.

        Raises `AdminProblem`: 503, what is meant cannot be written to the file; then it is not done.
        """
        self._count += 1
        pool = None if registration is None else registration.public_id
        scope = Scope.GLOBAL if registration is None else registration.scope
        entry = AuditEntry(self._count, datetime.now(UTC), who.name, action, pool, scope, reason)
        try:
            self._write("intent", entry)
        except OSError as error:
            log.error("audit cannot be written", extra={"because": type(error).__name__})
            raise AdminProblem(
                503, "audit_unavailable", "what cannot be written down is not done", retry_after=5.0
            ) from None
        self._entries[entry.number] = entry
        if len(self._entries) > KEPT:
            del self._entries[next(iter(self._entries))]
        try:
            yield
        except BaseException as error:
            self._conclude(entry, getattr(error, "code", None) or type(error).__name__, registration)
            raise
        self._conclude(entry, "ok", registration)

    def entries(self) -> tuple[AuditEntry, ...]:
        """The last thousand, oldest first."""
        return tuple(self._entries.values())

    def _conclude(self, entry: AuditEntry, outcome: str, registration: Registration | None) -> None:
        ended = replace(entry, outcome=outcome)
        if entry.number in self._entries:
            self._entries[entry.number] = ended
        try:
            self._write("outcome", ended)
        except OSError as error:  # it is done: all that is left is to say so
            log.error("audit cannot be written", extra={"because": type(error).__name__})
        self._hub.tell(
            Notice(
                "audit",
                datetime.now(UTC),
                {"by": entry.by, "action": entry.action, "reason": entry.reason, "outcome": outcome},
                resource_id=None if registration is None else registration.key,
                public_id=entry.pool,
                scope=entry.scope,
                severity=Severity.INFO if outcome == "ok" else Severity.WARNING,
            )
        )

    def _write(self, phase: Literal["intent", "outcome"], entry: AuditEntry) -> None:
        deed = f"{self._hub.main.boot}-{entry.number}"
        fields = {"deed": deed, "by": entry.by, "action": entry.action, "pool": entry.pool}
        told = {"reason": entry.reason, "outcome": entry.outcome}
        if self._file is not None:
            line = json.dumps({"at": stamp(datetime.now(UTC)), "phase": phase, **fields, **told})
            with open(self._file, "a", encoding="ascii", opener=_at_once) as file:
                file.write(line + "\n")
                file.flush()
                os.fsync(file.fileno())
        message = "operator intent" if phase == "intent" else "operator action"
        safe = {name: printable(text) for name, text in (("by", entry.by), ("reason", entry.reason))}
        log.info(message, extra={**fields, **told, **safe})


def _at_once(path: str, flags: int) -> int:
    """Open without waiting: a pipe that nobody reads is an error, not the end of all requests."""
    return os.open(path, flags | os.O_NONBLOCK, 0o666)
