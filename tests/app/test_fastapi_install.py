"""Install: what one line does to an application: state, lifespan, middleware, error handlers; and the end of it all."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from functools import partial
from typing import Annotated, Any

import httpx
import pytest
from fastapi import APIRouter, Body, Depends, FastAPI, Header, HTTPException, Query, Request
from fastapi.responses import JSONResponse, PlainTextResponse
from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from pydantic_core import PydanticCustomError
from starlette.exceptions import HTTPException as StarletteHTTPException

from nebula_resource import (
    AcquireTimeout,
    ConfigurationError,
    HookCancelled,
    Manager,
    NoOpenScope,
    QuotaExceeded,
    ResourceError,
    ResourceNotFound,
    ScopeLevel,
    Unavailable,
    current_scope,
)
from nebula_resource.errors import FieldViolation, ValidationFailed
from nebula_resource.fastapi import install, resource, violations
from tests.app.fastapi_world import (
    DB,
    Connection,
    Database,
    bearer,
    call,
    eventually,
    managed,
    serving,
    tokens,
)

CANARY = "hunter2-do-not-repeat-me"


@pytest.fixture
def database() -> Database:
    """A database that tells what happened."""
    return Database()


@pytest.fixture
async def manager(database: Database) -> AsyncGenerator[Manager]:
    """A manager with the database."""
    async with managed(database) as manager:
        yield manager


# ── state and lifespan ──


async def test_the_manager_outlives_the_application_s_own_lifespan() -> None:
    """The user's start-up sees a manager to register with, its teardown one that still serves; then it shuts down."""
    seen: list[str] = []
    database = Database(seen=seen)
    manager = Manager()

    @asynccontextmanager
    async def own(app: FastAPI) -> AsyncGenerator[dict[str, Any]]:
        assert app.state.nebula_manager is manager
        await manager.register(database)
        seen.append("up")
        yield {"kept": "state"}
        async with manager.acquire(DB):
            seen.append("down")

    app = FastAPI(lifespan=own)
    install(app, manager)

    @app.get("/")
    async def handler(request: Request) -> str:
        return str(request.state.kept)

    async with serving(app) as address, httpx.AsyncClient(base_url=f"http://{address}") as client:
        assert (await client.get("/")).json() == "state"
    assert seen == ["up", "begin", "down", "commit"]
    with pytest.raises(Unavailable):
        await manager.register(Database(id="late"))


async def test_the_manager_shuts_down_although_the_application_s_teardown_fails() -> None:
    """However the user's lifespan ends, instances are cleaned up."""
    manager = Manager()

    @asynccontextmanager
    async def own(app: FastAPI) -> AsyncGenerator[None]:
        await manager.register(Database())
        yield
        raise RuntimeError("teardown")

    app = FastAPI(lifespan=own)
    install(app, manager)
    with pytest.raises(RuntimeError, match="teardown"):
        async with app.router.lifespan_context(app):
            pass
    assert all(each.pool.stats().size == 0 for each in manager.pools())


async def test_somebody_else_s_manager_is_left_running(manager: Manager) -> None:
    """With ``shutdown=False`` the lifespan is not touched."""
    app = FastAPI()
    install(app, manager, shutdown=False)
    async with app.router.lifespan_context(app):
        pass
    async with manager.acquire(DB):
        pass


async def test_install_is_called_once_and_in_time(manager: Manager) -> None:
    """A second manager, and an application that runs, are refused."""
    app = FastAPI()
    install(app, manager, shutdown=False)
    with pytest.raises(ConfigurationError, match="once"):
        install(app, manager, shutdown=False)
    running = FastAPI()
    await call(running)
    with pytest.raises(ConfigurationError, match="before it starts"):
        install(running, manager, shutdown=False)


# ── errors of ours ──


