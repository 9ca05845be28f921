"""Dependency: ``Depends(resource("db"))``, a lease as a parameter of a handler."""

from __future__ import annotations

import asyncio
import logging
from contextlib import AsyncExitStack
from math import inf
from typing import Any, Generic, NoReturn, TypeVar, overload

from starlette.requests import HTTPConnection

from nebula_resource.errors import ConfigurationError, ResourceError, ResourceNotFound
from nebula_resource.fastapi.adapter import PRIVATE_NAMES, Until, exit_stack, leave
from nebula_resource.fastapi.canary import private_names_work
from nebula_resource.fastapi.fallback import fallback_signature, leases_here, signature
from nebula_resource.fastapi.leases import RequestLeases, leases_of
from nebula_resource.fastapi.record import RECORD, RequestRecord
from nebula_resource.fastapi.translation import raise_answerable
from nebula_resource.manager.open_scope import NOTHING
from nebula_resource.model.key import ResourceKey, check_resource_id

__all__ = ["ResourceDependency", "resource"]

T = TypeVar("T")

NOTE_EVERY = 60.0
"""Seconds in which one unknown id is logged once."""

log = logging.getLogger("nebula_resource.fastapi")


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

    # No tuple of those two, although its hash were cheaper: mypy takes a tuple for nothing that can be called.
    __slots__ = ("__signature__", "_hash", "_name", "_noted", "_stack_name", "key", "until")

    def __init__(self, key: str, *, until: Until, private: bool | None = None) -> None:
        check_resource_id(key)
        if until not in ("endpoint", "response"):
            raise ConfigurationError("until is 'endpoint' or 'response'", resource_id=key)
        self.key = key
        self.until: Until = until
        self._name = str(key)  # a plain str: dictionaries find it faster than a key
        self._stack_name = PRIVATE_NAMES[until]
        self._hash = hash((self._name, until))
        self._noted = -inf
        use_private = private_names_work() if private is None else private
        self.__signature__ = signature() if use_private else fallback_signature(self._name, until)

    async def __call__(self, conn: HTTPConnection, opened: RequestLeases | None = None) -> T:
        """Called by FastAPI, once a request; in the fallback with the block that its generator ``opened``."""
        name = self._name
        try:
            if opened is None:
                stack: AsyncExitStack = conn.scope.get(self._stack_name) or exit_stack(conn, self.until)
                leases, is_new = leases_of(conn, self.until)
                if is_new:
                    leave(stack, leases)
            else:
                leases = leases_here(conn, opened)
            value: T = leases.take(name, name)
            return value if value is not NOTHING else await leases.wait(name, name)
        except ResourceError as error:
            if isinstance(error, ResourceNotFound):
                self._note_unknown(conn)
            raise_answerable(conn, error)
            raise

    def _note_unknown(self, conn: HTTPConnection) -> None:
        """Say in the log, once a minute, that nobody at all has such a thing: whoever asked is not told that much."""
        record: RequestRecord = conn.scope[RECORD]  # left there on the way to the lease
        if record.manager.registry.named(self._name):
            return
        now = asyncio.get_running_loop().time()
        if now - self._noted >= NOTE_EVERY:
            self._noted = now
            log.warning(
                "a handler asks for a resource that is registered nowhere", extra={"resource.id": self._name}
            )

    def __get_pydantic_core_schema__(self, *_: object) -> NoReturn:
        """Asked of what stands in ``Annotated`` without ``Depends``, which FastAPI takes for something the client sends."""
        raise ConfigurationError(
            f"{self!r} is a dependency: write Annotated[..., Depends({self!r})]", resource_id=self._name
        )

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, ResourceDependency):
            return NotImplemented
        return self._name == other._name and self.until == other.until

    def __hash__(self) -> int:
        return self._hash

    def __repr__(self) -> str:
        until = "" if self.until == "endpoint" else f", until={self.until!r}"
        return f"resource({str(self.key)!r}{until})"
