"""PooledConnection: the connection that our pool owns, with what it takes to lend, reset and end it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy.engine import Connection
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
from sqlalchemy.pool import PoolProxiedConnection

from nebula_resource.drivers.sqlalchemy.backend import Backend, LoginData
from nebula_resource.drivers.sqlalchemy.config import SqlAlchemyConfig
from nebula_resource.drivers.sqlalchemy.engine import Opening, current_opening
from nebula_resource.drivers.sqlalchemy.errors import ConnectionLost
from nebula_resource.drivers.sqlalchemy.tenant import TenantBinding

__all__ = ["PooledConnection"]

_GRACE = 1.0  # seconds that a statement still running may take when its connection is closed


class PooledConnection(AsyncConnection):
    """An ``AsyncConnection`` from which each lease gets a facade of its own.

    What a lease sets on its facade (execution options, a transaction) ends with the facade; what it sets on the
    session of the server, ``recycle`` ends.
    """

    __slots__ = ("_backend", "_checked_out", "_settled", "config", "expires_at", "raw", "tainted")

    config: SqlAlchemyConfig
    raw: Any
    """The driver's connection (asyncpg's, aiosqlite's)."""
    tainted: bool
    """Whether something went wrong that leaves its state unknown."""
    expires_at: datetime | None
    """When the credential it was opened with ends."""

    @classmethod
    async def open(
        cls, engine: AsyncEngine, backend: Backend, config: SqlAlchemyConfig, login: LoginData
    ) -> PooledConnection:
        """Open one. Raises whatever the driver raises; nothing stays open then."""
        connection = cls(engine)
        opening = Opening(lambda: backend.open(login))
        token = current_opening.set(opening)
        try:
            _ = await connection.start()
            checked_out = await connection.get_raw_connection()
            connection._settled = await backend.settled(opening.raw)
        except BaseException:
            # All of it synchronous: a second cancellation finds nothing to interrupt.
            if connection.sync_connection is not None:
                connection.sync_connection.invalidate()
                connection.sync_connection.close()
            if opening.raw is not None:  # SQLAlchemy forgets a connection whose first statements fail
                backend.terminate(opening.raw)
            raise
        finally:
            current_opening.reset(token)
        connection._backend = backend
        connection._checked_out = checked_out
        connection.config = config
        connection.raw = opening.raw
        connection.tainted = False
        connection.expires_at = login.expires_at
        return connection

    # ── asked by the pool ─────────────────────────────────────────────────────────────────────────────────────────

    def is_broken(self) -> bool:
        """Say, without I/O, whether it is beyond repair, or its credential has run out."""
        if self.tainted or self.closed or self.invalidated or self._backend.is_lost(self.raw):
            return True
        return self.expires_at is not None and datetime.now(UTC) >= self.expires_at

    async def ping(self) -> bool:
        """Ask the server for one value."""
        return not self.is_broken() and await self._backend.ping(self.raw)

    async def reset(self) -> None:
        """Make it as new, or raise."""
        if self.is_broken():
            raise ConnectionLost
        self.bind(None)
        await self.run_sync(self._reset_adapter)
        await self._backend.reset(self.raw, self._settled)

    def _reset_adapter(self, connection: Connection) -> None:
        """End what SQLAlchemy's adapter still holds, as its own pool would on a return."""
        adapter: Any = self._checked_out.dbapi_connection
        record: Any = getattr(self._checked_out, "_connection_record", None)
        callbacks = record.finalize_callback  # where a lease's isolation_level left its undoing
        while callbacks:
            callbacks.pop()(adapter)
        self._backend.restore(adapter)

    async def end(self) -> None:
        """Close it for certain: in good manners if the server answers soon (2 s, SQLAlchemy's own), else at once."""
        self._backend.hasten(self.raw, _GRACE)
        try:
            if not self.invalidated and not self.closed:
                await self.invalidate()
            await self.close()
        finally:
            self._backend.terminate(self.raw)

    # ── lending ───────────────────────────────────────────────────────────────────────────────────────────────────

    def bind(self, tenant: TenantBinding | None) -> None:
        """Bind the transactions that begin from now on to a tenant, or to none."""
        self._backend.bind(self._checked_out, tenant)

    def facade(self) -> AsyncConnection:
        """Return a connection for one lease, over the same connection of the driver; lost, it does not reconnect."""
        sync = Connection(self.sync_engine, self._checked_out, _allow_revalidate=False)
        return AsyncConnection(self.engine, sync)

    def cut_off(self, facade: AsyncConnection) -> None:
        """Leave a facade without its connection, so that nobody who kept it meets the next user's session.

        Closing it would close the connection below. SQLAlchemy's connection without one counts as closed.
        """
        if facade.sync_connection is not None:
            facade.sync_connection._dbapi_connection = None

    _checked_out: PoolProxiedConnection
    _backend: Backend
    _settled: Any
