"""Events: what happens, live (SSE) or of the past (JSON)."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from nebula_resource.admin.answers import State, answer, problems
from nebula_resource.admin.auth.needs import Viewer
from nebula_resource.admin.auth.principal import Principal
from nebula_resource.admin.negotiation import accepts
from nebula_resource.admin.problems import AdminProblem
from nebula_resource.admin.schemas.events import EventList, EventQuery
from nebula_resource.admin.sse import EventStream
from nebula_resource.admin.sse.filters import EventFilter
from nebula_resource.admin.state import AdminState
from nebula_resource.admin.times import now

__all__ = ["router"]

router = APIRouter(tags=["events"])

STREAM = "text/event-stream"


@router.get(
    "/events",
    response_model=EventList,
    responses={
        200: {"description": "Events", "content": {STREAM: {"schema": {"type": "string"}}}},
        **problems(406, 409, 429, 503),
    },
)
async def events(
    request: Request, state: State, who: Viewer, query: Annotated[EventQuery, Query()]
) -> Response:
    """With ``Accept: text/event-stream`` live, from ``Last-Event-ID`` on; else the latest of the past as JSON."""
    pool = None if query.pool is None else state.find(who, query.pool).public_id
    wanted = EventFilter.of(types=query.types, pool=pool, scope=query.scope, min_severity=query.min_severity)
    kind = accepts(request.headers.get("accept"), ("application/json", STREAM))
    if kind is None:
        raise AdminProblem(406, "not_acceptable", "events come as text/event-stream or application/json")
    last_id = request.headers.get("last-event-id") or query.last_event_id
    if kind == STREAM:
        return EventStream(
            state.hub,
            who,
            wanted,
            last_id=last_id,
            raw=query.raw,
            recheck=partial(state.authority.identify, request),
        )
    return answer(_history(state, who, wanted, query, last_id))


def _history(
    state: AdminState, who: Principal, wanted: EventFilter, query: EventQuery, last_id: str | None
) -> dict[str, Any]:
    """The latest, or, after an id, the first that follow it."""
    ring = state.hub.ring(who.tenant)
    position = ring.position(last_id)
    after = position.seq if last_id and position.gap is None else ring.oldest - 1
    found = [frame for frame in ring.frames(after, ring.seq) if wanted.wants(frame.event)]
    if last_id and position.gap is None:
        chosen, next_cursor = found[: query.limit], None
    else:
        newest, next_cursor = state.cursors.page(
            found, key=lambda frame: (frame.seq,), limit=query.limit, cursor=query.cursor, descending=True
        )
        chosen = newest[::-1]
    reached = chosen[-1].seq if last_id and len(found) > len(chosen) else ring.seq
    return {
        "items": [frame.envelope() for frame in chosen],
        "next_cursor": next_cursor,
        "last_id": ring.id_of(reached),
        "lost": position.gap is not None,
        "process": state.process,
        "as_of": now(),
    }
