"""Traps: what goes wrong with the obvious ways to lend a resource to a handler, and does not with ours.

Each test shows the naive way going wrong first, in the same FastAPI, so that it says when a trap is gone.
"""

from __future__ import annotations

import threading
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest
from fastapi import APIRouter, Depends, FastAPI, HTTPException, Request, WebSocket, WebSocketException
from fastapi.exceptions import DependencyScopeError
from fastapi.responses import JSONResponse
from starlette.applications import Starlette
from starlette.routing import Mount, Router
from starlette.types import ASGIApp, Receive, Scope, Send

from nebula_resource import Manager, current_scope
from nebula_resource.fastapi import install, resource
from tests.app.fastapi_world import DB, CommitFailed, Connection, Database, call, managed, talk


@pytest.fixture
def database() -> Database:
    """A database that tells what happened."""
    return Database()


@pytest.fixture
async def manager(database: Database) -> AsyncGenerator[Manager]:
    """A manager with the database."""
    async with managed(database) as manager:
        yield manager


def ours(manager: Manager) -> FastAPI:
    """An application of ours."""
    app = FastAPI()
    install(app, manager, shutdown=False)
    return app


async def test_a_failed_commit_of_a_plain_yield_dependency_answers_200(
    manager: Manager, database: Database
) -> None:
    """FastAPI closes it after the answer has gone out: the client believes what did not happen. Ours answers 500."""

    async def naive() -> AsyncGenerator[Connection]:
        async with manager.acquire(DB) as db:
            yield db

    for dependency, app, status in ((naive, FastAPI(), 200), (resource(DB), ours(manager), 500)):

        @app.get("/")
        async def handler(db: Connection = Depends(dependency)) -> None:
            db.fails = CommitFailed()

        assert (await call(app)).status == status


async def test_a_lease_of_a_middleware_commits_what_the_handler_refused(
    manager: Manager, database: Database
) -> None:
    """By then an HTTPException is an answer like any other: the naive way commits. Ours rolls back."""

    class Naive:
        def __init__(self, app: ASGIApp) -> None:
            self.app = app

        async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
            async with manager.acquire(DB) as db:
                scope["db"] = db
                await self.app(scope, receive, send)

    naive = FastAPI()
    naive.add_middleware(Naive)

    @naive.get("/")
    async def refuses(request: Request) -> None:
        assert request.scope["db"].is_lent
        raise HTTPException(409)

    assert (await call(naive)).status == 409
    assert database.seen == ["begin", "commit"]

    database.seen.clear()
    app = ours(manager)

    @app.get("/")
    async def refuses_too(db: Connection = Depends(resource(DB))) -> None:
        raise HTTPException(409)

    assert (await call(app)).status == 409
    assert database.seen == ["begin", "rollback HTTPException"]


async def test_a_lease_of_the_open_scope_alone_cannot_answer_for_its_commit(
    manager: Manager, database: Database
) -> None:
    """What a helper takes from the request's scope commits after the answer; beside a lease of the handler's it
    is that very lease, and a failed commit is a 500."""

    async def helper() -> None:
        scope = current_scope()
        assert scope is not None
        (await scope.get(DB)).fails = CommitFailed()

    app = ours(manager)

    @app.get("/alone")
    async def alone() -> None:
        await helper()

    @app.get("/beside")
    async def beside(db: Connection = Depends(resource(DB))) -> None:
        await helper()

    answer = await call(app, "/alone")
    assert answer.status == 200
    assert isinstance(answer.error, CommitFailed)
    assert (await call(app, "/beside")).status == 500


class Refusal(Exception):
    """What applications answer by a handler of their own."""


async def test_an_error_handler_hides_the_error_from_the_scope(manager: Manager, database: Database) -> None:
    """Without `install` a handler's answer looks like success to the scope around it; with it, it does not."""

    def answering(app: FastAPI) -> FastAPI:
        @app.exception_handler(Refusal)
        async def answers(request: Request, error: Refusal) -> JSONResponse:
            return JSONResponse({}, 409)

        @app.get("/")
        async def handler() -> None:
            scope = current_scope()
            assert scope is not None
            await scope.get(DB)
            raise Refusal

        return app

    naive = answering(FastAPI())
    async with manager.scope(execution="e1"):
        assert (await call(naive)).status == 409
    assert database.seen == ["begin", "commit"]

    database.seen.clear()
    assert (await call(answering(ours(manager)))).status == 409
    assert database.seen == ["begin", "rollback Refusal"]


def knows_nothing_of_us(kind: type[Starlette]) -> Any:
    """An application with a handler of its own, which leases what the request's scope gives it and then fails."""

    async def fails(conn: Any) -> Any:
        scope = current_scope()
        assert scope is not None
        await scope.get(DB)
        raise HTTPException(418) if conn.url.path.endswith("teapot") else Refusal

    def answers(request: Request, error: Exception) -> JSONResponse:
        return JSONResponse({}, 409)

    inner = kind(exception_handlers={Refusal: answers})
    inner.router.add_route("/own", fails)
    inner.router.add_route("/teapot", fails)
    inner.router.add_websocket_route("/socket", fails)
    return inner


