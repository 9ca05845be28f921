"""AuditView: who did what, when and why."""

from __future__ import annotations

from typing_extensions import TypedDict

from nebula_resource.admin.audit import AuditEntry
from nebula_resource.admin.schemas.common import ProcessView, ScopeView, scope_view
from nebula_resource.admin.times import stamp

__all__ = ["AuditList", "AuditView", "audit_view"]


class AuditView(TypedDict):
    """One deed; ``outcome`` is under_way, ok, or the code of what stopped it."""

    number: int
    at: str
    by: str
    action: str
    pool: str | None
    scope: ScopeView
    reason: str | None
    outcome: str


class AuditList(TypedDict):
    """A page of deeds, the latest first."""

    items: list[AuditView]
    next_cursor: str | None
    process: ProcessView
    as_of: str


def audit_view(entry: AuditEntry) -> AuditView:
    """As an answer shows it."""
    return {
        "number": entry.number,
        "at": stamp(entry.at),
        "by": entry.by,
        "action": entry.action,
        "pool": entry.pool,
        "scope": scope_view(entry.scope),
        "reason": entry.reason,
        "outcome": entry.outcome,
    }
