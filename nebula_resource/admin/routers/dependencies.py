"""Dependencies: who needs whom, as JSON, Mermaid or DOT."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query
from starlette.responses import PlainTextResponse, Response

from nebula_resource.admin.answers import State, answer, problems
from nebula_resource.admin.auth.needs import Viewer
from nebula_resource.admin.schemas.dependencies import (
    DependenciesView,
    GraphQuery,
    as_dot,
    as_mermaid,
    dependencies_view,
)

__all__ = ["router"]

router = APIRouter(tags=["resources"])


@router.get(
    "/dependencies",
    response_model=DependenciesView,
    responses={
        200: {
            "description": "The graph",
            "content": {
                "text/vnd.mermaid": {"schema": {"type": "string"}},
                "text/vnd.graphviz": {"schema": {"type": "string"}},
            },
        },
        **problems(409),
    },
)
async def dependencies(state: State, who: Viewer, query: Annotated[GraphQuery, Query()]) -> Response:
    """The whole graph, or what ``root`` needs and who needs it."""
    root = None if query.root is None else state.find(who, query.root)
    view = dependencies_view(state.manager, state.visible(who), root=root, depth=query.depth)
    if query.format == "mermaid":
        return PlainTextResponse(as_mermaid(view), media_type="text/vnd.mermaid")
    if query.format == "dot":
        return PlainTextResponse(as_dot(view), media_type="text/vnd.graphviz")
    return answer(view)
