"""What a declared driver needs is loaded when the file is read, before the loop runs: not by the first create."""

import subprocess
import sys

import pytest

from tests.architecture.tree import ROOT

CREATE = """
import asyncio, sys
from nebula_resource import Manager, ResourceError
from nebula_resource.service.driver_table import find_driver

async def first(driver, config):
    async with Manager() as manager:
        await manager.register(driver.make("db", None), config, pool={"min_size": 0})
        known = set(sys.modules)
        try:
            async with manager.acquire("db"):
                pass
        except ResourceError:
            pass  # nobody listens there
        return set(sys.modules) - known

driver = find_driver(sys.argv[1])
loaded = asyncio.run(first(driver, {"url": sys.argv[2]}))
print(*sorted(each for each in loaded if each.startswith(("sqlalchemy", "asyncpg", "aiosqlite", "nebula_resource"))))
"""


@pytest.mark.parametrize(
    ("driver", "url"),
    [("postgres", "postgresql://u@127.0.0.1:1/none"), ("sqlite", "sqlite://")],
    ids=["postgres", "sqlite"],
)
def test_the_first_create_loads_no_driver(driver: str, url: str) -> None:
    """A quarter of a second of imports on the loop was a warning (loop.blocked) at each start."""
    done = subprocess.run(
        [sys.executable, "-c", CREATE, driver, url],
        cwd=ROOT, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip  # one call
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == []
