"""Dependency: ``Depends(resource("db"))``, a lease as a parameter of a handler."""

from __future__ import annotations

from typing import Any, Generic, TypeVar, overload

from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection

from nebula_resource.errors import ConfigurationError, ResourceError
from nebula_resource.fastapi.adapter import (
    PRIVATE_NAMES,
    ExitStack,
    Until,
    exit_stack,
    fallback_signature,
    signature,
)
from nebula_resource.fastapi.canary import private_names_work
from nebula_resource.fastapi.leases import leases_of
from nebula_resource.model.key import ResourceKey, check_resource_id
from nebula_resource.model.problems import problem_of

__all__ = ["ResourceDependency", "resource"]

T = TypeVar("T")


@overload
def resource(key: ResourceKey[T], *, until: Until = "endpoint") -> ResourceDependency[T]: ...


@overload
def resource(key: str, *, until: Until = "endpoint") -> ResourceDependency[Any]: ...


def resource(key: str, *, until: Until = "endpoint") -> ResourceDependency[Any]:
    """A dependency that gives a handler the request's lease of ``key``: ``Depends(resource("db"))``.

    The handler and its sub-dependencies share one lease. With ``until="endpoint"`` it ends when the handler does,
    before the response starts: with the handler's exception (an `HTTPException` too), and a failed commit becomes a
    5xx. With ``until="response"`` it ends when the response was sent, for a handler that streams from it: rolled
    back when the client left before. That takes `NebulaMiddleware` around the application (`install` puts it there).

    Raises `ValidationFailed` for what may not name a resource; when a request comes, what an acquire raises, and
    `InternalError` in an application that has no manager (or, until the response, no middleware).
    """
    return ResourceDependency(key, until=until)


class ResourceDependency(Generic[T]):
    """What `resource` returns: equal to any other with the same name and ``until``, so that
    ``app.dependency_overrides[resource("db")]`` finds it.
    """

    __slots__ = ("__signature__", "_hash", "_name", "_stack_name", "key", "until")

    def __init__(self, key: str, *, until: Until, private: bool | None = None) -> None:
        check_resource_id(key)
        if until not in ("endpoint", "response"):
            raise ConfigurationError("until is 'endpoint' or 'response'", resource_id=key)
        self.key = key
        self.until: Until = until
        self._name = str(key)  # a plain str: dictionaries find it faster than a key
        self._stack_name = PRIVATE_NAMES[until]
        self._hash = hash((self._name, until))
        use_private = private_names_work() if private is None else private
        self.__signature__ = signature() if use_private else fallback_signature(until)

    async def __call__(self, conn: HTTPConnection, stack: ExitStack | None = None) -> T:
        """Called by FastAPI, once a request."""
        if stack is None:
            found: ExitStack | None = conn.scope.get(self._stack_name)
            stack = found or exit_stack(conn, self.until)
        try:
            value: T = await leases_of(conn, self.until, stack).get(self._name)
            return value
        except ResourceError as error:
            problem = problem_of(error)
            if problem.status == 500 or _has_handler(conn, error):
                raise
            # An application that knows nothing of us would answer 500 to what is a 503.
            raise HTTPException(problem.status, problem.title, problem.headers() or None) from error

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, ResourceDependency):
            return NotImplemented
        return self._name == other._name and self.until == other.until

    def __hash__(self) -> int:
        return self._hash

    def __repr__(self) -> str:
        until = "" if self.until == "endpoint" else f", until={self.until!r}"
        return f"resource({str(self.key)!r}{until})"


def _has_handler(conn: HTTPConnection, error: ResourceError) -> bool:
    """Whether the application would turn this error into a response."""
    by_type = conn.scope.get("starlette.exception_handlers", ({}, {}))[0]
    return any(kind in by_type for kind in type(error).__mro__)