@pytest.mark.parametrize(
    ("error", "status", "retry_after"),
    [
        (ResourceNotFound(CANARY), 404, None),
        (Unavailable("draining", resource_id=CANARY, retry_after=2.2), 503, "3"),
        (Unavailable("closed", resource_id=CANARY), 503, "5"),
        (AcquireTimeout("acquire", 1.0, resource_id=CANARY), 503, "1"),
        (QuotaExceeded(CANARY, 1, 2, retry_after=0.01), 429, "1"),
        (HookCancelled(CANARY, CANARY), 409, None),
        (ValidationFailed([FieldViolation("pool.max_size", "at least 1", CANARY)]), 422, None),
        (NoOpenScope(CANARY), 500, None),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, ResourceError) else str(value),
)
async def test_an_error_of_ours_is_a_problem(
    manager: Manager, error: ResourceError, status: int, retry_after: str | None
) -> None:
    """Its status by the table, when to come back, and nothing of what it holds."""
    app = FastAPI()
    install(app, manager, shutdown=False)

    @app.get("/")
    async def handler() -> None:
        raise error

    answer = await call(app)
    assert answer.status == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers.get("retry-after") == retry_after
    body = json.loads(answer.body)
    assert body["type"].startswith("urn:nebula:problem:")
    assert body["status"] == status
    assert CANARY not in answer.body.decode() + str(answer.headers)
    # What is the application's fault or ours is raised to the server, which logs it; the rest is not.
    assert (answer.error is error) is (status == 500)


async def test_all_404s_are_one(manager: Manager) -> None:
    """A path, a resource, a route's own: whoever is told so learns nothing from the difference."""
    app = FastAPI()
    install(app, manager, shutdown=False)

    @app.get("/typo")
    async def typo(db: Any = Depends(resource("typo"))) -> None: ...

    @app.get("/own")
    async def own() -> None:
        raise HTTPException(404)

    bodies = {(await call(app, path)).body for path in ("/typo", "/own", "/nowhere")}
    assert len(bodies) == 1


# ── errors of the framework ──


class Order(BaseModel):
    """What is sent."""

    model_config = ConfigDict(extra="forbid")
    item: str = Field(min_length=1, max_length=20)
    quantity: int = Field(ge=1)
    tags: dict[str, int] = {}


def says_what_it_got(value: str) -> str:
    """A validator as people write them: its words hold the input."""
    raise ValueError(f"{value} will not do")


def has_a_rule_of_its_own(value: str) -> str:
    """A validator with an error of the application's own, which says nothing beside its name."""
    raise PydanticCustomError("no_such_word", "there is no such word")


@pytest.fixture
def checking(manager: Manager) -> FastAPI:
    """An application that checks what it is sent."""
    app = FastAPI()
    install(app, manager, shutdown=False)

    @app.post("/orders")
    async def order(order: Order) -> None: ...

    @app.post("/map")
    async def mapping(map: Annotated[dict[str, int], Body()]) -> None: ...

    @app.get("/items/{number}")
    async def item(number: int, limit: Annotated[int, Query(le=10)] = 1) -> None: ...

    @app.get("/words")
    async def words(word: Annotated[str, AfterValidator(says_what_it_got)]) -> None: ...

    @app.get("/sizes")
    async def sizes(
        step: Annotated[int, Query(multiple_of=5)] = 0,
        blob: Annotated[bytes, Query(min_length=2, max_length=9)] = b"blob",
        mine: Annotated[str, AfterValidator(has_a_rule_of_its_own)] = "",
    ) -> None: ...

    @app.get("/teapot")
    async def teapot() -> None:
        raise HTTPException(418, {"short": "stout"}, {"x-tea": "yes"})

    @app.get("/why")
    async def why() -> None:
        raise HTTPException(409, "the order was charged already")

    @app.get("/elsewhere")
    async def elsewhere() -> None:
        raise StarletteHTTPException(303, headers={"location": "/there"})

    @app.get("/unmodified")
    async def unmodified() -> None:
        raise HTTPException(304)

    @app.get("/odd")
    async def odd() -> None:
        raise HTTPException(599, "odd")

    @app.get("/broken")
    async def broken() -> None:
        raise KeyError(CANARY)

    return app


