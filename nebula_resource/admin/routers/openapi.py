"""OpenAPI: what this API is, for programs."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import Response

from nebula_resource.admin.answers import answer
from nebula_resource.admin.auth.needs import KeyHolder

__all__ = ["router"]

router = APIRouter(include_in_schema=False)


@router.get("/openapi.json")
async def openapi(request: Request, who: KeyHolder) -> Response:
    """Every path, body and status."""
    return answer(request.app.openapi())
