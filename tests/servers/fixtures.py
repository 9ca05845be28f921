"""Fixtures: the servers a test may ask for. A server that cannot be had ends the session; no test is skipped for it."""

import os
from collections.abc import Callable, Iterator
from typing import TypeVar

import pytest

from tests.servers import postgres, redis
from tests.servers.process import ServerUnavailable

SERVER_MISSING = 3  # exit code of the session


Server = TypeVar("Server")


def obtain(make: Callable[[], Server]) -> Server:
    """Call `make`, or end the session with its reason."""
    try:
        return make()
    except ServerUnavailable as error:
        pytest.exit(f"A server the tests need is missing: {error}", returncode=SERVER_MISSING)


@pytest.fixture(scope="session")
def postgres_server(request: pytest.FixtureRequest) -> Iterator[postgres.PostgresServer]:
    """PostgreSQL: the server of NEBULA_TEST_POSTGRES_URL, else a private one."""
    url = os.environ.get(postgres.VARIABLE)
    if not url:
        yield request.getfixturevalue("private_postgres_server")
        return
    server = obtain(lambda: postgres.named_server(url))
    yield server
    server.close()


@pytest.fixture(scope="session")
def private_postgres_server() -> Iterator[postgres.PostgresServer]:
    """A PostgreSQL that is ours alone, for tests that stop, restart or kill it; they leave it running."""
    server = obtain(postgres.private_server)
    yield server
    server.close()


@pytest.fixture(scope="session")
def redis_server(request: pytest.FixtureRequest) -> Iterator[redis.RedisServer]:
    """Redis: the server of NEBULA_TEST_REDIS_URL, else a private one."""
    url = os.environ.get(redis.VARIABLE)
    if not url:
        yield request.getfixturevalue("private_redis_server")
        return
    server = obtain(lambda: redis.named_server(url))
    yield server
    server.close()


@pytest.fixture(scope="session")
def private_redis_server() -> Iterator[redis.RedisServer]:
    """A Redis that is ours alone, for tests that stop, restart or kill it; they leave it running."""
    server = obtain(redis.private_server)
    yield server
    server.close()
