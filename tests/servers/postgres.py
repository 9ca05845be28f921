"""PostgreSQL for the tests: the server a variable names, else a private one from local binaries."""

import asyncio
import os
import re
import secrets
import signal
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote, urlsplit, urlunsplit

import asyncpg

from tests.servers.install import install
from tests.servers.process import Account, PrivateProcess, ServerUnavailable, find_binary, free_port

VARIABLE = "NEBULA_TEST_POSTGRES_URL"
CONNECT_TIMEOUT = 10  # seconds
ATTEMPTS = 5  # another process may take the free port first
# Nothing here has to survive the machine: durability is off, and tests run several times faster.
SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "max_connections": "200",
    "shared_buffers": "32MB",
    "autovacuum": "off",
    "log_min_messages": "warning",
}


@dataclass(frozen=True, slots=True)
class PostgresServer:
    """A PostgreSQL server the tests may write to. `process` is set where it is ours to stop and kill."""

    host: str
    port: int
    user: str
    database: str
    password: str = field(repr=False)
    options: str = ""  # the query of the URL, e.g. sslmode=require
    process: PrivateProcess | None = None
    _created: list[str] = field(default_factory=list, repr=False)

    @property
    def url(self) -> str:
        """The server's own database, e.g. postgresql://user:password@127.0.0.1:5433/nebula."""
        return self.url_of(self.database)

    def url_of(self, database: str, *, driver: str = "") -> str:
        """The URL of one database; `driver="asyncpg"` writes it as SQLAlchemy wants it."""
        scheme = f"postgresql+{driver}" if driver else "postgresql"
        host = f"[{self.host}]" if ":" in self.host else self.host
        login = quote(self.user, safe="") + (f":{quote(self.password, safe='')}" if self.password else "")
        return urlunsplit(
            (scheme, f"{login}@{host}:{self.port}", f"/{quote(database, safe='')}", self.options, "")
        )

    def new_database(self) -> str:
        """Create an empty database and return its name; it is dropped when the session ends."""
        name = f"nebula_test_{secrets.token_hex(6)}"
        self.execute(f'CREATE DATABASE "{name}" TEMPLATE template0')
        self._created.append(name)
        return name

    def drop_databases(self) -> None:
        """Drop what new_database created, whoever is still connected to it."""
        while self._created:
            self.execute(f'DROP DATABASE IF EXISTS "{self._created.pop()}" WITH (FORCE)')

    def execute(self, statement: str, *, database: str | None = None) -> list[Any]:
        """Run one statement on a connection of its own and return its rows; may be called beside a running loop."""
        return _apart(self._execute(statement, database or self.database))

    async def _execute(self, statement: str, database: str) -> list[Any]:
        connection = await asyncpg.connect(self.url_of(database), timeout=CONNECT_TIMEOUT)
        try:
            return list(await connection.fetch(statement))
        finally:
            await connection.close(timeout=CONNECT_TIMEOUT)

    def close(self) -> None:
        """Remove every trace: our process and its folder, or the databases made on somebody's server."""
        if self.process is not None:
            self.process.close()
        else:
            self.drop_databases()


def named_server(url: str) -> PostgresServer:
    """The server a URL names; raises ServerUnavailable when it does not answer."""
    parts = urlsplit(url)
    if not re.fullmatch(r"postgres(ql)?(\+\w+)?", parts.scheme) or not parts.hostname:
        raise ServerUnavailable(
            f"{VARIABLE} is not of the form postgresql://user:password@host:port/database"
        )
    server = PostgresServer(
        host=parts.hostname,
        port=parts.port or 5432,
        user=unquote(parts.username or "postgres"),
        password=unquote(parts.password or ""),
        database=unquote(parts.path.lstrip("/")) or "postgres",
        options=parts.query,
    )
    try:
        server.execute("SELECT 1")
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, TimeoutError) as error:
        raise ServerUnavailable(
            f"{VARIABLE} names {server.host}:{server.port}, which does not let us in: {type(error).__name__}: {error}"
        ) from error
    return server


def private_server() -> PostgresServer:
    """Start a server of our own on a random loopback port, with a password of its own."""
    binaries = find_binaries()
    if binaries is None:
        install("postgresql", program="postgres", variable=VARIABLE)
        binaries = find_binaries()
        if binaries is None:
            raise ServerUnavailable(
                "the package postgresql was installed, but holds no postgres and initdb we can find"
            )
    for attempt in range(ATTEMPTS):
        try:
            return _start(binaries)
        except ServerUnavailable as error:
            if "Address already in use" not in str(error) or attempt == ATTEMPTS - 1:
                raise
    raise AssertionError("the loop returns or raises")


def find_binaries() -> Path | None:
    """The folder that holds initdb and postgres of one version: PATH first, then Debian's, newest first."""
    folders = [path.resolve().parent for name in ("postgres", "initdb") if (path := find_binary(name))]
    folders += sorted(
        Path("/usr/lib/postgresql").glob("*/bin"), key=lambda folder: float(folder.parent.name), reverse=True
    )
    return next((folder for folder in folders if _holds_both(folder)), None)


def _holds_both(folder: Path) -> bool:
    return all(os.access(folder / name, os.X_OK) for name in ("initdb", "postgres"))


def _start(binaries: Path) -> PostgresServer:
    account = Account.named("postgres")
    folder = account.make_folder("nebula-postgres-")
    data, password, port = folder / "data", secrets.token_hex(16), free_port()
    password_file = folder / "password"
    password_file.write_text(password)
    if account.user is not None and account.group is not None:
        os.chown(password_file, account.user, account.group)
    made = account.run(
        str(binaries / "initdb"),
        f"--pgdata={data}",
        "--no-sync",
        "--username=nebula",
        f"--pwfile={password_file}",
        "--auth=scram-sha-256",
        "--encoding=UTF8",
        "--no-locale",
        cwd=folder,
    )
    password_file.unlink()
    process = PrivateProcess(
        "postgres",
        folder=folder,
        port=port,
        command=[
            str(binaries / "postgres"),
            *("-D", str(data), "-p", str(port)),
            *(word for name, value in SETTINGS.items() for word in ("-c", f"{name}={value}")),
        ],
        account=account,
        stop_signal=signal.SIGINT,  # "fast": closes connections, then writes a checkpoint
        kill_signal=signal.SIGQUIT,  # "immediate": a crash of the whole server; SIGKILL would leave its children
        is_ready=lambda: _is_ready(data / "postmaster.pid"),
    )
    if made.returncode != 0:
        process.close()
        raise ServerUnavailable(f"initdb failed:\n{made.stdout}{made.stderr}")
    process.start()
    return PostgresServer("127.0.0.1", port, "nebula", "postgres", password, process=process)


def _is_ready(pid_file: Path) -> bool:
    try:
        lines = pid_file.read_text().splitlines()
    except FileNotFoundError:
        return False
    return len(lines) >= 8 and lines[7].strip() == "ready"  # its eighth line is the server's own word


def _apart(work: Coroutine[Any, Any, list[Any]]) -> list[Any]:
    """Run a coroutine to its end in a thread with a loop of its own."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, work).result()
