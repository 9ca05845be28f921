"""Block: which levels one ``async with manager.scope(...)`` opens, and that it closes each of them."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

import pytest

from nebula_resource import (
    ConfigurationError,
    InvalidScope,
    Manager,
    NoOpenScope,
    PoolConfig,
    ResourceContext,
    Scope,
    ScopeLevel,
)
from nebula_resource.manager import OpenScope, current_scope
from nebula_resource.manager.action_scope import open_action
from nebula_resource.manager.scope_end import end_scopes
from tests.unit.manager.things import Leasing


def _chain(scope: OpenScope) -> list[str]:
    """The open scopes from the outermost to this one."""
    found = [str(scope.scope)]
    while scope.parent is not None:
        scope = scope.parent
        found.insert(0, str(scope.scope))
    return found


async def test_one_block_opens_every_level_it_names() -> None:
    """Outermost first, each inside the one before."""
    async with Manager() as manager:
        async with manager.scope(tenant="acme", workflow="w1", execution="e1") as scope:
            assert _chain(scope) == [
                "tenant:acme",
                "tenant:acme/workflow:w1",
                "tenant:acme/workflow:w1/execution:e1",
            ]
            assert manager.open_scopes[ScopeLevel.WORKFLOW] == 1
        assert not any(manager.open_scopes.values())


async def test_levels_that_are_open_are_not_opened_again() -> None:
    """A block inside another opens what is deeper; by keyword, by scope, or by context."""
    async with Manager() as manager:
        async with manager.scope(tenant="acme") as tenant:
            full = Scope.execution("e1", tenant="acme", workflow="w1")
            for block in (
                manager.scope(workflow="w1", execution="e1"),
                manager.scope(full),
                manager.scope(ResourceContext(full, metadata={"a": 1})),
            ):
                async with block as scope:
                    assert scope.scope == full
                    assert scope.parent is not None
                    assert scope.parent.parent is tenant
            assert scope.context.metadata == {"a": 1}


async def test_ids_beside_a_scope_are_refused() -> None:
    """They would be lost, and the block wider than what was asked for."""
    async with Manager() as manager:
        for value in (Scope.tenant("acme"), ResourceContext(Scope.tenant("acme"))):
            with pytest.raises(InvalidScope, match="by its ids"):
                manager.scope(value, user="u1")


async def test_the_context_goes_down() -> None:
    """What the outer block's context carries, the inner one carries, in its own scope."""
    async with Manager() as manager:
        context = ResourceContext(Scope.tenant("acme"), metadata={"trace": "t1"})
        async with manager.scope(context), manager.scope(execution="e1") as scope:
            assert scope.context == ResourceContext(
                Scope.execution("e1", tenant="acme"), metadata={"trace": "t1"}
            )


async def test_a_context_is_nested_too() -> None:
    """A context for a scope inside the open one gets what is around it; the rest of it stays."""
    async with Manager() as manager, manager.scope(tenant="acme"):
        context = ResourceContext(Scope.execution("e1"), metadata={"a": 1})
        async with manager.scope(context) as scope:
            assert scope.context == ResourceContext(Scope.execution("e1", tenant="acme"), metadata={"a": 1})


async def test_blocks_that_contradict_are_refused() -> None:
    """Another tenant, or a level above, cannot be opened inside."""
    async with Manager() as manager:
        async with manager.scope(tenant="acme", execution="e1"):
            with pytest.raises(InvalidScope):
                manager.scope(tenant="globex", execution="e1")
            with pytest.raises(InvalidScope):
                manager.scope(workflow="w1")


async def test_the_same_scope_again_is_a_block_of_its_own() -> None:
    """GLOBAL, or one that is open already, gets a block with its own leases."""
    async with Manager() as manager:
        async with manager.scope() as outer, manager.scope(Scope.GLOBAL) as inner:
            assert inner is not outer
            assert inner.scope is Scope.GLOBAL
        async with manager.scope(tenant="a") as outer, manager.scope(tenant="a") as inner:
            assert inner.parent is outer


async def test_another_managers_scope_is_no_outer_one() -> None:
    """Open scopes of one manager do not limit another."""
    async with Manager() as one, Manager() as two:
        async with one.scope(tenant="acme"), two.scope(tenant="globex") as scope:
            assert scope.parent is None


async def test_a_block_is_entered_once() -> None:
    """Entering one again is refused, and harms nothing."""
    async with Manager() as manager:
        block = manager.scope(tenant="acme")
        async with block as scope:
            with pytest.raises(ConfigurationError, match="entered before"):
                await block.__aenter__()
            assert current_scope() is scope
        assert current_scope() is None


