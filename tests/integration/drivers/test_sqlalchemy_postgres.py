"""SqlAlchemyResource on PostgreSQL: outcome, lost connections, what a tenant leaves behind, tenants kept apart."""

import asyncio
import gc
import logging
import secrets
import traceback
from collections.abc import AsyncIterator, Callable
from typing import Any

import asyncpg
import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError, IntegrityError, ProgrammingError, SQLAlchemyError

from nebula_resource.drivers.sqlalchemy import (
    ConnectFailed,
    ConnectionLost,
    LoginInUrl,
    PooledConnection,
    PostgresOptions,
    SqlAlchemyConfig,
    SqlAlchemyResource,
    TenantIsolation,
)
from nebula_resource.drivers.sqlalchemy.backend import LoginData
from nebula_resource.drivers.sqlalchemy.postgres import PostgresBackend
from nebula_resource.errors import ConfigurationError, CreateFailed
from nebula_resource.model.config import Secret
from nebula_resource.model.context import ResourceContext
from nebula_resource.model.credentials import StaticCredentials
from nebula_resource.model.health import Healthy, Unhealthy
from nebula_resource.model.reasons import CleanupReason
from nebula_resource.model.scope import Scope
from nebula_resource.pool import Pool, PoolConfig
from tests.servers.postgres import PostgresServer

CANARY = "kanarie-5f1c"
CONTEXT = ResourceContext()
HOSTILE = ["'; DROP TABLE note; --", 'a"b', "a, public", "\\' OR true --", "ünï ☃", "$1", "x" * 40]


@pytest.fixture
def application() -> str:
    """A name under which this test's connections show on the server."""
    return f"nebula-{secrets.token_hex(4)}"


@pytest.fixture(scope="module")
def database(postgres_server: PostgresServer) -> str:
    """A database of this file's own."""
    return postgres_server.new_database()


@pytest.fixture
def config(
    postgres_server: PostgresServer, database: str, application: str
) -> Callable[..., SqlAlchemyConfig]:
    """Makes configurations of this test's connections."""

    def make(**more: Any) -> SqlAlchemyConfig:
        server = postgres_server
        given: dict[str, Any] = {
            "user": Secret(server.user),
            "password": Secret(server.password) if server.password else None,
            "postgres": PostgresOptions(application_name=application),
            **more,
        }
        url = f"postgresql://{server.host}:{server.port}/{database}"
        return SqlAlchemyConfig(url=Secret(f"{url}?{server.options}" if server.options else url), **given)

    return make


@pytest.fixture
async def resource(postgres_server: PostgresServer, application: str) -> AsyncIterator[SqlAlchemyResource]:
    """A resource; afterwards the server has no connection of this test left."""
    yield SqlAlchemyResource("db")
    await none_left(postgres_server, application)


@pytest.fixture
async def instance(
    resource: SqlAlchemyResource, config: Callable[..., SqlAlchemyConfig]
) -> AsyncIterator[PooledConnection]:
    """One connection, to a database with an empty table whose numbers are unique when a transaction ends."""
    made = await resource.create(config(), CONTEXT)
    async with resource.lease(made, CONTEXT) as session:
        await session.execute(text("DROP TABLE IF EXISTS note"))
        await session.execute(text("CREATE TABLE note (n int UNIQUE DEFERRABLE INITIALLY DEFERRED, t text)"))
    yield made
    await resource.cleanup(made)


async def none_left(server: PostgresServer, application: str) -> None:
    """Wait until the server has let go of every connection with this name."""
    connection = await asyncpg.connect(server.url)
    query = "SELECT count(*) FROM pg_stat_activity WHERE application_name = $1"
    try:
        async with asyncio.timeout(10):
            while await connection.fetchval(query, application):  # noqa: ASYNC110  # the server tells nobody
                await asyncio.sleep(0.005)
    finally:
        await connection.close()


async def numbers(resource: SqlAlchemyResource, instance: PooledConnection) -> list[int]:
    """Return what a next caller finds."""
    async with resource.lease(instance, CONTEXT) as session:
        return list(await session.scalars(text("SELECT n FROM note ORDER BY n")))


async def scalar(instance: PooledConnection, query: str, *arguments: Any) -> Any:
    """Ask the connection itself, outside of any lease."""
    return await instance.raw.fetchval(query, *arguments)


