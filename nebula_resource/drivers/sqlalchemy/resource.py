"""SqlAlchemyResource: database connections for our pool, lent as sessions that commit or roll back."""

from __future__ import annotations

import asyncio
import importlib.util
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, cast

from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from nebula_resource.drivers.sqlalchemy.address import Address, has_login, parse
from nebula_resource.drivers.sqlalchemy.backend import Backend, LoginData
from nebula_resource.drivers.sqlalchemy.config import PostgresOptions, SqlAlchemyConfig, SqliteOptions
from nebula_resource.drivers.sqlalchemy.connection import PooledConnection
from nebula_resource.drivers.sqlalchemy.engine import open_current
from nebula_resource.drivers.sqlalchemy.faults import is_fault, why_not_connected
from nebula_resource.drivers.sqlalchemy.lease import ConnectionLease, SessionLease
from nebula_resource.drivers.sqlalchemy.tenant import bind_tenant, wrong_with_isolation
from nebula_resource.errors import FieldViolation, MissingCredential, ResourceError, ValidationFailed
from nebula_resource.model.context import ResourceContext
from nebula_resource.model.credentials import AuthenticatedResource, Credential
from nebula_resource.model.health import HealthCheckable, HealthStatus
from nebula_resource.model.resource import Resource, ResourceMetadata
from nebula_resource.model.scope import Scope

__all__ = ["SqlAlchemyResource"]


class SqlAlchemyResource(
    AuthenticatedResource, Resource[SqlAlchemyConfig, PooledConnection, AsyncSession], HealthCheckable
):
    """Connections to SQLite or PostgreSQL.

    The instance is one connection, owned by our pool; SQLAlchemy's own pool is switched off. A lease is an
    ``AsyncSession`` on it (or, with ``lease="connection"``, an ``AsyncConnection``): its transaction begins with the
    first statement, is committed when the body ends well and rolled back when the body raises or is cancelled.

    Recycling proves a connection clean or fails, so the pool's default ``on_error="recycle"`` is safe. A statement
    given up in the middle (cancelled, timed out) ends its connection: nobody knows what the server made of it.
    """

    metadata = ResourceMetadata("SQL database", "A connection through SQLAlchemy", tags=("database", "sql"))

    def __init__(self, id: str = "db", *, dependencies: Sequence[str] = ()) -> None:
        self.id = id
        self.dependencies = dependencies
        self._engines: dict[tuple[SqlAlchemyConfig, Scope], tuple[AsyncEngine, Backend]] = {}

    # ── the configuration ─────────────────────────────────────────────────────────────────────────────────────────

    def validate_config(self, config: SqlAlchemyConfig) -> Iterable[FieldViolation]:
        """Yield what is wrong with the URL, and which settings do not go together."""
        address = parse(config.url.get_secret_value())
        if isinstance(address, Address):
            yield from _wrong_with_login(config, address)
            yield from _wrong_with_options(config, address)
        else:
            yield from address

    # ── one connection ────────────────────────────────────────────────────────────────────────────────────────────

    async def create(self, config: SqlAlchemyConfig, context: ResourceContext) -> PooledConnection:
        """Open a connection.

        Raises:
            ValidationFailed: the configuration is wrong.
            MissingCredential: the provider lacks a credential that the configuration names.
            ConnectFailed: the server refused or was not reached; it holds no address and no name.
        """
        engine, backend = self._engine(config, context.scope)
        login = await self._login(config, context)
        try:
            return await PooledConnection.open(engine, backend, config, login)
        except ResourceError:
            raise
        except Exception as error:
            failure = why_not_connected(error, self.id)
        # Raised out here: the driver's error, whose text names user and host, is not even its __context__.
        raise failure

    def _engine(self, config: SqlAlchemyConfig, scope: Scope) -> tuple[AsyncEngine, Backend]:
        """Return the engine of this configuration in this scope: never one shared between tenants."""
        found = self._engines.get((config, scope))
        if found is None:
            violations = list(self.validate_config(config))
            if violations:
                raise ValidationFailed(violations, resource_id=self.id)
            backend = _make_backend(config)
            found = self._engines[config, scope] = (backend.make_engine(open_current), backend)
            self.credential_keys = tuple(dict.fromkeys((*self.credential_keys, *config.credential_keys)))
        return found

    async def _login(self, config: SqlAlchemyConfig, context: ResourceContext) -> LoginData:
        found: dict[str, Credential] = {}
        for key in config.credential_keys:
            if context.credentials is None:
                raise MissingCredential(key, resource_id=self.id)
            found[key] = await context.credentials.get(key)
        user, password = found.get(config.user_credential_key or ""), found.get(config.credential_key or "")
        return LoginData(
            user=user.value if user else config.user,
            password=password.value if password else config.password,
            expires_at=min((each.expires_at for each in found.values() if each.expires_at), default=None),
        )

    async def is_valid(self, instance: PooledConnection) -> bool:
        """Say whether the server answers ``SELECT 1``; no transaction is begun."""
        return await instance.ping()

    def is_broken(self, instance: PooledConnection) -> bool:
        """Say whether the connection is closed, was given up, or outlived its credential; no I/O."""
        return instance.is_broken()

    async def recycle(self, instance: PooledConnection) -> None:
        """Make the connection as new: nothing that its last user set, made or locked is left. Raises if not."""
        await instance.reset()

    async def cleanup(self, instance: PooledConnection) -> None:
        """Close the connection, and SQLite's thread, for certain."""
        await instance.end()

    # ── a use ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def lease(
        self, instance: PooledConnection, context: ResourceContext
    ) -> AbstractAsyncContextManager[AsyncSession]:
        """Lend a session (or the connection) to one caller, bound to the caller's tenant where that is configured."""
        config = instance.config
        tenant = None if config.isolation is None else bind_tenant(config.isolation, context.tenant_id)
        if config.lease == "connection":
            # One class serves both forms; who sets it says so in the key: ResourceKey("db", AsyncConnection).
            return cast("AbstractAsyncContextManager[Any]", ConnectionLease(instance, tenant))
        return SessionLease(instance, tenant)

    def is_fault(self, error: BaseException) -> bool:
        """Say whether an error speaks against the server; SQL errors (a broken constraint, a typo) do not."""
        return is_fault(error)

    async def health_check(self, instance: PooledConnection, context: ResourceContext) -> HealthStatus:
        """Ask ``SELECT 1`` and measure it (seconds)."""
        loop = asyncio.get_running_loop()
        started = loop.time()
        try:
            alive = await instance.ping()
        except Exception as error:
            return HealthStatus.unhealthy(
                why_not_connected(error, self.id).kind, latency_s=loop.time() - started
            )
        if not alive:
            return HealthStatus.unhealthy("the connection is lost", latency_s=loop.time() - started)
        return HealthStatus.healthy(
            latency_s=loop.time() - started, metadata={"backend": instance.dialect.name}
        )


