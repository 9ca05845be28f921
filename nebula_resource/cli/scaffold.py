"""Scaffold: the start of a driver: a package that works, with tests that pass, to be changed into one's own."""

from __future__ import annotations

import keyword
import re
from pathlib import Path

from nebula_resource.cli.failure import ExitCode, Failure

__all__ = ["scaffold"]

NAME = re.compile(r"[a-z][a-z0-9_]{0,40}")


def scaffold(name: str, folder: Path) -> list[Path]:
    """Write ``nebula_<name>/`` with its tests below ``folder``; returns the files.

    Raises:
        Failure: ``name`` cannot be a module's, or the folder is there already.
    """
    if NAME.fullmatch(name) is None:
        raise Failure(
            ExitCode.USAGE, "NAME must be lower-case letters, digits and _, beginning with a letter"
        )
    if keyword.iskeyword(name):
        raise Failure(ExitCode.USAGE, "NAME must be no word of Python's own")
    package = f"nebula_{name}"
    top = folder / package.replace("_", "-")
    words = {"@name@": name, "@package@": package, "@Class@": "".join(map(str.title, name.split("_")))}
    made: list[Path] = []
    try:
        top.mkdir()
        for path, text in FILES.items():
            target = top / _filled(path, words)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(_filled(text, words), encoding="utf-8")
            made.append(target)
    except FileExistsError:
        raise Failure(ExitCode.REFUSED, f"{top} is there already; nothing was changed") from None
    except OSError as error:
        raise Failure(ExitCode.REFUSED, f"cannot write {top}: {error.strerror}") from None
    return made


def _filled(text: str, words: dict[str, str]) -> str:
    for word, value in words.items():
        text = text.replace(word, value)
    return text


_PYPROJECT = """\
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"

[project]
name = "@package@"
version = "0.1.0"
requires-python = ">=3.11"
dependencies = ["nebula-resource"]

[tool.pytest.ini_options]
pythonpath = ["."]
"""

_README = """\
# @package@

A driver for nebula-resource: connections to @name@.

    await manager.register(@Class@Resource("@name@"), {"host": "127.0.0.1", "port": 7000, "password": "..."})
    async with manager.acquire("@name@") as connection:
        await connection.ask(b"ping")

Start in `@package@/resource.py`: what it speaks is an example (a line out, a line back). `python -m pytest` runs its tests.
"""

_RESOURCE = '''\
"""@Class@Resource: connections to @name@, one for each instance of the pool."""

from __future__ import annotations

import asyncio
import time

from pydantic import Field

from nebula_resource import HealthCheckable, HealthStatus, Resource, ResourceConfig, ResourceContext, Secret

__all__ = ["@Class@Config", "@Class@Connection", "@Class@Resource"]


class @Class@Config(ResourceConfig):
    """Where @name@ is; ``password`` never shows in an error, a log or a repr."""

    host: str = "127.0.0.1"
    port: int = Field(ge=1, le=65535)
    password: Secret | None = None


class @Class@Connection:
    """One connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @property
    def is_closed(self) -> bool:
        """Whether the other side is gone, as far as is known without asking."""
        return self._reader.at_eof() or self._writer.is_closing()

    async def ask(self, question: bytes) -> bytes:
        """Send a line, return the line that comes back. Raises ConnectionError."""
        self._writer.write(question + b"\\n")
        await self._writer.drain()
        answer = await self._reader.readline()
        if not answer:
            raise ConnectionResetError("@name@ closed the connection")
        return answer.rstrip(b"\\n")

    async def close(self) -> None:
        """End it."""
        self._writer.close()
        await self._writer.wait_closed()


class @Class@Resource(Resource[@Class@Config, @Class@Connection, @Class@Connection], HealthCheckable):
    """The recipe: how a connection is made, checked and ended."""

    def __init__(self, id: str = "@name@") -> None:
        self.id = id

    async def create(self, config: @Class@Config, context: ResourceContext) -> @Class@Connection:
        """Connect."""
        return @Class@Connection(*await asyncio.open_connection(config.host, config.port))

    def is_broken(self, instance: @Class@Connection) -> bool:
        """Asked on every return: costs nothing."""
        return instance.is_closed

    def is_fault(self, error: BaseException) -> bool:
        """A lost connection speaks against the server, a caller's own error does not."""
        return isinstance(error, ConnectionError)

    async def is_valid(self, instance: @Class@Connection) -> bool:
        """Asked before one is lent that was not used for a while."""
        return await instance.ask(b"ping") == b"ping"

    async def cleanup(self, instance: @Class@Connection) -> None:
        """Disconnect."""
        await instance.close()

    async def health_check(self, instance: @Class@Connection, context: ResourceContext) -> HealthStatus:
        """Ask, and say how long it took."""
        started = time.perf_counter()
        await instance.ask(b"ping")
        return HealthStatus.healthy(latency_s=time.perf_counter() - started)
'''

_TEST = '''\
"""@Class@Resource against a real socket: connections are made, checked, replaced and ended."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from @package@ import @Class@Config, @Class@Resource
from nebula_resource import Manager, Pool, PoolConfig


class Echo:
    """A server that answers each line with itself."""

    def __init__(self) -> None:
        self.writers: set[asyncio.StreamWriter] = set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writers.add(writer)
        while line := await reader.readline():
            writer.write(line)
        self.writers.discard(writer)
        writer.close()


@asynccontextmanager
async def echo() -> AsyncIterator[tuple[Echo, int]]:
    """A server on a free port."""
    served = Echo()
    server = await asyncio.start_server(served.serve, "127.0.0.1", 0)
    try:
        yield served, server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for writer in list(served.writers):
            writer.close()


def test_a_connection_is_lent_and_ended() -> None:
    """From registration to shutdown, nothing is left."""

    async def run() -> None:
        async with echo() as (_, port):
            manager = Manager()
            await manager.register(@Class@Resource(), {"port": port}, required=True)
            async with manager.acquire("@name@") as connection:
                assert await connection.ask(b"hello") == b"hello"
            report = await manager.shutdown()
            assert (report.forced, report.failed, report.left) == (0, 0, 0)

    asyncio.run(run())


def test_a_lost_connection_is_replaced() -> None:
    """What the server closed is not lent again."""

    async def run() -> None:
        async with echo() as (served, port):
            pool = Pool(@Class@Resource(), @Class@Config(port=port), PoolConfig(validation_interval=0.0))
            await pool.open()
            for writer in list(served.writers):
                writer.close()
                await writer.wait_closed()
            async with pool.acquire() as connection:
                assert await connection.ask(b"again") == b"again"
            await pool.close()

    asyncio.run(run())


def test_the_password_shows_nowhere() -> None:
    """Not even in a repr."""
    assert "hush" not in repr(@Class@Config(port=7000, password="hush"))
'''

FILES = {
    "pyproject.toml": _PYPROJECT,
    "README.md": _README,
    "@package@/__init__.py": '"""A driver for @name@."""\n\n'
    "from @package@.resource import @Class@Config, @Class@Connection, @Class@Resource\n\n"
    '__all__ = ["@Class@Config", "@Class@Connection", "@Class@Resource"]\n',
    "@package@/resource.py": _RESOURCE,
    "tests/test_@name@.py": _TEST,
}
