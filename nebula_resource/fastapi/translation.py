"""Translation: an error of an acquire, for an application that has no handler for it."""

from __future__ import annotations

from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection

from nebula_resource.errors import ResourceError
from nebula_resource.model.problems import problem_of

__all__ = ["raise_answerable"]


def raise_answerable(conn: HTTPConnection, error: ResourceError) -> None:
    """Raise an `HTTPException` in its place where an application that knows nothing of us would answer 500 to what is a 503."""
    problem = problem_of(error)
    if problem.status != 500 and not _has_handler(conn, error):
        raise HTTPException(problem.status, problem.title, problem.headers() or None) from error


def _has_handler(conn: HTTPConnection, error: ResourceError) -> bool:
    """Whether the application would turn this error into a response."""
    by_type = conn.scope.get("starlette.exception_handlers", ({}, {}))[0]
    return any(kind in by_type for kind in type(error).__mro__)
