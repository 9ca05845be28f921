"""Problems: every error as RFC 9457 ``application/problem+json`` that repeats nothing of the request."""

from __future__ import annotations

import json
import logging
import secrets
import traceback
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.responses import Response

from nebula_resource.admin.sight import Sight
from nebula_resource.errors import AmbiguousScope, ProbeFailed, ResourceError
from nebula_resource.model.health import HealthStatus
from nebula_resource.model.problems import (
    PROBLEM_MEDIA_TYPE,
    Problem,
    ProblemField,
    problem_of,
    problem_of_status,
)
from nebula_resource.model.rule_words import words_of

__all__ = ["AdminProblem", "install", "internal_problem", "problem_response"]

MAX_ERRORS = 32
"""Violations one body lists: input decides how many there are."""

log = logging.getLogger("nebula_resource.admin")


class AdminProblem(Exception):
    """A request the API itself refuses. ``detail`` is a text of ours, never a part of the request."""

    def __init__(
        self,
        status: int,
        code: str,
        detail: str,
        *,
        retry_after: float | None = None,
        headers: Mapping[str, str] | None = None,
        errors: Sequence[ProblemField] = (),
    ) -> None:
        super().__init__(code)
        self.code = code
        title = problem_of_status(status).title
        self.problem = Problem(status, code, title, detail, retry_after, tuple(errors))
        self.headers = dict(headers or {})

    def response(self) -> Response:
        """As it is sent."""
        return problem_response(self.problem, headers=self.headers)


def problem_response(
    problem: Problem, *, headers: Mapping[str, str] | None = None, request: str | None = None, **members: Any
) -> Response:
    """One problem as a response, with an id of this request in it."""
    instance = request or f"urn:nebula:request:{secrets.token_hex(8)}"
    body = json.dumps(problem.body(instance=instance, **members))
    return Response(body, problem.status, {**problem.headers(), **(headers or {})}, PROBLEM_MEDIA_TYPE)


def internal_problem(error: BaseException, route: str | None) -> Response:
    """500 with the request's id alone; the log gets the id, the type and the frames, not the foreign text."""
    instance = f"urn:nebula:request:{secrets.token_hex(8)}"
    log.error(
        "admin request failed",
        extra={
            "request": instance,
            "route": route,
            "error": type(error).__name__,
            "frames": [line.strip() for line in traceback.format_tb(error.__traceback__)[-8:]],
        },
    )
    return problem_response(problem_of(error), request=instance)


# ── errors of the library ─────────────────────────────────────────────────────────────────────────────────────────


def _of_resource_error(error: ResourceError, route: str | None, told: Callable[[str], str]) -> Response:
    problem = problem_of(error)
    if problem.status >= 500 and problem.status != 503:
        return internal_problem(error, route)
    members: dict[str, Any] = {}
    if isinstance(error, AmbiguousScope):
        members["candidates"] = list(error.candidates)
    if isinstance(error, ProbeFailed) and isinstance(error.health, HealthStatus):
        state = error.health.state
        members["health"] = {
            "result": state.kind,
            "reason": told(state.because),
            "duration_s": error.health.latency_s,
        }
    return problem_response(problem, **members)


# ── errors of the request ─────────────────────────────────────────────────────────────────────────────────────────


def _of_http(request: Request, error: HTTPException) -> Response:
    headers = dict(error.headers or {})
    if error.status_code == 405:
        # Starlette names the methods of the first route with this path alone.
        headers["Allow"] = ", ".join(_methods(request))
    return problem_response(problem_of_status(error.status_code), headers=headers)


def _methods(request: Request) -> list[str]:
    """Every method that this path knows; where there is GET, the guard serves HEAD."""
    path = request.scope["path"].removeprefix(request.scope.get("root_path", ""))
    found = {
        method
        for route in request.app.routes
        if isinstance(route, APIRoute) and route.path_regex.match(path)
        for method in route.methods or ()
    }
    return sorted(found | ({"HEAD"} if "GET" in found else set()))


def _of_validation(error: RequestValidationError) -> Response:
    """What is wrong where; neither the values nor unknown names of fields, which are input too."""
    found: list[ProblemField] = []
    in_body = False
    for each in error.errors()[:MAX_ERRORS]:
        place, *path = each["loc"]
        in_body |= place == "body"
        kind = str(each["type"])
        known = kind not in {"extra_forbidden", "json_invalid"}
        found.append(ProblemField("/" + "/".join(map(str, path)) if known else "/", kind, _rule(each)))
    return problem_response(problem_of_status(422 if in_body else 400, errors=found))


_OURS: Mapping[str, str] = {
    "extra_forbidden": "holds a name that is not known here",  # the name itself is input
    "json_invalid": "is not JSON",
}


def _rule(violation: Mapping[str, Any]) -> str:
    """Which rule was broken. One without words of ours says its name alone: what pydantic says may hold input."""
    kind = str(violation["type"])
    words = _OURS.get(kind) or words_of(kind, violation.get("ctx") or {})
    return kind.replace("_", " ") if words is None else words


def install(app: FastAPI) -> None:
    """Answer every error of this application with a problem."""

    async def admin_problem(_: Request, error: Exception) -> Response:
        assert isinstance(error, AdminProblem)
        return error.response()

    async def resource_error(request: Request, error: Exception) -> Response:
        assert isinstance(error, ResourceError)
        state = request.app.state.admin
        who = state.authority.identify(request)
        told = Sight(state.manager, who).text if who is not None else str
        return _of_resource_error(error, getattr(request.scope.get("route"), "path", None), told)

    async def http_error(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        return _of_http(request, error)

    async def validation_error(_: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        return _of_validation(error)

    app.add_exception_handler(AdminProblem, admin_problem)
    app.add_exception_handler(ResourceError, resource_error)
    app.add_exception_handler(HTTPException, http_error)
    app.add_exception_handler(RequestValidationError, validation_error)
