"""Redis for the tests: the server a variable names, else a private one from a local binary."""

import signal
import socket
from dataclasses import dataclass, field
from pathlib import Path

import redis

from tests.servers.install import install
from tests.servers.process import Account, PrivateProcess, ServerUnavailable, find_binary, free_port

VARIABLE = "NEBULA_TEST_REDIS_URL"
CONNECT_TIMEOUT = 10.0  # seconds
ATTEMPTS = 5  # another process may take the free port first


@dataclass(frozen=True, slots=True)
class RedisServer:
    """A Redis server the tests may write to. `process` is set where it is ours to stop and kill."""

    url: str = field(repr=False)
    host: str
    port: int
    process: PrivateProcess | None = None

    def flush(self) -> None:
        """Empty it; only a private server, for another one may hold what is not ours."""
        if self.process is None:
            raise ServerUnavailable(
                "only a private Redis is emptied: use keys of your own, or `private_redis_server`"
            )
        with redis.Redis.from_url(self.url, socket_timeout=CONNECT_TIMEOUT) as client:
            client.flushall()

    def close(self) -> None:
        """Remove our process and its folder."""
        if self.process is not None:
            self.process.close()


def named_server(url: str) -> RedisServer:
    """The server a URL names; raises ServerUnavailable when it does not answer."""
    try:
        with redis.Redis.from_url(
            url, socket_timeout=CONNECT_TIMEOUT, socket_connect_timeout=CONNECT_TIMEOUT
        ) as client:
            client.ping()
            where = client.connection_pool.connection_kwargs
    except (redis.RedisError, ValueError, OSError) as error:
        raise ServerUnavailable(
            f"{VARIABLE} (redis://host:port/0) names no Redis that answers: {type(error).__name__}: {error}"
        ) from error
    return RedisServer(url, where.get("host", "localhost"), where.get("port", 6379))


def private_server() -> RedisServer:
    """Start a server of our own on a random loopback port; it keeps nothing on disk."""
    binary = find_server()
    if binary is None:
        install("redis-server", program="redis-server", variable=VARIABLE)
        binary = find_server()
        if binary is None:
            raise ServerUnavailable("the package redis-server was installed, but no redis-server is on PATH")
    for attempt in range(ATTEMPTS):
        try:
            return _start(binary)
        except ServerUnavailable as error:
            if "Address already in use" not in str(error) or attempt == ATTEMPTS - 1:
                raise
    raise AssertionError("the loop returns or raises")


def find_server() -> Path | None:
    """redis-server, or valkey-server, which speaks the same."""
    return find_binary("redis-server") or find_binary("valkey-server")


def _start(binary: Path) -> RedisServer:
    account, port = Account.named("redis"), free_port()
    folder = account.make_folder("nebula-redis-")
    process = PrivateProcess(
        "redis",
        folder=folder,
        port=port,
        command=[
            str(binary),
            *("--port", str(port), "--bind", "127.0.0.1", "--daemonize", "no"),
            *("--save", "", "--appendonly", "no", "--dir", str(folder)),
        ],
        account=account,
        stop_signal=signal.SIGTERM,
        kill_signal=signal.SIGKILL,
        is_ready=lambda: _answers(port),
    )
    process.start()
    return RedisServer(f"redis://127.0.0.1:{port}/0", "127.0.0.1", port, process)


def _answers(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1.0) as connection:
            connection.sendall(b"PING\r\n")
            return connection.recv(16).startswith(b"+PONG")
    except OSError:
        return False
