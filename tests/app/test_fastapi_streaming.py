"""Streaming: leases until the response, over a real socket too: whole, cut by the client, failing in the middle."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

import httpx
import pytest
from fastapi import BackgroundTasks, Depends, FastAPI, HTTPException
from fastapi.responses import JSONResponse, StreamingResponse

from nebula_resource import Manager
from nebula_resource.fastapi import NebulaMiddleware, dependency, install, resource
from nebula_resource.fastapi.adapter import Until
from tests.app.fastapi_world import (
    DB,
    CommitFailed,
    Connection,
    Database,
    call,
    eventually,
    managed,
    serving,
)


@pytest.fixture(params=["adapter", "fallback"], autouse=True)
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Through FastAPI's private names, and without them."""
    way: str = request.param
    monkeypatch.setattr(dependency, "private_names_work", lambda: way == "adapter")
    return way


@pytest.fixture
def database() -> Database:
    """A database that tells what happened."""
    return Database()


@pytest.fixture
async def manager(database: Database) -> AsyncGenerator[Manager]:
    """A manager with the database."""
    async with managed(database) as manager:
        yield manager


class Export:
    """Streams two pieces from a connection; ``go_on`` lets the second out."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.go_on = asyncio.Event()
        self.fails: Exception | None = None

    async def pieces(self, db: Connection) -> AsyncGenerator[bytes]:
        assert db.is_lent, "the lease ended before the first piece"
        yield b"one "
        await self.go_on.wait()
        if self.fails is not None:
            raise self.fails
        assert db.is_lent, "the lease ended before the last piece"
        yield b"two"


@pytest.fixture
def export(database: Database) -> Export:
    """What is streamed."""
    return Export(database)


@pytest.fixture
def app(manager: Manager, export: Export) -> FastAPI:
    """An application that streams."""
    app = FastAPI()
    install(app, manager, shutdown=False)

    @app.get("/export")
    async def handler(
        background: BackgroundTasks, db: Connection = Depends(resource(DB, until="response"))
    ) -> StreamingResponse:
        background.add_task(export.database.seen.append, "background")
        return StreamingResponse(export.pieces(db))

    @app.get("/plain")
    async def plain(db: Connection = Depends(resource(DB, until="response"))) -> JSONResponse:
        return JSONResponse(db.is_lent)

    @app.get("/refused")
    async def refused(db: Connection = Depends(resource(DB, until="response"))) -> None:
        raise HTTPException(409)

    @app.get("/uncommitted")
    async def uncommitted(db: Connection = Depends(resource(DB, until="response"))) -> JSONResponse:
        db.fails = CommitFailed()
        return JSONResponse({})

    @app.get("/naive")
    async def naive(db: Connection = Depends(resource(DB))) -> StreamingResponse:
        async def pieces() -> AsyncGenerator[bytes]:
            yield str(db.is_lent).encode()

        return StreamingResponse(pieces())

    return app


async def test_a_lease_until_the_response_serves_the_stream(
    app: FastAPI, export: Export, database: Database
) -> None:
    """It is held while pieces go out, and commits after the last, whatever FastAPI runs behind them."""
    export.go_on.set()
    answer = await call(app, "/export", seen=database.seen)
    assert answer.body == b"one two"
    assert database.seen[:3] == ["begin", "answer 200", "piece"]
    assert database.seen[-1] == "commit"


async def test_a_lease_of_the_handler_is_gone_before_the_first_piece(app: FastAPI) -> None:
    """That is what `until` is for: the default ends with the handler."""
    assert (await call(app, "/naive")).body == b"False"


@pytest.mark.parametrize("until", ["endpoint", "response"])
async def test_a_handler_that_yields_its_pieces(until: Until, manager: Manager, database: Database) -> None:
    """FastAPI asks it for the first piece when its own leases are over: `until="response"` is for it, too."""
    app = FastAPI()
    install(app, manager, shutdown=False)

    @app.get("/lines")
    async def lines(db: Connection = Depends(resource(DB, until=until))) -> AsyncGenerator[bool]:
        yield db.is_lent
        yield db.is_lent

    answer = await call(app, "/lines", seen=database.seen)
    assert answer.body.split() == [b"true" if until == "response" else b"false"] * 2
    pieces = [database.seen.index("begin"), database.seen.index("piece"), database.seen.index("commit")]
    assert (pieces == sorted(pieces)) is (until == "response")


async def test_an_error_of_the_handler_reaches_it_before_the_answer(app: FastAPI, database: Database) -> None:
    """A handler that raises rolls back a lease until the response before anything is sent, too."""
    answer = await call(app, "/refused", seen=database.seen)
    assert answer.status == 409
    assert database.seen == ["begin", "rollback HTTPException", "answer 409"]


async def test_a_commit_that_fails_after_the_answer_is_raised_to_the_server(
    app: FastAPI, database: Database
) -> None:
    """Too late for another answer: the server hears of it."""
    answer = await call(app, "/uncommitted", seen=database.seen)
    assert answer.status == 200
    assert answer.error is not None
    assert database.seen == ["begin", "answer 200", "commit failed"]


async def test_a_plain_answer_commits_too(app: FastAPI, database: Database) -> None:
    """Not only streams go out whole."""
    assert (await call(app, "/plain", method="GET", seen=database.seen)).body == b"true"
    assert database.seen == ["begin", "answer 200", "commit"]


async def test_a_stream_that_raises_rolls_back(app: FastAPI, export: Export, database: Database) -> None:
    """An error between two pieces is the lease's outcome."""
    export.fails = ValueError("in the middle")
    export.go_on.set()
    answer = await call(app, "/export", seen=database.seen)
    assert answer.error is not None
    assert "commit" not in database.seen
    assert any(each.startswith("rollback") for each in database.seen)


