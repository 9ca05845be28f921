"""World: three tenants in real databases, kept apart in three ways, and an application that reads and writes there."""

from __future__ import annotations

import asyncio
import secrets
import sqlite3
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from fastapi import APIRouter, Depends, FastAPI, HTTPException
from fastapi.responses import StreamingResponse
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from nebula_resource import OFF, Manager, PoolConfig, ResourceKey, Scope, Secret
from nebula_resource.drivers.sqlalchemy import (
    SqlAlchemyConfig,
    SqlAlchemyResource,
    SqliteOptions,
    TenantIsolation,
)
from nebula_resource.fastapi import resource
from tests.app.fastapi_world import TENANTS
from tests.servers.postgres import PostgresServer

__all__ = ["WAYS", "Databases", "Waiting", "application", "router_of"]

FILES = ResourceKey("files", AsyncSession)
SCHEMAS = ResourceKey("schemas", AsyncSession)
ROWS = ResourceKey("rows", AsyncSession)

Way = Literal["files", "schemas", "rows"]
WAYS: tuple[Way, ...] = ("files", "schemas", "rows")
"""A database for each tenant (SQLite); a schema for each, and one table with row-level security (PostgreSQL)."""

_SCHEMA = """
CREATE SCHEMA "tenant_{tenant}";
CREATE TABLE "tenant_{tenant}".notes (n serial, owner text, body text);
INSERT INTO "tenant_{tenant}".notes (owner, body) VALUES ('{tenant}', 'canary-of-{tenant}');
GRANT USAGE ON SCHEMA "tenant_{tenant}" TO {role};
GRANT ALL ON ALL TABLES IN SCHEMA "tenant_{tenant}" TO {role};
GRANT ALL ON ALL SEQUENCES IN SCHEMA "tenant_{tenant}" TO {role};
INSERT INTO public.notes (owner, body) VALUES ('{tenant}', 'canary-of-{tenant}');
"""
_ROWS = """
CREATE ROLE {role} LOGIN PASSWORD '{password}';
CREATE TABLE public.notes (n serial, owner text DEFAULT current_setting('app.tenant'), body text);
ALTER TABLE public.notes ENABLE ROW LEVEL SECURITY;
CREATE POLICY mine ON public.notes USING (owner = current_setting('app.tenant'))
    WITH CHECK (owner = current_setting('app.tenant'));
GRANT ALL ON public.notes TO {role};
GRANT ALL ON SEQUENCE public.notes_n_seq TO {role};
"""
# What a careless handler leaves on a connection of PostgreSQL: settings that outlive its transaction, and a table that
# hides the real one. Whoever gets the connection next is often another tenant.
_LEFT_BEHIND = """
CREATE TEMP TABLE IF NOT EXISTS notes AS SELECT 0 AS n, '{tenant}'::text AS owner, 'canary-of-{tenant}'::text AS body;
SET search_path TO "tenant_{tenant}";
SET app.tenant TO '{tenant}'
"""


