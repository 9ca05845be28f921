"""SqlAlchemyResource on SQLite: files and memory, outcome, cleaning, writers in line, and threads that end."""

import asyncio
import logging
import sqlite3
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import ForeignKey, select, text
from sqlalchemy.exc import (
    IntegrityError,
    InvalidRequestError,
    OperationalError,
    ResourceClosedError,
    SQLAlchemyError,
    StatementError,
)
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from nebula_resource.drivers.sqlalchemy import (
    ConnectFailed,
    NotClean,
    PooledConnection,
    SqlAlchemyConfig,
    SqlAlchemyResource,
    SqliteOptions,
)
from nebula_resource.model.config import Secret
from nebula_resource.model.context import ResourceContext
from nebula_resource.model.health import Healthy, Unhealthy
from nebula_resource.model.scope import Scope
from nebula_resource.pool import Pool, PoolConfig

CANARY = "kanarie-5f1c"
CONTEXT = ResourceContext()


class Base(DeclarativeBase):
    """Tables of these tests."""


class Parent(Base):
    """A row with a unique name."""

    __tablename__ = "parent"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)


class Child(Base):
    """A row whose parent is looked for when the transaction is committed."""

    __tablename__ = "child"
    id: Mapped[int] = mapped_column(primary_key=True)
    parent: Mapped[int] = mapped_column(ForeignKey("parent.id", deferrable=True, initially="DEFERRED"))


@pytest.fixture
def url(tmp_path: Path) -> str:
    """A database file that does not exist yet."""
    return f"sqlite:///{tmp_path / 'data.db'}"


def settings(url: str, **more: Any) -> SqlAlchemyConfig:
    """Make a configuration."""
    return SqlAlchemyConfig(url=Secret(url), **more)


@pytest.fixture
async def resource() -> AsyncIterator[SqlAlchemyResource]:
    """A resource; afterwards no thread of a connection is left."""
    yield SqlAlchemyResource("db")
    await no_threads()


@pytest.fixture
async def instance(resource: SqlAlchemyResource, url: str) -> AsyncIterator[PooledConnection]:
    """One connection to a file that has the tables."""
    made = await resource.create(settings(url), CONTEXT)
    async with resource.lease(made, CONTEXT) as session:
        await (await session.connection()).run_sync(Base.metadata.create_all)
    yield made
    await resource.cleanup(made)


async def no_threads() -> None:
    """Wait until every connection's thread has ended."""
    async with asyncio.timeout(10):
        while any("_connection_worker_thread" in thread.name for thread in threading.enumerate()):  # noqa: ASYNC110  # no event says it
            await asyncio.sleep(0.005)


async def names(resource: SqlAlchemyResource, instance: PooledConnection) -> list[str]:
    """Return what a next caller finds."""
    async with resource.lease(instance, CONTEXT) as session:
        return list(await session.scalars(select(Parent.name).order_by(Parent.name)))


async def pragma(instance: PooledConnection, name: str) -> Any:
    """Return a setting of the connection."""
    [(value,)] = await instance.raw.execute_fetchall(f"PRAGMA {name}")
    return value


# ── outcome ───────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_body_that_ends_well_is_committed(
    resource: SqlAlchemyResource, instance: PooledConnection
) -> None:
    """What a session added is there for the next caller, and readable after the lease."""
    async with resource.lease(instance, CONTEXT) as session:
        parent = Parent(name="ada")
        session.add(parent)
    await resource.recycle(instance)
    assert parent.name == "ada"
    assert await names(resource, instance) == ["ada"]


async def test_a_body_that_raises_is_rolled_back(
    resource: SqlAlchemyResource, instance: PooledConnection
) -> None:
    """The body's error arrives unchanged, and nothing of the body is left."""
    error = ValueError("mine")
    with pytest.raises(ValueError, match="mine") as caught:  # noqa: PT012  # the block is the body
        async with resource.lease(instance, CONTEXT) as session:
            session.add(Parent(name="ada"))
            await session.flush()
            raise error
    assert caught.value is error
    assert not resource.is_broken(instance)
    await resource.recycle(instance)
    assert await names(resource, instance) == []


async def test_a_cancelled_body_is_rolled_back(
    resource: SqlAlchemyResource, instance: PooledConnection
) -> None:
    """A body cancelled between statements leaves nothing, and its connection is clean."""
    written = asyncio.Event()

    async def body() -> None:
        async with resource.lease(instance, CONTEXT) as session:
            session.add(Parent(name="ada"))
            await session.flush()
            written.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(body())
    await written.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not resource.is_broken(instance)
    await resource.recycle(instance)
    assert await names(resource, instance) == []


