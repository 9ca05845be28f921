"""Benchmark of open scopes and of dependency injection: open, get, close; ``@action`` beside ``@inject``; memory.

Bars are those of issue 4 and feasibility #4: at most 0.9 × an ``AsyncExitStack`` over a class-based pool, ahead of
every scoped container there is; an ``@action`` that resolves its own marker at most 0.3 × dependency-injector's
``@inject`` with one async factory.
"""

from __future__ import annotations

import gc
import sys
import time
import tracemalloc
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from dependency_injector import containers, providers
from dependency_injector.wiring import Provide, inject

from benchmarks.floors import FloorA
from benchmarks.measure import Case, Table, interleaved, seconds_per
from nebula_resource import Manager, PoolConfig, Resource, ResourceConfig, ResourceContext, ResourceKey, Scope
from nebula_resource.di import Leased, ResourceContainer, action
from nebula_resource.manager.block import Block

__all__ = ["run"]

COUNT, ROUNDS = 500, 61
"""Short turns, many of them: what else the machine does then slows all competitors alike."""
HERE = sys.modules[__name__]


class Thing:
    """What is leased."""


class NoConfig(ResourceConfig):
    """Nothing to set."""


class Things(Resource[NoConfig, Thing]):
    """An in-memory resource: the numbers are of scopes, not of a server."""

    id = "thing"

    async def create(self, config: NoConfig, context: ResourceContext) -> Thing:
        return Thing()


THING = ResourceKey("thing", Thing)


class Container(ResourceContainer):
    """Ours."""

    thing = Leased(THING)


async def _make() -> Thing:
    return Thing()


class Native(containers.DeclarativeContainer):
    """dependency-injector's own, with the one async factory of the bar."""

    made = providers.Factory(_make)


@action
async def _act(thing: Thing = Provide[Container.thing]) -> None: ...


@inject
async def _injected(made: Thing = Provide[Native.made]) -> None: ...


@inject
async def _injected_lease(thing: Thing = Provide[Container.thing]) -> None: ...


@asynccontextmanager
async def _manager() -> AsyncGenerator[Manager]:
    async with Manager() as manager:
        await manager.register(
            Things(), {}, pool=PoolConfig(min_size=10, max_size=10, maintenance_interval=None)
        )
        yield manager


def _case(step: Callable[[], Awaitable[object]]) -> Case:
    """A case that does one thing again and again."""

    async def case(count: int) -> float:
        started = time.perf_counter()
        for _ in range(count):
            await step()
        return time.perf_counter() - started

    return case


# ── scopes ──


async def scope_table(loop: str) -> Table:
    """Open, get, close: ours beside the floor and the scoped containers people use."""
    async with _manager() as manager, AsyncExitStack() as stack:
        floor = FloorA(10)

        async def exit_stack() -> None:
            async with AsyncExitStack() as own:
                await own.enter_async_context(floor.acquire())

        async def by_hand() -> None:
            async with AsyncExitStack() as own:
                await own.enter_async_context(_thing_of(floor))

        one, two = Scope.execution("e1"), Scope.execution("e1", tenant="acme")

        async def ours() -> None:
            async with manager.scope(one) as scope:
                await scope.get("thing")

        async def ours_nested() -> None:
            async with manager.scope(two) as scope:
                await scope.get("thing")

        async def ours_named() -> None:
            async with manager.scope(execution="e1") as scope:
                await scope.get("thing")

        cases: dict[str, Callable[[], Awaitable[object]]] = {
            "AsyncExitStack, class-based pool": exit_stack,
            "AsyncExitStack, @asynccontextmanager": by_hand,
            "nebula scope": ours,
            "nebula scopes, tenant and execution": ours_nested,
            "nebula scope, its id checked each time": ours_named,
            "dishka": await _dishka(stack, floor),
            "wireup": await _wireup(stack, floor),
            "svcs": await _svcs(stack, floor),
            "that-depends": await _that_depends(stack, floor),
        }
        found = await interleaved({name: _case(step) for name, step in cases.items()}, COUNT, ROUNDS)
    table = Table("Open a scope, get one lease, close", "µs", loop)
    floor_times = found["AsyncExitStack, class-based pool"]
    for name, values in found.items():
        table.add(
            name,
            seconds_per(values, COUNT, 1e-6),
            floor=seconds_per(floor_times, COUNT, 1e-6),
            at_most=0.9 if name == "nebula scope" else None,
        )
    return table


@asynccontextmanager
async def _thing_of(floor: FloorA) -> AsyncGenerator[object]:
    async with floor.acquire() as thing:
        yield thing


async def _dishka(stack: AsyncExitStack, floor: FloorA) -> Callable[[], Awaitable[object]]:
    from dishka import Provider, Scope, make_async_container, provide

    class Lease(Provider):
        @provide(scope=Scope.REQUEST)
        async def thing(self) -> AsyncIterable[Thing]:
            async with floor.acquire() as item:
                yield item  # type: ignore[misc]  # the floor lends plain objects

    container = make_async_container(Lease())
    stack.push_async_callback(container.close)

    async def step() -> None:
        async with container() as request:
            await request.get(Thing)

    return step