# ── outcome ───────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_good_bodies_are_committed_and_others_rolled_back(
    resource: SqlAlchemyResource, instance: PooledConnection
) -> None:
    """A body that ends well stays; one that raises, and one cancelled between statements, leave nothing."""
    async with resource.lease(instance, CONTEXT) as session:
        await session.execute(text("INSERT INTO note VALUES (1)"))
    await resource.recycle(instance)
    for error in (ValueError("mine"), asyncio.CancelledError()):
        with pytest.raises(type(error)) as caught:  # noqa: PT012  # the block is the body
            async with resource.lease(instance, CONTEXT) as session:
                await session.execute(text("INSERT INTO note VALUES (2)"))
                raise error
        assert caught.value is error
        assert not resource.is_broken(instance)
        await resource.recycle(instance)
    assert await numbers(resource, instance) == [1]


async def test_a_statement_cancelled_in_the_middle_ends_the_connection(
    resource: SqlAlchemyResource,
    instance: PooledConnection,
    postgres_server: PostgresServer,
    application: str,
) -> None:
    """Nobody knows what the server made of a statement given up: the connection is broken, and goes on the server too."""
    started = asyncio.Event()

    async def body() -> None:
        async with resource.lease(instance, CONTEXT) as session:
            await session.execute(text("INSERT INTO note VALUES (2)"))
            started.set()
            await session.execute(text("SELECT pg_sleep(60)"))

    task = asyncio.create_task(body())
    await started.wait()
    pid = instance.raw.get_server_pid()
    while not postgres_server.execute(  # noqa: ASYNC110  # the server tells nobody
        f"SELECT 1 FROM pg_stat_activity WHERE pid = {pid} AND query ~ 'pg_sleep'"
    ):
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert resource.is_broken(instance)
    assert not await resource.is_valid(instance)
    with pytest.raises(ConnectionLost):
        await resource.recycle(instance)
    await resource.cleanup(instance)
    await none_left(postgres_server, application)


async def test_a_statement_cancelled_at_any_step_is_not_left_running(
    resource: SqlAlchemyResource, config: Callable[..., SqlAlchemyConfig]
) -> None:
    """However early a long statement is given up, the server does not go on with it; the fixture asks."""

    async def body(instance: PooledConnection) -> None:
        async with resource.lease(instance, CONTEXT) as session:
            await session.execute(text("SELECT pg_sleep(60)"))

    async def give_up(step: int) -> None:
        instance = await resource.create(config(), CONTEXT)
        task = asyncio.create_task(body(instance))
        for _ in range(step):
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await resource.cleanup(instance)

    await asyncio.gather(*(give_up(step) for step in range(1, 60, 2)))


async def test_the_server_notices_a_client_that_is_gone(
    resource: SqlAlchemyResource,
    instance: PooledConnection,
    postgres_server: PostgresServer,
    application: str,
) -> None:
    """A client that vanishes in the middle of a long statement, without a word, does not leave it running."""
    await resource.recycle(instance)  # which keeps the setting
    statement = asyncio.create_task(instance.raw.execute("SELECT pg_sleep(60)"))
    asked = (
        f"SELECT 1 FROM pg_stat_activity WHERE application_name = '{application}' AND wait_event = 'PgSleep'"
    )
    while not postgres_server.execute(asked):  # noqa: ASYNC110  # the server tells nobody
        await asyncio.sleep(0)
    instance.raw.terminate()
    with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError, OSError)):
        await statement
    assert resource.is_broken(instance)
    await none_left(postgres_server, application)


async def test_a_failed_commit_reaches_the_caller(
    resource: SqlAlchemyResource, instance: PooledConnection
) -> None:
    """A deferred constraint fails the lease at its commit, after a body that ended well; the connection is clean."""
    with pytest.raises(IntegrityError, match="duplicate key"):
        async with resource.lease(instance, CONTEXT) as session:
            await session.execute(text("INSERT INTO note VALUES (1), (1)"))
    assert not resource.is_broken(instance)
    await resource.recycle(instance)
    assert await numbers(resource, instance) == []


async def test_a_commit_cancelled_in_the_middle_ends_the_connection(
    resource: SqlAlchemyResource,
    instance: PooledConnection,
    postgres_server: PostgresServer,
    application: str,
) -> None:
    """A caller cancelled while its commit is under way learns so; nobody gets that connection again."""
    await instance.raw.execute("""
        CREATE OR REPLACE FUNCTION pause() RETURNS trigger LANGUAGE plpgsql AS
            $$ BEGIN PERFORM pg_sleep(60); RETURN NULL; END $$;
        CREATE CONSTRAINT TRIGGER slow AFTER INSERT ON note DEFERRABLE INITIALLY DEFERRED
            FOR EACH ROW EXECUTE FUNCTION pause();
    """)

    async def body() -> None:
        async with resource.lease(instance, CONTEXT) as session:
            await session.execute(text("INSERT INTO note VALUES (1)"))

    task = asyncio.create_task(body())
    asked = (
        f"SELECT 1 FROM pg_stat_activity WHERE application_name = '{application}' AND wait_event = 'PgSleep'"
    )
    while not postgres_server.execute(asked):  # noqa: ASYNC110  # the server tells nobody
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert instance.tainted
    assert resource.is_broken(instance)
    await resource.cleanup(instance)
    await none_left(postgres_server, application)


