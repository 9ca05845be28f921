"""Scopes: those that registrations live in. What lasts and has limits of its own is a managed scope: there are none yet."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query
from starlette.responses import Response

from nebula_resource.admin.answers import State, answer, problems
from nebula_resource.admin.auth.needs import Viewer
from nebula_resource.admin.schemas.common import NoQuery, scope_id
from nebula_resource.admin.schemas.scopes import (
    Owned,
    ScopeDetail,
    ScopeFilters,
    ScopeList,
    grouped,
    parent_of,
    scope_detail,
    scope_summary,
)
from nebula_resource.admin.times import now
from nebula_resource.errors import ScopeNotFound
from nebula_resource.model.scope import Scope

__all__ = ["router"]

router = APIRouter(tags=["scopes"])


@router.get("/scopes", response_model=ScopeList, responses=problems())
async def list_scopes(state: State, who: Viewer, query: Annotated[ScopeFilters, Query()]) -> Response:
    """Every scope that holds a registration the caller may see, the widest first, a page at a time."""
    owned = grouped(state.visible(who))
    fitting = [
        each
        for each in owned
        if (query.level is None or each.level.name.lower() == query.level)
        and (query.tenant is None or each.tenant_id == query.tenant)
        and (query.parent is None or _id_of_parent(each, owned) == query.parent)
    ]
    page, next_cursor = state.cursors.page(
        fitting,
        key=lambda each: (each.level.value, each.tenant_id or "", scope_id(each)),
        limit=query.limit,
        cursor=query.cursor,
    )
    open_ = {level.name.lower(): count for level, count in state.manager.open_scopes.items()}
    return answer(
        {
            "items": [scope_summary(state.manager, each, owned) for each in page],
            "next_cursor": next_cursor,
            "open": open_ if who.tenant is None else None,
            "process": state.process,
            "as_of": now(),
        }
    )


@router.get("/scopes/{id}", response_model=ScopeDetail, responses=problems())
async def get_scope(state: State, who: Viewer, id: str, _: Annotated[NoQuery, Query()]) -> Response:
    """One of them: its pools, and the scopes within it."""
    owned = grouped(state.visible(who))
    scope = next((each for each in owned if scope_id(each) == id), None)
    if scope is None:
        raise ScopeNotFound(id)
    return answer(scope_detail(state.manager, scope, owned, now()))


def _id_of_parent(scope: Scope, owned: Owned) -> str | None:
    parent = parent_of(scope, owned)
    return None if parent is None else scope_id(parent)