async def test_a_statement_given_up_ends_the_connection_soon(
    resource: SqlAlchemyResource, instance: PooledConnection
) -> None:
    """A cancel in the middle of a long statement stops it; the connection is broken and its thread ends."""
    started = asyncio.Event()
    forever = text("WITH RECURSIVE n(i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n")

    async def body() -> None:
        async with resource.lease(instance, CONTEXT) as session:
            await session.execute(text("SELECT 1"))
            started.set()
            await session.execute(forever)

    task = asyncio.create_task(body())
    await started.wait()
    for _ in range(20):  # until the statement is on its way to the thread
        await asyncio.sleep(0)
    task.cancel()
    async with asyncio.timeout(5):
        with pytest.raises(asyncio.CancelledError):
            await task
    assert resource.is_broken(instance)
    assert not await resource.is_valid(instance)
    await resource.cleanup(instance)
    await no_threads()


async def test_a_failed_commit_reaches_the_caller(
    resource: SqlAlchemyResource, instance: PooledConnection
) -> None:
    """A constraint that is checked at the commit fails the lease, after a body that ended well; the connection is clean."""
    with pytest.raises(IntegrityError, match="FOREIGN KEY"):
        async with resource.lease(instance, CONTEXT) as session:
            session.add(Child(parent=99))
    assert not resource.is_broken(instance)
    await resource.recycle(instance)
    assert await names(resource, instance) == []


async def test_nothing_begins_before_the_first_statement(
    resource: SqlAlchemyResource, instance: PooledConnection
) -> None:
    """An unused lease takes no lock: its transaction begins with the first statement."""
    async with resource.lease(instance, CONTEXT) as session:
        assert not instance.raw.in_transaction
        await session.execute(text("SELECT 1"))
        assert instance.raw.in_transaction
    assert not instance.raw.in_transaction


async def test_a_savepoint_is_rolled_back_alone(
    resource: SqlAlchemyResource, instance: PooledConnection
) -> None:
    """A nested transaction that fails leaves the outer one, which is committed."""
    async with resource.lease(instance, CONTEXT) as session:
        session.add(Parent(name="ada"))
        await session.flush()
        with pytest.raises(IntegrityError):
            async with session.begin_nested():
                session.add(Parent(name="ada"))
        session.add(Parent(name="bob"))
    assert await names(resource, instance) == ["ada", "bob"]


async def test_a_session_kept_beyond_its_lease_is_dead(
    resource: SqlAlchemyResource, instance: PooledConnection
) -> None:
    """Neither a session nor its connection, kept after the lease, reaches the connection again."""
    async with resource.lease(instance, CONTEXT) as session:
        connection = await session.connection()
    with pytest.raises(InvalidRequestError, match="permanently closed"):
        await session.execute(text("SELECT 1"))
    with pytest.raises(ResourceClosedError):
        await connection.execute(text("SELECT 1"))
    assert not instance.raw.in_transaction


async def test_a_connection_can_be_leased_instead(resource: SqlAlchemyResource, url: str) -> None:
    """With lease="connection" callers get an AsyncConnection with the same outcome, dead after the lease."""
    instance = await resource.create(settings(url, lease="connection"), CONTEXT)
    lease: Any = resource.lease(instance, CONTEXT)
    async with lease as connection:
        assert isinstance(connection, AsyncConnection)
        await connection.execute(text("CREATE TABLE t (i INTEGER)"))
        await connection.execute(text("INSERT INTO t VALUES (1)"))
    with pytest.raises(InvalidRequestError):
        await connection.execute(text("SELECT 1"))
    lease = resource.lease(instance, CONTEXT)
    with pytest.raises(ZeroDivisionError):  # noqa: PT012  # the block is the body
        async with lease as connection:
            await connection.execute(text("INSERT INTO t VALUES (2)"))
            raise ZeroDivisionError
    await resource.recycle(instance)
    lease = resource.lease(instance, CONTEXT)
    async with lease as connection:
        assert (await connection.execute(text("SELECT count(*) FROM t"))).scalar_one() == 1
    await resource.cleanup(instance)


# ── between two uses ──────────────────────────────────────────────────────────────────────────────────────────────

