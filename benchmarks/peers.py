"""Peers: the pools that people use today, each made to do as little as it can.

Fake connections where a pool takes them, a real server where it does not; no query is ever run between acquire and
release, so what is timed is the pool alone.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any
from unittest import mock

from tests.servers import postgres

__all__ = ["Peer", "open_peers"]

SIZE = 10


@dataclass(frozen=True, slots=True)
class Peer:
    """One competitor: how it lends, how many times as long it must take at least, and what was given to it."""

    acquire: Callable[[], AbstractAsyncContextManager[Any]]
    bar: float | None
    note: str


@asynccontextmanager
async def open_peers() -> AsyncGenerator[dict[str, Peer]]:
    """All peers, by name, opened and filled."""
    server = postgres.private_server()
    try:
        async with AsyncExitStack() as stack:
            yield {
                "psycopg_pool getconn/putconn": await _psycopg(stack, server.url),
                "asyncpg": await _asyncpg(stack, server.url),
                "SQLAlchemy async": await _sqlalchemy(stack),
                "redis-py blocking": await _redis(stack),
                "generic-connection-pool": await _generic(stack),
                "aiomysql": await _aiomysql(stack),
            }
    finally:
        server.close()


class _Borrow:
    """``async with`` around a pool's own pair of calls, as thin as it can be."""

    __slots__ = ("_get", "_item", "_put")

    def __init__(self, get: Callable[[], Any], put: Callable[[Any], Any]) -> None:
        self._get = get
        self._put = put

    async def __aenter__(self) -> Any:
        self._item = item = await self._get()
        return item

    async def __aexit__(self, *_: object) -> None:
        await self._put(self._item)


async def _psycopg(stack: AsyncExitStack, url: str) -> Peer:
    from psycopg_pool import AsyncConnectionPool

    pool = AsyncConnectionPool(url, min_size=SIZE, max_size=SIZE, open=False)
    await pool.open(wait=True)
    stack.push_async_callback(pool.close)
    return Peer(lambda: _Borrow(pool.getconn, pool.putconn), 8.0, "real PostgreSQL")


async def _asyncpg(stack: AsyncExitStack, url: str) -> Peer:
    import asyncpg

    async def no_reset(connection: Any) -> None:
        """The query that asyncpg runs on every release is left out, in its favour."""

    pool = await asyncpg.create_pool(url, min_size=SIZE, max_size=SIZE, reset=no_reset)
    stack.push_async_callback(pool.close)
    return Peer(pool.acquire, 25.0, "real PostgreSQL, its reset query left out")


async def _sqlalchemy(stack: AsyncExitStack) -> Peer:
    from sqlalchemy.ext.asyncio import create_async_engine
    from sqlalchemy.pool import AsyncAdaptedQueuePool

    engine = create_async_engine(
        "sqlite+aiosqlite://", poolclass=AsyncAdaptedQueuePool, pool_size=SIZE, pool_reset_on_return=None
    )
    stack.push_async_callback(engine.dispose)
    async with engine.connect():
        pass
    return Peer(engine.connect, 25.0, "SQLite in memory, reset on return off")


async def _redis(stack: AsyncExitStack) -> Peer:
    from redis.asyncio.connection import BlockingConnectionPool, Connection

    class Fake(Connection):
        """Connects to nobody and has nothing to read."""

        async def connect(self, *args: Any, **kwargs: Any) -> None:
            return None

        async def disconnect(self, *args: Any, **kwargs: Any) -> None:
            return None

        async def can_read_destructive(self) -> bool:
            return False

        async def can_read(self, *args: Any, **kwargs: Any) -> bool:
            return False

    pool = BlockingConnectionPool(max_connections=SIZE, connection_class=Fake)
    stack.push_async_callback(pool.disconnect)
    return Peer(lambda: _Borrow(pool.get_connection, pool.release), None, "fake connections")


async def _generic(stack: AsyncExitStack) -> Peer:
    from generic_connection_pool.asyncio import BaseConnectionManager, ConnectionPool

    class Fakes(BaseConnectionManager[str, object]):
        """Makes plain objects."""

        async def create(self, endpoint: str, timeout: float | None = None) -> object:
            return object()

        async def dispose(self, endpoint: str, conn: object, timeout: float | None = None) -> None:
            return None

    pool = ConnectionPool(Fakes(), max_size=SIZE, acquire_timeout=5.0)
    stack.push_async_callback(pool.close)
    return Peer(lambda: pool.connection("here", timeout=5.0), None, "fake connections")


async def _aiomysql(stack: AsyncExitStack) -> Peer:
    import aiomysql  # type: ignore[import-untyped]  # it has no types
    from aiomysql import pool as module

    class Fake:
        """Looks like an open, clean connection."""

        closed = False
        last_usage = 0.0
        _reader = mock.Mock(at_eof=lambda: False, exception=lambda: None)

        def get_transaction_status(self) -> bool:
            return False

        def close(self) -> None:
            return None

        async def ensure_closed(self) -> None:
            return None

    async def connect(**_: Any) -> Fake:
        return Fake()

    stack.enter_context(mock.patch.object(module, "connect", connect))
    pool = await aiomysql.create_pool(minsize=SIZE, maxsize=SIZE)

    async def close() -> None:
        pool.terminate()
        await pool.wait_closed()

    stack.push_async_callback(close)
    return Peer(pool.acquire, None, "fake connections")
