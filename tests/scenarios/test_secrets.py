"""One random secret in every place that takes one, everything made to fail, and nothing that we say holds it."""

import asyncio
import base64
import contextlib
import json
import logging
import secrets
import traceback
import warnings
from collections.abc import AsyncIterator, Iterator
from typing import Any
from urllib.parse import quote, quote_plus

import httpx
import pytest
from sqlalchemy import text

from nebula_resource import HealthPolicy, Manager, QuarantinePolicy, ResourceContext, Scope, ValidationFailed
from nebula_resource.admin import create_admin
from nebula_resource.drivers.http import HttpConfig, HttpResource
from nebula_resource.drivers.sqlalchemy import SqlAlchemyConfig, SqlAlchemyResource
from nebula_resource.events import Event
from nebula_resource.hooks import AuditHook
from nebula_resource.model.config import Secret
from nebula_resource.model.credentials import StaticCredentials
from nebula_resource.quarantine import RecoveryBackoff
from tests.scenarios.proxy import FaultProxy
from tests.servers.postgres import PostgresServer
from tests.servers.process import free_port

CANARY = f"kanarie/{secrets.token_hex(8)}@ü+"
ROLE = f"canary_{secrets.token_hex(4)}"
FORMS = ("userinfo", "query", "keyword", "credential")
HTTP_FORMS = ("userinfo", "header", "credential")


def spellings(secret: str) -> set[str]:
    """The secret as it is, as URLs and JSON write it, and as base64 does at each of its three alignments."""
    found = {secret, quote(secret, safe=""), quote(secret), quote_plus(secret), json.dumps(secret)[1:-1]}
    raw = secret.encode()
    for shift in range(3):
        whole = base64.b64encode(b"\0" * shift + raw).decode().rstrip("=")
        # The first and the last characters depend on what stands beside it.
        middle = whole[4 if shift else 0 : -4]
        found |= {middle, middle.replace("+", "-").replace("/", "_")}
    # Each piece that is random by itself: half a secret is no better.
    found.add(secret.partition("/")[2].partition("@")[0])
    return found


class Said:
    """Everything that was said, with where it was said."""

    def __init__(self) -> None:
        self.pieces: list[tuple[str, str]] = []
        self.modes: set[str] = set()

    def add(self, where: str, what: object) -> None:
        """Keep a text."""
        self.pieces.append((where, str(what)))

    def error(self, mode: str, error: BaseException) -> None:
        """Keep all of an error: its text, its fields, its whole traceback with causes and contexts."""
        self.modes.add(mode)
        self.add(f"error of {mode}", f"{error!s} {error!r} {vars(error)!r}")
        self.add(f"traceback of {mode}", "".join(traceback.format_exception(error)))

    def hits(self, secret: str) -> list[str]:
        """Where the secret is."""
        return [
            f"{where}: {what[:300]}"
            for where, what in self.pieces
            if any(spelling in what for spelling in spellings(secret))
        ]


class Listener(logging.Handler):
    """Keeps every record of every logger: text, fields, exception."""

    def __init__(self, said: Said) -> None:
        super().__init__(logging.DEBUG)
        self._said = said
        self.setFormatter(logging.Formatter("%(message)s"))

    def emit(self, record: logging.LogRecord) -> None:
        """Keep it."""
        self._said.add(f"log {record.name}", f"{self.format(record)} {vars(record)!r}")


@pytest.fixture
def said() -> Iterator[Said]:
    """What was said; all loggers of ours and of the drivers' are heard."""
    found = Said()
    listener = Listener(found)
    loggers = [
        logging.getLogger(name) for name in (None, "nebula_resource", "sqlalchemy", "httpx", "asyncio")
    ]
    levels = [logger.level for logger in loggers]
    logging.getLogger().addHandler(listener)
    for logger in loggers[:2]:
        logger.setLevel(logging.DEBUG)
    yield found
    logging.getLogger().removeHandler(listener)
    for logger, level in zip(loggers, levels, strict=True):
        logger.setLevel(level)


def sql_config(form: str, host: str, port: int, *, user: str, database: str) -> SqlAlchemyConfig:
    """A configuration with the secret in one of the places that take it."""
    where = f"{host}:{port}/{database}"
    given: dict[str, Any] = {"connect_timeout": 0.4}
    if form == "userinfo":
        given["url"] = f"postgresql://{user}:{quote(CANARY, safe='')}@{where}"
    elif form == "query":
        given["url"] = f"postgresql://{where}?user={user}&password={quote_plus(CANARY)}"
    elif form == "keyword":
        given |= {"url": f"postgresql://{where}", "user": user, "password": Secret(CANARY)}
    else:
        given |= {"url": f"postgresql://{where}", "user": user, "credential_key": "password"}
    return SqlAlchemyConfig(**given)