LEFT_BEHIND = [
    "CREATE TEMP TABLE secret AS SELECT 'mine' AS s",
    "CREATE TEMP VIEW secret AS SELECT 'mine' AS s",
    "CREATE TEMP TRIGGER spy AFTER INSERT ON parent BEGIN SELECT 1; END",
    'CREATE TEMP TABLE "a""b; --" (i)',
    "PRAGMA foreign_keys=0",
    "PRAGMA recursive_triggers=1",
    "PRAGMA case_sensitive_like=1",
    "PRAGMA read_uncommitted=1",
    "PRAGMA busy_timeout=1",
    "PRAGMA query_only=1",
    "PRAGMA synchronous=0",
    "ATTACH DATABASE ':memory:' AS other",
    "BEGIN",
]


@pytest.mark.parametrize("statement", LEFT_BEHIND)
async def test_recycling_undoes_what_a_user_left(
    resource: SqlAlchemyResource, instance: PooledConnection, statement: str
) -> None:
    """Temporary objects, settings, attached databases and open transactions are gone for the next user."""
    backend: Any = instance._backend
    before = await backend._look(instance.raw)
    await instance.raw.execute_fetchall(statement)
    assert await backend._look(instance.raw) != before or instance.raw.in_transaction
    await resource.recycle(instance)
    assert await backend._look(instance.raw) == before
    assert not instance.raw.in_transaction
    assert await resource.is_valid(instance)


async def test_recycling_refuses_what_it_cannot_undo(
    resource: SqlAlchemyResource, instance: PooledConnection
) -> None:
    """A function cannot be taken back: recycle raises and names the kind of rest, so that the pool retires."""
    await instance.raw.create_function("mine", 0, lambda: 1)
    with pytest.raises(NotClean, match="functions"):
        await resource.recycle(instance)


async def test_an_isolation_level_ends_with_its_lease(
    resource: SqlAlchemyResource, instance: PooledConnection
) -> None:
    """What a lease sets as execution options does not reach the next one, and nothing piles up."""
    for _ in range(3):
        async with resource.lease(instance, CONTEXT) as session:
            _ = await session.connection(execution_options={"isolation_level": "READ UNCOMMITTED"})
        assert await pragma(instance, "read_uncommitted") == 1
        await resource.recycle(instance)
        assert await pragma(instance, "read_uncommitted") == 0
        assert instance.raw.isolation_level is None
    record: Any = instance._checked_out
    assert not record._connection_record.finalize_callback


async def test_a_new_connection_has_the_settings(resource: SqlAlchemyResource, url: str) -> None:
    """WAL, foreign keys, the busy timeout and the level of durability are those of the configuration."""
    options = SqliteOptions(busy_timeout=1.5, synchronous="full")
    instance = await resource.create(settings(url, sqlite=options), CONTEXT)
    found = {
        name: await pragma(instance, name)
        for name in ("journal_mode", "foreign_keys", "busy_timeout", "synchronous")
    }
    assert found == {"journal_mode": "wal", "foreign_keys": 1, "busy_timeout": 1500, "synchronous": 2}
    await resource.cleanup(instance)


async def test_many_may_open_a_new_file_at_once(resource: SqlAlchemyResource, tmp_path: Path) -> None:
    """Only one can change its journal mode; SQLite itself would turn some of the others away at once."""
    for number in range(15):
        config = settings(f"sqlite:///{tmp_path / f'{number}.db'}")
        made = await asyncio.gather(*(resource.create(config, CONTEXT) for _ in range(8)))
        for each in made:
            [(mode,)] = await each.raw.execute_fetchall("PRAGMA journal_mode")
            assert mode == "wal"
            await resource.cleanup(each)


async def test_a_file_that_stays_locked_is_given_up(resource: SqlAlchemyResource, tmp_path: Path) -> None:
    """After the busy timeout, with what SQLite says."""
    other = sqlite3.connect(tmp_path / "data.db", isolation_level=None)
    other.execute("CREATE TABLE t (n)")
    other.execute("BEGIN")
    other.execute("SELECT * FROM t").fetchall()
    url = f"sqlite:///{tmp_path / 'data.db'}"
    with pytest.raises(ConnectFailed):
        _ = await resource.create(settings(url, sqlite=SqliteOptions(busy_timeout=0.05)), CONTEXT)
    other.execute("COMMIT")
    await resource.cleanup(await resource.create(settings(url), CONTEXT))
    other.close()


