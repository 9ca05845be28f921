"""Every wait of a caller is one in which its coroutine may be closed: nothing is lost, and nothing resists.

A close (GeneratorExit) is no cancellation: the future that was waited for stays as it was, and nothing may be awaited any
more. Each flow is driven by hand to each of its waits in turn, and closed there.
"""

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress
from types import TracebackType
from typing import Any

import pytest

from nebula_resource import OFF, Manager, PoolConfig, Resource, ResourceContext, current_scope
from nebula_resource.di import action
from nebula_resource.hooks import HookEvent, ResourceHook
from nebula_resource.hooks.payload import HookPayload, HookResult
from tests.unit.manager.things import assert_manager_sound

STEP = 0.01
LONGER = 10.0
"""Virtual seconds in which whatever goes on by itself has ended."""

Flow = Callable[[Manager], Coroutine[Any, Any, None]]


class Slow(Resource[None, object, object]):
    """Every step takes its time."""

    id = "slow"

    async def create(self, config: None, context: ResourceContext) -> object:
        await asyncio.sleep(STEP)
        return object()

    async def is_valid(self, instance: object) -> bool:
        await asyncio.sleep(STEP)
        return True

    async def recycle(self, instance: object) -> None:
        await asyncio.sleep(STEP)

    async def cleanup(self, instance: object) -> None:
        await asyncio.sleep(STEP)


class SlowLease:
    """Takes its time at both ends."""

    def __init__(self, instance: object) -> None:
        self.instance = instance

    async def __aenter__(self) -> object:
        await asyncio.sleep(STEP)
        return self.instance

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await asyncio.sleep(STEP)


class SlowlyLeased(Slow):
    """The same, with a lease."""

    def lease(self, instance: object, context: ResourceContext) -> Any:
        return SlowLease(instance)


class SlowHook(ResourceHook):
    """Stands around everything, and takes its time."""

    name = "slow"
    events = frozenset(HookEvent)

    async def before(self, event: HookPayload) -> None:
        await asyncio.sleep(STEP)

    async def after(self, event: HookPayload, result: HookResult) -> None:
        await asyncio.sleep(STEP)


async def block(manager: Manager) -> None:
    """The common way."""
    async with manager.acquire("slow"):
        await asyncio.sleep(STEP)


async def failing_block(manager: Manager) -> None:
    """The same, and its body fails."""
    with suppress(ValueError):
        async with manager.acquire("slow", timeout=5.0):
            await asyncio.sleep(STEP)
            raise ValueError("of the body")


async def over_a_handle(manager: Manager) -> None:
    """A block over a handle."""
    async with await manager.acquire("slow"):
        await asyncio.sleep(STEP)


async def keeping_scope(manager: Manager) -> None:
    """A scope with everything that a scope can hold."""
    async with manager.scope(tenant="acme") as scope:
        scope.finalizers.append(lambda error: asyncio.sleep(STEP))
        await scope.keep("kept", SlowLease("kept"))
        await scope.get("slow")
        await asyncio.sleep(STEP)


async def failing_scopes(manager: Manager) -> None:
    """A scope in a scope, and the inner body fails."""
    with suppress(ValueError):
        async with manager.scope(tenant="acme") as around:
            await around.get("slow")
            async with manager.scope(execution="e1") as scope:
                await scope.get("slow")
                await asyncio.sleep(STEP)
                raise ValueError("of the body")


@action
async def act() -> None:
    """A lease of its own, and the execution's."""
    scope = current_scope()
    assert scope is not None
    await scope.get("slow")
    await scope.held("slow", scope.scope.level.EXECUTION)
    await asyncio.sleep(STEP)


async def actions(manager: Manager) -> None:
    """Two of them, one after the other."""
    async with manager.scope(execution="e1"):
        await act()
        await act()


async def run_in_scope(manager: Manager) -> None:
    """A coroutine that a scope runs."""
    async with manager.scope(tenant="acme") as scope:
        await scope.run(block(manager))


FLOWS: list[Flow] = [
    block,
    failing_block,
    over_a_handle,
    keeping_scope,
    failing_scopes,
    actions,
    run_in_scope,
]


async def closed_at(work: Coroutine[Any, Any, None], wait: int) -> bool:
    """Drive a coroutine by hand to this wait, and close it there; False: it has fewer."""
    for number in range(wait + 1):
        try:
            waits_for = work.send(None)
        except StopIteration:
            return False
        if waits_for is None:  # a bare turn of the loop
            await asyncio.sleep(0)
        else:
            waits_for._asyncio_future_blocking = False  # what a task does when it takes the future
            if number < wait and not waits_for.done():
                await asyncio.wait((waits_for,))
    work.close()
    return True


async def play(flow: Flow, resource: Slow, wait: int, *, hooked: bool, busy: bool) -> bool:
    """One scene; False: the flow has fewer waits than that."""
    async with Manager(health=OFF) as manager:
        await manager.register(resource, pool=PoolConfig(min_size=0, max_size=3))
        if hooked:
            manager.hooks.add(SlowHook())
        async with asyncio.TaskGroup() as others:
            if busy:  # one instance is out, and comes back in the middle of it
                others.create_task(block(manager))
                await asyncio.sleep(2.5 * STEP)
            was_closed = await closed_at(flow(manager), wait)
        await asyncio.sleep(LONGER)
        assert_manager_sound(manager)
        assert not any(manager.scope_counts)
        stats = manager.stats()["slow"]
        assert (stats.waiting, stats.creating, stats.leaks) == (0, 0, 0)
        assert stats.idle == stats.size == stats.created
        return was_closed


@pytest.mark.parametrize("busy", [False, True])
@pytest.mark.parametrize("hooked", [False, True])
@pytest.mark.parametrize("kind", [Slow, SlowlyLeased])
@pytest.mark.parametrize("flow", FLOWS)
async def test_a_coroutine_closed_in_any_of_its_waits_leaves_nothing(
    flow: Flow, kind: type[Slow], hooked: bool, busy: bool
) -> None:
    """No instance is out, no scope is open, nobody stands in line, and what was made is on the shelf."""
    waits = 0
    while await play(flow, kind(), waits, hooked=hooked, busy=busy):
        waits += 1
    assert waits >= 2
