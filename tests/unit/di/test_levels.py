"""containers/: the example that users copy works as it says."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator

import pytest

from containers import DB, PAYMENTS, ApplicationContainer
from nebula_resource import Manager, PoolConfig, Scope
from nebula_resource.checks import validate
from nebula_resource.di import running
from nebula_resource.workflow import WorkflowExecutor
from tests.unit.manager.things import Leasing, Thing


@pytest.fixture
async def container() -> AsyncGenerator[ApplicationContainer]:
    """An application whose database belongs to one tenant."""

    async def register(manager: Manager) -> None:
        pool = PoolConfig(min_size=0, max_size=5)
        await manager.register(Leasing(DB), {}, pool=pool, scope=Scope.tenant("acme"))
        await manager.register(Thing(PAYMENTS), {}, pool=pool)

    async with running(ApplicationContainer(settings={"any": "object"}, setup=register)) as started:
        yield started


async def test_every_level_has_its_content(container: ApplicationContainer) -> None:
    """One of each per open scope of its level, shared below it."""
    manager = container.manager()
    async with manager.scope(tenant="acme", workflow="w", execution="e") as execution:
        held = await container.execution.db.async_()
        assert held is await execution.get(DB)
        limit, jitter = container.tenant.side_by_side(), container.workflow.jitter()
        container.execution.notes().append("seen")
        async with manager.scope(action="a"):
            assert await container.action.db.async_() is await container.db.async_()
            assert await container.db.async_() is not held
            assert await container.execution.db.async_() is held
            assert container.tenant.side_by_side() is limit
            assert container.workflow.jitter() is jitter
            assert container.execution.notes() == ["seen"]
        assert isinstance(limit, asyncio.Semaphore)
        assert isinstance(jitter, random.Random)
    async with manager.scope(tenant="acme", workflow="w", execution="e"):
        assert container.tenant.side_by_side() is not limit
        assert container.execution.notes() == []


async def test_it_has_no_mistakes(container: ApplicationContainer) -> None:
    """The container validates, and gives what the application was given."""
    validate(container=container)
    assert container.settings() == {"any": "object"}
    assert isinstance(container.workflows(), WorkflowExecutor)
    assert container.workflows() is container.workflows()