@pytest.mark.parametrize(
    ("body", "pointers"),
    [
        ({"item": "", "quantity": 0}, {"/body/item", "/body/quantity"}),
        ({"item": {"password": CANARY}, "quantity": CANARY}, {"/body/item", "/body/quantity"}),
        ({"item": "x", "quantity": 1, CANARY: 1}, {"/body/*"}),
        ({"item": "x", "quantity": 1, "tags": {CANARY: CANARY}}, {"/body/tags/*"}),
        ([CANARY], {"/body"}),
        (CANARY, {"/body"}),
        ({}, {"/body/item", "/body/quantity"}),
    ],
)
async def test_a_bad_body_is_told_without_repeating_it(
    checking: FastAPI, body: Any, pointers: set[str]
) -> None:
    """Which fields break which rules; a name that the client made up is not repeated either."""
    answer = await call(
        checking,
        "/orders",
        method="POST",
        body=json.dumps(body).encode(),
        headers={"content-type": "application/json"},
    )
    assert answer.status == 422
    assert answer.headers["content-type"] == "application/problem+json"
    problem = json.loads(answer.body)
    assert {each["pointer"] for each in problem["errors"]} == pointers
    assert CANARY not in answer.body.decode()


async def test_a_body_that_is_no_json_is_told_so(checking: FastAPI) -> None:
    """Without the text, and without a position in it."""
    answer = await call(
        checking,
        "/orders",
        method="POST",
        body=b'{"password": "' + CANARY.encode(),
        headers={"content-type": "application/json"},
    )
    assert (answer.status, json.loads(answer.body)["errors"]) == (
        422,
        [{"pointer": "/body", "code": "json_invalid", "message": "json invalid"}],
    )


@pytest.mark.parametrize(
    ("path", "pointer", "message"),
    [
        (f"/items/{CANARY}", "/path/number", "must be a whole number"),
        (f"/items/1?limit={CANARY}", "/query/limit", "must be a whole number"),
        ("/items/1?limit=11", "/query/limit", "must be at most 10"),
        (f"/words?word={CANARY}", "/query/word", "value error"),
        ("/words", "/query/word", "is required"),
        ("/sizes?step=7", "/query/step", "must be a multiple of 5"),
        ("/sizes?blob=b", "/query/blob", "must have a length of at least 2"),
        (f"/sizes?blob={CANARY}", "/query/blob", "must have a length of at most 9"),
        (f"/sizes?mine={CANARY}", "/query/mine", "no such word"),
    ],
)
async def test_a_bad_parameter_is_told_without_repeating_it(
    checking: FastAPI, path: str, pointer: str, message: str
) -> None:
    """Its name and the rule; a validator's own words stay inside."""
    answer = await call(checking, path)
    assert answer.status == 422
    (error,) = json.loads(answer.body)["errors"]
    assert (error["pointer"], error["message"]) == (pointer, message)
    assert CANARY not in answer.body.decode()


async def test_names_of_included_routers_are_known(manager: Manager) -> None:
    """What a router declares is declared; a route that hides from the schema keeps its names to itself."""
    app, router = FastAPI(), APIRouter()
    install(app, manager, shutdown=False)

    @router.post("/orders")
    async def order(order: Order, x_token: Annotated[int, Header()]) -> None: ...

    @router.get("/hidden", include_in_schema=False)
    async def hidden(limit_of_the_hidden: int) -> None: ...

    app.include_router(router, prefix="/v1")
    answer = await call(
        app,
        "/v1/orders",
        method="POST",
        body=b'{"item": 1}',
        headers={"content-type": "application/json", "x-token": CANARY},
    )
    pointers = {each["pointer"] for each in json.loads(answer.body)["errors"]}
    assert pointers == {"/body/item", "/body/quantity", "/header/x-token"}
    hidden_answer = await call(app, "/v1/hidden")
    assert [each["pointer"] for each in json.loads(hidden_answer.body)["errors"]] == ["/query/*"]


