"""The servers of the tests: real, reachable, private ones stoppable, and nothing of them left behind."""

import asyncio
import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import pytest
import redis.asyncio
from redis.exceptions import ConnectionError as RedisConnectionError

from tests.servers import install as install_module
from tests.servers import postgres as postgres_module
from tests.servers import redis as redis_module
from tests.servers.install import install
from tests.servers.postgres import PostgresServer
from tests.servers.process import Account, ServerUnavailable
from tests.servers.programs import ensure_program, find_program
from tests.servers.redis import RedisServer

ROOT = Path(__file__).parents[2]


async def test_postgres_answers(postgres_server: PostgresServer) -> None:
    """A statement runs on the server the URL names."""
    connection = await asyncpg.connect(postgres_server.url)
    try:
        assert await connection.fetchval("SELECT 40 + 2") == 42
    finally:
        await connection.close()


async def test_each_new_database_is_empty_and_apart(postgres_server: PostgresServer) -> None:
    """A table made in one database is not in the next."""
    first, second = postgres_server.new_database(), postgres_server.new_database()
    assert first != second
    postgres_server.execute("CREATE TABLE orders (id int)", database=first)
    tables = "SELECT count(*) FROM pg_tables WHERE tablename = 'orders'"
    assert postgres_server.execute(tables, database=first)[0][0] == 1
    assert postgres_server.execute(tables, database=second)[0][0] == 0


def test_postgres_repr_hides_the_password(private_postgres_server: PostgresServer) -> None:
    """A failing test prints its fixtures: no password among them."""
    assert private_postgres_server.password
    assert private_postgres_server.password not in repr(private_postgres_server)


def test_postgres_wants_its_password(private_postgres_server: PostgresServer) -> None:
    """Another user of this machine cannot walk into a private server."""
    parts = urlsplit(private_postgres_server.url)
    without = f"postgresql://nebula:wrong@{parts.hostname}:{parts.port}/postgres"
    with pytest.raises(ServerUnavailable, match="does not let us in"):
        postgres_module.named_server(without)


async def test_postgres_restart_cuts_connections_and_keeps_data(
    private_postgres_server: PostgresServer,
) -> None:
    """A restart is seen by whoever is connected, and what was committed is there afterwards."""
    server = private_postgres_server
    assert server.process is not None
    database = server.new_database()
    server.execute("CREATE TABLE kept (id int)", database=database)
    connection = await asyncpg.connect(server.url_of(database))
    await asyncio.to_thread(server.process.restart)
    with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError, OSError)):
        await connection.fetchval("SELECT 1")
    connection.terminate()
    assert server.execute("SELECT count(*) FROM kept", database=database)[0][0] == 0


async def test_postgres_comes_back_after_a_crash(private_postgres_server: PostgresServer) -> None:
    """A killed server refuses connections until it is started again on the same port."""
    server = private_postgres_server
    assert server.process is not None
    server.process.kill()
    with pytest.raises(OSError, match=r"Connect call failed|refused"):
        await asyncpg.connect(server.url)
    server.process.start()
    assert server.execute("SELECT 1")[0][0] == 1


async def test_redis_answers(redis_server: RedisServer) -> None:
    """A key that was set is read back."""
    async with redis.asyncio.Redis.from_url(redis_server.url) as client:
        await client.set("nebula:test:servers", "here", ex=60)
        assert await client.get("nebula:test:servers") == b"here"


async def test_redis_comes_back_after_a_crash(private_redis_server: RedisServer) -> None:
    """A killed Redis refuses connections until it is started again, empty, on the same port."""
    assert private_redis_server.process is not None
    async with redis.asyncio.Redis.from_url(private_redis_server.url) as client:
        await client.set("gone", "soon")
    private_redis_server.process.kill()
    async with redis.asyncio.Redis.from_url(private_redis_server.url) as client:
        with pytest.raises(RedisConnectionError):
            await client.ping()
    private_redis_server.process.start()
    async with redis.asyncio.Redis.from_url(private_redis_server.url) as client:
        assert await client.get("gone") is None


