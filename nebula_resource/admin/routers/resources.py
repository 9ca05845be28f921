"""Resources: what is registered, and a check on demand."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query
from starlette.responses import Response

from nebula_resource.admin.answers import State, answer, problems
from nebula_resource.admin.auth.needs import Operator, Viewer
from nebula_resource.admin.problems import AdminProblem
from nebula_resource.admin.schemas.common import NoQuery
from nebula_resource.admin.schemas.health import health_block, probe_view
from nebula_resource.admin.schemas.resources import (
    Check,
    CheckResult,
    ResourceFilters,
    ResourceList,
    ResourceView,
    resource_view,
)
from nebula_resource.admin.sight import Sight
from nebula_resource.admin.times import now

__all__ = ["router"]

router = APIRouter(tags=["resources"])


@router.get("/resources", response_model=ResourceList, responses=problems())
async def list_resources(state: State, who: Viewer, query: Annotated[ResourceFilters, Query()]) -> Response:
    """Every registration the caller may see."""
    sight = Sight(state.manager, who)
    fitting = [
        each
        for each in state.visible(who)
        if query.q is None or query.q.casefold() in each.public_id.casefold()
    ]
    page, next_cursor = state.cursors.page(
        fitting, key=lambda each: (each.public_id,), limit=query.limit, cursor=query.cursor
    )
    return answer(
        {
            "items": [resource_view(sight, each) for each in page],
            "next_cursor": next_cursor,
            "process": state.process,
            "as_of": now(),
        }
    )


@router.get("/resources/{id}", response_model=ResourceView, responses=problems(409))
async def get_resource(state: State, who: Viewer, id: str, _: Annotated[NoQuery, Query()]) -> Response:
    """One registration: its configuration (secrets masked), neighbours, health and history."""
    registration = state.find(who, id)
    return answer(resource_view(Sight(state.manager, who), registration))


@router.post("/resources/{id}/check", response_model=CheckResult, responses=problems(409, 429, body=True))
async def check_resource(
    state: State, who: Operator, id: str, _: Annotated[NoQuery, Query()], body: Check | None = None
) -> Response:
    """Check the health now; who asks while a check is under way gets its result. At most one a second each."""
    registration = state.find(who, id)
    if registration.health is None:
        raise AdminProblem(409, "health_off", "this registration has no health checks")
    wait = state.checks.ask(registration.public_id)
    if wait is not None:
        raise AdminProblem(429, "too_many_checks", "this resource was checked a moment ago", retry_after=wait)
    async with state.audit.deed(who, "resource.check", registration, None if body is None else body.reason):
        status = await state.manager.check(registration.public_id)
    sight = Sight(state.manager, who)
    return answer(
        {
            "id": registration.public_id,
            "probe": probe_view(status, sight, registration),
            "health": health_block(state.manager.watch.board.get(registration.public_id), sight),
        }
    )
