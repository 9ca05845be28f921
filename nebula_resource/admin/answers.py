"""Answers: the statuses a route declares, and JSON that always fits into its bytes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from http import HTTPStatus
from typing import Annotated, Any, cast

from fastapi import Depends, Request
from starlette.responses import Response

from nebula_resource.admin.schemas.common import ProblemView
from nebula_resource.admin.state import AdminState
from nebula_resource.model.problems import PROBLEM_MEDIA_TYPE

__all__ = ["Ok", "State", "answer", "location", "problems"]


def answer(
    body: Mapping[str, Any], *, status: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    """A JSON answer; ASCII only, so a lone surrogate in a name of somebody's cannot break it."""
    text = json.dumps(body, separators=(",", ":"), allow_nan=False)
    return Response(text, status, dict(headers or {}), "application/json")


# What the guard and the keys may answer on any route.
_ALWAYS = (400, 401, 403, 404, 405, 429, 500)


def problems(*statuses: int, body: bool = False) -> dict[int | str, dict[str, Any]]:
    """The ``responses`` of a route: each of these may come, as a problem; ``body``: the route reads one."""
    known = {*_ALWAYS, *statuses, *((408, 413, 415, 422, 503) if body else ())}
    return {
        status: {
            "model": ProblemView,
            "description": HTTPStatus(status).phrase,
            "content": {PROBLEM_MEDIA_TYPE: {}},
        }
        for status in sorted(known)
    }


def Ok(model: Any, description: str = "OK") -> dict[str, Any]:  # noqa: N802  # reads as a declaration in a route
    """One response that is no problem."""
    return {"model": model, "description": description}


def location(request: Request, path: str) -> str:
    """A path of this application as its clients see it, wherever it is mounted."""
    return f"{request.scope.get('root_path', '')}{path}"


def _state(request: Request) -> AdminState:
    return cast("AdminState", request.app.state.admin)


State = Annotated[AdminState, Depends(_state)]
