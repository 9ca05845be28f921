"""Websockets: leases, tenants and refusals, driven directly and over a real socket."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any

import pytest
import websockets
from fastapi import Depends, FastAPI, HTTPException, WebSocket
from starlette.websockets import WebSocketDisconnect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from nebula_resource import Manager, current_scope
from nebula_resource.fastapi import dependency, install, resource
from tests.app.fastapi_world import (
    DB,
    Connection,
    Database,
    bearer,
    eventually,
    managed,
    serving,
    talk,
    tokens,
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


@pytest.fixture
def app(manager: Manager, database: Database) -> FastAPI:
    """An application with a websocket that answers with who it serves."""
    app = FastAPI()
    install(app, manager, resolver=tokens, require_tenant=True, shutdown=False)

    @app.websocket("/echo")
    async def echo(socket: WebSocket, db: Connection = Depends(resource(DB))) -> None:
        await socket.accept()
        scope = current_scope()
        assert scope is not None
        try:
            while True:
                text = await socket.receive_text()
                if text == "fail":
                    raise ValueError
                await socket.send_text(f"{text} for {db.tenant}, {scope.scope.tenant_id}")
        except WebSocketDisconnect:
            return

    @app.websocket("/late")
    async def late(socket: WebSocket) -> None:
        await socket.accept()
        await manager.acquire("nowhere")

    @app.websocket("/typo")
    async def typo(socket: WebSocket, db: Any = Depends(resource("typo"))) -> None:
        await socket.accept()

    @app.websocket("/refused")
    async def refused(socket: WebSocket) -> None:
        raise HTTPException(403)

    @app.websocket("/over")
    async def over(socket: WebSocket) -> None:
        await socket.accept()
        await socket.close()
        await manager.acquire("nowhere")

    @app.websocket("/checked")
    async def checked(socket: WebSocket, number: int) -> None:
        await socket.accept()

    return app


def kinds(sent: list[Any]) -> list[str]:
    """What was sent, in short."""
    return [message["type"].removeprefix("websocket.") for message in sent]


async def test_a_socket_holds_its_lease_until_its_handler_ends(app: FastAPI, database: Database) -> None:
    """One lease for the whole conversation, of the caller's tenant."""
    sent, error = await talk(app, "/echo", ["one", "two"], headers=bearer("acme"))
    assert error is None
    assert [message.get("text") for message in sent if "text" in message] == [
        "one for acme, acme",
        "two for acme, acme",
    ]
    assert database.seen == ["begin", "commit"]


async def test_a_socket_without_the_middleware_may_ask_until_the_response(
    manager: Manager, database: Database
) -> None:
    """It has no response that could be cut off, so nobody has to watch one: the lease ends with the conversation."""
    app = FastAPI()
    app.state.nebula_manager = manager

    @app.websocket("/")
    async def handler(socket: WebSocket, db: Connection = Depends(resource(DB, until="response"))) -> None:
        await socket.accept()
        assert db.is_lent

    sent, error = await talk(app, "/")
    assert (kinds(sent)[0], error) == ("accept", None)
    assert database.seen == ["begin", "commit"]


async def test_a_socket_that_fails_rolls_back(app: FastAPI, database: Database) -> None:
    """The handler's error is the lease's outcome."""
    _, error = await talk(app, "/echo", ["one", "fail"], headers=bearer("acme"))
    assert isinstance(error, ValueError)
    assert database.seen == ["begin", "rollback ValueError"]


async def test_nobody_is_not_let_in(app: FastAPI, database: Database) -> None:
    """Without a tenant the socket never opens; where the server can send an answer, it is a problem."""
    sent, _ = await talk(app, "/echo", headers={"authorization": "Bearer demo-umbrella"})
    assert [(message["type"], message["code"]) for message in sent] == [("websocket.close", 1008)]
    sent, _ = await talk(app, "/echo", extensions={"websocket.http.response": {}})
    assert kinds(sent) == ["http.response.start", "http.response.body"]
    assert sent[0]["status"] == 401
    assert database.seen == []


@pytest.mark.parametrize(("path", "status"), [("/typo", 404)])
async def test_a_lease_that_cannot_be_had_denies_the_socket(app: FastAPI, path: str, status: int) -> None:
    """Before it opened: an answer where the server can send one, a close with its kind of code where not."""
    sent, error = await talk(app, path, headers=bearer("acme"), extensions={"websocket.http.response": {}})
    assert (error, sent[0]["status"]) == (None, status)
    sent, error = await talk(app, path, headers=bearer("acme"))
    assert error is None
    assert [(message["type"], message["code"]) for message in sent] == [("websocket.close", 1008)]


async def test_an_http_exception_denies_or_closes(app: FastAPI) -> None:
    """An HTTPException before the socket opened is its answer, or its close code."""
    sent, _ = await talk(app, "/refused", headers=bearer("acme"), extensions={"websocket.http.response": {}})
    assert sent[0]["status"] == 403
    sent, _ = await talk(app, "/refused", headers=bearer("acme"))
    assert [message["type"] for message in sent] == ["websocket.close"]


async def test_a_closed_socket_is_not_closed_again(app: FastAPI) -> None:
    """An error after the end has nothing left to say."""
    sent, error = await talk(app, "/over", headers=bearer("acme"))
    assert error is None
    assert kinds(sent) == ["accept", "close"]


async def test_an_error_in_an_open_socket_closes_it(app: FastAPI) -> None:
    """After it opened there is only a close code."""
    sent, error = await talk(app, "/late", headers=bearer("acme"))
    assert error is None
    assert kinds(sent) == ["accept", "close"]
    assert sent[-1]["code"] == 1008


async def test_a_shut_down_manager_says_try_again_later(app: FastAPI, manager: Manager) -> None:
    """1013 is the 503 of websockets."""
    await manager.shutdown(0, 1, 1)
    sent, error = await talk(app, "/echo", headers=bearer("acme"))
    assert (error, sent[-1]["code"]) == (None, 1013)


async def test_a_bad_parameter_closes_without_repeating_it(app: FastAPI) -> None:
    """FastAPI's own answer holds the input; ours is a code."""
    sent, error = await talk(app, "/checked", headers=bearer("acme"))
    assert error is None
    assert sent == [{"type": "websocket.close", "code": 1008, "reason": ""}]


async def test_over_a_socket(app: FastAPI, database: Database) -> None:
    """A real client talks, hangs up, is refused."""
    async with serving(app) as address:
        async with websockets.connect(f"ws://{address}/echo", additional_headers=bearer("globex")) as socket:
            await socket.send("hello")
            assert await socket.recv() == "hello for globex, globex"
        await eventually(lambda: database.seen == ["begin", "commit"])
        with pytest.raises(InvalidStatus) as refused:
            async with websockets.connect(f"ws://{address}/echo"):
                pass
        assert refused.value.response.status_code == 401
        assert refused.value.response.headers["content-type"] == "application/problem+json"
        with pytest.raises(ConnectionClosed) as closed:
            async with websockets.connect(
                f"ws://{address}/late", additional_headers=bearer("acme")
            ) as socket:
                await socket.recv()
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1008