def test_a_named_server_that_is_away_is_said_not_replaced() -> None:
    """A variable that names a dead server is an error that says so; nothing else is started instead."""
    with pytest.raises(ServerUnavailable, match=r"NEBULA_TEST_POSTGRES_URL names 127\.0\.0\.1:1,"):
        postgres_module.named_server("postgresql://u:p@127.0.0.1:1/x")
    with pytest.raises(ServerUnavailable, match="NEBULA_TEST_REDIS_URL"):
        redis_module.named_server("redis://127.0.0.1:1/0")


def test_what_is_missing_is_said_with_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nothing can be installed, the message names the program, the variable and the package."""
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(ServerUnavailable) as caught:
        install("postgresql", program="postgres", variable="NEBULA_TEST_POSTGRES_URL")
    for word in ("no postgres was found", "NEBULA_TEST_POSTGRES_URL=", "apt-get install postgresql"):
        assert word in str(caught.value)


def test_a_missing_program_is_said_with_its_package(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A browser that is not there and cannot be installed is an error that names its package, never a skip."""
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ServerUnavailable, match=r"no chromium was found on PATH.*apt-get install chromium"):
        find_program("chromium")
    with pytest.raises(ServerUnavailable, match=r"no promtool was found on PATH.*apt-get install prometheus"):
        ensure_program("promtool")


APT_GET = """#!/bin/sh
[ "$(cat "$POLICY_FILE")" = "$(printf '#!/bin/sh\\nexit 101')" ] || exit 7
echo "$DEBIAN_FRONTEND $*" >> "$APT_LOG"
[ "$1" != "$FAIL_AT" ] || { echo "E: no network"; exit 100; }
"""


@pytest.mark.parametrize("fail_at", ["", "install"])
def test_debian_packages_are_installed_without_starting_services(
    fail_at: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As root on Debian the package is installed while services are forbidden to start; a failure is told in full."""
    apt_get, policy, log = tmp_path / "apt-get", tmp_path / "policy-rc.d", tmp_path / "log"
    apt_get.write_text(APT_GET)
    apt_get.chmod(0o755)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(install_module, "POLICY", policy)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    for name, value in {"POLICY_FILE": policy, "APT_LOG": log, "FAIL_AT": fail_at}.items():
        monkeypatch.setenv(name, str(value))
    if fail_at:
        with pytest.raises(ServerUnavailable, match="E: no network"):
            install("redis-server", program="redis-server", variable="NEBULA_TEST_REDIS_URL")
    else:
        install("redis-server", program="redis-server", variable="NEBULA_TEST_REDIS_URL")
    assert log.read_text().splitlines() == [
        "noninteractive update -qq",
        "noninteractive install -qq -y --no-install-recommends redis-server",
    ]
    assert not policy.exists(), "services stay forbidden"


def test_a_root_only_temporary_folder_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The folder of a server can be written by the user it runs as, wherever TMPDIR points."""
    tmp_path.chmod(0o700)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    account = Account.named("postgres")
    folder = account.make_folder("nebula-test-")
    try:
        assert account.run("/bin/sh", "-c", ": >file", cwd=folder).returncode == 0
        if account.user is not None:
            assert tmp_path not in folder.parents
            assert (folder / "file").stat().st_uid == account.user
    finally:
        for path in folder.iterdir():
            path.unlink()
        folder.rmdir()


SESSION = """
import sys
from tests.servers import redis
server = redis.private_server()
print(server.process._pid, server.process.folder, flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGKILL, signal.SIGINT])
def test_servers_end_with_a_session_that_dies(end: signal.Signals) -> None:
    """However the session ends, its server stops and its folder is removed."""
    with subprocess.Popen(
        [sys.executable, "-c", SESSION],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as session:
        assert session.stdout is not None
        pid, folder = session.stdout.readline().split()
        server = os.pidfd_open(int(pid))
        session.send_signal(end)
        session.wait(10)
        assert _ended(server), "the server outlived its session"
        # The keeper removes the folder right after.
        _wait_until_gone(Path(folder))


def _ended(pidfd: int) -> bool:
    try:
        return bool(select.select([pidfd], [], [], 10.0)[0])
    finally:
        os.close(pidfd)


def _wait_until_gone(folder: Path) -> None:
    deadline = time.monotonic() + 10.0
    while folder.exists():
        assert time.monotonic() < deadline, f"{folder} was left behind"
        time.sleep(0.01)