@dataclass
class Databases:
    """Where the tenants' notes are."""

    server: PostgresServer
    folder: Path
    resource_type: type[SqlAlchemyResource] = SqlAlchemyResource
    database: str = ""
    role: str = field(default_factory=lambda: f"role_{secrets.token_hex(6)}")
    password: str = field(default_factory=lambda: secrets.token_hex(8))

    def prepare(self) -> None:
        """Make them, with one note in each: its canary."""
        self.database = self.server.new_database()
        statements = [_ROWS.format(role=self.role, password=self.password)]
        statements += [_SCHEMA.format(tenant=tenant, role=self.role) for tenant in TENANTS]
        for statement in "".join(statements).split(";\n"):
            if statement.strip():
                self.server.execute(statement, database=self.database)
        for tenant in TENANTS:
            with closing(sqlite3.connect(self.file_of(tenant))) as file:
                # Four connections that open a new file at once may find it locked while one turns this on.
                file.execute("PRAGMA journal_mode=wal")
                file.execute("CREATE TABLE notes (n INTEGER PRIMARY KEY, owner TEXT, body TEXT)")
                file.execute("INSERT INTO notes (owner, body) VALUES (?, ?)", (tenant, f"canary-of-{tenant}"))
                file.commit()

    def drop(self) -> None:
        """Leave the server as it was."""
        self.server.execute(f"DROP OWNED BY {self.role}", database=self.database)
        self.server.execute(f"DROP ROLE {self.role}")

    def file_of(self, tenant: str) -> Path:
        """A tenant's SQLite database."""
        return self.folder / f"{tenant}.db"

    async def manager(self, *, connections: int = 4) -> Manager:
        """A manager that reaches them: the files by a registration of each tenant, PostgreSQL by two for everybody."""
        manager = Manager(health=OFF, quarantine=OFF)
        pool = PoolConfig(min_size=0, max_size=connections)
        for tenant in TENANTS:
            url = Secret(f"sqlite:///{self.file_of(tenant)}")
            # SQLite's wait for a lock is no line: on a busy machine a writer may be overtaken for seconds.
            waits = SqliteOptions(busy_timeout=120)
            await manager.register(
                self.resource_type("files"),
                SqlAlchemyConfig(url=url, sqlite=waits),
                pool=pool,
                scope=Scope.tenant(tenant),
            )
        schemas = TenantIsolation(tenant_schema="tenant_{tenant}")
        await manager.register(self.resource_type("schemas"), self._config(schemas), pool=pool)
        rows = TenantIsolation(tenant_setting="app.tenant")
        await manager.register(self.resource_type("rows"), self._config(rows), pool=pool)
        return manager

    def _config(self, isolation: TenantIsolation) -> SqlAlchemyConfig:
        options = f"?{self.server.options}" if self.server.options else ""
        return SqlAlchemyConfig(
            url=Secret(f"postgresql://{self.server.host}:{self.server.port}/{self.database}{options}"),
            user=Secret(self.role),
            password=Secret(self.password),
            isolation=isolation,
        )

    def found(self, way: Way, tenant: str) -> Counter[tuple[str, str]]:
        """Everything that a tenant has, as the database itself says: (owner, body) and how often."""
        if way == "files":
            with closing(sqlite3.connect(self.file_of(tenant))) as file:
                return Counter(file.execute("SELECT owner, body FROM notes").fetchall())
        table = f'"tenant_{tenant}".notes' if way == "schemas" else "public.notes"
        rows = self.server.execute(f"SELECT owner, body FROM {table}", database=self.database)
        found = Counter((row["owner"], row["body"]) for row in rows)
        if way == "schemas":
            return found
        # One table for all: a tenant's are those that are marked as its own, and those that speak of it.
        mine = {each: n for each, n in found.items() if each[0] == tenant or f"of-{tenant}" in each[1]}
        return Counter(mine)


# ── the application ──


@dataclass
class Waiting:
    """Handlers that wait for ever, to be cancelled."""

    arrived: dict[str, asyncio.Event] = field(default_factory=dict)


def router_of(way: Way, waiting: Waiting | None = None, prefix: str | None = None) -> APIRouter:
    """What can be done with the notes that are kept in one way."""
    key = {"files": FILES, "schemas": SCHEMAS, "rows": ROWS}[way]
    of_handler, of_response = Depends(resource(key)), Depends(resource(key, until="response"))
    router = APIRouter(prefix=f"/{way}" if prefix is None else prefix)

    @router.get("/notes")
    async def read(db: AsyncSession = of_handler) -> list[str]:
        return await _look(db)

    @router.get("/stream")
    async def stream(db: AsyncSession = of_response) -> StreamingResponse:
        async def pieces() -> AsyncGenerator[str]:
            for _ in range(2):
                yield " ".join(await _look(db))

        return StreamingResponse(pieces())

    @router.post("/notes")
    async def write(body: str, fate: str = "well", db: AsyncSession = of_handler) -> list[str]:
        await db.execute(
            text(f"INSERT INTO notes ({_columns(way)}) VALUES ({_values(way)})"), _row(way, body)
        )
        seen = await _look(db)
        if fate == "refused":
            raise HTTPException(409, " ".join(seen))
        if fate == "fails":
            raise ValueError("a fault of the handler's")
        if fate == "waits":
            assert waiting is not None
            waiting.arrived[body].set()
            await asyncio.Event().wait()
        return seen

    @router.post("/careless")
    async def careless(db: AsyncSession = of_handler) -> list[str]:
        seen = await _look(db)
        for statement in _LEFT_BEHIND.format(tenant=seen[0].partition(":")[0]).split(";"):
            await db.execute(text(statement))
        return seen

    return router


def _columns(way: Way) -> str:
    return "body" if way == "rows" else "owner, body"


def _values(way: Way) -> str:
    return ":body" if way == "rows" else ":owner, :body"


def _row(way: Way, body: str) -> dict[str, str]:
    owner = body.split("-of-")[1].split(".")[0]
    return {"body": body} if way == "rows" else {"owner": owner, "body": body}


async def _look(db: AsyncSession) -> list[str]:
    """The newest notes, each with its owner: of a tenant that is not alone here, at least one of five is another's."""
    found = await db.execute(text("SELECT owner, body FROM notes ORDER BY n DESC LIMIT 5"))
    return [f"{row.owner}: {row.body}" for row in found]


def application(waiting: Waiting | None = None) -> FastAPI:
    """All three ways under one roof."""
    app = FastAPI(openapi_url=None)
    for way in WAYS:
        app.include_router(router_of(way, waiting))
    return app
