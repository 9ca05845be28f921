"""Metrics: the scrape, as Prometheus or OpenMetrics text."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from nebula_resource.admin.answers import State, problems
from nebula_resource.admin.auth.needs import Metrics
from nebula_resource.admin.negotiation import accepts
from nebula_resource.admin.schemas.common import NoQuery
from nebula_resource.metrics import CONTENT_TYPE, OPENMETRICS_CONTENT_TYPE

__all__ = ["router"]

router = APIRouter(tags=["metrics"])

_PLAIN, _OPEN = "text/plain", "application/openmetrics-text"


@router.get(
    "/metrics",
    response_class=Response,
    responses={
        200: {
            "description": "Every number of the process",
            "content": {_PLAIN: {"schema": {"type": "string"}}, _OPEN: {"schema": {"type": "string"}}},
        },
        **problems(),
    },
)
async def metrics(request: Request, state: State, who: Metrics, _: Annotated[NoQuery, Query()]) -> Response:
    """Every number of the process; OpenMetrics where Accept prefers it."""
    kind = accepts(request.headers.get("accept"), (_PLAIN, _OPEN)) or _PLAIN
    is_open = kind == _OPEN
    body = await state.readings.text(openmetrics=is_open, families=lambda: state.counts.families(state.hub))
    return Response(body, headers={"Content-Type": OPENMETRICS_CONTENT_TYPE if is_open else CONTENT_TYPE})
