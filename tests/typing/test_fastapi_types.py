"""Dependencies carry the type of their lease: mypy --strict and pyright read this file, pytest runs it."""

from collections.abc import Awaitable
from typing import Annotated, Any, assert_type

from fastapi import Depends
from starlette.requests import HTTPConnection

from nebula_resource import Manager, ResourceKey
from nebula_resource.fastapi import (
    BearerResolver,
    ClaimResolver,
    Claims,
    HeaderResolver,
    PathResolver,
    Refused,
    Resolver,
    ResourceDependency,
    resource,
)
from nebula_resource.manager import OpenScope


class Session:
    """A lease."""


DB = ResourceKey("db", Session)
Db = Annotated[Session, Depends(resource(DB))]


def test_a_dependency_knows_its_lease() -> None:
    """By a key it is the key's type, by a name it is Any, for either moment of its end."""
    assert_type(resource(DB), ResourceDependency[Session])
    assert_type(resource(DB, until="response"), ResourceDependency[Session])
    assert_type(resource(ResourceKey[Session | None]("db")), ResourceDependency[Session | None])
    assert_type(resource("db"), ResourceDependency[Any])


def test_what_it_gives_is_the_lease() -> None:
    """Awaited, as FastAPI does, it gives what the key says."""

    async def of(conn: HTTPConnection) -> None:
        assert_type(await resource(DB)(conn), Session)

    assert callable(of)


def test_an_alias_is_the_lease_to_a_handler() -> None:
    """``Annotated[Session, Depends(...)]`` is a Session in the handler, and so is the default form's annotation."""

    async def handler(db: Db, other: Session = Depends(resource(DB, until="response"))) -> None:
        assert_type(db, Session)
        assert_type(other, Session)

    assert callable(handler)


def test_a_scope_and_a_manager_know_it_too() -> None:
    """The same key says the same everywhere."""

    async def of(manager: Manager, scope: OpenScope) -> None:
        assert_type(await scope.get(DB), Session)
        async with manager.acquire(DB) as session:
            assert_type(session, Session)

    assert callable(of)


def test_resolvers_are_functions_of_a_connection() -> None:
    """Ours, a plain function and a coroutine function all are resolvers; verifying may take its time."""

    def plain(conn: HTTPConnection) -> Claims | None:
        return None

    async def later(conn: HTTPConnection) -> Claims:
        raise Refused

    async def verify(token: str) -> Claims | None:
        return None

    resolvers: list[Resolver] = [
        plain,
        later,
        ClaimResolver(),
        ClaimResolver(later),
        BearerResolver(verify),
        BearerResolver(lambda token: Claims(tenant=token)),
        HeaderResolver("x-tenant", trusted=True),
        PathResolver("/t/{tenant}", verify=lambda tenant, conn: True),
    ]
    assert len(resolvers) == 8
    told: Claims | Awaitable[Claims | None] | None = resolvers[0](HTTPConnection({"type": "http"}))
    assert told is None
