"""Held leases: one transaction of an enclosing scope, for one chain of calls at a time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from itertools import count
from typing import Any

import pytest

from nebula_resource import Manager, NoOpenScope, PoolConfig, ScopeLevel, current_scope
from nebula_resource.manager import OpenScope
from nebula_resource.manager.action_scope import open_action, prepare_action
from nebula_resource.manager.current import enter, leave
from nebula_resource.manager.scope_end import end_scopes
from tests.unit.manager.things import Leasing, Thing, assert_manager_sound

_numbers = count(1)


@asynccontextmanager
async def _manager(pool_size: int = 10) -> AsyncGenerator[tuple[Manager, Thing]]:
    thing = Leasing("db")
    async with Manager() as manager:
        await manager.register(thing, {}, pool=PoolConfig(min_size=0, max_size=pool_size))
        yield manager, thing
        assert_manager_sound(manager)
        assert not any(manager.open_scopes.values())


@asynccontextmanager
async def _action() -> AsyncGenerator[OpenScope]:
    """What ``@action`` does around a call."""
    scope = open_action("test", lambda: f"a{next(_numbers)}")
    token = enter(scope)
    try:
        yield scope
    except BaseException as error:
        leave(scope, token)
        await end_scopes([scope], error)
        raise
    leave(scope, token)
    await end_scopes([scope], None)


async def _held(level: ScopeLevel = ScopeLevel.EXECUTION) -> Any:
    scope = current_scope()
    assert scope is not None
    return await scope.held("db", level)


async def test_actions_one_after_another_share_the_held_lease() -> None:
    """It is one transaction over all steps of the execution, and the one that the execution itself gets."""
    async with _manager() as (manager, thing):
        async with manager.scope(workflow="w", execution="e1") as execution:
            async with _action():
                first = await _held()
            async with _action():
                assert await _held() is first
            assert await execution.get("db") is first
            assert await _held() is first
            assert_manager_sound(manager, out=1)
        assert [line for line in thing.log if line != "cleanup"][1:] == ["commit"]


async def test_actions_open_together_never_share() -> None:
    """The first that asks uses the held lease; each other gets its own, which ends with it."""
    async with _manager() as (manager, thing):
        async with manager.scope(execution="e1") as execution:
            together = asyncio.Barrier(3)

            async def one() -> Any:
                async with _action():
                    value = await _held()
                    assert await _held() is value
                    await together.wait()
                    return value

            values = await asyncio.gather(one(), one(), one())
            assert len({id(value) for value in values}) == 3
            assert await execution.get("db") is values[0]
            assert_manager_sound(manager, out=1)
            async with _action():
                assert await _held() is values[0]
        assert thing.log.count("commit") == 3


async def test_a_nested_action_shares_its_callers_lease() -> None:
    """What the caller holds serves what it calls, held by the execution or its own."""
    async with _manager() as (manager, _):
        async with manager.scope(execution="e1"):
            together = asyncio.Barrier(2)

            async def outer() -> Any:
                async with _action():
                    mine = await _held()
                    await together.wait()
                    async with _action() as inner:
                        assert inner.parent is not None
                        assert inner.parent.level is ScopeLevel.EXECUTION
                        assert await _held() is mine
                        async with _action():
                            assert await _held() is mine
                    return mine

            first, second = await asyncio.gather(outer(), outer())
            assert first is not second


async def test_actions_nested_together_never_share_either() -> None:
    """Two that one action calls at once are separate chains."""
    async with _manager() as (manager, _):
        async with manager.scope(execution="e1"), _action():
            mine = await _held()
            together = asyncio.Barrier(2)

            async def inner() -> Any:
                async with _action():
                    value = await _held()
                    await together.wait()
                    return value

            first, second = await asyncio.gather(inner(), inner())
            assert first is mine
            assert second is not mine


async def test_one_that_got_its_own_keeps_it() -> None:
    """A chain does not change its transaction in the middle because another chain ended."""
    async with _manager() as (manager, _):
        async with manager.scope(execution="e1"):
            ready, go = asyncio.Event(), asyncio.Event()

            async def late() -> None:
                async with _action():
                    await ready.wait()
                    mine = await _held()
                    go.set()
                    await asyncio.sleep(5)
                    assert await _held() is mine

            async def early() -> None:
                async with _action():
                    await _held()
                    ready.set()
                    await go.wait()

            await asyncio.gather(late(), early())


async def test_executions_open_together_do_not_share_the_workflows_lease() -> None:
    """The rule holds at every level."""
    async with _manager() as (manager, _):
        async with manager.scope(workflow="w"):
            together = asyncio.Barrier(2)

            async def execution(name: str) -> Any:
                async with manager.scope(execution=name), _action():
                    value = await _held(ScopeLevel.WORKFLOW)
                    await together.wait()
                    return value

            first, second = await asyncio.gather(execution("e1"), execution("e2"))
            assert first is not second


async def test_a_lease_of_its_own_is_not_the_actions_plain_lease() -> None:
    """An action that asks for both gets two transactions, whoever else is running."""
    async with _manager() as (manager, _):
        async with manager.scope(execution="e1"):
            together = asyncio.Barrier(2)

            async def one() -> None:
                async with _action() as scope:
                    held, plain = await _held(), await scope.get("db")
                    assert held is not plain
                    await together.wait()

            await asyncio.gather(one(), one())


async def test_a_background_sibling_is_a_chain_of_its_own() -> None:
    """Work in ``scope.detach()`` does not take part in the transaction of the action that started it."""
    async with _manager() as (manager, _):
        async with manager.scope(execution="e1"), _action() as action:
            mine = await _held()
            async with action.detach():
                assert await _held() is not mine


async def test_a_level_that_is_not_open_is_told() -> None:
    """``hold=`` a level that nothing around has open says how to open it."""
    async with _manager() as (manager, _):
        async with manager.scope(execution="e1"):
            with pytest.raises(NoOpenScope, match="WORKFLOW"):
                await _held(ScopeLevel.WORKFLOW)


async def test_an_action_is_opened_beside_the_one_that_calls_it() -> None:
    """Under the nearest EXECUTION, whatever custom scopes are between; its id is prepared, or its own."""
    async with _manager() as (manager, _):
        with pytest.raises(NoOpenScope, match=r"charge\(\) is an action and no scope is open"):
            open_action("charge", lambda: "x")
        async with manager.scope(tenant="acme", execution="e1") as execution:
            prepare_action("prepared")
            async with _action() as outer:
                assert str(outer.scope) == "tenant:acme/execution:e1/action:prepared"
                assert outer.parent is outer.opener is execution
                async with _action() as inner:
                    assert inner.scope.action_id != "prepared"
                    assert inner.parent is execution
                    assert inner.opener is outer


async def test_sixty_chains_in_a_small_pool_all_end() -> None:
    """Chains that get their own wait for the pool as everybody does, and nothing is left over."""
    async with _manager(pool_size=3) as (manager, thing):
        async with manager.scope(execution="e1"):

            async def one(index: int) -> None:
                async with _action():
                    await _held()
                    await asyncio.sleep(index % 2)

            await asyncio.gather(*(one(index) for index in range(60)))
        begun = [line for line in thing.log if line.startswith("begin")]
        assert len(begun) == thing.log.count("commit") > 1