async def _wireup(stack: AsyncExitStack, floor: FloorA) -> Callable[[], Awaitable[object]]:
    import wireup

    @wireup.injectable(lifetime="scoped")
    async def thing() -> AsyncIterator[Thing]:
        async with floor.acquire() as item:
            yield item  # type: ignore[misc]  # the floor lends plain objects

    container = wireup.create_async_container(injectables=[thing])
    stack.push_async_callback(container.close)

    async def step() -> None:
        async with container.enter_scope() as scope:
            await scope.get(Thing)

    return step


async def _svcs(stack: AsyncExitStack, floor: FloorA) -> Callable[[], Awaitable[object]]:
    import svcs

    async def thing() -> AsyncGenerator[Thing]:
        async with floor.acquire() as item:
            yield item  # type: ignore[misc]  # the floor lends plain objects

    registry = svcs.Registry()
    registry.register_factory(Thing, thing)
    stack.push_async_callback(registry.aclose)

    async def step() -> None:
        async with svcs.Container(registry) as container:
            await container.aget(Thing)

    return step


async def _that_depends(stack: AsyncExitStack, floor: FloorA) -> Callable[[], Awaitable[object]]:
    from that_depends import BaseContainer, container_context
    from that_depends.providers import ContextResource
    from that_depends.providers.context_resources import ContextScopes

    async def thing() -> AsyncIterator[object]:
        async with floor.acquire() as item:
            yield item

    class Lent(BaseContainer):
        default_scope = ContextScopes.APP
        item = ContextResource(thing)

    lent: Any = Lent  # its protocol is that of the class itself, which checkers take for an instance's

    async def step() -> None:
        async with container_context(lent, scope=ContextScopes.APP):
            await Lent.item.resolve()

    return step


# ── actions ──


async def action_table(loop: str) -> Table:
    """One injected parameter: ``@action`` in its own scope beside ``@inject`` without any."""
    async with _manager() as manager:
        ours, native = Container(), Native()
        ours.wire(modules=[HERE])
        native.wire(modules=[HERE])
        try:
            async with manager.scope(execution="e1"):
                cases: dict[str, Callable[[], Awaitable[object]]] = {
                    "@inject, one async Factory": _injected,
                    "@inject, one Leased": _injected_lease,
                    "@action, one Leased": _act,
                }
                found = await interleaved({name: _case(step) for name, step in cases.items()}, COUNT, ROUNDS)
        finally:
            ours.unwire()
            native.unwire()
    table = Table("Call a function with one injected parameter", "µs", loop)
    for name, values in found.items():
        table.add(
            name,
            seconds_per(values, COUNT, 1e-6),
            floor=seconds_per(found["@inject, one async Factory"], COUNT, 1e-6),
            at_most=0.3 if name.startswith("@action") else None,
        )
    return table


# ── memory ──


async def memory_table(loop: str) -> Table:
    """Bytes of an open scope, empty and with a lease; and what closed ones leave behind."""
    table = Table("Memory of open scopes", "bytes", loop)
    async with Manager() as manager:
        await manager.register(
            Things(), {}, pool=PoolConfig(min_size=0, max_size=2000, maintenance_interval=None)
        )
        handles = [await manager.acquire("thing") for _ in range(1000)]
        for handle in handles:
            await handle.release()
        del handles

        async def opened(count: int, lease: bool) -> float:
            blocks: list[Block | None] = [None] * count
            gc.collect()
            tracemalloc.start()
            before = tracemalloc.get_traced_memory()[0]
            for index in range(count):
                with manager.detached():  # none is inside another
                    blocks[index] = block = manager.scope(execution=f"e{index}")
                    scope = await block.__aenter__()
                if lease:
                    await scope.get("thing")
            size = (tracemalloc.get_traced_memory()[0] - before) / count
            tracemalloc.stop()
            for block in filter(None, blocks):
                await block.__aexit__(None, None, None)
            return size

        await opened(100, True)
        table.limit("open scope", await opened(1000, False), at_most=512)
        table.limit("open scope with one lease", await opened(1000, True), at_most=1024)

        async def many(count: int) -> None:
            for index in range(count):
                async with manager.scope(tenant=f"t{index % 10_000}", execution=f"e{index}") as scope:
                    await scope.get("thing")

        await many(100_000)  # whatever is remembered is full now
        gc.collect()
        tracemalloc.start()
        before = tracemalloc.get_traced_memory()[0]
        await many(10_000)
        gc.collect()
        grown = tracemalloc.get_traced_memory()[0] - before
        tracemalloc.stop()
        table.limit(
            "after 100,000 of 10,000 tenants: left behind by 10,000 more, in all",
            max(grown, 0),
            at_most=64 * 1024,
        )
    return table


async def run(loop: str) -> list[Table]:
    """All tables of this file, on the running loop."""
    gc.collect()
    gc.freeze()  # what is imported is not looked at between the turns
    try:
        return [await scope_table(loop), await action_table(loop), await memory_table(loop)]
    finally:
        gc.unfreeze()