async def test_a_readonly_database_refuses_writes(
    resource: SqlAlchemyResource, instance: PooledConnection, url: str
) -> None:
    """A readonly configuration reads an existing file, beside a writer, and writes nothing."""
    reader = await resource.create(settings(url, readonly=True), CONTEXT)
    async with resource.lease(instance, CONTEXT) as writing:
        writing.add(Parent(name="ada"))
        await writing.flush()
        assert await names(resource, reader) == []
    assert await names(resource, reader) == ["ada"]
    with pytest.raises(OperationalError, match="readonly"):
        async with resource.lease(reader, CONTEXT) as session:
            session.add(Parent(name="bob"))
    await resource.recycle(reader)
    await resource.cleanup(reader)


# ── health and the end ────────────────────────────────────────────────────────────────────────────────────────────


async def test_checks_leave_nothing_behind(resource: SqlAlchemyResource, instance: PooledConnection) -> None:
    """Validity and health are seen without a transaction; a connection in one is not valid."""
    assert await resource.is_valid(instance)
    status = await resource.health_check(instance, CONTEXT)
    assert isinstance(status.state, Healthy)
    assert 0 <= status.latency_s < 5
    assert not instance.raw.in_transaction
    await instance.raw.execute_fetchall("BEGIN")
    assert not await resource.is_valid(instance)
    assert isinstance((await resource.health_check(instance, CONTEXT)).state, Unhealthy)


async def test_a_full_database_is_a_fault(resource: SqlAlchemyResource, instance: PooledConnection) -> None:
    """An error that tells of the file's trouble, here that there is no room, counts against the server."""
    await instance.raw.execute_fetchall("PRAGMA max_page_count=20")
    with pytest.raises(OperationalError, match="full") as caught:
        async with resource.lease(instance, CONTEXT) as session:
            await session.execute(text("CREATE TABLE big AS SELECT zeroblob(1000000) AS b"))
    assert resource.is_fault(caught.value)


async def test_sql_errors_are_no_faults(resource: SqlAlchemyResource, instance: PooledConnection) -> None:
    """A typo, a broken constraint and a wrong parameter are the caller's."""
    for statement in ("SELEC 1", "SELECT * FROM nowhere", "INSERT INTO parent (id, name) VALUES (1, NULL)"):
        with pytest.raises(SQLAlchemyError) as caught:
            async with resource.lease(instance, CONTEXT) as session:
                await session.execute(text(statement))
        assert not resource.is_fault(caught.value)
    assert not resource.is_broken(instance)


async def test_cleanup_ends_the_thread_even_when_cancelled(
    resource: SqlAlchemyResource, instance: PooledConnection
) -> None:
    """A cleanup cancelled while a statement still runs stops that statement and ends the thread."""
    forever = "WITH RECURSIVE n(i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n"
    statement = asyncio.create_task(instance.raw.execute_fetchall(forever))
    await asyncio.sleep(0)
    cleanup = asyncio.create_task(resource.cleanup(instance))
    await asyncio.sleep(0)
    cleanup.cancel()
    with pytest.raises(asyncio.CancelledError):
        await cleanup
    with pytest.raises(sqlite3.OperationalError, match="interrupted"):
        await statement
    await no_threads()
    assert resource.is_broken(instance)


async def test_a_cancelled_create_leaves_no_thread(resource: SqlAlchemyResource, url: str) -> None:
    """Cancelled at any step on its way, a create leaves no connection and no thread."""
    for step in range(0, 300, 4):
        task = asyncio.create_task(resource.create(settings(url), CONTEXT))
        for _ in range(step):
            await asyncio.sleep(0)
        task.cancel()
        try:
            await resource.cleanup(await task)
        except asyncio.CancelledError:
            pass
    await no_threads()


async def test_a_file_that_cannot_be_opened_is_said_without_its_name(
    resource: SqlAlchemyResource, tmp_path: Path
) -> None:
    """A file that is no database gives ConnectFailed, without path, cause or context."""
    (tmp_path / CANARY).write_bytes(b"not a database, by far" * 100)
    with pytest.raises(ConnectFailed, match="the database cannot be used") as caught:
        _ = await resource.create(settings(f"sqlite:///{tmp_path / CANARY}"), CONTEXT)
    assert CANARY not in f"{caught.value!r}{caught.value}"
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None