async def test_an_application_without_a_schema_still_answers(
    manager: Manager, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where FastAPI cannot describe the application, no name is repeated, and the 422 is a 422."""

    def fails(**settings: Any) -> Any:
        raise TypeError("no schema for this")

    monkeypatch.setattr(violations, "get_openapi", fails)
    app = FastAPI()
    install(app, manager, shutdown=False)

    @app.get("/")
    async def handler(number: int) -> None: ...

    answer = await call(app)
    assert answer.status == 422
    assert [each["pointer"] for each in json.loads(answer.body)["errors"]] == ["/query/*"]


async def test_keys_of_a_mapping_are_not_repeated(checking: FastAPI) -> None:
    """A body that is a mapping has no names of the application's in it."""
    answer = await call(
        checking,
        "/map",
        method="POST",
        body=json.dumps({CANARY: CANARY}).encode(),
        headers={"content-type": "application/json"},
    )
    assert {each["pointer"] for each in json.loads(answer.body)["errors"]} == {"/body/*"}


@pytest.mark.parametrize(
    ("method", "path", "status", "body"),
    [
        ("GET", f"/{CANARY}", 404, {"title": "Not found", "code": "not_found"}),
        ("DELETE", "/orders", 405, {"title": "Method not allowed", "code": "method_not_allowed"}),
        ("GET", "/teapot", 418, {"title": "I'm a teapot", "code": "teapot"}),
        ("GET", "/why", 409, {"code": "conflict", "detail": "the order was charged already"}),
        ("GET", "/odd", 599, {"code": "http_599", "detail": "odd"}),
        ("GET", "/broken", 500, {"title": "Internal error", "code": "internal"}),
    ],
)
async def test_the_framework_s_errors_are_problems_too(
    checking: FastAPI, method: str, path: str, status: int, body: dict[str, Any]
) -> None:
    """One shape for everything that goes wrong; what the application says itself is kept."""
    answer = await call(checking, path, method=method)
    assert answer.status == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert json.loads(answer.body).items() >= {"status": status, **body}.items()
    assert CANARY not in answer.body.decode()
    if status == 405:
        assert answer.headers["allow"] == "POST"
    if status == 418:
        assert answer.headers["x-tea"] == "yes"


async def test_what_is_no_error_is_no_problem(checking: FastAPI) -> None:
    """A redirect, and an answer without a body, stay what they are."""
    redirect = await call(checking, "/elsewhere")
    assert (redirect.status, redirect.headers["location"], redirect.body) == (303, "/there", b"")
    unmodified = await call(checking, "/unmodified")
    assert (unmodified.status, unmodified.body) == (304, b"")


async def test_the_application_s_own_handlers_stay(manager: Manager) -> None:
    """Those it had before and those it adds later win over ours."""
    app = FastAPI()

    @app.exception_handler(404)
    def mine(request: Request, error: Exception) -> PlainTextResponse:
        return PlainTextResponse("mine", 404)

    @app.exception_handler(ResourceError)
    async def ours_too(request: Request, error: ResourceError) -> PlainTextResponse:
        return PlainTextResponse("mine too", 418)

    @app.exception_handler(500)
    async def broken(request: Request, error: Exception) -> PlainTextResponse:
        return PlainTextResponse("broken", 500)

    install(app, manager, shutdown=False)

    @app.exception_handler(HTTPException)
    async def later(request: Request, error: HTTPException) -> PlainTextResponse:
        return PlainTextResponse("later", error.status_code)

    @app.get("/typo")
    async def typo(db: Any = Depends(resource("typo"))) -> None: ...

    @app.get("/conflict")
    async def conflict() -> None:
        raise HTTPException(409)

    @app.get("/broken")
    async def breaks() -> None:
        raise ValueError

    bodies = [(await call(app, path)).body for path in ("/nowhere", "/typo", "/conflict", "/broken")]
    assert bodies == [b"mine", b"mine too", b"later", b"broken"]


async def test_problems_may_be_left_to_the_application(manager: Manager) -> None:
    """With ``problems=False`` only our own errors are answered by us."""
    app = FastAPI()
    install(app, manager, shutdown=False, problems=False)

    @app.get("/typo")
    async def typo(db: Any = Depends(resource("typo"))) -> None: ...

    assert json.loads((await call(app)).body) == {"detail": "Not Found"}
    assert json.loads((await call(app, "/typo")).body)["code"] == "not_found"


# ── the outcome of what is leased in the request's scope ──


class Refusal(Exception):
    """An error that the application turns into an answer."""


async def test_what_a_tenant_s_scope_holds_for_the_request_ends_with_it_too(
    manager: Manager, database: Database
) -> None:
    """The outcome reaches every level that the middleware opened."""
    app = FastAPI()
    install(app, manager, resolver=tokens, shutdown=False)

    @app.get("/")
    async def handler() -> None:
        scope = current_scope()
        assert scope is not None
        await scope.held(DB, ScopeLevel.TENANT)
        assert manager.stats()["db"].in_use == 1
        raise HTTPException(409)

    await call(app, headers=bearer("acme"))
    assert database.seen == ["begin", "rollback HTTPException"]


@pytest.mark.parametrize("way", ["own sync", "own async", "own partial", "http", "ours", "none"])
async def test_an_error_that_became_an_answer_is_still_the_outcome(
    manager: Manager, database: Database, way: str
) -> None:
    """What was leased in the request's scope, without Depends, rolls back: the handlers note the error there."""
    app = FastAPI()
    install(app, manager, shutdown=False)
    if way == "own sync":

        @app.exception_handler(Refusal)
        def answers(request: Request, error: Refusal) -> JSONResponse:
            return JSONResponse({}, 418)

    elif way == "own async":

        @app.exception_handler(Refusal)
        async def answers_too(request: Request, error: Refusal) -> JSONResponse:
            return JSONResponse({}, 418)

    elif way == "own partial":

        async def answers_with(status: int, request: Request, error: Exception) -> JSONResponse:
            return JSONResponse({}, status)

        app.add_exception_handler(Refusal, partial(answers_with, 418))

    raised = {"http": HTTPException(409), "ours": ResourceNotFound("x")}.get(way, Refusal())

    @app.get("/")
    async def handler() -> None:
        scope = current_scope()
        assert scope is not None
        await scope.get(DB)
        raise raised

    await call(app)
    assert database.seen == ["begin", f"rollback {type(raised).__name__}"]


async def test_a_request_that_ends_well_commits_what_is_in_its_scope(
    manager: Manager, database: Database
) -> None:
    """Without an error there is nothing to note."""
    app = FastAPI()
    install(app, manager, shutdown=False)

    @app.get("/")
    async def handler() -> None:
        scope = current_scope()
        assert scope is not None
        await scope.get(DB)

    await call(app, seen=database.seen)
    assert database.seen == ["begin", "answer 200", "commit"]


# ── the end ──


async def test_requests_under_way_are_served_to_the_end(
    manager: Manager, database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    """A manager that shuts down lets what is held be used; who comes now is told when to come back."""
    app = FastAPI()
    install(app, manager, resolver=tokens, shutdown=False)
    inside, go_on = asyncio.Event(), asyncio.Event()

    @app.get("/slow")
    async def slow(db: Connection = Depends(resource(DB))) -> str | None:
        inside.set()
        await go_on.wait()
        return db.tenant

    @app.get("/free")
    async def free() -> str:
        return "no lease"

    with caplog.at_level(logging.ERROR):
        first = asyncio.create_task(call(app, "/slow", headers=bearer("acme")))
        await inside.wait()
        ending = asyncio.create_task(manager.shutdown(5, 1, 1))
        await asyncio.sleep(0)
        late = await call(app, "/slow", headers=bearer("acme"))
        assert (late.status, late.headers["retry-after"]) == (503, "5")
        assert (await call(app, "/free")).status == 200
        go_on.set()
        assert (await first).body == b'"acme"'
        assert (await ending).forced == 0
    assert database.seen == ["begin", "commit"]
    assert not caplog.records


async def test_a_server_that_stops_lets_its_requests_end(database: Database) -> None:
    """Over a real socket: asked to exit in the middle of a request, it answers, commits, and only then cleans up."""
    manager = Manager()
    await manager.register(database)
    app = FastAPI()
    install(app, manager)
    go_on = asyncio.Event()

    @app.get("/")
    async def slow(db: Connection = Depends(resource(DB))) -> str:
        await go_on.wait()
        return "served"

    async with httpx.AsyncClient() as client:
        async with serving(app) as address:
            request = asyncio.create_task(client.get(f"http://{address}/"))
            await eventually(lambda: database.lent == 1)
            asyncio.get_running_loop().call_later(0.1, go_on.set)
        assert (await request).json() == "served"
    assert database.seen == ["begin", "commit"]
    assert all(each.pool.stats().size == 0 for each in manager.pools())