class Around:
    """A middleware of a mount's own."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await self.app(scope, receive, send)


@pytest.mark.parametrize("kind", [FastAPI, Starlette])
@pytest.mark.parametrize(("path", "status"), [("own", 409), ("teapot", 418)])
async def test_what_a_mounted_application_answers_is_the_outcome_too(
    manager: Manager, database: Database, kind: type[Starlette], path: str, status: int
) -> None:
    """It knows nothing of us, and its own handlers, or Starlette's, hide the error; mounted by us, they do not."""
    naive = FastAPI()
    naive.mount("/in", knows_nothing_of_us(kind))
    async with manager.scope(execution="e1"):
        assert (await call(naive, f"/in/{path}")).status == status
    assert database.seen == ["begin", "commit"]

    app = ours(manager)
    deeper, router = Starlette(), APIRouter()
    app.mount("/in", knows_nothing_of_us(kind))
    deeper.mount("/in", Around(knows_nothing_of_us(kind)))
    app.mount("/deeper", deeper)
    app.mount("/routed", Router([Mount("/in", knows_nothing_of_us(kind))]))
    router.mount("/in", knows_nothing_of_us(kind))
    app.include_router(router, prefix="/included")
    deeper.mount("/itself", app)
    for where in ("/in", "/deeper/in", "/routed/in", "/included/in", "/deeper/itself/in"):
        database.seen.clear()
        answer = await call(app, f"{where}/{path}")
        assert (where, answer.status, database.seen[0]) == (where, status, "begin")
        assert database.seen[1].startswith("rollback"), where


async def test_one_manager_in_two_applications_notes_each_error_once(
    manager: Manager, database: Database
) -> None:
    """A mounted application with an install of its own keeps its handlers as they are."""
    outer, inner = ours(manager), ours(manager)
    handlers = inner.exception_handlers

    @inner.get("/")
    async def fails() -> None:
        scope = current_scope()
        assert scope is not None
        await scope.get(DB)
        raise HTTPException(409)

    outer.mount("/in", inner)
    assert (await call(outer, "/in/")).status == 409
    assert inner.exception_handlers is handlers
    assert database.seen == ["begin", "rollback HTTPException"]


@pytest.mark.parametrize("mounted", [False, True])
async def test_a_websocket_that_starlette_closes_does_not_commit(
    manager: Manager, database: Database, mounted: bool
) -> None:
    """A WebSocketException has a handler inside of Starlette, which nobody would be told of."""
    app = ours(manager)
    inner = FastAPI() if mounted else app

    @inner.websocket("/")
    async def fails(socket: WebSocket) -> None:
        scope = current_scope()
        assert scope is not None
        await scope.get(DB)
        raise WebSocketException(4001)

    if mounted:
        app.mount("/in", inner)
    sent, error = await talk(app, "/in/" if mounted else "/")
    assert (sent[-1], error) == ({"type": "websocket.close", "code": 4001, "reason": ""}, None)
    assert database.seen == ["begin", "rollback WebSocketException"]


async def test_a_request_scoped_generator_may_not_use_a_function_scoped_one(manager: Manager) -> None:
    """FastAPI refuses it, so the fallback's stack hides behind a coroutine; with ours any dependency may ask."""

    async def function_scoped() -> AsyncGenerator[AsyncExitStack]:
        async with AsyncExitStack() as stack:
            yield stack

    async def naive(stack: Any = Depends(function_scoped, scope="function")) -> AsyncGenerator[None]:
        yield

    with pytest.raises(DependencyScopeError):

        @FastAPI().get("/")
        async def handler(_: None = Depends(naive)) -> None: ...

    app = ours(manager)

    async def any_dependency(db: Connection = Depends(resource(DB))) -> AsyncGenerator[int]:
        yield db.number

    @app.get("/")
    async def asks(number: int = Depends(any_dependency)) -> int:
        return number

    assert (await call(app)).body == b"1"


async def test_a_sync_callable_costs_a_thread(manager: Manager) -> None:
    """FastAPI runs a plain callable in a thread, and what a thread sets is lost; ours never leaves the loop's."""
    here = threading.get_ident()
    ran_in: list[int] = []

    class Callable:
        def __call__(self) -> int:
            ran_in.append(threading.get_ident())
            return 1

    naive = FastAPI()

    @naive.get("/")
    async def handler(number: int = Depends(Callable())) -> int:
        return number

    await call(naive)
    assert ran_in != [here]

    threads: list[int] = []

    class Watching(Database):
        @asynccontextmanager
        async def lease(self, instance: Connection, context: Any) -> AsyncGenerator[Connection]:
            threads.append(threading.get_ident())
            yield instance

    await manager.register(Watching(id="watching"))
    app = ours(manager)
    before = threading.active_count()

    @app.get("/")
    async def in_the_loop(db: Connection = Depends(resource("watching"))) -> int:
        return threading.get_ident()

    answer = await call(app)
    assert int(answer.body) == here
    assert threads == [here]
    assert threading.active_count() == before


async def test_the_default_422_repeats_the_password(manager: Manager) -> None:
    """FastAPI's own answer to a body of the wrong type holds the body; ours holds none of it."""
    secret = "hunter2-do-not-repeat-me"
    for app, repeats in ((FastAPI(), True), (ours(manager), False)):

        @app.post("/")
        async def handler(settings: dict[str, int]) -> None: ...

        answer = await call(
            app,
            method="POST",
            body=f'{{"password": "{secret}"}}'.encode(),
            headers={"content-type": "application/json"},
        )
        assert answer.status == 422
        assert (secret.encode() in answer.body) is repeats