async def test_no_error_shows_parameters(
    resource: SqlAlchemyResource, instance: PooledConnection, caplog: pytest.LogCaptureFixture
) -> None:
    """Errors of statements, and what is logged on the way, hold no parameter."""
    caplog.set_level(logging.DEBUG, "sqlalchemy")
    with pytest.raises(StatementError) as caught:
        async with resource.lease(instance, CONTEXT) as session:
            session.add_all([Parent(name=CANARY), Parent(name=CANARY)])
    assert CANARY not in f"{caught.value!r}{caught.value}{caught.value.__cause__}"
    assert CANARY not in caplog.text


# ── in a pool ─────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("connections", [10, 50])
async def test_fifty_writers_take_turns(resource: SqlAlchemyResource, url: str, connections: int) -> None:
    """Fifty tasks that read and then write, on few or many connections, all succeed: nobody sees "database is locked"."""
    pool = Pool(
        resource, settings(url), PoolConfig(min_size=0, max_size=connections, max_concurrent_creates=10)
    )
    await pool.open()
    async with pool.acquire(CONTEXT) as session:
        await session.execute(text("CREATE TABLE counter (n INTEGER)"))
        await session.execute(text("INSERT INTO counter VALUES (0)"))

    async def writer() -> None:
        for _ in range(4):
            async with pool.acquire(CONTEXT) as session:
                n = (await session.execute(text("SELECT n FROM counter"))).scalar_one()
                await session.execute(text("UPDATE counter SET n = :n"), {"n": n + 1})

    await asyncio.gather(*(writer() for _ in range(50)))
    async with pool.acquire(CONTEXT) as session:
        assert (await session.execute(text("SELECT n FROM counter"))).scalar_one() == 200
    assert pool.stats().create_failures == 0
    pool.check()
    await pool.close()


async def test_a_new_file_can_be_opened_by_many_at_once(resource: SqlAlchemyResource, url: str) -> None:
    """Connections that all want to switch a new file to WAL do not get in each other's way."""
    made = await asyncio.gather(*(resource.create(settings(url), CONTEXT) for _ in range(20)))
    assert [await pragma(instance, "journal_mode") for instance in made] == ["wal"] * 20
    await asyncio.gather(*(resource.cleanup(instance) for instance in made))


async def test_memory_is_shared_by_the_pool_and_by_nobody_else(resource: SqlAlchemyResource) -> None:
    """A database in memory is one for all connections of a pool, outlives each, and is another in each scope."""
    here, there = ResourceContext(Scope.tenant("here")), ResourceContext(Scope.tenant("there"))
    first = await resource.create(settings("sqlite://"), here)
    async with resource.lease(first, here) as session:
        await session.execute(text("CREATE TABLE t (i INTEGER)"))
    await resource.cleanup(first)
    again = await resource.create(settings("sqlite://"), here)
    async with resource.lease(again, here) as session:
        assert (await session.execute(text("SELECT count(*) FROM t"))).scalar_one() == 0
    other = await resource.create(settings("sqlite://"), there)
    with pytest.raises(OperationalError, match="no such table"):
        async with resource.lease(other, there) as session:
            await session.execute(text("SELECT count(*) FROM t"))
    await resource.cleanup(again)
    await resource.cleanup(other)


async def test_a_pool_keeps_outcome_and_soundness(resource: SqlAlchemyResource, url: str) -> None:
    """Through a pool: good bodies stay, bad and cancelled ones go, connections are reused, and all end."""
    pool = Pool(resource, settings(url), PoolConfig(min_size=1, max_size=3))
    await pool.open()
    async with pool.acquire(CONTEXT) as session:
        assert isinstance(session, AsyncSession)
        await (await session.connection()).run_sync(Base.metadata.create_all)

    async def use(number: int) -> None:
        async with pool.acquire(CONTEXT) as session:
            session.add(Parent(name=f"p{number}"))
            await session.flush()
            if number % 3 == 1:
                raise ValueError
            if number % 3 == 2:
                raise asyncio.CancelledError

    outcomes = await asyncio.gather(*(use(number) for number in range(30)), return_exceptions=True)
    assert [type(each).__name__ for each in outcomes[:3]] == ["NoneType", "ValueError", "CancelledError"]
    async with pool.acquire(CONTEXT) as session:
        assert len(list(await session.scalars(select(Parent)))) == 10
    assert pool.stats().destroyed_total == 0
    pool.check()
    await pool.close()
    pool.check()
