"""Actions under fire: raised in, cancelled, cancelled again, their siblings failing, their commits failing.

Afterwards nothing is out, nobody waits, no task is left, and every lease was told its outcome exactly once.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import pytest
from dependency_injector import providers
from dependency_injector.wiring import Provide

from nebula_resource import Manager, PoolConfig, ResourceKey, current_scope
from nebula_resource.di import (
    Leased,
    ManagerProvider,
    ResourceContainer,
    ScopedSingleton,
    action,
    running,
    wired,
)
from tests.unit.manager.things import Instance, Leasing, Thing, assert_manager_sound

ACTIONS = 2000
POOL = PoolConfig(min_size=0, max_size=3, acquire_timeout=3600.0)


class CommitFailed(Exception):
    """What ends of leases raise."""


class Ledger(Leasing):
    """Counts how each lease ended; leases now and then take a while to begin and end, and fail to commit."""

    def __init__(self, rng: random.Random) -> None:
        super().__init__("db")
        self.rng = rng
        self.begun = 0
        self.ended: Counter[str] = Counter()

    @asynccontextmanager
    async def _lease(self, instance: Instance, context: Any) -> AsyncGenerator[Instance]:
        if self.rng.random() < 0.2:
            await asyncio.sleep(self.rng.choice([0, 0.01]))
        self.begun += 1
        outcome = "commit"
        try:
            yield instance
            if self.rng.random() < 0.03:
                outcome = "commit failed"
                raise CommitFailed("commit failed")
        except CommitFailed:
            raise
        except BaseException as error:
            outcome = f"rollback {type(error).__name__}"
            raise
        finally:
            self.ended[outcome] += 1
            if self.rng.random() < 0.2:
                await asyncio.sleep(self.rng.choice([0, 0.01]))

    async def recycle(self, instance: Instance) -> None:
        """Nothing to wash off: instances are used again."""


class Declined(Exception):
    """What bodies raise."""


async def _unreliable(db: Any) -> Any:
    await asyncio.sleep(0)
    if current_scope() is None:
        raise AssertionError("asked outside")
    if DICE.random() < 0.05:
        raise Declined("sibling")
    return db


DICE = random.Random()


class App(ResourceContainer):
    """What the actions are given."""

    manager = ManagerProvider()
    db = Leased(ResourceKey("db", Instance))
    tx = Leased(ResourceKey("db", Instance), hold="execution")
    cache = Leased(ResourceKey("cache", Instance))
    sibling = providers.Factory(_unreliable, db)
    notes = ScopedSingleton("execution", list[str])


@action
async def quick(
    rng: random.Random, db: Instance = Provide["db"], cache: Instance = Provide["cache"]
) -> Instance:
    """Leases alone."""
    await _live(rng)
    return db


@action
async def mixed(
    rng: random.Random,
    db: Instance = Provide["db"],
    sibling: Instance = Provide["sibling"],
    notes: list[str] = Provide["notes"],
) -> Instance:
    """Leases, and something that may fail beside them."""
    assert sibling is db
    notes.append("mixed")
    await _live(rng)
    return db


@action
async def nested(rng: random.Random, cache: Instance = Provide["cache"]) -> Instance:
    """Calls another; it holds nothing that the other waits for."""
    await _live(rng)
    return await quick(rng)


CALLS: list[Callable[[random.Random], Coroutine[Any, Any, Instance]]] = [quick, mixed, nested]


async def _live(rng: random.Random) -> None:
    dice = rng.random()
    if dice < 0.5:
        await asyncio.sleep(rng.choice([0, 0, 0.01, 0.02]))
    if dice < 0.1:
        raise Declined("body")


async def _one(manager: Manager, rng: random.Random, number: int, seen: Counter[str]) -> None:
    """One caller: a scope, an action in it, and somebody who may cancel it once or twice."""

    async def call() -> None:
        async with manager.scope(tenant=f"t{number % 7}", execution=f"e{number}"):
            await rng.choice(CALLS)(rng)

    task = asyncio.get_running_loop().create_task(call())
    for _ in range(rng.choice([0, 0, 0, 1, 2, 3])):
        for _ in range(rng.randrange(6)):
            await asyncio.sleep(rng.choice([0, 0, 0.005]))
        task.cancel()
    try:
        await task
    except asyncio.CancelledError:
        seen["cancelled"] += 1
    except Declined:
        seen["declined"] += 1
    except CommitFailed:
        seen["commit failed"] += 1
    else:
        seen["good"] += 1


@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_nothing_is_left_of_two_thousand_actions(seed: int) -> None:
    """A pool of three, sixty callers at a time; the seed names the run."""
    rng = random.Random(seed)
    DICE.seed(seed)
    container = App()
    ledger, cache = Ledger(rng), Thing("cache")
    seen: Counter[str] = Counter()
    with wired(container, __name__):
        async with running(container):
            manager = container.manager()
            await manager.register(ledger, {}, pool=POOL)
            await manager.register(cache, {}, pool=PoolConfig(min_size=0, max_size=200))
            places = asyncio.Semaphore(60)

            async def in_turn(number: int) -> None:
                async with places:
                    await _one(manager, rng, number, seen)

            await asyncio.gather(*(in_turn(number) for number in range(ACTIONS)))
            assert_manager_sound(manager)
            stats = manager.stats()
            assert [(each.in_use, each.waiting) for each in stats.values()] == [(0, 0), (0, 0)]
            assert not any(manager.open_scopes.values())
            left = [task for task in asyncio.all_tasks() if "nebula scope" in task.get_name()]
            assert left == []
    assert sum(seen.values()) == ACTIONS
    assert min(seen[outcome] for outcome in ("cancelled", "declined", "commit failed", "good")) > 0, seen
    assert sum(ledger.ended.values()) == ledger.begun
    assert set(ledger.ended) <= {
        "commit", "commit failed", "rollback Declined", "rollback CancelledError", "rollback NoOpenScope",
        "rollback CommitFailed",
    }  # fmt: skip  # one list
    assert ledger.ended["commit failed"] >= seen["commit failed"]
    assert [task for task in asyncio.all_tasks() if task is not asyncio.current_task()] == []


@pytest.mark.parametrize("turns", range(12))
@pytest.mark.parametrize("second", [None, 0, 1, 2])
async def test_cancelled_at_every_turn(turns: int, second: int | None) -> None:
    """Swept over turns of the loop, not over time: whenever the first and the second cancellation come."""
    rng = random.Random(0)
    ledger = Leasing("db")
    container = App()
    with wired(container, __name__):
        async with running(container):
            manager = container.manager()
            await manager.register(ledger, {}, pool=PoolConfig(min_size=0, max_size=1))
            await manager.register(Thing("cache"), {}, pool=PoolConfig(min_size=0, max_size=1))

            async def call() -> None:
                async with manager.scope(execution="e"):
                    await mixed(rng)

            task = asyncio.get_running_loop().create_task(call())
            for _ in range(turns):
                await asyncio.sleep(0)
            task.cancel()
            if second is not None:
                for _ in range(second):
                    await asyncio.sleep(0)
                task.cancel()
            with pytest.raises((asyncio.CancelledError, Declined)):
                await _or_cancelled(task)
            await asyncio.sleep(60)
            assert_manager_sound(manager)
            begun = [line for line in ledger.log if line.startswith("begin")]
            ended = [line for line in ledger.log if line.startswith(("commit", "rollback"))]
            assert len(begun) == len(ended) <= 1
            async with manager.acquire("db"):
                pass  # and the only instance there may be is to be had


async def _or_cancelled(task: asyncio.Task[None]) -> None:
    """Its end; one that was too quick to be cancelled counts as cancelled."""
    await task
    raise asyncio.CancelledError
