"""Two managers in one process: what one of them opened says nothing to the other."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Coroutine
from contextlib import AsyncExitStack
from typing import Any

import pytest

from nebula_resource import (
    InvalidScope,
    Manager,
    PoolConfig,
    ResourceContext,
    ResourceNotFound,
    Scope,
    current_scope,
)
from nebula_resource.manager import ExecutionBlock, OpenScope, Within
from nebula_resource.manager.action_scope import open_action
from nebula_resource.manager.current import enter, restore
from nebula_resource.manager.scope_part import ScopePart
from nebula_resource.workflow import Resources, Step, WorkflowDefinition, WorkflowExecutor
from tests.unit.manager.things import Leasing, Thing, assert_manager_sound

ACME, GLOBEX = Scope.tenant("acme"), Scope.tenant("globex")


@pytest.fixture
async def mine() -> AsyncGenerator[Manager]:
    """Has something for everybody, something for acme, and something that looks at its caller."""
    async with Manager() as manager:
        await manager.register(Thing("all"), {}, pool=PoolConfig(min_size=1))
        await manager.register(Thing("acme"), {}, pool=PoolConfig(min_size=1), scope=ACME)
        await manager.register(Leasing("told"), {}, pool=PoolConfig(min_size=1))
        yield manager
        assert_manager_sound(manager)


@pytest.fixture
async def other() -> AsyncGenerator[Manager]:
    """Somebody else's."""
    async with Manager() as manager:
        yield manager


async def tenant_of(manager: Manager) -> str | None:
    """Who the caller of an acquire is, for a lease."""
    told = manager.registry.resolve("told").resource
    assert isinstance(told, Leasing)
    async with manager.acquire("told"):
        return Scope.parse(told.log[-1].removeprefix("begin ")).tenant_id


async def test_another_manager_s_tenant_is_nobody_here(mine: Manager, other: Manager) -> None:
    """The naive way takes it for its own tenant of that name, and hands out what is that tenant's."""
    async with other.scope(ACME):
        for _ in range(2):  # the second on the quick way
            async with mine.acquire("all") as thing:
                assert thing.open
            with pytest.raises(ResourceNotFound):
                async with mine.acquire("acme"):
                    pass
        with pytest.raises(ResourceNotFound):
            await mine.acquire("acme")
        with pytest.raises(ResourceNotFound):
            await mine.acquire("acme", timeout=1.0)
        async with mine.scope(execution="e1") as scope:
            assert scope.scope == Scope.execution("e1")
    assert current_scope() is None


async def test_a_lease_is_told_of_no_foreign_tenant(mine: Manager, other: Manager) -> None:
    """A session would set that tenant's search path."""
    async with other.scope(ACME):
        assert await tenant_of(mine) is None
    async with mine.scope(ACME):
        assert await tenant_of(mine) == "acme"


def _block(other: Manager, stack: AsyncExitStack) -> Any:
    return other.scope(tenant="globex", execution="e1")


def _border(other: Manager, stack: AsyncExitStack) -> Any:
    return ExecutionBlock(other, Within(GLOBEX))


def _part(other: Manager, stack: AsyncExitStack) -> Any:
    return ScopePart(other, GLOBEX, None)


@pytest.mark.parametrize("opens", [_block, _border, _part])
async def test_what_is_its_own_beneath_still_counts(mine: Manager, other: Manager, opens: Any) -> None:
    """Inside its own scope nobody gets out of it by going through another manager's."""
    async with mine.scope(ACME), AsyncExitStack() as stack:
        await stack.enter_async_context(opens(other, stack))
        action = open_action("a", lambda: "a1")
        token = enter(action)
        try:
            async with mine.acquire("acme") as thing:
                assert thing.open
            assert await tenant_of(mine) == "acme"
            with pytest.raises(ResourceNotFound):
                await mine.acquire("all", ResourceContext(GLOBEX))
            with pytest.raises(InvalidScope):
                mine.scope(GLOBEX)
            async with mine.scope(execution="e2") as scope:
                assert scope.scope == Scope.execution("e2", tenant="acme")
        finally:
            restore(token)
            assert action.close_now()
            other.scope_closed(action.scope)


@pytest.mark.parametrize("how", ["a level", "from before", "again", "through another"])
async def test_a_visit_to_another_s_scope_does_not_leave_its_own(
    mine: Manager, other: Manager, how: str
) -> None:
    """``run`` in a scope of the other, wherever that was opened: the naive way forgets what lay beneath."""

    async def ask(*on: OpenScope) -> str | None:
        if on:
            return await on[0].run(ask(*on[1:]))
        with pytest.raises(ResourceNotFound):
            await mine.acquire("all", ResourceContext(GLOBEX))
        async with other.scope(action="a1"):
            return await tenant_of(mine)

    async with AsyncExitStack() as stack:
        before = await stack.enter_async_context(other.scope(GLOBEX))
        deeper = await stack.enter_async_context(other.scope(workflow="w1"))
        async with mine.scope(ACME), other.scope(execution="e1", action="a0") as inside:
            visited = {
                "a level": [inside.at("execution")],
                "from before": [before],
                "again": [before, inside, before],
                "through another": [deeper, before],
            }[how]
            with other.detached():
                assert await before.run(tenant_of(mine)) is None
            assert await ask(*visited) == "acme"
            assert current_scope() is inside
        assert await tenant_of(mine) is None
        assert await before.run(tenant_of(mine)) is None


async def test_a_visit_that_is_left_from_another_task_is_over(mine: Manager) -> None:
    """That context is gone."""
    async with mine.scope(ACME) as scope:
        visiting = scope.run(asyncio.Event().wait())
        await asyncio.create_task(_begin(visiting))
        visiting.close()
        assert current_scope() is scope


async def _begin(work: Coroutine[Any, Any, Any]) -> None:
    work.send(None)


async def test_a_part_that_was_never_entered_stands_in_its_scope(other: Manager) -> None:
    """What lies beneath it is what it is a part of; with nothing around it, nothing."""
    async with other.scope(ACME) as scope:
        assert ScopePart(other, ACME, scope).beneath is scope
    assert ScopePart(other, ACME, None).beneath is None


async def test_a_workflow_is_of_no_foreign_tenant(mine: Manager, other: Manager) -> None:
    """It may say whose it is itself, as outside of every scope; its own scope beneath says so where there is one."""
    seen: list[str | None] = []

    async def step() -> None:
        scope = current_scope()
        assert scope is not None
        seen.append(scope.scope.tenant_id)

    definition = WorkflowDefinition("w", [Step(step)])
    async with WorkflowExecutor(mine) as executor:
        async with other.scope(GLOBEX):
            await executor.run(definition)
            await executor.run(definition, tenant="acme")
        async with mine.scope(ACME), other.scope(GLOBEX):
            await executor.run(definition)
            with pytest.raises(InvalidScope):
                await executor.run(definition, tenant="globex")
    assert seen == [None, "acme", "acme"]


async def test_an_execution_s_resources_are_asked_for_through_another_s_scope(
    mine: Manager, other: Manager
) -> None:
    """The bridge knows its own execution again; the other's scope is as if it were not there."""
    resources = Resources(mine, workflow="w", execution="e1", tenant="acme")
    async with resources.open():
        async with other.scope(GLOBEX):
            inside = await resources.acquire("acme")
        assert inside is await resources.acquire("acme")
