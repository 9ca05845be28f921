"""Scopes without end (T9 of the threats): each request may be another tenant's, and nothing is kept of any."""

import gc
import tracemalloc

from nebula_resource import Manager, ResourceNotFound
from nebula_resource.admin.readings import ReadingsCollector
from nebula_resource.model.scope import Scope
from tests.unit.manager.things import Thing

SETTLED = 2_000
MANY = 10_000
ALLOWED = 1024 * 1024
"""Bytes that may be more after many: the registry keeps its last 4096 answers. The id alone of each would be two million."""


async def test_ten_thousand_tenants_leave_nothing_behind() -> None:
    """A scope, a use of what all may have, a use of what none may; ids as long as they may be; a scrape now and then."""
    async with Manager() as manager:
        await manager.register(Thing("everybodys"), cross_tenant=True)
        await manager.register(Thing("acmes"), scope=Scope.tenant("acme"))
        collector = ReadingsCollector(manager)

        async def come_and_go(first: int, last: int) -> int:
            for number in range(first, last):
                async with manager.scope(tenant=f"{number:0128d}"):
                    async with manager.acquire("everybodys"):
                        pass
                    try:
                        await manager.acquire("acmes")
                    except ResourceNotFound:
                        pass
                if not number % 500:
                    collector.read()
            gc.collect()
            return tracemalloc.get_traced_memory()[0]

        tracemalloc.start()
        try:
            before = await come_and_go(0, SETTLED)
            after = await come_and_go(SETTLED, SETTLED + MANY)
        finally:
            tracemalloc.stop()
        assert after - before < ALLOWED
        readings = collector.read()
        assert {each.resource_id: each.stats.acquisitions for each in readings.pools} == {
            "everybodys": SETTLED + MANY,
            "acmes": 0,
        }
        assert sum(readings.scopes.values()) == 0
