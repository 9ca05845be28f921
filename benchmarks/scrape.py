"""Scrape: what `/metrics` of 1,000 pools costs, and how long it keeps the event loop from others."""

from __future__ import annotations

import asyncio
import time
from statistics import median

from benchmarks.measure import Table
from nebula_resource import Manager, Resource, ResourceContext
from nebula_resource.admin.readings import ReadingsCollector

POOLS = 1000
ROUNDS = 15
"""Medians of process time: on a machine that does other things as well, wall time is theirs."""
AT_MOST = 20.0  # milliseconds (issue 6)
BLOCK_AT_MOST = 10.0  # milliseconds


class Nothing(Resource[None, object]):
    """An instance that costs nothing: what is measured is the scrape alone."""

    def __init__(self, id: str) -> None:
        self.id = id

    async def create(self, config: None, context: ResourceContext) -> object:
        return object()

    async def is_valid(self, instance: object) -> bool:
        return True


async def run(loop_name: str) -> list[Table]:
    """Scrape pools that rest, a tenth of which works, and all of which work."""
    table = Table(f"Scrape of {POOLS:,} pools", "ms", loop_name)
    blocked: list[float] = []
    async with Manager() as manager:
        for number in range(POOLS):
            await manager.register(Nothing(f"resource-{number}"), pool={"min_size": 1, "max_size": 2})
        await use(manager, POOLS)
        collector = ReadingsCollector(manager)
        started = time.process_time()
        size = len(await collector.text())
        table.add("the first", [(time.process_time() - started) * 1e3])
        for name, active in (("all at rest", 0), ("a tenth used", POOLS // 10), ("all used", POOLS)):
            found: list[float] = []
            for _ in range(ROUNDS):
                await use(manager, active)
                took, worst = await scrape(collector)
                found.append(took)
                blocked.append(worst)
            table.limit(name, median(found), at_most=AT_MOST)
        table.limit("longest turn of the loop, median of rounds", median(blocked), at_most=BLOCK_AT_MOST)
    table.notes.append(f"{size / 1e6:.1f} MB of text; process time, so that others' work is left out.")
    return [table]


async def use(manager: Manager, count: int) -> None:
    """Use so many pools once."""
    for number in range(count):
        async with manager.acquire(f"resource-{number}"):
            pass


async def scrape(collector: ReadingsCollector) -> tuple[float, float]:
    """One scrape that nothing is kept of; its milliseconds and those of the longest turn of the loop meanwhile."""
    collector.forget_texts()
    turns: list[float] = []

    async def watch() -> None:
        last = time.process_time()
        while True:
            await asyncio.sleep(0)
            now = time.process_time()
            turns.append(now - last)
            last = now

    watching = asyncio.ensure_future(watch())
    await asyncio.sleep(0)
    started = time.process_time()
    await collector.text()
    took = time.process_time() - started
    await asyncio.sleep(0)
    watching.cancel()
    return took * 1e3, max(turns) * 1e3