def http_config(form: str, port: int) -> HttpConfig:
    """The same for a service."""
    where = f"127.0.0.1:{port}"
    given: dict[str, Any] = {
        "base_url": f"http://{where}",
        "allow_private": True,
        "connect_timeout": 0.4,
        "read_timeout": 0.4,
    }
    if form == "userinfo":
        given["base_url"] = f"http://admin:{quote(CANARY, safe='')}@{where}"
    elif form == "header":
        given["headers"] = {"X-Api-Key": base64.b64encode(CANARY.encode()).decode()}
    else:
        given |= {"credential_key": "password", "auth": "bearer"}
    return HttpConfig(**given)


@pytest.fixture
async def world(said: Said) -> AsyncIterator[Manager]:
    """A manager whose every event is kept, with an audit hook."""
    manager = Manager(
        health=HealthPolicy(interval=2.0, timeout=0.5, failure_threshold=2, jitter=0),
        quarantine=QuarantinePolicy(backoff=RecoveryBackoff(base=1.0, max=2.0)),
        credentials=StaticCredentials({"password": Secret(CANARY)}),
    )

    def keep(event: Event) -> None:
        said.add(f"event {event.name}", repr(event))
        said.add(f"event {event.name} as JSON", json.dumps(event.to_json()))

    manager.events.add_listener(keep, (Event,))
    manager.hooks.add(AuditHook())
    async with manager:
        yield manager


async def fail_sql(said: Said, manager: Manager, mode: str, config: SqlAlchemyConfig) -> None:
    """Register, use, check and release one database; every error is kept."""
    said.add(f"repr of {mode}", f"{config!r} {config!s} {config.model_dump()!r} {config.model_dump_json()}")
    key = mode.replace(" ", "-")
    said.add("repr", repr(await manager.register(SqlAlchemyResource(key), config, pool={"max_size": 2})))
    try:
        async with asyncio.timeout(2), manager.acquire(key, timeout=1.0) as session:
            if mode.startswith("killed"):
                await session.execute(text("SELECT pg_terminate_backend(pg_backend_pid())"))
            await session.execute(text("SELECT * FROM there_is_no_such_table"))
    except Exception as error:
        said.error(mode, error)
    for call in (manager.check(key), manager.release(key)):
        try:
            said.add(f"answer of {mode}", repr(await asyncio.wait_for(call, 1)))
        except Exception as error:
            said.error(mode, error)


async def fail_http(said: Said, manager: Manager, mode: str, config: HttpConfig) -> None:
    """The same for a service."""
    said.add(f"repr of {mode}", f"{config!r} {config!s} {config.model_dump()!r} {config.model_dump_json()}")
    key = mode.replace(" ", "-")
    said.add("repr", repr(await manager.register(HttpResource(key), config, pool={"max_size": 2})))
    try:
        async with asyncio.timeout(2), manager.acquire(key, timeout=1.0) as client:
            said.add("repr", repr(client))
            response = await client.get("/orders")
            response.raise_for_status()
    except Exception as error:
        said.error(mode, error)
    try:
        said.add(f"answer of {mode}", repr(await asyncio.wait_for(manager.check(key), 1)))
    except Exception as error:
        said.error(mode, error)


async def angry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """A service that answers 500 to everything."""
    with contextlib.suppress(OSError, asyncio.IncompleteReadError):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 500 No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        await writer.drain()
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()


