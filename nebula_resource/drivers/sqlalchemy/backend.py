"""Backend: what differs between databases: opening, beginning, resetting, ending a driver's connection."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.pool import PoolProxiedConnection

from nebula_resource.drivers.sqlalchemy.engine import Opener
from nebula_resource.drivers.sqlalchemy.tenant import TenantBinding
from nebula_resource.model.config import Secret

__all__ = ["Backend", "LoginData"]


@dataclass(frozen=True, slots=True)
class LoginData:
    """Who logs in, for one connection; kept by nobody."""

    user: Secret | None = field(default=None, repr=False)
    password: Secret | None = field(default=None, repr=False)
    expires_at: datetime | None = None


class Backend(Protocol):
    """One kind of database; ``raw`` is the connection of its driver (asyncpg's, aiosqlite's)."""

    name: str

    def make_engine(self, opener: Opener) -> AsyncEngine:
        """Make an engine whose connections come from ``opener``."""
        ...

    async def open(self, login: LoginData) -> Any:
        """Open one raw connection, set up as every lease finds it."""
        ...

    def begin(self, connection: PoolProxiedConnection) -> None:
        """Begin a transaction (inside SQLAlchemy's greenlet)."""
        ...

    def bind(self, connection: PoolProxiedConnection, tenant: TenantBinding | None) -> None:
        """Bind the transactions that begin from now on to a tenant, or to none."""
        ...

    def restore(self, adapter: Any) -> None:
        """Undo what options of a lease left on SQLAlchemy's adapter (inside its greenlet)."""
        ...

    async def settled(self, raw: Any) -> Any:
        """Return what ``reset`` has to know of a connection as it was when new."""
        ...

    async def reset(self, raw: Any, settled: Any) -> None:
        """Make the session as new. Raises when that cannot be done or proved."""
        ...

    async def ping(self, raw: Any) -> bool:
        """Ask for one value; False when a transaction is open. Leaves nothing behind."""
        ...

    def is_lost(self, raw: Any) -> bool:
        """Say, without I/O, whether the connection is known to be gone."""
        ...

    def hasten(self, raw: Any, delay: float) -> None:
        """Stop the statement that still runs ``delay`` seconds from now; the connection is about to be closed."""
        ...

    def terminate(self, raw: Any) -> None:
        """End the connection now, without waiting for the server."""
        ...
