"""ResourceDependency: a value that FastAPI can hash, compare, call and read the signature of."""

from __future__ import annotations

import asyncio
import copy
import inspect
from typing import Any

import httpx
import pytest
from fastapi import Depends, FastAPI
from fastapi.dependencies.utils import get_dependant
from starlette.requests import HTTPConnection

from nebula_resource import ConfigurationError, Manager, ResourceKey, ValidationFailed
from nebula_resource.fastapi import install, resource
from nebula_resource.fastapi.dependency import ResourceDependency
from nebula_resource.fastapi.leases import RequestLeases
from nebula_resource.fastapi.record import RequestRecord

DB = ResourceKey("db", int)


def test_equal_by_name_and_until() -> None:
    """A key and its name are one; another name, and another end, are others."""
    assert resource("db") == resource(DB) == resource(ResourceKey("db", str))
    assert hash(resource("db")) == hash(resource(DB))
    assert resource("db") != resource("cache")
    assert resource("db") != resource("db", until="response")
    assert resource("db") != "db"
    assert len({resource("db"), resource(DB), resource(DB, until="response")}) == 2


def test_it_is_a_coroutine_callable_and_no_generator() -> None:
    """FastAPI closes generators of plain Depends after the answer; this is none, and it needs no thread."""
    assert inspect.iscoroutinefunction(resource("db").__call__)
    assert not inspect.isasyncgenfunction(resource("db").__call__)


@pytest.mark.parametrize("private", [True, False])
def test_fastapi_reads_its_signature(private: bool) -> None:
    """The connection, and in the fallback a block from a generator of the right scope; nothing from the client."""
    for until, scope in (("endpoint", "function"), ("response", "request")):
        dependency: ResourceDependency[int] = ResourceDependency("db", until=until, private=private)  # type: ignore[arg-type]  # both are of the Literal
        dependant = get_dependant(path="/", call=dependency)
        assert dependant.http_connection_param_name == "conn"
        assert [each.scope for each in dependant.dependencies] == ([] if private else [scope])
        assert not dependant.query_params
        assert not dependant.body_params


def test_its_repr_is_how_it_is_written() -> None:
    """What stands in a traceback can be typed again."""
    assert repr(resource(DB)) == "resource('db')"
    assert repr(resource("db", until="response")) == "resource('db', until='response')"


def test_it_keeps_the_key_for_start_up_checks() -> None:
    """The type that the key carries is compared with the annotation when the application starts."""
    assert resource(DB).key is DB


def test_bad_names_and_ends_are_refused_where_they_are_written() -> None:
    """Not when the first request comes."""
    with pytest.raises(ValidationFailed):
        resource("no name!")
    with pytest.raises(ConfigurationError, match="until"):
        resource("db", until="request")  # type: ignore[call-overload]  # a user without a type checker


async def test_a_request_s_leases_make_their_scope_when_it_is_asked_for() -> None:
    """An execution of its own, the same whenever it is asked for."""
    conn = HTTPConnection({"type": "http"})
    leases = RequestLeases(RequestRecord(Manager(), None, None), None, conn, "endpoint")
    assert leases.scope is leases.scope
    assert leases.scope.execution_id is not None
    assert leases.context.scope is leases.scope


async def test_an_id_that_nobody_has_is_logged_once_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    """However often it is asked for."""
    app = FastAPI()

    @app.get("/")
    async def typo(rows: Any = Depends(resource("nowhere"))) -> None: ...

    told = []
    async with Manager() as manager:
        install(app, manager)
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
            for _ in range(5):
                assert (await client.get("/")).status_code == 404
                told.append([each.getMessage() for each in caplog.records].count(_TOLD))
                await asyncio.sleep(20)
    assert told == [1, 1, 1, 2, 2]


_TOLD = "a handler asks for a resource that is registered nowhere"


def test_a_copy_is_equal_and_works() -> None:
    """Who copies a route's dependencies gets them as they were."""
    copied = copy.deepcopy(resource(DB, until="response"))
    assert copied == resource(DB, until="response")
    assert (copied.key, copied.until, repr(copied)) == (DB, "response", "resource('db', until='response')")
