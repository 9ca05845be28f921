"""A lease as a handler's parameter: when it ends, with what, and who shares it; through the adapter and the fallback."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack
from typing import Any

import pytest
from fastapi import APIRouter, BackgroundTasks, Depends, FastAPI, HTTPException, Request
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException as StarletteHTTPException
from starlette.requests import HTTPConnection
from starlette.types import Message

from nebula_resource import (
    AcquireTimeout,
    InternalError,
    Manager,
    NotRegistered,
    PoolConfig,
    Resource,
    ResourceContext,
    ResourceNotFound,
    Scope,
    ScopeLevel,
    ValidationFailed,
    current_scope,
)
from nebula_resource.fastapi import dependency, fallback, install, resource
from tests.app.fastapi_world import (
    DB,
    CommitFailed,
    Connection,
    Database,
    bearer,
    call,
    eventually,
    managed,
    tokens,
)


@pytest.fixture(params=["adapter", "fallback"], autouse=True)
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Every test here is run through FastAPI's private names, and without them."""
    way: str = request.param
    monkeypatch.setattr(dependency, "private_names_work", lambda: way == "adapter")
    return way


@pytest.fixture
def database() -> Database:
    """A database that tells what happened."""
    return Database()


@pytest.fixture
async def manager(database: Database) -> AsyncGenerator[Manager]:
    """A manager with the database; nothing is left out when the test ends."""
    async with managed(database) as manager:
        yield manager


def application(manager: Manager) -> FastAPI:
    """An application with a manager, whose callers are known by a token."""
    app = FastAPI()
    install(app, manager, resolver=tokens, shutdown=False)
    return app


def test_the_two_ways_are_two(way: str) -> None:
    """The fallback is told to FastAPI by a second parameter, the adapter by none."""
    parameters = resource("db").__signature__.parameters
    assert list(parameters) == (["conn"] if way == "adapter" else ["conn", "opened"])


async def test_a_lease_ends_before_the_answer(manager: Manager, database: Database) -> None:
    """The handler ends, the lease commits, and only then the answer starts."""
    app = application(manager)

    @app.get("/")
    async def handler(db: Connection = Depends(resource(DB))) -> int:
        database.seen.append("handler")
        return db.number

    answer = await call(app, seen=database.seen)
    assert (answer.status, answer.body) == (200, b"1")
    assert database.seen == ["begin", "handler", "commit", "answer 200"]


async def test_a_sync_handler_has_a_lease_too(manager: Manager, database: Database) -> None:
    """A plain def runs in a thread; its lease begins and ends in the loop, around it."""
    app = application(manager)

    @app.get("/")
    def handler(db: Connection = Depends(resource(DB))) -> int:
        database.seen.append("handler")
        return db.number

    answer = await call(app, seen=database.seen)
    assert answer.status == 200
    assert database.seen == ["begin", "handler", "commit", "answer 200"]


class Strange(Exception):
    """An error of the application's own."""


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (HTTPException(404), 404),
        (HTTPException(500), 500),
        (Strange(), 418),
        (ValueError(), 500),
        (NotRegistered("x"), 404),
        (asyncio.CancelledError(), 0),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else str(value),
)
async def test_the_handler_s_error_reaches_the_lease_first(
    manager: Manager, database: Database, error: BaseException, status: int
) -> None:
    """Whatever a handler raises rolls back before anything is sent, also what somebody turns into an answer."""
    app = application(manager)

    @app.exception_handler(Strange)
    async def strange(request: Request, error: Strange) -> JSONResponse:
        return JSONResponse({}, status_code=418)

    @app.get("/")
    async def handler(db: Connection = Depends(resource(DB))) -> None:
        raise error

    if isinstance(error, asyncio.CancelledError):
        with pytest.raises(asyncio.CancelledError):
            await call(app, seen=database.seen)
        assert database.seen == ["begin", "rollback CancelledError"]
        return
    answer = await call(app, seen=database.seen)
    assert answer.status == status
    assert database.seen == ["begin", f"rollback {type(error).__name__}", f"answer {status}"]


