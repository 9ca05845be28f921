"""Health and quarantine in bad weather: whatever happened, once the servers are well again, so is everything."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from typing import Any

import pytest

from nebula_resource import (
    OFF,
    HealthPolicy,
    Manager,
    QuarantinePolicy,
    Resource,
    ResourceContext,
    ResourceError,
)
from nebula_resource.model.health import HealthCheckable, HealthStatus
from nebula_resource.quarantine import RecoveryBackoff
from nebula_resource.testing.clock import run_virtual
from tests.unit.manager.things import assert_manager_sound

WEATHER = ("up", "up", "down", "hangs", "slow", "flaky")
CHAOS = 900.0  # seconds
PEACE = 3600.0  # seconds
LONG_AFTER = 48 * 3600.0  # seconds: every level is forgiven


class Server:
    """What answers, or does not."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.mood = "up"

    async def answer(self) -> None:
        if self.mood == "hangs":
            await asyncio.sleep(10_000)
        await asyncio.sleep(self.rng.choice((0.5, 1.0, 2.0, 5.0)) if self.mood == "slow" else 0.01)
        if self.mood == "down" or (self.mood == "flaky" and self.rng.random() < 0.5):
            raise ConnectionResetError("no answer")


class Node(Resource[None, Any], HealthCheckable):
    """Reaches its server in everything it does; keeps what it needs, or only looks at it."""

    def __init__(self, id: str, server: Server, dependencies: Sequence[str], *, keeps: bool) -> None:
        self.id = id
        self.server = server
        self.dependencies = dependencies
        self.keeps = keeps

    async def create(self, config: None, context: ResourceContext) -> Any:
        for key in self.dependencies:
            if self.keeps:
                await context.dependency(key)
            else:
                async with context.dependency(key):
                    pass
        await self.server.answer()
        return object()

    async def is_valid(self, instance: Any) -> bool:
        await self.server.answer()
        return True

    async def health_check(self, instance: Any, context: ResourceContext) -> HealthStatus:
        await self.server.answer()
        return HealthStatus.healthy()

    def is_fault(self, error: BaseException) -> bool:
        return isinstance(error, OSError)

    async def cleanup(self, instance: Any) -> None:
        """Nothing to close."""


