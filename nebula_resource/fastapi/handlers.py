"""Handlers: what an application answers to errors: problems that repeat nothing of what was sent."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Any

from fastapi.exceptions import RequestValidationError, WebSocketRequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection, Request
from starlette.responses import Response
from starlette.websockets import WebSocket, WebSocketState

from nebula_resource.errors import ResourceError
from nebula_resource.fastapi.problems import problem_response
from nebula_resource.fastapi.violations import fields_of
from nebula_resource.model.problems import Problem, problem_of, problem_of_status

__all__ = [
    "Handler",
    "on_any_error",
    "on_http_exception",
    "on_invalid_request",
    "on_invalid_websocket",
    "on_resource_error",
]

Handler = Callable[[Any, Any], Awaitable[Response | None]]

NO_BODY = frozenset({204, 205, 304})


async def on_resource_error(conn: HTTPConnection, error: ResourceError) -> Response | None:
    """An error of ours: its status by SPEC §8, with ``Retry-After`` where waiting helps.

    What is a 500 is a fault of the application or of ours: it goes on to the server, which logs it.
    """
    problem = problem_of(error)
    if problem.status == 500:
        raise error
    if isinstance(conn, WebSocket):
        return await _end_websocket(conn, problem)
    return problem_response(problem)


async def on_http_exception(conn: HTTPConnection, error: HTTPException) -> Response | None:
    """An HTTPException, the framework's 404 and 405 among them; its ``detail`` is the application's own words."""
    headers = error.headers
    if error.status_code < 400 or error.status_code in NO_BODY:
        return Response(status_code=error.status_code, headers=headers)
    problem = problem_of_status(error.status_code, detail=_words(error))
    if isinstance(conn, WebSocket):
        return await _end_websocket(conn, problem)
    return problem_response(problem, headers=headers)


def _words(error: HTTPException) -> str | None:
    """What the application said; not what Starlette says in its place."""
    detail: object = error.detail
    if not isinstance(detail, str):
        return None
    try:
        return None if detail == HTTPStatus(error.status_code).phrase else detail
    except ValueError:
        return detail


async def on_invalid_request(request: Request, error: RequestValidationError) -> Response:
    """A request that breaks the handler's signature: which fields and which rules, not what they held."""
    return problem_response(problem_of_status(422, errors=fields_of(error.errors(), request)))


async def on_invalid_websocket(websocket: WebSocket, error: WebSocketRequestValidationError) -> None:
    """The same before a websocket opens, where there is no room for a reason."""
    await websocket.close(code=1008)


async def on_any_error(request: Request, error: Exception) -> Response:
    """Whatever nobody handled: a 500 that tells nothing. It is raised to the server all the same, which logs it."""
    return problem_response(problem_of(error))


async def _end_websocket(websocket: WebSocket, problem: Problem) -> Response | None:
    """Deny a websocket that is not open yet, close one that is: 1013 try again later, 1008 refused, 1011 our fault."""
    if websocket.application_state is WebSocketState.CONNECTING:
        if "websocket.http.response" in websocket.scope.get("extensions", {}):
            return problem_response(problem)
    elif websocket.application_state is not WebSocketState.CONNECTED:
        return None
    code = 1013 if problem.status in {429, 503} else 1008 if problem.status < 500 else 1011
    await websocket.close(code=code)
    return None
