"""Audit: who did what, when and why: a log line, an entry of the last thousand, and an event."""

from __future__ import annotations

import logging
from collections import deque
from dataclasses import dataclass
from datetime import UTC, datetime

from nebula_resource.admin.auth.principal import Principal
from nebula_resource.admin.sse.frame import Notice
from nebula_resource.admin.sse.hub import Hub
from nebula_resource.events import Severity
from nebula_resource.manager import Registration
from nebula_resource.model.printable import printable
from nebula_resource.model.scope import Scope

__all__ = ["Audit", "AuditEntry"]

KEPT = 1000

log = logging.getLogger("nebula_resource.admin.audit")


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """One deed; ``number`` grows by one with each."""

    number: int
    at: datetime
    by: str
    action: str
    pool: str | None
    scope: Scope
    reason: str | None
    outcome: str


class Audit:
    """Written at once, before the answer of the deed goes out."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._entries: deque[AuditEntry] = deque(maxlen=KEPT)
        self._count = 0

    def write(
        self,
        who: Principal,
        action: str,
        registration: Registration | None,
        reason: str | None,
        *,
        outcome: str = "ok",
    ) -> None:
        """Note one deed and how it went: ok, or the code of the error that stopped it."""
        self._count += 1
        pool = None if registration is None else registration.public_id
        scope = Scope.GLOBAL if registration is None else registration.scope
        entry = AuditEntry(self._count, datetime.now(UTC), who.name, action, pool, scope, reason, outcome)
        self._entries.append(entry)
        log.info(
            "operator action",
            extra={
                "by": printable(entry.by),
                "action": action,
                "pool": pool,
                "reason": printable(reason),
                "outcome": outcome,
            },
        )
        self._hub.tell(
            Notice(
                "audit",
                entry.at,
                {"by": entry.by, "action": action, "reason": reason, "outcome": outcome},
                resource_id=None if registration is None else registration.key,
                public_id=pool,
                scope=scope,
                severity=Severity.INFO if outcome == "ok" else Severity.WARNING,
            )
        )

    def entries(self) -> tuple[AuditEntry, ...]:
        """The last thousand, oldest first."""
        return tuple(self._entries)