async def read_admin(said: Said, manager: Manager) -> None:
    """Every page an operator can read, and what it answers to nonsense."""
    app = create_admin(manager)
    transport = httpx.ASGITransport(app=app, client=("127.0.0.1", 40000))
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
        paths = ["/health", "/pools", "/resources", "/quarantine", "/dependencies", "/events", "/config"]
        paths += ["/metrics", "/audit", "/scopes", "/openapi.json"]
        for registration in manager.pools():
            name = quote(registration.public_id)
            paths += [
                f"/resources/{name}",
                f"/pools/{name}",
                f"/pools/{name}/instances",
                f"/quarantine/{name}",
            ]
        statuses: list[int] = []
        for path in paths:
            response = await client.get(
                path, params={"limit": 200} if path in {"/resources", "/pools"} else None
            )
            statuses.append(response.status_code)
            said.add(f"HTTP {path}", f"{response.headers!r} {response.text}")
        assert statuses.count(200) > len(paths) / 2, "it was really read"
        for registration in manager.pools()[:5]:
            name = quote(registration.public_id)
            for verb in ("check", "release"):
                where = f"/resources/{name}/check" if verb == "check" else f"/quarantine/{name}/release"
                response = await client.post(where, json={} if verb == "release" else None)
                said.add(f"HTTP POST {where}", response.text)


async def test_no_failure_tells_a_secret(
    said: Said, world: Manager, private_postgres_server: PostgresServer
) -> None:
    """More than 30 ways to fail; no log line, event, error, repr, HTTP body or metric holds the secret in any form."""
    server = private_postgres_server
    literal = CANARY.replace("'", "''")
    await asyncio.to_thread(server.execute, f"CREATE ROLE {ROLE} LOGIN PASSWORD '{literal}'")
    http_server = await asyncio.start_server(angry, "127.0.0.1", 0)
    http_port = http_server.sockets[0].getsockname()[1]
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        async with (
            http_server,
            FaultProxy(server.host, server.port) as hole,
            FaultProxy(server.host, server.port) as rude,
        ):
            hole.black_hole()
            rude.reset()
            good, nobody = server.database, free_port()
            places: dict[str, tuple[str, int, str, str]] = {
                "refused": (server.host, nobody, ROLE, good),
                "unroutable": ("192.0.2.1", server.port, ROLE, good),
                "wrong password": (server.host, server.port, server.user, good),
                "wrong database": (server.host, server.port, ROLE, CANARY.partition("/")[0]),
                "black hole": (hole_host := "127.0.0.1", hole.port, ROLE, good),
                "reset": (hole_host, rude.port, ROLE, good),
                "killed": (server.host, server.port, ROLE, good),
                "bad SQL": (server.host, server.port, ROLE, good),
            }
            work = [
                fail_sql(
                    said,
                    world,
                    f"{mode} {form}",
                    sql_config(form, *where[:2], user=where[2], database=where[3]),
                )
                for mode, where in places.items()
                for form in FORMS
            ]
            for form in HTTP_FORMS:
                for mode, port in (
                    ("http refused", nobody),
                    ("http 500", http_port),
                    ("http hole", hole.port),
                ):
                    work.append(fail_http(said, world, f"{mode} {form}", http_config(form, port)))
            async with asyncio.timeout(50):
                await asyncio.gather(*work)
                await read_admin(said, world)
    for warning in warned:
        said.add("warning", warning.message)
    wrong = {
        "url": f"postgresql://u:{quote(CANARY, safe='')}@h:port/d",
        "password": CANARY,
        "nonsense": CANARY,
        "connect_timeout": CANARY,
    }
    for field in wrong:
        mode = f"invalid {field}"
        try:
            given = {"url": "postgresql://h/d", field: wrong[field]}
            await world.register(SqlAlchemyResource(mode.replace(" ", "-")), given | {"connect_timeout": -1})
        except ValidationFailed as error:
            said.error(mode, error)
    for value in (world, world.stats(), world.pools(), world.watch.board, world.watch.quarantine):
        said.add("repr", repr(value))
    said.add(
        "repr",
        repr(ResourceContext(Scope.of(tenant="t"), credentials=StaticCredentials({"k": Secret(CANARY)}))),
    )
    assert len(said.modes) >= 30, sorted(said.modes)
    assert any(where.startswith("log") for where, _ in said.pieces)
    assert any(where.startswith("event") for where, _ in said.pieces)
    assert said.hits(CANARY) == []


@pytest.mark.parametrize(
    "text_",
    [
        CANARY,
        quote(CANARY, safe=""),
        json.dumps(CANARY),
        *(base64.b64encode(b"x" * n + CANARY.encode()).decode() for n in range(4)),
    ],
    ids=["raw", "url", "json", "base64", "base64 +1", "base64 +2", "base64 +3"],
)
def test_the_search_finds_the_secret_in_each_of_its_forms(text_: str) -> None:
    """The test above can fail."""
    said = Said()
    said.add("here", f"before {text_} after")
    assert len(said.hits(CANARY)) == 1