async def test_what_the_handler_returns_may_be_wrong(manager: Manager, database: Database) -> None:
    """An answer that breaks its own model is an error of the handler: rolled back, 500."""
    app = application(manager)

    @app.get("/", response_model=int)
    async def handler(db: Connection = Depends(resource(DB))) -> Any:
        return "no number"

    answer = await call(app, seen=database.seen)
    assert answer.status == 500
    assert database.seen == ["begin", "rollback ResponseValidationError", "answer 500"]


async def test_a_failed_commit_is_a_500(manager: Manager, database: Database) -> None:
    """When the commit fails, the client is not told that all went well."""
    app = application(manager)

    @app.get("/")
    async def handler(background: BackgroundTasks, db: Connection = Depends(resource(DB))) -> str:
        background.add_task(database.seen.append, "background")
        db.fails = CommitFailed()
        return "all went well"

    answer = await call(app, seen=database.seen)
    assert answer.status == 500
    assert b"all went well" not in answer.body
    assert database.seen == ["begin", "commit failed", "answer 500"]


async def test_an_application_may_answer_a_failed_commit(manager: Manager, database: Database) -> None:
    """A handler of the application's own sees what the commit raised."""
    app = application(manager)

    @app.exception_handler(CommitFailed)
    async def conflict(request: Request, error: CommitFailed) -> JSONResponse:
        return JSONResponse({}, status_code=409)

    @app.get("/")
    async def handler(db: Connection = Depends(resource(DB))) -> None:
        db.fails = CommitFailed()

    assert (await call(app)).status == 409


async def test_a_failed_commit_is_never_the_client_s_fault(manager: Manager, database: Database) -> None:
    """An error of ours that would be a 404 is a 500 when it is a lease that could not be ended."""
    app = application(manager)

    @app.get("/")
    async def handler(db: Connection = Depends(resource(DB))) -> None:
        db.fails = NotRegistered("elsewhere")

    answer = await call(app)
    assert answer.status == 500
    assert isinstance(answer.error, InternalError)
    assert b"elsewhere" not in answer.body


async def test_a_lease_that_could_not_be_ended_in_time_is_a_503(manager: Manager, database: Database) -> None:
    """An error of ours that speaks for the server keeps its status."""
    app = application(manager)

    @app.get("/")
    async def handler(db: Connection = Depends(resource(DB))) -> None:
        db.fails = AcquireTimeout("lease exit", 1.0)

    assert (await call(app)).status == 503


async def test_handler_and_sub_dependencies_share_a_lease(manager: Manager, database: Database) -> None:
    """One lease per request and key, however often it is asked for: by Depends, uncached too, or of the open scope."""
    app = application(manager)

    async def repository(db: Connection = Depends(resource("db"))) -> int:
        return id(db)

    async def helper() -> int:
        scope = current_scope()
        assert scope is not None
        return id(await scope.get(DB))

    async def handler(
        db: Connection = Depends(resource(DB)),
        repo: int = Depends(repository),
        again: Connection = Depends(resource("db"), use_cache=False),
    ) -> bool:
        return id(db) == repo == id(again) == await helper()

    app.get("/")(handler)
    answer = await call(app, headers=bearer("acme"), seen=database.seen)
    assert answer.body == b"true"
    assert database.seen == ["begin", "commit", "answer 200"]


async def test_both_untils_are_two_leases(manager: Manager, database: Database) -> None:
    """A lease until the response is another than the handler's: it lives longer."""
    app = application(manager)

    @app.get("/")
    async def handler(
        short: Connection = Depends(resource(DB)),
        long: Connection = Depends(resource(DB, until="response")),
    ) -> bool:
        return short is not long

    answer = await call(app, seen=database.seen)
    assert answer.body == b"true"
    assert database.seen == ["begin", "begin", "commit", "answer 200", "commit"]