class World:
    """Five resources on two servers, who uses them, and who operates them."""

    def __init__(self, manager: Manager, rng: random.Random) -> None:
        self.manager = manager
        self.rng = rng
        self.servers = [Server(rng), Server(rng)]
        self.keys: list[str] = []
        self.is_peace = False

    async def build(self) -> None:
        rng = self.rng
        for number in range(5):
            needed = rng.sample(self.keys[:3], rng.randint(0, min(2, number)))
            timeout = rng.choice((1.0, 2.0, 5.0))
            backoff = RecoveryBackoff(base=rng.choice((0.5, 5.0)), jitter=rng.choice((0.0, 0.2)))
            policy = QuarantinePolicy(backoff=backoff, max_attempts=rng.randint(1, 4), park_interval=60)
            key = f"r{number}"
            await self.manager.register(
                Node(key, rng.choice(self.servers), needed, keeps=rng.random() < 0.5),
                pool={
                    "min_size": rng.randint(0, 2),
                    "max_size": 40 if number < 3 else 4,  # room for all who keep one
                    "create_timeout": rng.choice((timeout, timeout, 3.0, 30.0)),
                    "acquire_timeout": rng.choice((timeout, 3.0, 30.0)),
                    "idle_timeout": rng.choice((5.0, 600.0)),
                    "validation_interval": rng.choice((0.0, 30.0, None)),
                },
                health=HealthPolicy(
                    interval=rng.choice((10.0, 30.0)),
                    timeout=timeout,
                    failure_threshold=rng.randint(1, 3),
                    success_threshold=rng.randint(1, 3),
                    limit_degraded=rng.random() < 0.3,
                ),
                quarantine=rng.choice((OFF, None, policy)),
            )
            self.keys.append(key)

    async def call(self, key: str) -> None:
        """Use it again and again: long, short, called off, with errors; in peace shortly and well."""
        rng = self.rng
        while True:
            await asyncio.sleep(rng.expovariate(1 / 20))
            try:
                async with asyncio.timeout(None if self.is_peace else rng.choice((None, None, 0.0, 3.0))):
                    async with self.manager.acquire(key):
                        await asyncio.sleep(0.1 if self.is_peace else rng.choice((0.1, 5.0, 50.0)))
                        if not self.is_peace and rng.random() < 0.1:
                            raise rng.choice((ConnectionError("body"), ValueError("body")))
            except (ResourceError, OSError, ValueError):
                pass

    async def change_weather(self) -> None:
        while True:
            await asyncio.sleep(self.rng.expovariate(1 / 60))
            self.rng.choice(self.servers).mood = self.rng.choice(WEATHER)

    async def operate(self) -> None:
        """Isolate, release, check, recycle, at random; whether it makes sense or not."""
        rng, manager = self.rng, self.manager
        while True:
            await asyncio.sleep(rng.expovariate(1 / 40))
            key = rng.choice(self.keys)
            try:
                match rng.randrange(5):
                    case 0:
                        manager.quarantine(key, "at random", expires_in=rng.choice((None, 30.0, 300.0)))
                    case 1:
                        await manager.release(key, "force")
                    case 2:
                        await manager.release(key)
                    case 3:
                        await manager.check(key)
                    case _:
                        manager.recycle(key)
            except ResourceError:
                pass

    async def make_peace(self) -> None:
        self.is_peace = True
        for server in self.servers:
            server.mood = "up"
        for key in self.keys:
            entry = self.manager.watch.quarantine.get(key)
            if entry is not None and entry.reason.is_manual:
                await self.manager.release(key, "force")

    def assert_well(self) -> None:
        """Everything is healthy, open to all, and nothing of what happened is left."""
        watch = self.manager.watch
        for registration in self.manager.pools():
            key = registration.key
            assert watch.board.own(key).kind == watch.board.effective(key).kind == "healthy", key
            assert (registration.gates, registration.refusal) == ((), None), key
            later = asyncio.get_running_loop().time() + LONG_AFTER
            assert watch.quarantine._levels.at(key, later) == 0, key
        assert len(watch.quarantine) == 0
        assert watch.incidents.cascades.incidents() == ()
        assert watch.propagation.roots == ()
        assert not watch.quarantine.is_frozen


async def live_through(seed: int) -> None:
    """A quarter of an hour of trouble, and an hour of peace."""
    rng = random.Random(seed)
    async with Manager() as manager:
        manager.watch.checker._rng = manager.watch.quarantine._planner._rng = rng
        world = World(manager, rng)
        await world.build()
        callers = [asyncio.create_task(world.call(key), name=f"caller of {key}") for key in world.keys * 2]
        trouble = [asyncio.create_task(work) for work in (world.change_weather(), world.operate())]
        await asyncio.sleep(CHAOS)
        for task in trouble:
            task.cancel()
        await asyncio.wait(trouble)
        await world.make_peace()
        await asyncio.sleep(PEACE)
        world.assert_well()
        for task in callers:
            task.cancel()
        await asyncio.wait(callers)
        kept = sum(manager.stats()[each.key].in_use for each in manager.pools())
        assert_manager_sound(manager, out=kept)
        assert all(manager.stats()[key].waiting == 0 for key in world.keys)


@pytest.mark.parametrize("seed", [3, 10, 23])
def test_after_bad_weather_everything_is_well_again(seed: int) -> None:
    """An hour after the last fault nobody is refused, limited, suspected, waiting, or remembered as a flapper for ever."""
    print(f"seed {seed}")
    run_virtual(live_through(seed))
