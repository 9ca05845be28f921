"""Nothing is opened to be looked at: checks rest while a pool has no instance, unless only they can end an outage."""

import asyncio

import pytest

from nebula_resource import OFF, CreateFailed, HealthPolicy, Manager, Unavailable
from tests.unit.manager.things import Thing, assert_manager_sound

HEALTH = HealthPolicy(interval=10, failure_threshold=2, success_threshold=1, jitter=0)


async def test_a_pool_that_nobody_uses_is_not_opened_by_checks() -> None:
    """Not before the first use, and not after the last instance has idled away; who asks for a check gets one."""
    async with Manager(health=HEALTH) as manager:
        thing = Thing()
        await manager.register(thing, pool={"min_size": 0, "idle_timeout": 120, "maintenance_interval": 10})
        await asyncio.sleep(1005)  # between two checks
        assert thing.made == []
        async with manager.acquire("thing"):
            pass
        await asyncio.sleep(60)
        assert manager.watch.board.own("thing").kind == "healthy"
        await asyncio.sleep(1000)
        assert (len(thing.made), manager.stats()["thing"].size) == (1, 0)
        assert (await manager.check("thing")).state.kind == "healthy"
        assert len(thing.made) == 2
        assert_manager_sound(manager)


async def test_an_outage_without_instances_is_ended_by_checks() -> None:
    """With quarantine off nobody else would look: callers are refused, and come no more."""
    async with Manager(health=HEALTH, quarantine=OFF) as manager:
        thing = Thing()
        await manager.register(thing, pool={"min_size": 0})
        thing.fails = ConnectionRefusedError("down")
        for _ in range(2):
            with pytest.raises((CreateFailed, Unavailable)):
                await manager.acquire("thing")
        assert manager.watch.board.own("thing").kind == "unhealthy"
        await asyncio.sleep(100)
        thing.fails = None
        await asyncio.sleep(200)
        assert manager.watch.board.own("thing").kind == "healthy"
        async with manager.acquire("thing"):
            pass
        assert_manager_sound(manager)


async def test_while_the_checker_suspects_itself_it_looks_at_everything() -> None:
    """What it has not looked at could not clear it."""
    async with Manager(health=HEALTH) as manager:
        thing = Thing()
        await manager.register(thing, pool={"min_size": 0})
        manager.watch.quarantine.freeze()
        await asyncio.sleep(11)
        assert len(thing.made) == 1
        assert_manager_sound(manager)


async def test_in_quarantine_recovery_alone_connects() -> None:
    """While all instances are out, checks have nothing to look at and make nothing; an idle one is looked at."""
    async with Manager(health=HEALTH) as manager:
        thing = Thing()
        await manager.register(thing, pool={"min_size": 0, "max_size": 4, "maintenance_interval": None})
        handle = await manager.acquire("thing")
        manager.quarantine("thing", "by hand")
        await asyncio.sleep(500)
        assert len(thing.made) == 1
        assert manager.watch.board.last_checked("thing") is None
        await handle.release()
        await asyncio.sleep(11)
        assert len(thing.made) == 1
        assert manager.watch.board.last_checked("thing") is not None
        assert_manager_sound(manager)


async def test_in_quarantine_a_shared_instance_is_looked_at_while_it_is_in_use() -> None:
    """It needs no other, so nothing is made for it."""
    async with Manager(health=HEALTH) as manager:
        thing = Thing()
        await manager.register(thing, pool={"min_size": 0, "max_size": 2, "sharing": "shared"})
        async with manager.acquire("thing"):
            manager.quarantine("thing", "by hand")
            await asyncio.sleep(11)
            assert manager.watch.board.last_checked("thing") is not None
        assert len(thing.made) == 1
        assert_manager_sound(manager)