@pytest.mark.parametrize("asked", ["db", DB])
async def test_an_override_takes_its_place(manager: Manager, database: Database, asked: str) -> None:
    """``dependency_overrides`` finds a resource by its name, spelt as a key or not; the pool is not asked."""
    app = application(manager)

    @app.get("/")
    async def handler(db: Connection = Depends(resource(DB))) -> int:
        return db.number

    app.dependency_overrides[resource(asked)] = lambda: Connection(77)
    assert (await call(app)).body == b"77"
    app.dependency_overrides.clear()
    assert (await call(app)).body == b"1"
    assert database.seen == ["begin", "commit"]


async def test_until_takes_part_in_an_override(manager: Manager, database: Database) -> None:
    """Overriding the handler's lease leaves the response's alone."""
    app = application(manager)

    @app.get("/")
    async def handler(db: Connection = Depends(resource(DB, until="response"))) -> int:
        return db.number

    app.dependency_overrides[resource(DB)] = lambda: Connection(77)
    assert (await call(app)).body == b"1"


async def test_a_background_task_does_not_inherit_the_lease(manager: Manager, database: Database) -> None:
    """It runs after the commit; what it asks for in the request's scope is a lease of its own."""
    app = application(manager)
    ours: list[Connection] = []

    async def later() -> None:
        assert not ours[0].is_lent
        scope = current_scope()
        assert scope is not None
        database.seen.append("background")
        async with scope.detach() as detached:
            await detached.get(DB)

    @app.get("/")
    async def handler(background: BackgroundTasks, db: Connection = Depends(resource(DB))) -> None:
        ours.append(db)
        background.add_task(later)

    await call(app, seen=database.seen)
    assert database.seen == ["begin", "commit", "answer 200", "background", "begin", "commit"]


async def test_a_user_s_own_yield_dependency_still_has_the_lease(
    manager: Manager, database: Database
) -> None:
    """A function-scoped dependency that uses the lease tears down before it ends."""
    app = application(manager)

    async def unit(db: Connection = Depends(resource(DB))) -> AsyncGenerator[Connection]:
        try:
            yield db
        finally:
            assert db.is_lent
            database.seen.append("teardown")

    @app.get("/")
    async def handler(db: Connection = Depends(unit, scope="function")) -> None:
        raise HTTPException(409)

    answer = await call(app, seen=database.seen)
    assert answer.status == 409
    assert database.seen == ["begin", "teardown", "rollback HTTPException", "answer 409"]


async def test_routers_and_mounted_applications_know_nothing_of_us(
    manager: Manager, database: Database
) -> None:
    """An included router and a mounted application use the lease of the request as well."""
    app = application(manager)
    router = APIRouter()
    mounted = FastAPI()

    async def handler(db: Connection = Depends(resource(DB))) -> str | None:
        return db.tenant

    router.get("/routed")(handler)
    mounted.get("/leaf")(handler)
    app.include_router(router, prefix="/v1")
    app.mount("/sub", mounted)
    for path in ("/v1/routed", "/sub/leaf"):
        database.seen.clear()
        answer = await call(app, path, headers=bearer("acme"), seen=database.seen)
        assert answer.body == b'"acme"'
        assert database.seen == ["begin", "commit", "answer 200"]


async def test_a_mounted_application_answers_an_outage_rightly(manager: Manager) -> None:
    """An application without our handlers still says 503 and when to come back, not 500."""
    app = application(manager)
    mounted = FastAPI()

    @mounted.get("/leaf")
    async def handler(db: Connection = Depends(resource(DB))) -> None: ...

    app.mount("/sub", mounted)
    await manager.shutdown(0, 1, 1)
    answer = await call(app, "/sub/leaf")
    assert answer.status == 503
    assert int(answer.headers["retry-after"]) >= 1
    assert b"db" not in answer.body


