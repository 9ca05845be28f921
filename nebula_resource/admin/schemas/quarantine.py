"""QuarantineView: one isolated resource as an operator sees it."""

from __future__ import annotations

from typing import Literal

from pydantic import Field
from typing_extensions import TypedDict

from nebula_resource.admin.schemas.common import MAX_REASON, Body, ProcessView, ScopeView, scope_view
from nebula_resource.admin.sight import Sight
from nebula_resource.admin.times import stamp, stamp_or_none
from nebula_resource.quarantine import QuarantineEntry
from nebula_resource.quarantine.entry import reason_of

__all__ = ["Isolate", "QuarantineList", "QuarantineView", "Release", "ReleaseView", "quarantine_view"]


class QuarantineView(TypedDict):
    """Why, since when, and what happens next."""

    id: str
    resource_id: str
    scope: ScopeView
    reason: str
    detail: str
    since: str
    by: str
    attempts: int
    max_attempts: int
    phase: str
    next_attempt_at: str | None
    next_attempt_in_s: float | None
    manual: bool
    expires_at: str | None
    dependents: int


class QuarantineList(TypedDict):
    """A page of quarantined resources, oldest first."""

    items: list[QuarantineView]
    next_cursor: str | None
    process: ProcessView
    as_of: str


class ReleaseView(TypedDict):
    """What a release did."""

    id: str
    released: bool
    mode: str
    quarantine: QuarantineView
    admission: Literal["open", "half_open"]


class Isolate(Body):
    """Keep callers away from a resource."""

    resource_id: str = Field(min_length=1, max_length=160)
    reason: str = Field(min_length=1, max_length=MAX_REASON)
    expires_in: float | None = Field(default=None, gt=0, le=31_536_000)
    dry_run: bool = False


class Release(Body):
    """End a quarantine: ``probe`` when its checks pass, ``force`` at once."""

    mode: Literal["probe", "force"] = "probe"
    reason: str | None = Field(default=None, min_length=1, max_length=MAX_REASON)
    dry_run: bool = False


def quarantine_view(sight: Sight, id: str, entry: QuarantineEntry) -> QuarantineView:
    """As an answer shows it."""
    manager = sight.manager
    retry_after = manager.watch.quarantine.retry_after(id)
    return {
        "id": id,
        "resource_id": entry.resource_id,
        "scope": scope_view(entry.scope),
        "reason": entry.reason.kind,
        "detail": getattr(entry.reason, "text", None) or sight.text(reason_of(id, entry.reason)),
        "since": stamp(entry.quarantined_at),
        "by": entry.by,
        "attempts": entry.attempts,
        "max_attempts": entry.max_attempts,
        "phase": entry.phase,
        "next_attempt_at": stamp_or_none(entry.next_attempt_at),
        "next_attempt_in_s": None if retry_after is None else round(retry_after, 3),
        "manual": entry.reason.is_manual,
        "expires_at": stamp_or_none(entry.expires_at),
        "dependents": len(manager.dependencies.dependents(id)),
    }