async def test_a_rollback_that_fails_is_a_note_on_the_bodys_error(
    resource: SqlAlchemyResource, instance: PooledConnection, postgres_server: PostgresServer
) -> None:
    """The body's own error arrives, with a note that the rollback failed too; the connection is broken."""
    with pytest.raises(ValueError, match="mine") as caught:  # noqa: PT012  # the block is the body
        async with resource.lease(instance, CONTEXT) as session:
            await session.execute(text("INSERT INTO note VALUES (1)"))
            postgres_server.execute(f"SELECT pg_terminate_backend({instance.raw.get_server_pid()})")
            raise ValueError("mine")
    assert caught.value.__notes__ == ["the rollback failed too: DBAPIError"]
    assert resource.is_broken(instance)


async def test_a_failed_statement_leaves_a_clean_connection(
    resource: SqlAlchemyResource, instance: PooledConnection
) -> None:
    """After an SQL error, caught or not, the next caller finds a connection without a transaction."""
    with pytest.raises(ProgrammingError):
        async with resource.lease(instance, CONTEXT) as session:
            await session.execute(text("SELECT * FROM nowhere"))
    await resource.recycle(instance)
    async with resource.lease(instance, CONTEXT) as session:
        with pytest.raises(ProgrammingError):
            await session.execute(text("SELECT * FROM nowhere"))
        await session.rollback()
        await session.execute(text("INSERT INTO note VALUES (3)"))
    await resource.recycle(instance)
    assert await numbers(resource, instance) == [3]
    assert not instance.raw.is_in_transaction()


# ── connections that are lost ─────────────────────────────────────────────────────────────────────────────────────


async def test_a_connection_the_server_ended_is_noticed(
    resource: SqlAlchemyResource, instance: PooledConnection, postgres_server: PostgresServer
) -> None:
    """After pg_terminate_backend the connection is invalid, ill, a fault in a body, and broken on return."""
    postgres_server.execute(f"SELECT pg_terminate_backend({instance.raw.get_server_pid()})")
    with pytest.raises((SQLAlchemyError, OSError, asyncpg.PostgresError)) as caught:
        async with resource.lease(instance, CONTEXT) as session:
            await session.execute(text("SELECT 1"))
    assert resource.is_fault(caught.value)
    assert resource.is_broken(instance)
    assert not await resource.is_valid(instance)
    status = await resource.health_check(instance, CONTEXT)
    assert isinstance(status.state, Unhealthy)
    await resource.cleanup(instance)


async def test_a_connection_lost_while_idle_is_not_valid(
    resource: SqlAlchemyResource, instance: PooledConnection, postgres_server: PostgresServer
) -> None:
    """The check of an idle connection finds that the server ended it, by answer or by error."""
    postgres_server.execute(f"SELECT pg_terminate_backend({instance.raw.get_server_pid()})")
    status = await resource.health_check(instance, CONTEXT)
    assert isinstance(status.state, Unhealthy)
    assert resource.is_broken(instance)


async def test_a_lost_lease_gets_no_other_connection(
    resource: SqlAlchemyResource, instance: PooledConnection, postgres_server: PostgresServer
) -> None:
    """A body that goes on after its connection was lost fails on; it is not moved to a connection the pool ignores."""
    with pytest.raises(SQLAlchemyError):  # noqa: PT012  # the block is the body
        async with resource.lease(instance, CONTEXT) as session:
            postgres_server.execute(f"SELECT pg_terminate_backend({instance.raw.get_server_pid()})")
            with pytest.raises(DBAPIError):
                await session.execute(text("SELECT 1"))
            await session.rollback()
            await session.execute(text("SELECT 1"))
    assert resource.is_broken(instance)


