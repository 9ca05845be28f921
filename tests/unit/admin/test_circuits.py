"""CircuitCounts: circuits and held-back members are what the scrape says they are, at its moment."""

import asyncio
from contextlib import suppress
from typing import Any

from nebula_resource import Manager
from nebula_resource.admin.readings import ReadingsCollector
from nebula_resource.errors import ResourceError
from nebula_resource.model.health import HealthPolicy
from tests.app.admin_world import QUIET, Thing, ThingConfig

PATIENT = HealthPolicy(interval=3600.0, failure_threshold=99)


def _counted(collector: ReadingsCollector, name: str) -> dict[tuple[str, ...], Any]:
    found = {family.metric.name: dict(family.samples) for family in collector.read().families}
    return found[name]


async def _fail(manager: Manager, key: str) -> None:
    with suppress(ResourceError):
        async with manager.acquire(key):
            pass


async def test_a_circuit_is_written_from_its_first_opening_on() -> None:
    """Nothing while all is well; open after a failed create, half open when its time has come, closed when it passes."""
    async with Manager() as manager:
        thing = Thing("db")
        pool = {"min_size": 0, "circuit_threshold": 1, "circuit_open_for": 30.0}
        await manager.register(thing, ThingConfig(), pool=pool, health=PATIENT)
        await manager.register(Thing("calm"), ThingConfig(), pool={"min_size": 0}, health=PATIENT)
        collector = ReadingsCollector(manager)
        assert _counted(collector, "breaker_state") == {}
        thing.broken = True
        await _fail(manager, "db")
        # One for creates, one for recycles, one for its group.
        assert _counted(collector, "breaker_state") == {
            ("db", "closed"): 2, ("db", "open"): 1, ("db", "half_open"): 0
        }  # fmt: skip  # one reading
        await asyncio.sleep(31)
        assert _counted(collector, "breaker_state")["db", "half_open"] == 1
        thing.broken = False
        await _fail(manager, "db")
        assert _counted(collector, "breaker_state") == {
            ("db", "closed"): 3, ("db", "open"): 0, ("db", "half_open"): 0
        }  # fmt: skip  # one reading


async def test_members_that_wait_for_their_root_are_counted_by_it() -> None:
    """After a cascade its members are held back; the circuits say so too."""
    async with Manager(health=QUIET) as manager:
        things = {id_: Thing(id_, () if id_ == "vault" else ("vault",)) for id_ in ("vault", "a", "b")}
        for thing in things.values():
            await manager.register(thing, ThingConfig(), pool={"min_size": 0}, health=QUIET)
        collector = ReadingsCollector(manager)
        for thing in things.values():
            thing.broken = True
        for id_ in ("vault", "a", "b"):
            await manager.check(id_)
        assert _counted(collector, "dependency_group_breaker_open") == {("vault",): 2}
        assert _counted(collector, "breaker_state")["a", "open"] == 1
