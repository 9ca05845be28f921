"""A pool over a real PostgreSQL that is treated badly: backends killed, the server gone and back, no slots left.

What must hold every time: no acquire exceeds its timeout, the pool is back at its minimum by itself, and the server has
no connection of ours that the pool does not know.
"""

import asyncio
import secrets
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import pytest

from nebula_resource.errors import AcquireTimeout, CircuitOpen, CreateFailed, ResourceError
from nebula_resource.model.backoff import Backoff
from nebula_resource.model.context import ResourceContext
from nebula_resource.model.resource import Resource
from nebula_resource.pool import Pool, PoolConfig
from nebula_resource.testing.asserts import assert_no_leaks, assert_sound
from tests.servers.postgres import PostgresServer

pytestmark = pytest.mark.alone

PgPool = Pool[str, Any, Any]
MIN, MAX = 2, 5
ACQUIRE_LIMIT = 2.0  # seconds
SCHEDULING = 0.5  # seconds that a busy machine may add
# What a query on a connection that has just been killed may raise; the last while asyncpg still reads the farewell.
BODY = (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, asyncpg.InternalClientError)
HEALED = 15.0  # seconds within which everything must be as before


class Postgres(Resource[str, Any, Any]):
    """Plain asyncpg connections, recognisable on the server by their application name."""

    id = "postgres"

    def __init__(self) -> None:
        self.application = f"pool-{secrets.token_hex(6)}"

    async def create(self, config: str, context: ResourceContext) -> Any:
        """Connect."""
        return await asyncpg.connect(
            config, timeout=3, server_settings={"application_name": self.application}
        )

    async def is_valid(self, instance: Any) -> bool:
        """Ask for one."""
        return bool(await instance.fetchval("SELECT 1") == 1)

    async def recycle(self, instance: Any) -> None:
        """Roll back and forget everything of the session."""
        await instance.reset(timeout=1.0)

    def is_broken(self, instance: Any) -> bool:
        """Closed under us."""
        return bool(instance.is_closed())

    async def cleanup(self, instance: Any) -> None:
        """Say goodbye; a server that does not answer is left."""
        try:
            await instance.close(timeout=1.0)
        except BaseException:
            instance.terminate()
            raise


@asynccontextmanager
async def opened(server: PostgresServer, **settings: Any) -> AsyncGenerator[tuple[PgPool, Postgres]]:
    """An open pool; afterwards nothing of it is left on the server."""
    resource = Postgres()
    config: dict[str, Any] = {
        "min_size": MIN,
        "max_size": MAX,
        "acquire_timeout": ACQUIRE_LIMIT,
        "create_timeout": 3.0,
        "validate_timeout": 1.0,
        "recycle_timeout": 1.0,
        "cleanup_timeout": 2.0,
        "validation_interval": 0.2,
        "idle_timeout": 1.0,
        "maintenance_interval": 0.3,
        "create_backoff": Backoff(base=0.1, factor=2.0, max=0.5),
        "circuit_open_for": 0.5,
    }
    pool: PgPool = Pool(resource, server.url, PoolConfig(**(config | settings)))
    await pool.open()
    try:
        yield pool, resource
    finally:
        await pool.close(1.0)
        assert_sound(pool)
        assert await seen_by(server, resource, expect=0) == 0


async def seen_by(server: PostgresServer, resource: Postgres, *, expect: int) -> int:
    """How many connections of this resource the server has; it may take it a moment to notice that one is gone."""
    query = f"SELECT count(*) FROM pg_stat_activity WHERE application_name = '{resource.application}'"
    deadline = asyncio.get_running_loop().time() + 5.0
    while True:
        [[count]] = await asyncio.to_thread(server.execute, query)
        if count == expect or asyncio.get_running_loop().time() > deadline:
            return int(count)
        await asyncio.sleep(0.05)


async def work(pool: PgPool, until: asyncio.Event, ended: Counter[str]) -> None:
    """Query after query; each acquire is held to its limit, each error is counted."""
    loop = asyncio.get_running_loop()
    while not until.is_set():
        began, waited = loop.time(), float("inf")
        try:
            async with pool.acquire() as connection:
                waited = loop.time() - began
                await connection.fetchval("SELECT pg_sleep(0.005)")
            ended["ok"] += 1
        except ResourceError as error:
            waited = loop.time() - began
            ended[type(error).__name__] += 1
            await asyncio.sleep(0.01)
        except BODY as error:  # the acquire had ended, and was timed
            ended[type(error).__name__] += 1
            await asyncio.sleep(0.01)
        assert waited <= ACQUIRE_LIMIT + SCHEDULING, f"an acquire took {waited} s"


@asynccontextmanager
async def under_load(pool: PgPool, workers: int = 12) -> AsyncGenerator[Counter[str]]:
    """A block during which so many callers work."""
    until = asyncio.Event()
    ended: Counter[str] = Counter()
    tasks = [asyncio.create_task(work(pool, until, ended)) for _ in range(workers)]
    try:
        yield ended
    finally:
        until.set()
        await asyncio.gather(*tasks)