async def test_sql_errors_are_no_faults(resource: SqlAlchemyResource, instance: PooledConnection) -> None:
    """Typos, broken constraints, wrong parameters and a statement's own time limit are the caller's."""
    for statement, parameters in (
        ("SELEC 1", {}),
        ("SELECT 1 / 0", {}),
        ("INSERT INTO note VALUES (:n)", {"n": "x"}),
        ("DO $$ BEGIN PERFORM set_config('statement_timeout', '1', true); END $$", {}),
    ):
        with pytest.raises(DBAPIError) as caught:  # noqa: PT012  # the block is the body
            async with resource.lease(instance, CONTEXT) as session:
                await session.execute(text(statement), parameters)
                await session.execute(text("SELECT pg_sleep(1)"))
        assert not resource.is_fault(caught.value)
    assert not resource.is_broken(instance)


async def test_cleanup_ends_the_server_side_when_cancelled(
    resource: SqlAlchemyResource,
    instance: PooledConnection,
    postgres_server: PostgresServer,
    application: str,
) -> None:
    """A cleanup cancelled at any step leaves no connection on the server."""
    task = asyncio.create_task(resource.cleanup(instance))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await none_left(postgres_server, application)


async def test_a_cancelled_create_leaves_nothing(
    resource: SqlAlchemyResource, config: Callable[..., SqlAlchemyConfig]
) -> None:
    """Cancelled at any step on its way, a create leaves no connection; the fixture asks the server."""
    for step in range(0, 400, 7):
        task = asyncio.create_task(resource.create(config(), CONTEXT))
        for _ in range(step):
            await asyncio.sleep(0)
        task.cancel()
        try:
            await resource.cleanup(await task)
        except asyncio.CancelledError:
            pass
    gc.collect()


async def test_what_asyncpg_leaves_of_a_connect_that_ends_as_it_comes_to_be(
    resource: SqlAlchemyResource, config: Callable[..., SqlAlchemyConfig]
) -> None:
    """Cancelled in the turn in which TCP has connected, asyncpg forgets the future of its TLS question: one line in the
    log, harmless and without names. It is the only such line, and the README says so as long as it comes."""
    told: list[str] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(
        lambda _, about: told.append(f"{about['message']}: {about.get('exception')!r}")
    )
    try:
        for step in range(30):
            task = asyncio.create_task(resource.create(config(), CONTEXT))
            for _ in range(step):
                await asyncio.sleep(0)
            task.cancel()
            try:
                await resource.cleanup(await task)
            except asyncio.CancelledError:
                pass
            del task
            for _ in range(5):  # turns in which the transport tells that it is lost
                await asyncio.sleep(0)
            gc.collect()
    finally:
        loop.set_exception_handler(None)
    assert set(told) == {
        "Future exception was never retrieved: ConnectionError('unexpected connection_lost() call')"
    }


# ── between two uses ──────────────────────────────────────────────────────────────────────────────────────────────

LEFT_BEHIND = {
    "a setting": ("SET app.secret = 'mine'", "SELECT current_setting('app.secret', true) = 'mine'"),
    "a search path": ("SET search_path = pg_catalog", "SELECT current_setting('search_path') = 'pg_catalog'"),
    "a role": ("SET ROLE pg_monitor", "SELECT current_user = 'pg_monitor'"),
    "a session user": ("SET SESSION AUTHORIZATION pg_monitor", "SELECT session_user = 'pg_monitor'"),
    "a temporary table": (
        "CREATE TEMP TABLE mine AS SELECT 1",
        "SELECT to_regclass('pg_temp.mine') IS NOT NULL",
    ),
    "a temporary function": (
        "CREATE FUNCTION pg_temp.mine() RETURNS int LANGUAGE sql AS 'SELECT 1'",
        "SELECT EXISTS (SELECT FROM pg_proc WHERE proname = 'mine')",
    ),
    "a prepared statement": (
        'PREPARE "a""b; --" AS SELECT 1',
        "SELECT EXISTS (SELECT FROM pg_prepared_statements WHERE from_sql)",
    ),
    "an advisory lock": (
        "SELECT pg_advisory_lock(42)",
        "SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid())",
    ),
    "a held cursor": (
        "BEGIN; DECLARE mine CURSOR WITH HOLD FOR SELECT 1; COMMIT",
        "SELECT EXISTS (SELECT FROM pg_cursors WHERE name = 'mine')",
    ),
    "a listened channel": ("LISTEN mine", "SELECT EXISTS (SELECT FROM pg_listening_channels())"),
    "a sequence's value": (
        "CREATE TEMP SEQUENCE s; SELECT nextval('s')",
        "SELECT EXISTS (SELECT FROM pg_class WHERE relname = 's' AND relkind = 'S')",
    ),
    "an open transaction": (
        "BEGIN; SET LOCAL app.open = 'yes'",
        "SELECT current_setting('app.open', true) = 'yes'",
    ),
}


