"""PostgresBackend: PostgreSQL through asyncpg."""

from __future__ import annotations

from typing import Any, cast

import asyncpg
from sqlalchemy.engine import URL
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.pool import PoolProxiedConnection

from nebula_resource.drivers.sqlalchemy.backend import LoginData
from nebula_resource.drivers.sqlalchemy.config import SqlAlchemyConfig
from nebula_resource.drivers.sqlalchemy.engine import Opener, make_engine
from nebula_resource.drivers.sqlalchemy.errors import NotClean
from nebula_resource.drivers.sqlalchemy.tenant import TenantBinding
from nebula_resource.errors import ConfigurationError

__all__ = ["PostgresBackend"]

_TENANT = "nebula_resource.tenant"

# What DISCARD ALL does, without its two costs: it takes the prepared statements too (five queries prepared again
# took 2.2 ms more than the 0.18 ms of this script, where DISCARD ALL alone takes 0.11 ms, on the local server of the
# build machine), and it may not share a round trip. asyncpg's own reset (0.10 ms) leaves the role of a SET ROLE, temporary tables and
# sequences' currval behind. RESET ROLE is needed beside RESET ALL, which leaves the role alone.
_RESET = """
RESET SESSION AUTHORIZATION;
RESET ROLE;
RESET ALL;
CLOSE ALL;
UNLISTEN *;
SELECT pg_catalog.pg_advisory_unlock_all();
DISCARD SEQUENCES;
DISCARD TEMP;
"""
# Statements prepared in SQL are the users'; the driver's own stay, they hold no data. Plain SQL can only raise by an
# error: the division fails when there is one.
_NONE_PREPARED = """
SELECT 1 / (CASE WHEN EXISTS (SELECT FROM pg_catalog.pg_prepared_statements WHERE from_sql) THEN 0 ELSE 1 END);
"""
# A request to cancel that reaches the server a moment too early is lost, and it would go on with a statement that
# nobody waits for, locks and all. So it is told to look, once a second, whether the client is still there.
_WATCH_CLIENT = "SET client_connection_check_interval = '1s';"
_WATCHES_SINCE = 14  # the PostgreSQL that learnt it
_PREPARED = "SELECT name FROM pg_catalog.pg_prepared_statements WHERE from_sql"


class _Connection(asyncpg.Connection):  # type: ignore[misc]  # asyncpg publishes no types
    """An asyncpg connection whose reset leaves nothing of its last user."""

    __slots__ = ()

    def get_reset_query(self) -> str:
        """Return what ``reset`` runs, in one round trip."""
        return _RESET + self.get_watch_query() + _NONE_PREPARED

    def get_watch_query(self) -> str:
        """Return what makes the server notice a client that is gone, where it can."""
        return _WATCH_CLIENT if self.get_server_version().major >= _WATCHES_SINCE else ""


class PostgresBackend:
    """Opens, binds, resets and ends asyncpg connections."""

    name = "postgresql"

    def __init__(self, config: SqlAlchemyConfig, dsn: str) -> None:
        self._config = config
        self._dsn = dsn

    def make_engine(self, opener: Opener) -> AsyncEngine:
        """Make the engine; its URL names the driver and nothing else."""
        return make_engine(
            URL.create("postgresql+asyncpg"),
            opener,
            begin=self.begin,
            connect_arguments={"prepared_statement_cache_size": self._config.statement_cache_size},
            isolation_level=self._config.postgres.isolation_level,
        )

    async def open(self, login: LoginData) -> Any:
        """Open a connection; its settings go into the start packet, so that RESET ALL returns to them."""
        config = self._config
        timeout: Any = (
            config.connect_timeout
        )  # a float is fine; asyncpg has no annotation, only a default of 60
        settings = {"application_name": config.postgres.application_name}
        if config.readonly:
            settings["default_transaction_read_only"] = "on"
        raw: Any = await asyncpg.connect(
            self._dsn,
            user=login.user.get_secret_value() if login.user else None,
            password=login.password.get_secret_value() if login.password else None,
            timeout=timeout,
            statement_cache_size=config.statement_cache_size,
            server_settings=settings,
            connection_class=_Connection,
        )
        try:
            if watch := raw.get_watch_query():
                await raw.execute(watch)
        except BaseException:
            raw.terminate()
            raise
        return raw

    def bind(self, connection: PoolProxiedConnection, tenant: TenantBinding | None) -> None:
        """Remember the tenant beside the connection, where ``begin`` finds it."""
        if tenant is None:
            connection.info.pop(_TENANT, None)
        else:
            connection.info[_TENANT] = tenant

    def begin(self, connection: PoolProxiedConnection) -> None:
        """Bind the transaction to the tenant; the adapter sends BEGIN before the statement.

        At every transaction, not once per lease: the setting ends with a transaction, and a lease may have several.
        """
        tenant: TenantBinding | None = connection.info.get(_TENANT)
        if tenant is None:
            return
        cursor = connection.cursor()
        try:
            cursor.execute(tenant.statement, tenant.parameters)
            found = cast("tuple[Any, ...]", cursor.fetchone())
        finally:
            cursor.close()
        if not found[-1]:
            raise ConfigurationError(
                "this tenant has no schema in the database; create it before its first use"
            )

    def restore(self, adapter: Any) -> None:
        """End a transaction the adapter thinks it is in: it would not begin the next caller's."""
        adapter.rollback()

    async def settled(self, raw: Any) -> None:
        """Nothing to remember: the server knows what a session began with."""

    async def reset(self, raw: Any, settled: object) -> None:
        """Reset the session in one round trip; statements prepared in SQL, which are rare, cost three more."""
        if raw.is_in_transaction():
            await raw.execute("ROLLBACK")
        try:
            await raw.reset()
        except asyncpg.DivisionByZeroError:
            await self._deallocate(raw)
            await raw.reset()
        if raw.is_in_transaction():
            raise NotClean("a transaction is still open")

    async def _deallocate(self, raw: Any) -> None:
        names = [row["name"] for row in await raw.fetch(_PREPARED)]
        quoted = ('"' + name.replace('"', '""') + '"' for name in names)
        await raw.execute(";".join(f"DEALLOCATE {name}" for name in quoted))

    async def ping(self, raw: Any) -> bool:
        """Ask past SQLAlchemy, which would begin a transaction."""
        if raw.is_in_transaction():
            return False
        return bool(await raw.fetchval("SELECT 1") == 1)

    def is_lost(self, raw: Any) -> bool:
        """Say whether asyncpg has seen the connection end."""
        return bool(raw.is_closed())

    def hasten(self, raw: Any, delay: float) -> None:
        """Nothing to do: asyncpg itself asks the server to cancel what its caller gave up."""

    def terminate(self, raw: Any) -> None:
        """Close the socket; the server ends the session when it sees that."""
        if not raw.is_closed():
            raw.terminate()
