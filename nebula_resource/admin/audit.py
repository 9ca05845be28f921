"""Audit: who does what, when and why: written down before it is done, and how it went afterwards."""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from nebula_resource.admin.audit_file import AuditFile
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
        self._file = None if file is None else AuditFile(file)
        self._entries: dict[int, AuditEntry] = {}  # the oldest first
        self._count = 0

    @asynccontextmanager
    async def deed(
        self, who: Principal, action: str, registration: Registration | None, reason: str | None
    ) -> AsyncGenerator[None]:
        """Around a change: what is meant is written before it, how it went after it, whatever ends it.

        With a file, entering waits for the disk: what must be true of what is changed is asked inside. Raises
        `AdminProblem`: 503, what is meant cannot be written to the file; then it is not done.
        """
        self._count += 1
        pool = None if registration is None else registration.public_id
        scope = Scope.GLOBAL if registration is None else registration.scope
        entry = AuditEntry(self._count, datetime.now(UTC), who.name, action, pool, scope, reason)
        try:
            await self._file_it("intent", entry)
        except OSError as error:
            log.error("audit cannot be written", extra={"because": type(error).__name__})
            raise AdminProblem(
                503, "audit_unavailable", "what cannot be written down is not done", retry_after=5.0
            ) from None
        self._log("operator intent", entry)
        self._entries[entry.number] = entry
        if len(self._entries) > KEPT:
            del self._entries[next(iter(self._entries))]
        try:
            yield
        except BaseException as error:
            await self._conclude(entry, getattr(error, "code", None) or type(error).__name__, registration)
            raise
        await self._conclude(entry, "ok", registration)

    def entries(self) -> tuple[AuditEntry, ...]:
        """The last thousand, oldest first."""
        return tuple(self._entries.values())

    async def _conclude(self, entry: AuditEntry, outcome: str, registration: Registration | None) -> None:
        ended = replace(entry, outcome=outcome)
        if entry.number in self._entries:
            self._entries[entry.number] = ended
        self._log("operator action", ended)
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
        try:
            await self._file_it("outcome", ended)
        except OSError as error:  # it is done: all that is left is to say so
            log.error("audit cannot be written", extra={"because": type(error).__name__})

    async def _file_it(self, phase: Literal["intent", "outcome"], entry: AuditEntry) -> None:
        if self._file is not None:
            line = {"at": stamp(datetime.now(UTC)), "phase": phase, **self._fields(entry)}
            await self._file.add(json.dumps(line))

    def _log(self, message: str, entry: AuditEntry) -> None:
        safe = {name: printable(text) for name, text in (("by", entry.by), ("reason", entry.reason))}
        log.info(message, extra={**self._fields(entry), **safe})

    def _fields(self, entry: AuditEntry) -> dict[str, str | None]:
        return {
            "deed": f"{self._hub.main.boot}-{entry.number}",
            "by": entry.by,
            "action": entry.action,
            "pool": entry.pool,
            "reason": entry.reason,
            "outcome": entry.outcome,
        }