@pytest.mark.parametrize("what", LEFT_BEHIND)
async def test_recycling_leaves_nothing_of_a_user(
    resource: SqlAlchemyResource, instance: PooledConnection, what: str
) -> None:
    """Settings, roles, temporary objects, locks, cursors, channels and transactions are gone for the next user."""
    leave, is_there = LEFT_BEHIND[what]
    await instance.raw.execute(leave)
    assert await scalar(instance, is_there)
    await resource.recycle(instance)
    assert not await scalar(instance, is_there)
    assert await scalar(instance, "SELECT current_setting('application_name')")
    assert await resource.is_valid(instance)


async def test_the_last_value_of_a_sequence_is_forgotten(
    resource: SqlAlchemyResource, instance: PooledConnection
) -> None:
    """A tenant's lastval() is not the next tenant's."""
    await instance.raw.execute("CREATE SEQUENCE IF NOT EXISTS counted; SELECT nextval('counted')")
    await resource.recycle(instance)
    with pytest.raises(asyncpg.ObjectNotInPrerequisiteStateError):
        await scalar(instance, "SELECT lastval()")


async def test_the_drivers_prepared_statements_survive(
    resource: SqlAlchemyResource, instance: PooledConnection
) -> None:
    """Recycling keeps what makes repeated queries fast: the driver's own prepared statements, which hold no data."""
    prepared = "SELECT count(*) FROM pg_prepared_statements WHERE NOT from_sql AND statement LIKE '%$1%note%'"
    for _ in range(3):
        async with resource.lease(instance, CONTEXT) as session:
            await session.execute(text("SELECT CAST(:a AS int) FROM note"), {"a": 1})
        await resource.recycle(instance)
        assert await scalar(instance, f"{prepared} AND statement NOT LIKE '%pg_prepared%'") == 1


async def test_listeners_of_a_user_are_gone(resource: SqlAlchemyResource, instance: PooledConnection) -> None:
    """A callback that a user added hears nothing of what the next user's notifications say."""
    heard: list[Any] = []
    await instance.raw.add_listener("mine", lambda *message: heard.append(message))
    await resource.recycle(instance)
    await instance.raw.execute("NOTIFY mine, 'private'; SELECT 1")
    await scalar(instance, "SELECT 1")
    assert heard == []


async def test_an_isolation_level_ends_with_its_lease(
    resource: SqlAlchemyResource, config: Callable[..., SqlAlchemyConfig], application: str
) -> None:
    """Each lease begins with the configured level; what one sets for itself is not the next one's."""
    level = "SHOW transaction_isolation"
    options = PostgresOptions(application_name=application, isolation_level="REPEATABLE READ")
    instance = await resource.create(config(postgres=options), CONTEXT)
    for _ in range(2):
        async with resource.lease(instance, CONTEXT) as session:
            assert await session.scalar(text(level)) == "repeatable read"
        await resource.recycle(instance)
        async with resource.lease(instance, CONTEXT) as session:
            _ = await session.connection(
                execution_options={"isolation_level": "SERIALIZABLE", "postgresql_readonly": True}
            )
            assert await session.scalar(text(level)) == "serializable"
            assert await session.scalar(text("SHOW transaction_read_only")) == "on"
        await resource.recycle(instance)
    async with resource.lease(instance, CONTEXT) as session:
        assert await session.scalar(text("SHOW transaction_read_only")) == "off"
    await resource.cleanup(instance)


async def test_a_readonly_database_refuses_writes(
    resource: SqlAlchemyResource, instance: PooledConnection, config: Callable[..., SqlAlchemyConfig]
) -> None:
    """A readonly configuration reads, refuses writes, and stays readonly after a recycle."""
    reader = await resource.create(config(readonly=True), CONTEXT)
    await reader.raw.execute("SET default_transaction_read_only = off")
    await resource.recycle(reader)
    with pytest.raises(DBAPIError, match="read-only"):
        async with resource.lease(reader, CONTEXT) as session:
            await session.execute(text("INSERT INTO note VALUES (1)"))
    await resource.cleanup(reader)


async def test_checks_leave_no_transaction(resource: SqlAlchemyResource, instance: PooledConnection) -> None:
    """Validity and health leave nothing open; a connection in a transaction is not valid."""
    assert await resource.is_valid(instance)
    status = await resource.health_check(instance, CONTEXT)
    assert isinstance(status.state, Healthy)
    assert 0 <= status.latency_s < 5
    assert status.metadata == {"backend": "postgresql"}
    assert not instance.raw.is_in_transaction()
    await instance.raw.execute("BEGIN")
    assert not await resource.is_valid(instance)
    await resource.recycle(instance)
    assert await resource.is_valid(instance)


