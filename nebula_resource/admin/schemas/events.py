"""EventQuery: which events somebody asks for, live or of the past."""

from __future__ import annotations

from typing import Any, Literal, NotRequired

from pydantic import Field
from typing_extensions import TypedDict

from nebula_resource.admin.paging import DEFAULT_LIMIT, MAX_LIMIT
from nebula_resource.admin.schemas.common import ProcessView, Query

__all__ = ["EventList", "EventQuery", "EventView"]


class EventView(TypedDict):
    """One event, as it stands in ``data:`` of a stream too."""

    v: int
    seq: int
    ts: str
    type: str
    severity: str
    resource_id: str | None
    pool: str | None
    scope_id: str
    data: dict[str, Any]
    incident_id: NotRequired[str]


class EventList(TypedDict):
    """Events of the past, the latest last; ``last_id`` is where a stream or the next call goes on."""

    items: list[EventView]
    next_cursor: str | None
    last_id: str
    lost: bool
    process: ProcessView
    as_of: str


class EventQuery(Query):
    """Filters, and where to begin."""

    types: str | None = Field(default=None, max_length=1024)
    pool: str | None = Field(default=None, max_length=160)
    scope: str | None = Field(default=None, max_length=64)
    min_severity: Literal["info", "warning", "critical"] = "info"
    last_event_id: str | None = None
    raw: bool = False
    limit: int = Field(default=DEFAULT_LIMIT, ge=1, le=MAX_LIMIT)
    cursor: str | None = Field(default=None, max_length=2048)
