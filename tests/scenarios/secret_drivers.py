"""How databases and services fail that were given the secret: in a URL, in its query, as a field, header, credential."""

import asyncio
import base64
import contextlib
import secrets
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any
from urllib.parse import quote, quote_plus

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from nebula_resource import Manager, Resource
from nebula_resource.drivers.http import HttpConfig, HttpResource
from nebula_resource.drivers.sqlalchemy import SqlAlchemyConfig, SqlAlchemyResource
from nebula_resource.model.config import Secret
from tests.scenarios.proxy import FaultProxy
from tests.scenarios.secret_world import CANARY, Said
from tests.servers.postgres import PostgresServer
from tests.servers.process import free_port

__all__ = ["Servers", "database_modes", "drivers_fail", "servers", "service_modes"]

SQL_FORMS = ("userinfo", "query", "keyword", "credential")
HTTP_FORMS = ("userinfo", "header", "credential")


@dataclass
class Servers:
    """Where there is something to connect to, or nothing."""

    postgres: PostgresServer
    ports: dict[str, int]
    role: str


async def _rude(answer: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Reads what comes first, gives one answer to everything, and goes."""
    with contextlib.suppress(OSError):
        head = await reader.read(65536)
        writer.write(answer.replace(b"ECHO", head))
        await writer.drain()
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()


def _response(status: str, *, headers: str = "", body: str = "", length: int | None = None) -> bytes:
    size = len(body) if length is None else length
    return f"HTTP/1.1 {status}\r\nContent-Length: {size}\r\nConnection: close\r\n{headers}\r\n{body}".encode()


_ANSWERS = {
    "angry": _response("500 No"),
    "closed door": _response("401 Who", headers="WWW-Authenticate: Basic\r\n"),
    "elsewhere": _response("302 There", headers="Location: http://169.254.169.254/latest\r\n"),
    "torn": _response("200 OK", body="half", length=4000),
    # What it got comes back as it was: a header line with the secret, say, where the protocol has a status line.
    "echo": b"ECHO",
    "mute": b"",
}


@asynccontextmanager
async def servers(postgres: PostgresServer) -> AsyncGenerator[Servers]:
    """A database with three roles that have the secret as their password, and whatever else answers or does not."""
    role, literal = f"canary_{secrets.token_hex(4)}", CANARY.replace("'", "''")
    for name, options in (("", "LOGIN"), ("_barred", "NOLOGIN"), ("_full", "LOGIN CONNECTION LIMIT 0")):
        statement = f"CREATE ROLE {role}{name} {options} PASSWORD '{literal}'"
        await asyncio.to_thread(postgres.execute, statement)
    ports = {"server": postgres.port, "nobody": free_port()}
    async with contextlib.AsyncExitStack() as stack:
        for name, answer in _ANSWERS.items():
            serving = await asyncio.start_server(partial(_rude, answer), "127.0.0.1", 0)
            await stack.enter_async_context(serving)
            ports[name] = serving.sockets[0].getsockname()[1]
        for name in ("hole", "reset"):
            proxy = await stack.enter_async_context(FaultProxy(postgres.host, postgres.port))
            proxy.black_hole() if name == "hole" else proxy.reset()
            ports[name] = proxy.port
        yield Servers(postgres, ports, role)


# ── databases ──

Work = Callable[[AsyncSession, FaultProxy | None], Awaitable[object]]


@dataclass(frozen=True)
class Database:
    """One way in which a database fails: where it is said to be, as whom, and what is done once it is there."""

    port: str = "server"
    host: str = "127.0.0.1"
    user: str = "{role}"
    database: str = ""
    option: str = ""
    work: Work | None = None
    patience: float = 10.0
    """Seconds to connect."""
    through: bool = False
    """Whether a proxy of its own stands between, to be broken in the middle of the work."""


def _runs(*statements: str) -> Work:
    async def work(session: AsyncSession, proxy: FaultProxy | None) -> None:
        for statement in statements:
            bound = text(statement)
            await session.execute(bound, {"v": CANARY} if ":v" in statement else {})

    return work


def _struck(fault: Callable[[FaultProxy], None]) -> Work:
    async def work(session: AsyncSession, proxy: FaultProxy | None) -> None:
        assert proxy is not None, "it goes through one"
        await session.execute(text("SELECT 1"))
        fault(proxy)
        async with asyncio.timeout(0.3):
            await session.execute(text("SELECT 2"))

    return work


def database_modes() -> dict[str, Database]:
    """By name."""
    table = "CREATE TEMP TABLE kept (v text UNIQUE DEFERRABLE INITIALLY"
    again = "INSERT INTO kept VALUES (:v)"
    return {
        "database refuses": Database("nobody"),
        "database is nowhere": Database(host="192.0.2.1", patience=0.3),
        "database says nothing": Database("hole", patience=0.3),
        "database resets": Database("reset"),
        "database closes at once": Database("mute"),
        "database is none": Database("echo"),
        "database has no TLS": Database(option="sslmode=require"),
        "password is wrong": Database(user="{owner}"),
        "role is unknown": Database(user="nobody_knows"),
        "role may not log in": Database(user="{role}_barred"),
        "role has no connection left": Database(user="{role}_full"),
        "database is unknown": Database(database="there_is_none"),
        "statement is wrong": Database(work=_runs("SELECT * FROM there_is_no_such_table")),
        "value does not fit": Database(work=_runs("SELECT CAST(CAST(:v AS text) AS int)")),
        "value breaks a constraint": Database(work=_runs(f"{table} IMMEDIATE)", again, again)),
        "commit fails": Database(work=_runs(f"{table} DEFERRED)", again, again)),
        "statement is cancelled": Database(work=_runs("SET statement_timeout = 20", "SELECT pg_sleep(5)")),
        "session is killed": Database(work=_runs("SELECT pg_terminate_backend(pg_backend_pid())")),
        "connection is cut": Database(work=_struck(FaultProxy.reset), through=True),
        "connection falls silent": Database(work=_struck(FaultProxy.black_hole), through=True),
        "connection is half closed": Database(work=_struck(FaultProxy.half_close), through=True),
    }


def _sql_config(form: str, address: str, user: str, way: Database) -> SqlAlchemyConfig:
    """A configuration with the secret in one of the places that take it."""
    given: dict[str, Any] = {"connect_timeout": way.patience}
    options = [way.option] if way.option else []
    if form == "userinfo":
        given["url"] = f"postgresql://{user}:{quote(CANARY, safe='')}@{address}"
    elif form == "query":
        options += [f"user={user}", f"password={quote_plus(CANARY)}"]
    elif form == "keyword":
        given |= {"user": user, "password": Secret(CANARY)}
    else:
        given |= {"user": user, "credential_key": "password"}
    url = given.pop("url", f"postgresql://{address}")
    return SqlAlchemyConfig(url=url + ("?" + "&".join(options) if options else ""), **given)


async def _database_fails(
    said: Said, manager: Manager, there: Servers, mode: str, way: Database, form: str
) -> None:
    """Register, use, check and release it; every error is kept."""
    async with contextlib.AsyncExitStack() as stack:
        port, proxy = there.ports[way.port], None
        if way.through:
            proxy = await stack.enter_async_context(FaultProxy("127.0.0.1", port))
            port = proxy.port
        user = way.user.format(role=there.role, owner=there.postgres.user)
        address = f"{way.host}:{port}/{way.database or there.postgres.database}"
        config = _sql_config(form, address, user, way)
        key = f"{mode} {form}".replace(" ", "-")
        await _told(said, manager, SqlAlchemyResource(key), config)
        with said.forced(mode):
            async with asyncio.timeout(20), manager.acquire(key, timeout=10.0) as session:
                said.add("repr of a session", repr(session))
                if way.work is not None:
                    await way.work(session, proxy)
                await session.execute(text("SELECT 1"))
        await _looked_at(said, manager, key)


async def _told(said: Said, manager: Manager, resource: Resource[Any, Any, Any], config: Any) -> None:
    said.add(
        "repr of a configuration", f"{config!r} {config!s} {config.model_dump()!r} {config.model_dump_json()}"
    )
    registration = await manager.register(resource, config, pool={"min_size": 0, "max_size": 1})
    said.add("repr of a registration", f"{registration!r} {registration.pool!r} {resource!r}")


async def _looked_at(said: Said, manager: Manager, key: str) -> None:
    """What an operator does next."""
    with said.forced(f"release of {key}"):
        said.add("answer to a check", repr(await asyncio.wait_for(manager.check(key), 10)))
        said.add("answer to a release", repr(await asyncio.wait_for(manager.release(key), 10)))


# ── services ──


def service_modes() -> dict[str, dict[str, Any]]:
    """By name: which port, and what else is configured."""
    open_ = {"allow_private": True}
    return {
        "service refuses": {"port": "nobody", **open_},
        "service says nothing": {"port": "hole", **open_},
        "service resets": {"port": "reset", **open_},
        "service closes at once": {"port": "mute", **open_},
        "service answers 500": {"port": "angry", **open_},
        "service answers 401": {"port": "closed door", **open_},
        "service sends elsewhere": {"port": "elsewhere", "follow_redirects": True, **open_},
        "service tears its answer": {"port": "torn", **open_},
        "service sends back what it got": {"port": "echo", **open_},
        "service has no TLS": {"port": "angry", "scheme": "https", **open_},
        "service is out of bounds": {"port": "angry"},
        "service has no address": {"port": "angry", "host": "there-is-none.invalid"},
    }


def _http_config(form: str, port: int, given: dict[str, Any]) -> HttpConfig:
    """The same for a service."""
    more = dict(given)
    scheme, host = more.pop("scheme", "http"), more.pop("host", "127.0.0.1")
    login = f"admin:{quote(CANARY, safe='')}@" if form == "userinfo" else ""
    more |= {"base_url": f"{scheme}://{login}{host}:{port}", "connect_timeout": 0.4, "read_timeout": 0.4}
    if form == "header":
        more["headers"] = {"X-Api-Key": base64.b64encode(CANARY.encode()).decode()}
    elif form == "credential":
        # A header takes no other letters than ASCII's, so the secret goes as a password.
        more |= {"user": "admin", "credential_key": "password"}
    return HttpConfig(**more)


async def _no_address(host: str, port: int) -> list[str]:
    raise OSError(f"{host} is not known")


async def _service_fails(
    said: Said, manager: Manager, there: Servers, mode: str, way: dict[str, Any], form: str
) -> None:
    """The same for a service."""
    given = dict(way)
    config = _http_config(form, there.ports[given.pop("port")], given)
    key = f"{mode} {form}".replace(" ", "-")
    resource = HttpResource(key, resolver=_no_address) if "host" in way else HttpResource(key)
    await _told(said, manager, resource, config)
    with said.forced(mode):
        async with asyncio.timeout(20), manager.acquire(key, timeout=10.0) as client:
            said.add("repr of a client", f"{client!r} {client.base_url!r} {client.headers!r}")
            (await client.get("/orders")).raise_for_status()
    await _looked_at(said, manager, key)


async def drivers_fail(said: Said, manager: Manager, there: Servers) -> None:
    """Every way, with the secret in every place that takes it."""
    work: list[Awaitable[None]] = [
        _database_fails(said, manager, there, mode, way, form)
        for number, (mode, way) in enumerate(database_modes().items())
        # In each form where it is the connecting that fails; once connected, it makes no difference.
        for form in (SQL_FORMS if way.work is None else (SQL_FORMS[number % len(SQL_FORMS)],))
    ]
    work += [
        _service_fails(said, manager, there, mode, way, form)
        for mode, way in service_modes().items()
        for form in HTTP_FORMS
    ]
    await asyncio.gather(*work)