# ── tenants ───────────────────────────────────────────────────────────────────────────────────────────────────────


def context(tenant: str) -> ResourceContext:
    """Return the context of a request of one tenant."""
    return ResourceContext(Scope.execution("e1", tenant=tenant))


async def test_row_level_security_shows_each_tenant_its_rows(
    resource: SqlAlchemyResource,
    config: Callable[..., SqlAlchemyConfig],
    postgres_server: PostgresServer,
    database: str,
) -> None:
    """With tenant_setting each lease sees its caller's rows alone, however hostile the id, after a commit within it too."""
    role = f"rls_{secrets.token_hex(4)}"
    made = await resource.create(config(), CONTEXT)
    await made.raw.execute(f"""
        CREATE TABLE owned (tenant text DEFAULT current_setting('app.tenant'), n int);
        ALTER TABLE owned ENABLE ROW LEVEL SECURITY;
        CREATE POLICY mine ON owned USING (tenant = current_setting('app.tenant'))
            WITH CHECK (tenant = current_setting('app.tenant'));
        CREATE ROLE {role} LOGIN PASSWORD 'made-up';
        GRANT SELECT, INSERT ON owned TO {role};
    """)
    await resource.cleanup(made)
    settings = config(
        isolation=TenantIsolation(tenant_setting="app.tenant"), user=Secret(role), password=Secret("made-up")
    )
    pool = Pool(resource, settings, PoolConfig(min_size=0, max_size=2))
    await pool.open()
    try:
        for number, tenant in enumerate(HOSTILE):
            async with pool.acquire(context(tenant)) as session:
                await session.execute(text("INSERT INTO owned (n) VALUES (:n)"), {"n": number})
                await session.commit()
                assert list(await session.scalars(text("SELECT n FROM owned"))) == [number]
                await session.rollback()
                assert list(await session.scalars(text("SELECT tenant FROM owned"))) == [tenant]
                async with session.begin_nested():
                    assert await session.scalar(text("SELECT current_setting('app.tenant')")) == tenant

        async def look(number: int, tenant: str) -> None:
            for _ in range(5):
                async with pool.acquire(context(tenant)) as session:
                    assert list(await session.scalars(text("SELECT n FROM owned"))) == [number]

        await asyncio.gather(*(look(number, tenant) for number, tenant in enumerate(HOSTILE)))
        with pytest.raises(ConfigurationError, match="the caller has none"):
            async with pool.acquire(CONTEXT):
                raise AssertionError("a caller without a tenant got in")
        pool.check()
    finally:
        await pool.close()
        postgres_server.execute(f"DROP OWNED BY {role}", database=database)
        postgres_server.execute("DROP TABLE owned", database=database)
        postgres_server.execute(f"DROP ROLE {role}", database=database)


async def test_each_tenant_has_its_schema(
    resource: SqlAlchemyResource, config: Callable[..., SqlAlchemyConfig]
) -> None:
    """With tenant_schema each lease works in its caller's schema, however hostile the id, and never in another."""
    isolation = TenantIsolation(tenant_schema="tenant_{tenant}", shared_schemas=("public",))
    instance = await resource.create(config(isolation=isolation), CONTEXT)
    await instance.raw.execute("DROP TABLE IF EXISTS item; CREATE TABLE item (n int)")
    for number, tenant in enumerate(HOSTILE):
        name = f"tenant_{tenant}".replace('"', '""')
        await instance.raw.execute(f'CREATE SCHEMA "{name}"; CREATE TABLE "{name}".item (n int)')
        async with resource.lease(instance, context(tenant)) as session:
            await session.execute(text("INSERT INTO item VALUES (:n)"), {"n": number})
        await resource.recycle(instance)
    for number, tenant in enumerate(HOSTILE):
        async with resource.lease(instance, context(tenant)) as session:
            assert list(await session.scalars(text("SELECT n FROM item"))) == [number]
            assert await session.scalar(text("SELECT current_schema()")) == f"tenant_{tenant}"
        await resource.recycle(instance)
    assert await scalar(instance, "SELECT count(*) FROM public.item") == 0
    assert "tenant_" not in await scalar(instance, "SHOW search_path")
    await resource.cleanup(instance)


