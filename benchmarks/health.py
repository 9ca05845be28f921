"""Health: what it costs to watch a thousand resources."""

from __future__ import annotations

import asyncio
import gc
import time
from statistics import median

from benchmarks.measure import Table
from nebula_resource import HealthPolicy, Manager, Resource, ResourceContext
from nebula_resource.model.policy import OFF, Off

RESOURCES = 1000
INTERVAL = 30.0  # seconds; the default of HealthPolicy
WINDOW = 3.0  # seconds measured
SPEED_UP = 10.0
"""Checks are made so many times as often as at 30 s, and the cost divided by it: a window of 3 s then sees each
resource checked once, as 30 s would."""
ROUNDS = 3
TARGET = 0.02  # of one core (SPEC: issue 5)


class Nothing(Resource[None, object]):
    """An instance that costs nothing, whose check answers at once: what is measured is ours alone."""

    def __init__(self, id: str) -> None:
        self.id = id

    async def create(self, config: None, context: ResourceContext) -> object:
        return object()

    async def is_valid(self, instance: object) -> bool:
        return True


async def share(health: HealthPolicy | Off) -> float:
    """The share of one core that a manager of so many idle resources uses in the window."""
    async with Manager(health=health) as manager:
        for number in range(RESOURCES):
            await manager.register(Nothing(f"r{number}"), pool={"min_size": 1, "max_size": 2})
        await asyncio.sleep(1.5 * INTERVAL / SPEED_UP)  # until every first check is behind
        gc.collect()
        began, used = time.perf_counter(), time.process_time()
        await asyncio.sleep(WINDOW)
        return (time.process_time() - used) / (time.perf_counter() - began)


async def run(loop: str) -> list[Table]:
    """The share of one core that the watching alone costs."""
    table = Table(f"{RESOURCES:,} idle resources", "% of a core", loop)
    idle: list[float] = []
    costs: list[float] = []
    for _ in range(ROUNDS):
        idle.append(await share(OFF))
        watched = await share(HealthPolicy(interval=INTERVAL / SPEED_UP))
        costs.append((watched - idle[-1]) / SPEED_UP)
    table.add("not watched", [100 * value for value in idle])
    table.limit(f"watched every {INTERVAL:g} s", 100 * median(costs), at_most=100 * TARGET)
    table.notes.append(
        f"Checked {SPEED_UP:g} times as often as that and divided by it; process time, less that of the unwatched."
    )
    return [table]