async def test_outer_levels_are_the_blocks_own() -> None:
    """Made when they are asked for, they hold leases of their own, end after the inner ones, and give nothing then."""
    thing = Leasing("a")
    async with Manager() as manager:
        await manager.register(thing, {}, pool=PoolConfig(min_size=0, max_size=3))
        async with manager.scope(tenant="acme", workflow="w", execution="e") as scope:
            workflow = scope.at("workflow")
            tenant = scope.at("tenant")
            assert scope.parent is scope.opener is workflow
            assert workflow.parent is workflow.opener is tenant
            assert tenant.parent is None
            assert tenant.context == ResourceContext(Scope.tenant("acme"))
            await tenant.get("a")
            await scope.get("a")
        assert workflow.is_closed
        assert tenant.is_closed
        begun = [line for line in thing.log if line.startswith("begin")]
        assert begun == [f"begin {tenant.scope}", f"begin {scope.scope}"]
        assert thing.log.count("commit") == 2
        with pytest.raises(NoOpenScope):
            await tenant.get("a")


async def test_outer_levels_asked_for_too_late_are_closed() -> None:
    """A level that nobody asked for while the block was open gives nothing afterwards."""
    async with Manager() as manager:
        await manager.register(Leasing("a"), {})
        async with manager.scope(tenant="acme", execution="e") as scope:
            pass
        assert scope.parent is not None
        with pytest.raises(NoOpenScope):
            await scope.parent.get("a")


async def test_a_block_left_in_another_task_still_closes() -> None:
    """An async generator that is finished elsewhere leaves no scope open, and no scope behind here."""
    async with Manager() as manager:

        async def generator() -> AsyncGenerator[int]:
            async with manager.scope(execution="e"), _entered(manager):
                yield 1

        began = generator()
        await asyncio.create_task(_first(began))
        await asyncio.create_task(began.aclose())
        assert not any(manager.open_scopes.values())
        assert current_scope() is None


async def _first(numbers: AsyncGenerator[int]) -> int:
    return await anext(numbers)


@asynccontextmanager
async def _entered(manager: Manager) -> AsyncGenerator[None]:
    """The other ways to be in a scope and out of one, left in the same foreign task."""
    with manager.detached():
        yield


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
async def test_blocks_left_in_any_order_leave_no_scope_behind(order: Sequence[int]) -> None:
    """Whoever is entered in what was left before it does not come back there: the next in line is nobody's tenant."""
    async with Manager() as manager:
        blocks = []
        for value in (Scope.tenant("acme"), Scope.workflow("w"), Scope.execution("e")):
            blocks.append(manager.scope(value))
            await blocks[-1].__aenter__()
        for index in order:
            await blocks[index].__aexit__(None, None, None)
            here = current_scope()
            assert here is None or not here.is_closed
        assert current_scope() is None
        assert not any(manager.open_scopes.values())


async def test_a_detached_sibling_that_outlives_its_scope_does_not_come_back_to_it() -> None:
    """In one call chain: a worker that keeps one open while it goes on to the next tenant."""
    async with Manager() as manager:
        for outer in (Scope.tenant("acme"), Scope.execution("e", tenant="acme")):
            async with AsyncExitStack() as stack:
                async with manager.scope(outer) as scope:
                    await stack.enter_async_context(scope.detach())
                assert current_scope() is None
                async with manager.scope(tenant="globex"):
                    pass
            assert current_scope() is None


async def test_an_action_inside_a_custom_scope_alone() -> None:
    """With nothing around it above ACTION, an action stands by itself."""
    async with Manager() as manager:
        async with manager.scope(Scope.custom("region", "eu")):
            scope = open_action("work", lambda: "a1")
            assert str(scope.scope) == "action:a1"
            assert scope.parent is None
            await end_scopes([scope], None)


async def test_listeners_are_told_of_each_level() -> None:
    """TTL and usage hear of every scope that opens and closes, the last opened closing first."""
    seen: list[str] = []

    class Listener:
        def opened(self, scope: Scope) -> None:
            seen.append(f"+{scope}")

        def closed(self, scope: Scope) -> None:
            seen.append(f"-{scope}")

    async with Manager() as manager:
        manager.scope_listeners = (Listener(),)
        with pytest.raises(ValueError, match="body"):
            async with manager.scope(tenant="a", execution="e"):
                raise ValueError("body")
        assert seen == ["+tenant:a", "+tenant:a/execution:e", "-tenant:a/execution:e", "-tenant:a"]