async def test_without_middleware_a_request_is_a_tenantless_execution(
    manager: Manager, database: Database, way: str
) -> None:
    """The dependency opens the request's scope itself, once, and it is counted as one execution."""
    app = FastAPI()
    app.state.nebula_manager = manager
    seen: list[str] = []

    async def look(db: Connection = Depends(resource(DB))) -> None:
        scope = current_scope()
        assert scope is not None
        assert +manager.open_scopes == Counter([scope.level])
        seen.append(str(scope.scope))

    @app.get("/")
    async def handler(
        _: None = Depends(look),
        db: Connection = Depends(resource(DB)),
    ) -> None:
        await look()

    answer = await call(app, seen=database.seen)
    assert answer.status == 200
    assert len(set(seen)) == 1
    assert seen[0].startswith("execution:")
    assert current_scope() is None
    await call(app)
    assert len(set(seen)) == 2


async def test_a_scope_that_a_dependency_opened_is_used(manager: Manager, database: Database) -> None:
    """Leases belong to the innermost open scope, also where the application opens it itself."""
    app = FastAPI()

    async def border() -> AsyncGenerator[None]:
        async with manager.scope(tenant="acme", execution="e1"):
            yield

    @app.get("/", dependencies=[Depends(border)])
    async def handler(db: Connection = Depends(resource(DB))) -> str | None:
        return db.tenant

    answer = await call(app, seen=database.seen)
    assert answer.body == b'"acme"'
    assert database.seen == ["begin", "commit", "answer 200"]


@pytest.mark.parametrize(
    ("ends", "status", "seen"),
    [
        (None, 200, ["commit", "commit"]),
        (HTTPException(409), 409, ["rollback HTTPException", "rollback HTTPException"]),
        (CommitFailed(), 500, ["commit failed", "rollback CommitFailed"]),
    ],
    ids=["well", "badly", "in a failed commit"],
)
async def test_a_scope_opened_inside_the_request_is_used_from_there_on(
    manager: Manager, database: Database, ends: Exception | None, status: int, seen: list[str]
) -> None:
    """A dependency that narrows the scope narrows the leases asked for after it; they end first, and tell how."""
    app = application(manager)

    async def narrow(wide: Connection = Depends(resource(DB))) -> AsyncGenerator[Connection]:
        async with manager.scope(action="a1"):
            yield wide

    async def narrowed(wide: Connection = Depends(narrow, scope="function")) -> Connection:
        return wide

    @app.get("/")
    async def handler(
        wide: Connection = Depends(narrowed),
        inner: Connection = Depends(resource(DB), use_cache=False),
        again: Connection = Depends(resource(DB), use_cache=False),
    ) -> None:
        assert wide is not inner
        assert inner is again
        if isinstance(ends, HTTPException):
            raise ends
        inner.fails = ends

    answer = await call(app, headers=bearer("acme"), seen=database.seen)
    assert answer.status == status
    assert database.seen == ["begin", "begin", *seen, f"answer {status}"]


async def test_scopes_in_scopes_in_the_request_each_have_a_lease(
    manager: Manager, database: Database
) -> None:
    """The key is asked for anew in each; the innermost lease ends first."""
    app = application(manager)

    async def action(wide: Connection = Depends(resource(DB))) -> AsyncGenerator[list[Connection]]:
        async with manager.scope(action="a1"):
            yield [wide]

    async def custom(
        held: list[Connection] = Depends(action, scope="function"),
        own: Connection = Depends(resource(DB), use_cache=False),
    ) -> AsyncGenerator[list[Connection]]:
        async with manager.scope(Scope.custom("region", "eu", parent=Scope.action("a1"))):
            yield [*held, own]

    @app.get("/")
    async def handler(
        held: list[Connection] = Depends(custom, scope="function"),
        own: Connection = Depends(resource(DB), use_cache=False),
    ) -> list[int]:
        for each in (*held, own):
            each.fails = CommitFailed() if each is own else None
        return [each.number for each in (*held, own)]

    answer = await call(app, headers=bearer("acme"), seen=database.seen)
    assert answer.status == 500
    assert database.seen == [
        "begin", "begin", "begin", "commit failed", "rollback CommitFailed", "rollback CommitFailed", "answer 500"
    ]  # fmt: skip  # the course of one request


