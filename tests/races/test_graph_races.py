"""Graphs of providers under fire: an action is cancelled at every turn of the loop while things are made from its leases."""

from __future__ import annotations

import asyncio
import contextlib
import gc
from collections.abc import AsyncGenerator
from typing import Any

import pytest
from dependency_injector import providers
from dependency_injector.wiring import Provide

from nebula_resource import AcquireTimeout, PoolConfig
from nebula_resource.di import (
    Leased,
    ManagerProvider,
    ResourceContainer,
    ScopedSingleton,
    action,
    running,
    wired,
)
from tests.unit.manager.things import Instance, Leasing, assert_manager_sound


async def _unit(db: Instance, log: list[str]) -> AsyncGenerator[Instance]:
    await asyncio.sleep(0)
    log.append("up")  # cancelled before, it never was
    try:
        yield db
    finally:
        await asyncio.sleep(0)
        log.append("down")


class Graph(ResourceContainer):
    """Things made from leases, and from each other."""

    manager = ManagerProvider()
    db = Leased("db")
    tx = Leased("db", hold="execution")
    log: providers.Object[list[str]] = providers.Object([])
    unit = ScopedSingleton("execution", _unit, tx, log)
    all = providers.List(db, tx, unit)


@action
async def _inner(
    db: Any = Provide["db"], unit: Any = Provide["unit"], everything: Any = Provide["all"]
) -> None:
    await asyncio.sleep(0)


@action
async def _outer(everything: Any = Provide["all"], unit: Any = Provide["unit"]) -> None:
    await asyncio.gather(_inner(), _inner())


@pytest.mark.parametrize("second", [None, 1, 2])
@pytest.mark.parametrize("size", [1, 9])
async def test_a_graph_that_is_cancelled_at_any_turn_is_no_news(second: int | None, size: int) -> None:
    """Whatever was being made from what: all is given back, and the loop hears of no error that was nobody's.

    dependency-injector sets the results of its futures also when they were cancelled, and forgets coroutines.
    """
    news: list[object] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: news.append(context))
    container = Graph()
    with wired(container, __name__):
        async with running(container):
            manager, log = container.manager(), container.log()
            log.clear()
            ledger = Leasing("db")
            pool = PoolConfig(min_size=0, max_size=size, acquire_timeout=1.0)
            await manager.register(ledger, {}, pool=pool)

            async def call() -> None:
                async with manager.scope(execution="e"):
                    await asyncio.gather(_outer(), _outer())

            for turns in range(40):
                task = loop.create_task(call())
                for _ in range(turns):
                    await asyncio.sleep(0)
                task.cancel()
                if second is not None:
                    for _ in range(second):
                        await asyncio.sleep(0)
                    task.cancel()
                with contextlib.suppress(asyncio.CancelledError, AcquireTimeout):
                    await task
                await asyncio.sleep(60)
                assert_manager_sound(manager)
            assert log.count("up") == log.count("down") > 0
            begun = [line for line in ledger.log if line.startswith("begin")]
            ended = [line for line in ledger.log if line.startswith(("commit", "rollback"))]
            assert len(begun) == len(ended) > 0
    gc.collect()
    await asyncio.sleep(0)
    assert news == []
