"""Plugin: pytest's fixtures ``nebula_manager``, ``nebula_scope`` and ``override_resource``; installed with the package.

They need pytest-asyncio (or anyio's plugin), as async tests do.
"""

from __future__ import annotations

import importlib.util
from collections.abc import AsyncGenerator, Generator
from typing import Any, TypeVar

import pytest

from nebula_resource.manager import Manager, OpenScope
from nebula_resource.model.policy import OFF
from nebula_resource.testing.asserts import assert_no_leaks
from nebula_resource.testing.override import Overrides, overriding

__all__ = ["nebula_manager", "nebula_scope", "override_resource", "pytest_configure", "pytest_runtest_call"]

if importlib.util.find_spec("pytest_asyncio") is None:
    _make: Any = pytest.fixture  # anyio's plugin serves async fixtures of this kind
else:
    import pytest_asyncio

    _make = pytest_asyncio.fixture  # in its strict mode it serves no other kind

F = TypeVar("F")


def _fixture(fn: F) -> F:
    """A fixture for either; for type checkers it stays the function."""
    made: F = _make(fn)
    return made


IDS: dict[str, Any] = {"tenant": "test-tenant", "workflow": "test-workflow", "execution": "test-execution"}
"""The ids of `nebula_scope`, unless the test is marked."""


def pytest_configure(config: pytest.Config) -> None:
    """Tell pytest the marker."""
    config.addinivalue_line(
        "markers",
        "nebula_scope(tenant=, user=, workflow=, execution=, action=): ids of the scope that `nebula_scope` opens",
    )


@_fixture
async def nebula_manager() -> AsyncGenerator[Manager]:
    """A manager for one test, with health checks and quarantine off; when it ends, nothing may be out or leaked.

    Define a fixture of this name in your ``conftest.py`` to have the other two use your application's manager.
    """
    manager = Manager(health=OFF, quarantine=OFF)
    try:
        yield manager
        assert_no_leaks(*(registration.pool for registration in manager.pools()))
    finally:
        await manager.shutdown(drain=0.0)


@_fixture
async def override_resource(nebula_manager: Manager) -> AsyncGenerator[Overrides]:
    """``await override_resource("db", fake)``: until the test ends, everybody who asks the manager for it gets the fake."""
    async with overriding(nebula_manager) as overrides:
        yield overrides


@_fixture
async def nebula_scope(
    request: pytest.FixtureRequest, nebula_manager: Manager, override_resource: Overrides
) -> AsyncGenerator[OpenScope]:
    """An open scope around the test: ``await nebula_scope.get("db")``, ``@action`` functions and ``Provide`` work in it.

    Of TENANT ``test-tenant``, WORKFLOW ``test-workflow`` and EXECUTION ``test-execution``, or of what the mark
    ``nebula_scope(tenant="acme", …)`` says. When the test fails, its leases are rolled back.
    """
    # It asks for the overrides, so that it ends before they do: what it leased of a fake is back when that goes.
    mark = request.node.get_closest_marker("nebula_scope")
    ids: dict[str, Any] = IDS if mark is None else mark.kwargs
    async with nebula_manager.scope(**ids) as scope:
        yield scope


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    """A test that fails is the outcome of what its scope still holds."""
    try:
        return (yield)
    except BaseException as error:
        scope = getattr(item, "funcargs", {}).get("nebula_scope")
        if scope is not None:
            scope.outcome = error
        raise