async def test_two_resources_of_one_handler_end_with_its_error(manager: Manager, database: Database) -> None:
    """They are one block: the first who asks ends it, and everybody hears of the error."""
    await manager.register(Database(id="other", seen=database.seen))
    app = application(manager)

    @app.get("/")
    async def handler(
        one: Connection = Depends(resource(DB)), other: Connection = Depends(resource("other"))
    ) -> None:
        raise HTTPException(409)

    assert (await call(app, headers=bearer("acme"), seen=database.seen)).status == 409
    assert database.seen == ["begin", "begin", *["rollback HTTPException"] * 2, "answer 409"]


async def test_a_lease_ends_before_the_scope_in_which_it_was_asked_for(
    manager: Manager, database: Database
) -> None:
    """One lease before a dependency opens a scope, another inside of it: that one ends while the scope is open."""
    await manager.register(Database(id="other", seen=database.seen))
    app = application(manager)

    async def narrow(wide: Connection = Depends(resource(DB))) -> AsyncGenerator[None]:
        async with manager.scope(action="a1"):
            yield
        database.seen.append("scope left")

    @app.get("/")
    async def handler(
        _: None = Depends(narrow, scope="function"), inner: Connection = Depends(resource("other"))
    ) -> None: ...

    answer = await call(app, headers=bearer("acme"), seen=database.seen)
    assert answer.status == 200
    assert database.seen == ["begin", "begin", "commit", "scope left", "commit", "answer 200"]


async def test_a_handler_inside_of_a_handler_has_leases_of_its_own(
    manager: Manager, database: Database
) -> None:
    """Another application that a handler calls commits before its own answer, not with the handler that called it."""
    app, inner = application(manager), FastAPI()

    @inner.get("/")
    async def within(db: Connection = Depends(resource(DB))) -> None:
        database.seen.append("inner")

    @app.get("/")
    async def handler(request: Request, db: Connection = Depends(resource(DB))) -> None:
        async def send(message: Message) -> None:
            if message["type"] == "http.response.start":
                database.seen.append("inner answer")

        await inner(dict(request.scope), request.receive, send)

    assert (await call(app, headers=bearer("acme"), seen=database.seen)).status == 200
    assert database.seen == ["begin", "begin", "inner", "commit", "inner answer", "commit", "answer 200"]


@pytest.mark.parametrize("installed", [True, False])
async def test_a_scope_of_another_manager_is_not_leased_from(
    manager: Manager, database: Database, installed: bool
) -> None:
    """A dependency that opens one changes neither whose lease it is nor for which tenant."""
    foreign = Manager()
    app = application(manager) if installed else FastAPI()
    app.state.nebula_manager = manager

    async def elsewhere() -> AsyncGenerator[None]:
        async with foreign.scope(tenant="globex"):
            yield

    async def here(_: None = Depends(elsewhere)) -> AsyncGenerator[None]:
        async with manager.scope(action="a1"):
            yield

    @app.get("/", dependencies=[Depends(elsewhere)])
    async def handler(db: Connection = Depends(resource(DB))) -> str | None:
        return db.tenant

    @app.get("/inside", dependencies=[Depends(here)])
    async def inside(db: Connection = Depends(resource(DB))) -> tuple[str | None, str | None]:
        scope = current_scope()
        assert scope is not None
        assert scope.manager is manager
        return db.tenant, scope.scope.action_id

    tenant = "acme" if installed else None
    assert json.loads((await call(app, headers=bearer("acme"))).body) == tenant
    assert json.loads((await call(app, "/inside", headers=bearer("acme"))).body) == [tenant, "a1"]
    assert database.seen == ["begin", "commit", "begin", "commit"]