async def healed(pool: PgPool, server: PostgresServer, resource: Postgres) -> None:
    """Wait until the pool is back at its minimum by itself, with nothing on the server beside it."""
    deadline = asyncio.get_running_loop().time() + HEALED
    while True:
        stats = pool.stats()
        if stats.idle == stats.size == MIN and not len(pool.tasks):
            break
        assert asyncio.get_running_loop().time() < deadline, f"not back: {stats}"
        await asyncio.sleep(0.05)
    assert await seen_by(server, resource, expect=MIN) == MIN
    assert_sound(pool)
    async with pool.acquire() as connection:
        assert await connection.fetchval("SELECT 7") == 7


async def test_backends_killed_under_load(private_postgres_server: PostgresServer) -> None:
    """Connections die under their holders and on the shelf; callers go on with others."""
    server = private_postgres_server
    async with opened(server) as (pool, resource):
        kill = (
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            f"WHERE application_name = '{resource.application}'"
        )
        async with under_load(pool) as ended:
            for _ in range(5):
                await asyncio.sleep(0.15)
                await asyncio.to_thread(server.execute, kill)
            before = ended["ok"]
            await asyncio.sleep(0.5)
        assert ended["ok"] > before, f"nobody was served after it: {ended}"
        await healed(pool, server, resource)
        assert pool.stats().destroyed.get("broken", 0) + pool.stats().destroyed.get("recycle_failed", 0) > 0


async def test_idle_backends_killed_are_noticed_before_they_are_lent(
    private_postgres_server: PostgresServer,
) -> None:
    """After the validation interval nobody is lent a dead one."""
    server = private_postgres_server
    async with opened(server, idle_timeout=None) as (pool, resource):
        await asyncio.to_thread(
            server.execute,
            f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = '{resource.application}'",
        )
        await asyncio.sleep(0.35)
        for _ in range(10):
            async with pool.acquire() as connection:
                assert await connection.fetchval("SELECT 1") == 1
        await healed(pool, server, resource)


async def test_the_server_dies_and_comes_back(private_postgres_server: PostgresServer) -> None:
    """During the outage callers are told so, fast and with the real error; afterwards it heals by itself."""
    server = private_postgres_server
    assert server.process is not None
    async with opened(server) as (pool, resource):
        async with under_load(pool) as ended:
            await asyncio.sleep(0.2)
            await asyncio.to_thread(server.process.kill)
            await asyncio.sleep(1.0)
            with pytest.raises((CreateFailed, CircuitOpen, AcquireTimeout)) as caught:
                async with pool.acquire() as connection:
                    await connection.fetchval("SELECT 1")
            assert isinstance(caught.value, CreateFailed) or caught.value.__cause__ is not None
            await asyncio.to_thread(server.process.restart)
            before = ended["ok"]
            await asyncio.sleep(2.0)
        assert ended["ok"] > before, f"nobody was served after the restart: {ended}"
        await healed(pool, server, resource)


async def test_no_connections_left(private_postgres_server: PostgresServer) -> None:
    """max_connections reached: the pool makes do with what it has, and takes what becomes free."""
    server = private_postgres_server
    [[limit]] = server.execute("SHOW max_connections")
    hog: list[Any] = []
    async with opened(server, idle_timeout=None) as (pool, resource):
        try:
            while len(hog) < int(limit):
                hog.append(await asyncpg.connect(server.url, timeout=5))
        except asyncpg.TooManyConnectionsError:
            pass
        assert hog
        async with under_load(pool) as ended:
            await asyncio.sleep(1.0)
            assert ended["ok"] > 10, f"the connections it has must be used: {ended}"
            assert pool.stats().size <= MIN + 1
            for connection in hog:
                await connection.close()
            hog.clear()
            await asyncio.sleep(1.5)
            grown = pool.stats().size
        assert grown > MIN
        assert_no_leaks(pool)
        assert await seen_by(server, resource, expect=grown) == pool.stats().size


async def test_a_cancelled_connect_leaves_no_backend(private_postgres_server: PostgresServer) -> None:
    """Callers leave while their connection is made: it is kept, or gone, never forgotten."""
    server = private_postgres_server
    async with opened(server, min_size=0) as (pool, resource):
        for delay in (0.0, 0.001, 0.002, 0.005, 0.01, 0.02):
            asking = [asyncio.create_task(_hold(pool)) for _ in range(MAX)]
            await asyncio.sleep(delay)
            for task in asking:
                task.cancel()
            await asyncio.wait(asking)
            pool.recycle_all()
        await asyncio.gather(*pool.tasks, *pool.cleanups, return_exceptions=True)
        assert await seen_by(server, resource, expect=pool.stats().size) == pool.stats().size
        assert_sound(pool)


async def _hold(pool: PgPool) -> None:
    async with pool.acquire():
        await asyncio.sleep(10)