def _make_backend(config: SqlAlchemyConfig) -> Backend:
    address = parse(config.url.get_secret_value())
    assert isinstance(address, Address), "a configuration is validated before it is used"
    if address.backend == "sqlite":
        from nebula_resource.drivers.sqlalchemy.sqlite import SqliteBackend

        return SqliteBackend(config, address.path)
    from nebula_resource.drivers.sqlalchemy.postgres import PostgresBackend

    return PostgresBackend(config, address.dsn)


def _wrong_with_login(config: SqlAlchemyConfig, address: Address) -> Iterator[FieldViolation]:
    given = {
        "user": (config.user, config.user_credential_key),
        "password": (config.password, config.credential_key),
    }
    if has_login(config.url.get_secret_value()):
        yield FieldViolation("url", "must not have a login beside `user` and `password`", "both")
    for name, (value, key) in given.items():
        if value is not None and key is not None:
            yield FieldViolation(name, "must not be given beside the name of a credential", "both")
        if address.backend == "sqlite" and (value is not None or key is not None):
            yield FieldViolation(name, "is not for SQLite, which has no users", "given")


def _wrong_with_options(config: SqlAlchemyConfig, address: Address) -> Iterator[FieldViolation]:
    if address.backend == "sqlite":
        yield from _wrong_with_sqlite(config, address)
    else:
        if config.sqlite != SqliteOptions():
            yield FieldViolation("sqlite", "is not for PostgreSQL", "given")
        if importlib.util.find_spec("asyncpg") is None:
            yield FieldViolation("url", "needs asyncpg: install nebula-resource[postgres]", "not installed")
        if config.isolation is not None:
            yield from wrong_with_isolation(config.isolation)


def _wrong_with_sqlite(config: SqlAlchemyConfig, address: Address) -> Iterator[FieldViolation]:
    if importlib.util.find_spec("aiosqlite") is None:
        yield FieldViolation("url", "needs aiosqlite: install nebula-resource[sqlalchemy]", "not installed")
        return
    from nebula_resource.drivers.sqlalchemy.sqlite import in_memory_possible

    if config.postgres != PostgresOptions():
        yield FieldViolation("postgres", "is not for SQLite", "given")
    if config.isolation is not None:
        yield FieldViolation("isolation", "is for PostgreSQL; give each tenant a file of its own", "SQLite")
    if config.readonly and (address.path is None or not address.path.is_file()):
        yield FieldViolation("readonly", "wants a database file that exists", "none")
    if address.path is None and not in_memory_possible():
        yield FieldViolation(
            "url", "must name a file: this SQLite is too old to share one in memory", "in memory"
        )