class Plain(Resource[None, list[str]]):
    """A resource without a lease or any other hook: taken and given back without a wait."""

    id = "plain"

    async def create(self, config: None, context: ResourceContext) -> list[str]:
        return []


class Listener:
    """Notes which scopes are open."""

    def __init__(self) -> None:
        self.open: list[Scope] = []

    def opened(self, scope: Scope) -> None:
        self.open.append(scope)

    def closed(self, scope: Scope) -> None:
        self.open.remove(scope)


@pytest.mark.parametrize(
    ("until", "border"),
    [("endpoint", True), ("endpoint", False), ("response", True)],  # the fourth is refused
)
@pytest.mark.parametrize("ends", ["well", "badly"])
async def test_what_needs_no_wait_is_given_back_without_one(
    manager: Manager, until: Any, border: bool, ends: str
) -> None:
    """The shortest road: a resource without hooks, with the middleware and without, however the handler ends."""
    await manager.register(Plain())
    listener = Listener()
    app = application(manager) if border else FastAPI()
    app.state.nebula_manager = manager

    @app.get("/")
    async def handler(
        one: list[str] = Depends(resource("plain", until=until)),
        again: list[str] = Depends(resource("plain", until=until), use_cache=False),
    ) -> bool:
        assert manager.stats()["plain"].in_use == 1
        assert +manager.open_scopes == Counter([ScopeLevel.EXECUTION])
        if ends == "badly":
            raise HTTPException(409)
        return one is again

    for listeners in ((), (listener,)):
        manager.scope_listeners = listeners
        for _ in range(70):  # beyond the use that is picked to be timed
            answer = await call(app)
            assert answer.status == (200 if ends == "well" else 409)
            assert manager.stats()["plain"].in_use == 0
            assert not +manager.open_scopes
            assert listener.open == []
            assert current_scope() is None
    assert (manager.stats()["plain"].created == 1) is (
        ends == "well"
    )  # a body that failed retires what it used


@pytest.mark.parametrize("border", [True, False])
async def test_a_handler_may_do_without(manager: Manager, border: bool) -> None:
    """A dependency of the user's that asks for a lease and takes no for an answer: nothing was held, and nothing is left."""
    app = application(manager) if border else FastAPI()
    app.state.nebula_manager = manager
    missing = resource("missing")

    async def perhaps(conn: HTTPConnection) -> list[str] | None:
        try:
            found: list[str] = await missing(conn)
        except (ResourceNotFound, StarletteHTTPException):
            return None
        return found

    @app.get("/")
    async def handler(found: list[str] | None = Depends(perhaps)) -> bool:
        return found is None

    assert (await call(app)).body == b"true"
    assert not +manager.open_scopes
    assert current_scope() is None


@pytest.mark.parametrize("border", [True, False])
@pytest.mark.parametrize("name", ["plain", "db"])
@pytest.mark.parametrize("how", ["left open", "left early"])
async def test_scopes_that_are_left_out_of_turn_end_with_the_handler(
    manager: Manager, border: bool, name: str, how: str
) -> None:
    """One opened after the lease and left open, or opened before it and left before it: what runs next is in neither."""
    await manager.register(Plain())
    app = application(manager) if border else FastAPI()
    app.state.nebula_manager = manager
    before: list[Any] = []
    stack = AsyncExitStack()

    async def around() -> AsyncGenerator[None]:
        before.append(current_scope())
        yield
        before.append(current_scope())

    async def early() -> None:
        if how == "left early":
            await stack.enter_async_context(manager.scope(action="a0"))

    app.router.dependencies = [Depends(around, scope="function"), Depends(early)]

    @app.get("/")
    async def handler(lease: Any = Depends(resource(name))) -> None:
        if how == "left early":
            await stack.aclose()
        else:
            await stack.enter_async_context(manager.scope(action="a1"))

    answer = await call(app)
    assert answer.status == 200, answer
    assert before[0] is before[1]
    assert current_scope() is None
    await stack.aclose()