async def test_a_tenant_without_a_schema_is_refused(
    resource: SqlAlchemyResource, config: Callable[..., SqlAlchemyConfig]
) -> None:
    """A missing schema is an error, at each try, before anything is written to a shared one."""
    isolation = TenantIsolation(tenant_schema="tenant_{tenant}", shared_schemas=("public",))
    instance = await resource.create(config(isolation=isolation), CONTEXT)
    await instance.raw.execute("CREATE TABLE IF NOT EXISTS public.common (n int)")
    with pytest.raises(ConfigurationError, match="no schema") as caught:  # noqa: PT012  # the block is the body
        async with resource.lease(instance, context(CANARY)) as session:
            with pytest.raises(ConfigurationError, match="no schema"):
                await session.execute(text("INSERT INTO common VALUES (1)"))
            await session.execute(text("INSERT INTO common VALUES (2)"))
    assert CANARY not in str(caught.value)
    await resource.recycle(instance)
    assert await scalar(instance, "SELECT count(*) FROM public.common") == 0
    await resource.cleanup(instance)


# ── secrets ───────────────────────────────────────────────────────────────────────────────────────────────────────


def everything(error: BaseException) -> str:
    """Return all that a log of this error could hold."""
    return "".join(traceback.format_exception(error)) + repr(error) + str(error.__dict__)


async def test_no_failed_login_shows_who_and_where(
    resource: SqlAlchemyResource, postgres_server: PostgresServer, caplog: pytest.LogCaptureFixture
) -> None:
    """Wrong user, password, database, host or port: the error holds none of them, given in whichever way."""
    caplog.set_level(logging.DEBUG)
    server = postgres_server
    where = f"{server.host}:{server.port}"
    with pytest.warns(LoginInUrl):
        attempts = [
            SqlAlchemyConfig(url=Secret(f"postgresql://{CANARY}:{CANARY}@{where}/{server.database}")),
            SqlAlchemyConfig(
                url=Secret(f"postgresql://{where}/{server.database}?user={CANARY}&password={CANARY}")
            ),
        ]
    attempts += [
        SqlAlchemyConfig(
            url=Secret(f"postgresql://{where}/{server.database}"),
            user=Secret(CANARY),
            password=Secret(CANARY),
        ),
        SqlAlchemyConfig(
            url=Secret(f"postgresql://{where}/{CANARY}"),
            user=Secret(server.user),
            password=Secret(server.password or "x"),
        ),
        SqlAlchemyConfig(url=Secret(f"postgresql://127.0.0.1:1/{CANARY}"), user=Secret(CANARY)),
        SqlAlchemyConfig(url=Secret(f"postgresql://{CANARY}.invalid/x"), user=Secret(CANARY)),
    ]
    for config in attempts:
        with pytest.raises(ConnectFailed) as caught:
            _ = await resource.create(config, CONTEXT)
        assert CANARY not in everything(caught.value)
        pool = Pool(resource, config, PoolConfig(min_size=0))
        await pool.open()
        with pytest.raises(CreateFailed) as failed:
            await pool.acquire(CONTEXT)
        assert CANARY not in everything(failed.value)
        await pool.close()
    assert CANARY not in caplog.text


async def test_the_reason_of_a_failed_login_is_said(
    resource: SqlAlchemyResource, config: Callable[..., SqlAlchemyConfig]
) -> None:
    """The error says what kind of failure it was and whether trying again makes sense."""
    with pytest.raises(ConnectFailed, match="SQLSTATE 28") as caught:
        _ = await resource.create(config(user=Secret("nobody-of-this-name"), password=Secret("x")), CONTEXT)
    assert not caught.value.retryable
    refused = SqlAlchemyConfig(url=Secret("postgresql://127.0.0.1:1/x"), user=Secret("x"))
    with pytest.raises(ConnectFailed, match="the server was not reached") as caught:
        _ = await resource.create(refused, CONTEXT)
    assert caught.value.retryable
    assert resource.is_fault(caught.value)


async def test_no_error_shows_values(
    resource: SqlAlchemyResource, instance: PooledConnection, caplog: pytest.LogCaptureFixture
) -> None:
    """Neither parameters, nor the row in a DETAIL, nor the value of a wrong type is in an error or a log."""
    caplog.set_level(logging.DEBUG, "sqlalchemy")
    long = CANARY + "x" * 100
    await instance.raw.execute("CREATE TABLE IF NOT EXISTS private (t text UNIQUE, n int)")
    for statement, parameters in (
        ("INSERT INTO private VALUES (:t, 1), (:t, 2)", {"t": CANARY}),
        ("INSERT INTO private VALUES ('x', :t)", {"t": CANARY}),
        ("INSERT INTO private VALUES ('x', :t)", {"t": long}),
        ("INSERT INTO private VALUES ('x', CAST(CAST(:t AS text) AS int))", {"t": CANARY}),
        ("INSERT INTO private VALUES ('x', CAST(CAST(:t AS text) AS int))", {"t": long}),
    ):
        with pytest.raises(DBAPIError) as caught:
            async with resource.lease(instance, CONTEXT) as session:
                await session.execute(text(statement), parameters)
        assert CANARY not in "".join(traceback.format_exception(caught.value))
        assert CANARY not in repr(caught.value)
    assert CANARY not in caplog.text


