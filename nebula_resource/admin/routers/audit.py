"""Audit: what people did."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query
from starlette.responses import Response

from nebula_resource.admin.answers import State, answer, problems
from nebula_resource.admin.auth.needs import Admin
from nebula_resource.admin.schemas.audit import AuditList, audit_view
from nebula_resource.admin.schemas.common import Page
from nebula_resource.admin.times import now

__all__ = ["router"]

router = APIRouter(tags=["audit"])


@router.get("/audit", response_model=AuditList, responses=problems())
async def list_audit(state: State, who: Admin, query: Annotated[Page, Query()]) -> Response:
    """The last thousand deeds, the latest first."""
    page, next_cursor = state.cursors.page(
        state.audit.entries(),
        key=lambda entry: (entry.number,),
        limit=query.limit,
        cursor=query.cursor,
        descending=True,
    )
    return answer(
        {
            "items": [audit_view(each) for each in page],
            "next_cursor": next_cursor,
            "process": state.process,
            "as_of": now(),
        }
    )
