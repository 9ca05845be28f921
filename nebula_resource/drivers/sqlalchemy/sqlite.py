"""SqliteBackend: SQLite through aiosqlite, in a file or in memory."""

from __future__ import annotations

import asyncio
import sqlite3
import weakref
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from secrets import token_hex
from typing import Any

import aiosqlite
from sqlalchemy.engine import URL
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.pool import PoolProxiedConnection

from nebula_resource.drivers.sqlalchemy.backend import LoginData
from nebula_resource.drivers.sqlalchemy.config import SqlAlchemyConfig
from nebula_resource.drivers.sqlalchemy.engine import Opener, make_engine
from nebula_resource.drivers.sqlalchemy.errors import NotClean
from nebula_resource.drivers.sqlalchemy.tenant import TenantBinding

__all__ = ["MEMORY_SINCE", "SqliteBackend"]

MEMORY_SINCE = (3, 36, 0)
"""The SQLite that brought the memdb file system, which several connections share."""

_INTERRUPT_EVERY = 0.01  # seconds
_LOOK_AGAIN = 0.01  # seconds until the journal mode is tried again

# Settings of a connection that change what the next caller's statements do, and that can be read back.
_PRAGMAS = (
    "analysis_limit", "automatic_index", "busy_timeout", "cache_size", "cache_spill", "cell_size_check",
    "defer_foreign_keys", "foreign_keys", "ignore_check_constraints", "journal_mode", "legacy_alter_table",
    "locking_mode", "max_page_count", "query_only", "read_uncommitted", "recursive_triggers",
    "reverse_unordered_selects", "secure_delete", "synchronous", "temp_store", "threads", "trusted_schema",
    "writable_schema",
)  # fmt: skip  # a list of names, not a layout
_COLUMN = {"busy_timeout": "timeout"}  # the one whose column is called otherwise
_LIKE, _TEMPORARY, _ATTACHED, _FUNCTIONS = "LIKE", "temporary objects", "attached databases", "functions"
_CHECKS = {
    **{name: f"SELECT {_COLUMN.get(name, name)} FROM pragma_{name}" for name in _PRAGMAS},  # noqa: S608  # our own names
    _LIKE: "SELECT 'a' LIKE 'A'",  # case_sensitive_like cannot be read; setting it replaces the function
    _TEMPORARY: "SELECT count(*) FROM sqlite_temp_master",
    _ATTACHED: "SELECT count(*) FROM pragma_database_list WHERE name NOT IN ('main', 'temp')",
    _FUNCTIONS: "SELECT count(*) FROM pragma_function_list WHERE NOT builtin AND name <> 'like'",
}
_LOOK = f"SELECT {', '.join(f'({check})' for check in _CHECKS.values())}"  # our own checks


@dataclass(frozen=True, slots=True)
class _Settled:
    """What a fresh connection looks like."""

    values: tuple[Any, ...]
    row_factory: Any
    text_factory: Any