async def test_the_login_comes_from_the_provider_and_ends_with_it(
    resource: SqlAlchemyResource, config: Callable[..., SqlAlchemyConfig], postgres_server: PostgresServer
) -> None:
    """With a credential's name in the configuration the provider's user and password log in."""
    settings = config(user=None, password=None, user_credential_key="db.user", credential_key="db.password")
    provider = StaticCredentials(
        {"db.user": postgres_server.user, "db.password": postgres_server.password or "x"}
    )
    instance = await resource.create(settings, ResourceContext(credentials=provider))
    assert await scalar(instance, "SELECT current_user") == postgres_server.user
    await resource.cleanup(instance)
    provider.put("db.user", "nobody-of-this-name")
    with pytest.raises(ConnectFailed):
        _ = await resource.create(settings, ResourceContext(credentials=provider))


# ── in a pool ─────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_one_that_is_lost_while_another_is_made_is_not_that_ones_fault(
    resource: SqlAlchemyResource,
    config: Callable[..., SqlAlchemyConfig],
    postgres_server: PostgresServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """SQLAlchemy's own pool would throw the new one away with all others, and ask for it a second time."""
    settings = config()
    lost = await resource.create(settings, CONTEXT)
    opened, go_on = asyncio.Event(), asyncio.Event()
    really_open = PostgresBackend.open

    async def open_slowly(self: PostgresBackend, login: LoginData) -> Any:
        raw = await really_open(self, login)
        opened.set()
        await go_on.wait()
        return raw

    monkeypatch.setattr(PostgresBackend, "open", open_slowly)
    making = asyncio.create_task(resource.create(settings, CONTEXT))
    await opened.wait()
    postgres_server.execute(f"SELECT pg_terminate_backend({lost.raw.get_server_pid()})")
    with pytest.raises(DBAPIError):
        async with resource.lease(lost, CONTEXT) as session:
            await session.execute(text("SELECT 1"))
    go_on.set()
    made = await making
    assert await scalar(made, "SELECT 1") == 1
    await resource.cleanup(made)
    await resource.cleanup(lost)


async def test_a_pool_survives_its_users(
    resource: SqlAlchemyResource,
    config: Callable[..., SqlAlchemyConfig],
    instance: PooledConnection,
    postgres_server: PostgresServer,
) -> None:
    """Users that end well, raise, are cancelled mid-statement or lose their connection leave a pool that works."""
    pool = Pool(resource, config(), PoolConfig(min_size=1, max_size=4))
    await pool.open()

    asleep: dict[int, int] = {}  # which task sleeps on which connection

    async def use(number: int) -> None:
        async with pool.acquire(CONTEXT) as session:
            await session.execute(text("INSERT INTO note VALUES (:n)"), {"n": number})
            if number % 4 == 1:
                raise ValueError
            if number % 4 == 2:
                asleep[await session.scalar(text("SELECT pg_backend_pid()"))] = number
                await session.execute(text("SELECT pg_sleep(60)"))
            if number % 4 == 3:
                await session.execute(text("SELECT pg_terminate_backend(pg_backend_pid())"))

    tasks = [asyncio.create_task(use(number)) for number in range(24)]
    active = "SELECT pid FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep%' AND state = 'active'"
    while not all(task.done() for task in tasks[2::4]):
        for row in await instance.raw.fetch(active):
            if row["pid"] in asleep:
                tasks[asleep.pop(row["pid"])].cancel()
        await asyncio.sleep(0.005)
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    kinds = [type(each) for each in outcomes]
    assert kinds[0::4] == [type(None)] * 6
    assert kinds[1::4] == [ValueError] * 6
    assert all(issubclass(kind, DBAPIError) for kind in kinds[3::4])
    async with pool.acquire(CONTEXT) as session:
        assert list(await session.scalars(text("SELECT n FROM note ORDER BY n"))) == list(range(0, 24, 4))
    gone = pool.stats().destroyed
    assert gone[CleanupReason.BROKEN.value] == 12  # the lost, and those cancelled in a statement
    pool.check()
    await pool.close()
    pool.check()