async def test_a_client_that_leaves_rolls_back(app: FastAPI, export: Export, database: Database) -> None:
    """Starlette ends a stream that nobody reads without an error; the lease knows better."""
    leave = asyncio.Event()
    request = asyncio.create_task(call(app, "/export", seen=database.seen, leave=leave))
    await eventually(lambda: "piece" in database.seen)
    leave.set()
    await request
    assert "commit" not in database.seen
    assert "rollback ClientDisconnect" in database.seen


async def test_without_the_middleware_nobody_would_know_that_it_was_cut(
    manager: Manager, export: Export, database: Database
) -> None:
    """So a lease until the response is refused there, before a stream that was cut can commit; the handler's is not."""
    bare = FastAPI()
    bare.state.nebula_manager = manager

    @bare.get("/export")
    async def handler(db: Connection = Depends(resource(DB, until="response"))) -> StreamingResponse:
        return StreamingResponse(export.pieces(db))

    @bare.get("/plain")
    async def plain(db: Connection = Depends(resource(DB))) -> JSONResponse:
        return JSONResponse(db.is_lent)

    export.go_on.set()
    answer = await call(bare, "/export", seen=database.seen)
    assert answer.status == 500
    assert "NebulaMiddleware" in str(answer.error)
    async with manager.scope(tenant="acme", execution="opened by somebody else"):
        assert (await call(bare, "/export", seen=database.seen)).status == 500
    assert "begin" not in database.seen
    assert (await call(bare, "/plain")).body == b"true"

    leave = asyncio.Event()
    database.seen.clear()
    export.go_on.clear()
    around = NebulaMiddleware(bare, manager=manager)
    request = asyncio.create_task(call(around, "/export", seen=database.seen, leave=leave))
    await eventually(lambda: "piece" in database.seen)
    leave.set()
    await request
    assert database.seen[-1] == "rollback ClientDisconnect"


async def test_over_a_socket_whole(app: FastAPI, export: Export, database: Database) -> None:
    """A real client reads a real stream to its end."""
    async with serving(app) as address, httpx.AsyncClient(base_url=f"http://{address}") as client:
        async with client.stream("GET", "/export") as answer:
            pieces = answer.aiter_bytes()
            assert await anext(pieces) == b"one "
            assert database.lent == 1
            export.go_on.set()
            assert [piece async for piece in pieces] == [b"two"]
        await eventually(lambda: database.seen[-1] == "commit")


async def test_over_a_socket_cut(app: FastAPI, export: Export, database: Database) -> None:
    """A real client that hangs up in mid-stream: rolled back, and the connection serves the next one."""
    async with serving(app) as address:
        async with httpx.AsyncClient(base_url=f"http://{address}") as client:
            async with client.stream("GET", "/export") as answer:
                assert await anext(answer.aiter_bytes()) == b"one "
        await eventually(lambda: database.lent == 0)
        assert "commit" not in database.seen
        assert "rollback ClientDisconnect" in database.seen
        async with httpx.AsyncClient(base_url=f"http://{address}") as client:
            assert (await client.get("/plain")).json() is True