class SqliteBackend:
    """Opens, begins, resets and ends aiosqlite connections; each has a thread of its own."""

    name = "sqlite"

    def __init__(self, config: SqlAlchemyConfig, path: Path | None) -> None:
        self._config = config
        self._in_memory = path is None
        immediate = config.sqlite.transactions == "immediate" and not config.readonly
        self._begin = "BEGIN IMMEDIATE" if immediate else "BEGIN DEFERRED"
        if path is not None:
            mode = "rw" if config.readonly else "rwc"
            self._uri = f"{path.absolute().as_uri()}?mode={mode}"
        else:
            self._uri = f"file:/nebula-{token_hex(16)}?vfs=memdb"
            # The data lives as long as one connection is open; this one keeps it between two of the pool's.
            anchor = sqlite3.connect(self._uri, uri=True, check_same_thread=False)
            weakref.finalize(self, anchor.close)

    def make_engine(self, opener: Opener) -> AsyncEngine:
        """Make the engine; its URL names the driver and nothing else."""
        return make_engine(URL.create("sqlite+aiosqlite"), opener, begin=self.begin, on_cancel=self.hasten)

    async def open(self, login: LoginData) -> aiosqlite.Connection:
        """Open a connection and its thread. SQLite knows no login."""
        opening = aiosqlite.connect(
            self._uri,
            uri=True,
            timeout=self._config.sqlite.busy_timeout,
            isolation_level=None,  # sqlite3 begins nothing by itself: `begin` does
            cached_statements=self._config.statement_cache_size,
        )
        # A process that ends without a cleanup is not kept alive by this thread.
        opening._thread.daemon = True
        raw = await opening
        try:
            await self._set_up(raw)
        except BaseException:
            raw.stop()
            raise
        return raw

    async def _set_up(self, raw: aiosqlite.Connection) -> None:
        options = self._config.sqlite
        if not self._in_memory and not self._config.readonly:
            await self._set_journal_mode(raw)
        await raw.execute_fetchall(f"PRAGMA synchronous={options.synchronous}")
        await raw.execute_fetchall(f"PRAGMA foreign_keys={int(options.foreign_keys)}")
        await raw.execute_fetchall(f"PRAGMA query_only={int(self._config.readonly)}")

    async def _set_journal_mode(self, raw: aiosqlite.Connection) -> None:
        """Change the mode where it is another: that needs the file alone.

        Whoever opens the file in the same moment is in the way, and for that SQLite's busy timeout does not wait, so
        this does.
        """
        wanted = self._config.sqlite.journal_mode
        loop = asyncio.get_running_loop()
        until = loop.time() + self._config.sqlite.busy_timeout
        while True:
            try:
                [(mode,)] = await raw.execute_fetchall("PRAGMA journal_mode")
                if mode != wanted:
                    await raw.execute_fetchall(f"PRAGMA journal_mode={wanted}")
                return
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or loop.time() >= until:
                    raise
            await asyncio.sleep(_LOOK_AGAIN)

    async def settled(self, raw: aiosqlite.Connection) -> _Settled:
        """Return what a reset has to restore."""
        return _Settled(await self._look(raw), raw.row_factory, raw.text_factory)

    def begin(self, connection: PoolProxiedConnection) -> None:
        """Begin a transaction."""
        with closing(connection.cursor()) as cursor:
            cursor.execute(self._begin)

    def bind(self, connection: PoolProxiedConnection, tenant: TenantBinding | None) -> None:
        """Nothing to do: `validate_config` refuses tenant settings for SQLite."""

    def restore(self, adapter: Any) -> None:
        """Undo what SQLAlchemy's own reset of an isolation level does: sqlite3 would begin by itself again."""
        if adapter.isolation_level is not None:
            adapter.isolation_level = None

    # ── between two uses ──────────────────────────────────────────────────────────────────────────────────────────

    async def reset(self, raw: aiosqlite.Connection, settled: _Settled) -> None:
        """Roll back, then compare everything that can be read with a fresh connection, mend, and compare again."""
        if raw.in_transaction:
            await raw.rollback()
        raw.row_factory, raw.text_factory = settled.row_factory, settled.text_factory
        if await self._look(raw) == settled.values:
            return
        await self._mend(raw, settled)
        left = [
            what
            for what, found, wanted in zip(_CHECKS, await self._look(raw), settled.values, strict=True)
            if found != wanted
        ]
        if left or raw.in_transaction:
            raise NotClean(", ".join(left) or "a transaction is still open")

    async def _look(self, raw: aiosqlite.Connection) -> tuple[Any, ...]:
        [row] = await raw.execute_fetchall(_LOOK)
        return tuple(row)

    async def _mend(self, raw: aiosqlite.Connection, settled: _Settled) -> None:
        wanted = dict(zip(_CHECKS, settled.values, strict=True))
        for name in _PRAGMAS:
            await raw.execute_fetchall(f"PRAGMA {name}={wanted[name]}")
        await raw.execute_fetchall("PRAGMA case_sensitive_like=0")
        for kind in ("trigger", "view", "table"):
            found = await raw.execute_fetchall("SELECT name FROM sqlite_temp_master WHERE type = ?", (kind,))
            for (name,) in found:
                await raw.execute_fetchall(f"DROP {kind} IF EXISTS temp.{_quoted(name)}")
        attached = "SELECT name FROM pragma_database_list WHERE name NOT IN ('main', 'temp')"
        for (name,) in await raw.execute_fetchall(attached):
            await raw.execute_fetchall(f"DETACH DATABASE {_quoted(name)}")

    async def ping(self, raw: aiosqlite.Connection) -> bool:
        """Ask for a value; in WAL mode, where no writer is in the way, one that has to be read from the file."""
        if raw.in_transaction:
            return False
        from_file = not self._in_memory and self._config.sqlite.journal_mode == "wal"
        await raw.execute_fetchall("SELECT 1 FROM sqlite_master LIMIT 1" if from_file else "SELECT 1")
        return True

    # ── the end ───────────────────────────────────────────────────────────────────────────────────────────────────

    def is_lost(self, raw: aiosqlite.Connection) -> bool:
        """Say whether it was closed."""
        try:
            raw.in_transaction  # noqa: B018  # the one public thing that raises, without I/O, when it is closed
        except (ValueError, sqlite3.ProgrammingError):
            return True
        return False

    def hasten(self, raw: aiosqlite.Connection, delay: float) -> None:
        """Stop the statement that the thread is in, ``delay`` seconds from now, so that it comes to the closing.

        Again and again until it is closed: an interrupt that comes before the statement has begun does nothing. It
        breaks no wait for a lock; that ends with the busy timeout.
        """
        if self.is_lost(raw):
            return
        loop, connection = asyncio.get_running_loop(), raw._conn

        def interrupt() -> None:
            try:
                connection.interrupt()
            except sqlite3.ProgrammingError:  # closed
                return
            loop.call_later(_INTERRUPT_EVERY, interrupt)

        loop.call_later(delay, interrupt)

    def terminate(self, raw: aiosqlite.Connection) -> None:
        """Queue closing and the end of the thread; they come after the statement it is in."""
        if not self.is_lost(raw):
            raw.stop()


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def in_memory_possible(version: Sequence[int] = sqlite3.sqlite_version_info) -> bool:
    """Say whether this SQLite can share a database in memory between connections."""
    return tuple(version) >= MEMORY_SINCE
