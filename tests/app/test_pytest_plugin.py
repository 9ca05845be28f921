"""The pytest plugin: a user's test session, with the fixtures in it, run as a user runs it."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.architecture.tree import ROOT

LOOP = ("-o", "asyncio_default_fixture_loop_scope=function")

CONFTEST = """
import pytest
from nebula_resource.testing import MockResource, Outcome

@pytest.fixture(scope="session")
def db():
    return MockResource("db", lease_entry=Outcome.OK)
"""

GOOD = '''
"""A user's tests."""
import pytest
from dependency_injector.wiring import Provide

from nebula_resource import Scope, current_scope
from nebula_resource.di import Leased, ManagerProvider, ResourceContainer, action, wired
from nebula_resource.testing import MockResource


class App(ResourceContainer):
    manager = ManagerProvider()
    db = Leased("db")


@action
async def charge(db=Provide["db"]):
    return db


async def test_the_scope_is_open_around_the_test(nebula_scope):
    assert current_scope() is nebula_scope
    assert str(nebula_scope.scope) == "tenant:test-tenant/workflow:test-workflow/execution:test-execution"


@pytest.mark.nebula_scope(tenant="acme", user="u7")
async def test_a_mark_says_whose(nebula_scope):
    assert nebula_scope.scope == Scope.user("u7", tenant="acme")


async def test_a_fake_is_what_an_action_gets(nebula_scope, override_resource):
    fake = object()
    await override_resource("db", fake)
    with wired(App(), __name__):
        assert await charge() is fake
    assert await nebula_scope.get("db") is fake


async def test_an_override_is_put_back(nebula_manager):
    from nebula_resource.testing import overriding

    await nebula_manager.register(MockResource("db"))
    first = await real(nebula_manager)
    async with overriding(nebula_manager) as override:
        await override("db", "a fake")
        await override("db", "another")
        await override("cache", MockResource("cache"))
        async with nebula_manager.acquire("db") as db:
            assert db == "another"
        with pytest.raises(ValueError, match="cannot stand for 'db'"):
            await override("db", MockResource("cache"))
    assert type(await real(nebula_manager)) is type(first)
    assert [registration.public_id for registration in nebula_manager.pools()] == ["db"]


async def real(manager):
    async with manager.acquire("db") as db:
        return db
'''

BAD = """
import pytest


async def test_forgets_a_handle(nebula_manager, db):
    await nebula_manager.register(db)
    pytest.kept = await nebula_manager.acquire("db")


async def test_fails(nebula_manager, db, nebula_scope):
    await nebula_manager.register(db)
    await nebula_scope.get("db")
    assert not "the test's own mistake"


async def test_that_is_the_outcome(db):
    assert "AssertionError" in [type(outcome).__name__ for outcome in db.outcomes][-1]
"""


def session(folder: Path, tests: str, *more: str) -> str:
    """Run a user's tests with the plugin, as its entry point does; what pytest said."""
    (folder / "conftest.py").write_text(CONFTEST)
    (folder / "test_theirs.py").write_text(tests)
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "nebula_resource.testing.plugin",
        *more,
        str(folder),
    ]
    done = subprocess.run(
        [*command, f"--rootdir={folder}", "-p", "no:cacheprovider", "--strict-markers", *LOOP],
        env={"PYTHONPATH": str(ROOT)}, cwd=folder, capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip  # one command
    return done.stdout + done.stderr


@pytest.mark.parametrize("mode", ["auto", "strict"])
def test_a_users_tests_run_with_the_fixtures(tmp_path: Path, mode: str) -> None:
    """In both modes of pytest-asyncio; the markers are known."""
    tests = GOOD if mode == "auto" else f"{GOOD}\n\npytestmark = pytest.mark.asyncio\n"
    said = session(tmp_path, tests, "-W", "error", "-o", f"asyncio_mode={mode}")
    assert "4 passed" in said, said
    assert float(re.findall(r"passed in ([0-9.]+)s", said)[0]) < 20, "an override waited for the scope to end"


def test_a_users_mistakes_are_told(tmp_path: Path) -> None:
    """A forgotten handle fails its test; a test that fails is the outcome of its leases."""
    said = session(tmp_path, BAD, "-o", "asyncio_mode=auto")
    assert "1 in use" in said, said
    assert "2 passed, 1 failed, 1 error" in said or "1 failed, 2 passed, 1 error" in said, said


def test_it_is_installed_with_the_package() -> None:
    """pytest finds it by its entry point: a user writes no ``pytest_plugins``."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["entry-points"]["pytest11"] == {"nebula_resource": "nebula_resource.testing.plugin"}