@pytest.mark.parametrize("border", [True, False])
async def test_any_exit_stack_will_do(
    manager: Manager, monkeypatch: pytest.MonkeyPatch, border: bool
) -> None:
    """One that keeps its calls under another name awaits them, where nothing has to wait, too; each is counted once."""

    def push(stack: AsyncExitStack, ending: Any) -> None:
        stack.push_async_exit(ending)

    for module in (dependency, fallback):
        monkeypatch.setattr(module, "leave", push)
    await manager.register(Plain())
    app = application(manager) if border else FastAPI()
    app.state.nebula_manager = manager

    @app.get("/")
    async def handler(plain: list[str] = Depends(resource("plain"))) -> None: ...

    assert (await call(app)).status == 200
    assert manager.stats()["plain"].in_use == 0
    assert set(manager.open_scopes.values()) == {0}


async def test_an_error_of_an_acquire_is_an_answer(database: Database) -> None:
    """Nothing to be had: 503 and when to come back; what waits meanwhile is served."""
    pool = PoolConfig(max_size=1, max_waiting=0)
    async with managed(database, pool=pool) as manager:
        app = application(manager)
        inside, go_on = asyncio.Event(), asyncio.Event()

        @app.get("/")
        async def handler(db: Connection = Depends(resource(DB))) -> None:
            inside.set()
            await go_on.wait()

        first = asyncio.create_task(call(app))
        await inside.wait()
        second = await call(app)
        go_on.set()
        assert (await first).status == 200
        assert second.status == 503
        assert second.headers["retry-after"] == "1"
        assert second.headers["content-type"] == "application/problem+json"


async def test_a_cancelled_request_gives_its_lease_back(manager: Manager, database: Database) -> None:
    """A server that cancels a handler, twice: rolled back, and the instance serves again."""
    app = application(manager)
    inside = asyncio.Event()

    @app.get("/")
    async def handler(db: Connection = Depends(resource(DB))) -> None:
        inside.set()
        await asyncio.Event().wait()

    request = asyncio.create_task(call(app))
    await inside.wait()
    request.cancel()
    await asyncio.sleep(0)
    request.cancel()
    with pytest.raises(asyncio.CancelledError):
        await request
    assert database.seen == ["begin", "rollback CancelledError"]


async def test_a_client_that_is_waiting_in_line_may_leave(database: Database) -> None:
    """Cancelled while its lease is being acquired, a request leaves nothing behind."""
    async with managed(database, pool=PoolConfig(max_size=1)) as manager:
        app = application(manager)
        inside, go_on = asyncio.Event(), asyncio.Event()

        @app.get("/")
        async def handler(db: Connection = Depends(resource(DB))) -> None:
            inside.set()
            await go_on.wait()

        first = asyncio.create_task(call(app))
        await inside.wait()
        second = asyncio.create_task(call(app))
        await eventually(lambda: next(iter(manager.stats().values())).waiting == 1)
        second.cancel()
        with pytest.raises(asyncio.CancelledError):
            await second
        assert next(iter(manager.stats().values())).waiting == 0
        go_on.set()
        assert (await first).status == 200


async def test_it_is_for_fastapi_alone(manager: Manager, way: str) -> None:
    """Called by hand it says so; an application without a manager says which call is missing."""
    app = FastAPI()

    @app.get("/")
    async def handler(db: Connection = Depends(resource(DB))) -> None: ...

    answer = await call(app)
    assert answer.status == 500
    assert "install(app, manager)" in str(answer.error)
    if way == "adapter":
        with pytest.raises(InternalError, match="Depends"):
            await resource(DB)(HTTPConnection({"type": "http", "headers": []}))


def test_what_may_not_be_a_name_is_refused() -> None:
    """A bad name and a bad `until` are refused where they are written, not when a request comes."""
    with pytest.raises(ValidationFailed):
        resource("no name!")
    with pytest.raises(Exception, match="until"):
        resource("db", until="request")  # type: ignore[call-overload]  # what a user without a checker may write
