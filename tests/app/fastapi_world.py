"""World: a database that tells in which order things happened, and ways to reach an application that uses it."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import uvicorn
from fastapi import FastAPI
from starlette.types import ASGIApp, Message

from nebula_resource import OFF, Manager, PoolConfig, Resource, ResourceContext, ResourceKey
from nebula_resource.fastapi import BearerResolver, Claims

__all__ = [
    "DB", "TENANTS", "Answer", "CommitFailed", "Connection", "Database", "bearer", "by_token", "call", "eventually",
    "managed", "serving", "talk", "tokens",
]  # fmt: skip  # one list of names

TENANTS = ("acme", "globex", "initech")


class CommitFailed(Exception):
    """What the database says when a commit fails."""


@dataclass
class Connection:
    """One connection: who has it, and whether its next commit fails."""

    number: int
    tenant: str | None = None
    fails: BaseException | None = None
    is_lent: bool = False


DB = ResourceKey("db", Connection)


@dataclass
class Database(Resource[None, Connection, Connection]):
    """Lends connections as transactions; ``seen`` is what happened, in order, beside what the tests put there."""

    id: str = "db"
    seen: list[str] = field(default_factory=list)
    is_silent: bool = False
    numbers: Any = field(default_factory=lambda: itertools.count(1))
    lent: int = 0
    committed: int = 0
    rolled_back: int = 0

    async def create(self, config: None, context: ResourceContext) -> Connection:
        return Connection(next(self.numbers))

    @asynccontextmanager
    async def lease(self, instance: Connection, context: ResourceContext) -> AsyncGenerator[Connection]:
        assert not instance.is_lent, "one connection was lent twice"
        instance.is_lent, instance.tenant, instance.fails = True, context.tenant_id, None
        self.lent += 1
        self._say("begin")
        try:
            yield instance
        except BaseException as error:
            self.rolled_back += 1
            self._say(f"rollback {type(error).__name__}")
            raise
        else:
            if instance.fails is not None:
                self._say("commit failed")
                raise instance.fails
            self.committed += 1
            self._say("commit")
        finally:
            instance.is_lent, instance.tenant = False, None
            self.lent -= 1

    def _say(self, what: str) -> None:
        if not self.is_silent:
            self.seen.append(what)


@asynccontextmanager
async def managed(database: Database, *, pool: PoolConfig | None = None) -> AsyncGenerator[Manager]:
    """A manager with the database registered for everybody; nothing is out when it ends."""
    manager = Manager(health=OFF, quarantine=OFF)
    await manager.register(database, pool=pool)
    try:
        yield manager
    finally:
        stats = manager.stats()
        await manager.shutdown(drain=5, cleanup=5, terminate=1)
    assert database.lent == 0, "a lease never ended"
    for each in stats.values():
        assert each.in_use == 0, "an instance was out when the test ended"
    assert not +manager.open_scopes, "an open scope was never closed"


def by_token(token: str) -> Claims | None:
    """``demo-<tenant>`` is the token of a tenant."""
    tenant = token.removeprefix("demo-")
    return Claims(tenant=tenant) if tenant in TENANTS and tenant != token else None


def bearer(tenant: str) -> dict[str, str]:
    """The header of a tenant."""
    return {"authorization": f"Bearer demo-{tenant}"}


tokens = BearerResolver(by_token)


@dataclass
class Answer:
    """What a server would have sent."""

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    error: BaseException | None = None
    """What the application raised to the server, beside what it sent."""


async def call(
    app: ASGIApp,
    path: str = "/",
    *,
    seen: list[str] | None = None,
    method: str = "GET",
    headers: dict[str, str] | list[tuple[str, str]] | None = None,
    body: bytes = b"",
    leave: asyncio.Event | None = None,
) -> Answer:
    """One request, with what is sent noted in ``seen`` among what else happens; the client leaves when told to."""
    answer = Answer()
    pairs = list(headers.items()) if isinstance(headers, dict) else headers or []
    asked = False

    async def receive() -> Message:
        nonlocal asked
        if not asked:
            asked = True
            return {"type": "http.request", "body": body, "more_body": False}
        await (leave or asyncio.Event()).wait()
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        if message["type"] == "http.response.start":
            answer.status = message["status"]
            answer.headers = {name.decode(): value.decode() for name, value in message["headers"]}
            if seen is not None:
                seen.append(f"answer {answer.status}")
        else:
            answer.body += message.get("body", b"")
            if seen is not None and message.get("more_body"):
                seen.append("piece")

    raw_path = path.encode()
    scope: dict[str, Any] = {
        "type": "http", "asgi": {"version": "3.0", "spec_version": "2.3"}, "http_version": "1.1", "method": method,
        "scheme": "http", "path": path.partition("?")[0], "raw_path": raw_path, "root_path": "",
        "query_string": path.partition("?")[2].encode(), "client": ("127.0.0.1", 1), "server": ("test", 80),
        "headers": [(b"host", b"test"), *((name.lower().encode(), value.encode("latin-1")) for name, value in pairs)],
        "state": {},
    }  # fmt: skip  # one request, as a server would describe it
    try:
        await app(scope, receive, send)
    except Exception as error:
        answer.error = error
    return answer


async def talk(
    app: ASGIApp,
    path: str,
    texts: Iterable[str] = (),
    *,
    headers: dict[str, str] | None = None,
    extensions: dict[str, Any] | None = None,
) -> tuple[list[Message], BaseException | None]:
    """One websocket: connects, sends texts, leaves; returns what the application sent, and what it raised."""
    waiting: asyncio.Queue[Message] = asyncio.Queue()
    waiting.put_nowait({"type": "websocket.connect"})
    for text in texts:
        waiting.put_nowait({"type": "websocket.receive", "text": text})
    waiting.put_nowait({"type": "websocket.disconnect", "code": 1000})
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    scope: dict[str, Any] = {
        "type": "websocket", "asgi": {"version": "3.0", "spec_version": "2.4"}, "http_version": "1.1",
        "scheme": "ws", "path": path, "raw_path": path.encode(), "root_path": "", "query_string": b"",
        "headers": [(name.lower().encode(), value.encode()) for name, value in (headers or {}).items()],
        "client": ("127.0.0.1", 1), "server": ("test", 80), "subprotocols": [], "state": {},
        "extensions": extensions or {},
    }  # fmt: skip  # one connection, as a server would describe it
    try:
        await app(scope, waiting.get, send)
    except Exception as error:
        return sent, error
    return sent, None


@asynccontextmanager
async def serving(app: FastAPI) -> AsyncGenerator[str]:
    """The application behind a real uvicorn on a loopback port; yields ``127.0.0.1:<port>``."""
    # Kept alive for longer than any test: a server that hangs up on a client about to speak is an error of nobody's.
    config = uvicorn.Config(
        app,
        host="127.0.0.1",
        port=0,
        log_config=None,
        lifespan="on",
        timeout_graceful_shutdown=5,
        timeout_keep_alive=120,
    )
    server = uvicorn.Server(config)
    task = asyncio.create_task(server.serve())
    started = asyncio.create_task(_until(lambda: server.started or task.done()))
    await asyncio.wait((task, started), return_when=asyncio.FIRST_COMPLETED)
    assert server.started, "the server did not start"
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        yield f"127.0.0.1:{port}"
    finally:
        server.should_exit = True
        await task


async def _until(done: Callable[[], bool]) -> None:
    """uvicorn has no event for having started."""
    while not done():  # noqa: ASYNC110  # what is waited for has no event
        await asyncio.sleep(0.005)


async def eventually(done: Callable[[], bool], seconds: float = 5.0) -> None:
    """Wait for what another process or thread does; fails after ``seconds``."""
    async with asyncio.timeout(seconds):
        await _until(done)
