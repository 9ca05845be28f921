"""Quarantine: what is isolated, isolating by hand, and letting out."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from nebula_resource.admin.answers import Ok, State, answer, location, problems
from nebula_resource.admin.auth.needs import Operator, Viewer
from nebula_resource.admin.idempotency import IdempotentRoute
from nebula_resource.admin.schemas.common import NoQuery, Page
from nebula_resource.admin.schemas.quarantine import (
    Isolate,
    QuarantineList,
    QuarantineView,
    Release,
    ReleaseView,
    quarantine_view,
)
from nebula_resource.admin.sight import Sight
from nebula_resource.admin.times import now
from nebula_resource.errors import AlreadyQuarantined, NotQuarantined

__all__ = ["router"]

router = APIRouter(tags=["quarantine"], route_class=IdempotentRoute)


@router.get("/quarantine", response_model=QuarantineList, responses=problems())
async def list_quarantine(state: State, who: Viewer, query: Annotated[Page, Query()]) -> Response:
    """Everything that is isolated, longest first."""
    sight = Sight(state.manager, who)
    entries = [
        (key, each) for key, each in state.manager.watch.quarantine.entries().items() if who.sees(each.scope)
    ]
    page, next_cursor = state.cursors.page(
        entries,
        key=lambda row: (row[1].quarantined_at.timestamp(), row[0]),
        limit=query.limit,
        cursor=query.cursor,
    )
    return answer(
        {
            "items": [quarantine_view(sight, key, entry) for key, entry in page],
            "next_cursor": next_cursor,
            "process": state.process,
            "as_of": now(),
        }
    )


@router.get("/quarantine/{id}", response_model=QuarantineView, responses=problems(409))
async def get_quarantine(state: State, who: Viewer, id: str, _: Annotated[NoQuery, Query()]) -> Response:
    """One isolated resource."""
    registration = state.find(who, id)
    entry = state.manager.watch.quarantine.get(registration.public_id)
    if entry is None:
        raise NotQuarantined(registration.key)
    return answer(quarantine_view(Sight(state.manager, who), registration.public_id, entry))


@router.post(
    "/quarantine",
    status_code=201,
    response_model=QuarantineView,
    responses={200: Ok(Isolate, "Nothing was done: dry run"), **problems(409, body=True)},
)
async def isolate(
    request: Request, state: State, who: Operator, body: Isolate, _: Annotated[NoQuery, Query()]
) -> Response:
    """Keep callers away until a person lets it out, or for ``expires_in`` seconds; what is in on evidence is taken over."""
    registration = state.find(who, body.resource_id)
    key = registration.public_id
    entry = state.manager.watch.quarantine.get(key)
    if entry is not None and entry.reason.is_manual:
        raise AlreadyQuarantined(registration.key)
    if body.dry_run:
        return answer({**body.model_dump(), "resource_id": key})
    async with state.audit.deed(who, "quarantine.enter", registration, body.reason):
        entry = state.manager.quarantine(key, body.reason, expires_in=body.expires_in, by=who.name)
    return answer(
        quarantine_view(Sight(state.manager, who), key, entry),
        status=201,
        headers={"Location": location(request, f"/quarantine/{key}")},
    )


@router.post("/quarantine/{id}/release", response_model=ReleaseView, responses=problems(409, body=True))
async def release(
    state: State, who: Operator, id: str, _: Annotated[NoQuery, Query()], body: Release | None = None
) -> Response:
    """Let it out: ``probe`` when its checks pass (409 when not), ``force`` at once. It is half open at first."""
    asked = body or Release()
    registration = state.find(who, id)
    quarantine = state.manager.watch.quarantine
    entry = quarantine.get(registration.public_id)
    if entry is None:
        raise NotQuarantined(registration.key)
    shown = quarantine_view(Sight(state.manager, who), registration.public_id, entry)
    if not asked.dry_run:
        async with state.audit.deed(who, f"quarantine.release.{asked.mode}", registration, asked.reason):
            await state.manager.release(registration.public_id, asked.mode, by=who.name)
    admission = quarantine.admission(registration.public_id)
    return answer(
        {
            "id": registration.public_id,
            "released": not asked.dry_run,
            "mode": asked.mode,
            "quarantine": shown,
            "admission": "open" if admission is None else "half_open",
        }
    )
