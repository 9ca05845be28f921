"""ActionContext and Resources: how an action of any engine gets its resources."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from nebula_resource import (
    AcquireCancelled,
    AmbiguousScope,
    CancellationToken,
    ConfigurationError,
    InvalidScope,
    Manager,
    NoOpenScope,
    PoolConfig,
    ResourceNotFound,
    Scope,
    current_scope,
)
from nebula_resource.workflow import ActionContext, ResourceProvider, Resources
from tests.unit.manager.things import Leasing, Thing, assert_manager_sound

FEW = PoolConfig(min_size=0, max_size=2)


class Fakes:
    """A provider of a test."""

    async def acquire(self, key: str, /) -> Any:
        return f"fake {key}"

    def exists(self, key: str, /) -> bool:
        return True


async def test_a_context_gets_resources_from_whom_it_is_given() -> None:
    """``with_resources`` gives a copy that uses a provider; without one it says what to do."""
    context = ActionContext(workflow_id="w", execution_id="e", action_id="a")
    with pytest.raises(ConfigurationError, match="with_resources"):
        await context.resource("db")
    fake = context.with_resources(Fakes())
    assert await fake.resource("db") == "fake db"
    assert context.resources is None
    assert fake == context
    assert isinstance(Fakes(), ResourceProvider)
    assert fake.attempt == 1


async def test_resources_lease_in_the_innermost_scope_of_their_execution() -> None:
    """One value per action, given back when it ends with the outcome; another per execution."""
    thing = Leasing("db")
    async with Manager() as manager:
        await manager.register(thing, {}, pool=FEW, scope=Scope.tenant("acme"))
        resources = Resources(manager, workflow="w", execution="e1", tenant="acme")
        assert isinstance(resources, ResourceProvider)
        assert resources.exists("db")
        assert not resources.exists("other")
        assert not Resources(manager, workflow="w", execution="e1", tenant="globex").exists("db")
        async with resources.open() as execution:
            assert execution.scope == resources.scope == Scope.execution("e1", workflow="w", tenant="acme")
            held = await resources.acquire("db")
            async with resources.action("a1") as action:
                mine = await resources.acquire("db")
                assert mine is await resources.acquire("db") is not held
                assert action.scope.action_id == "a1"
            assert thing.log.count("commit") == 1
        assert thing.log.count("commit") == 2
        assert_manager_sound(manager)


async def test_resources_are_not_had_outside_their_execution() -> None:
    """Nor inside another's: what to wrap is told."""
    async with Manager() as manager:
        await manager.register(Thing("db"), {}, pool=FEW)
        resources = Resources(manager, workflow="w", execution="e1", tenant="acme")
        with pytest.raises(NoOpenScope, match=r"resources\.open\(\)"):
            await resources.acquire("db")
        async with manager.scope(tenant="acme", workflow="w", execution="e2"):
            with pytest.raises(NoOpenScope):
                await resources.acquire("db")
            async with resources.open():
                assert await resources.acquire("db")
            here = current_scope()
            assert here is not None
            assert here.scope.execution_id == "e2"


async def test_an_unknown_key_and_bad_ids() -> None:
    """Errors are those of acquiring and of scopes."""
    async with Manager() as manager:
        with pytest.raises(InvalidScope):
            Resources(manager, workflow="w", execution="")
        resources = Resources(manager, workflow="w", execution="e1")
        async with resources.open():
            with pytest.raises(ResourceNotFound):
                await resources.acquire("db")


async def test_what_two_could_serve_is_not_there() -> None:
    """Two registrations at one depth are refused when they are asked for, so neither is announced."""
    async with Manager() as manager:
        for scope in (Scope.user("u1", tenant="acme"), Scope.workflow("w", tenant="acme")):
            await manager.register(Thing("db"), {}, scope=scope)
        resources = Resources(manager, workflow="w", execution="e1", tenant="acme", user="u1")
        assert resources.exists("db")  # WORKFLOW is the deeper
    async with Manager() as manager:
        for scope in (Scope.workflow("w", tenant="acme"), Scope.workflow("w", user="u1")):
            await manager.register(Thing("db"), {}, scope=scope, cross_tenant=True)
        resources = Resources(manager, workflow="w", execution="e1", tenant="acme", user="u1")
        assert not resources.exists("db")
        async with resources.open():
            with pytest.raises(AmbiguousScope):
                await resources.acquire("db")


async def test_waiting_ends_when_the_execution_is_cancelled() -> None:
    """The token of the bridge goes with every acquire."""
    token = CancellationToken()
    async with Manager() as manager:
        await manager.register(Thing("db"), {}, pool=PoolConfig(min_size=0, max_size=1))
        resources = Resources(manager, workflow="w", execution="e1", cancellation=token)
        async with manager.acquire("db"), resources.open():
            asyncio.get_running_loop().call_later(3, token.cancel)
            with pytest.raises(AcquireCancelled):
                await resources.acquire("db")
        assert resources.cancellation is token
