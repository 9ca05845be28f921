"""Health: what it costs to watch a thousand resources. `python -m benchmarks.health` prints a table."""

from __future__ import annotations

import asyncio
import gc
import sys
import time

from nebula_resource import HealthPolicy, Manager, Resource, ResourceContext
from nebula_resource.model.policy import OFF, Off

RESOURCES = 1000
INTERVAL = 30.0  # seconds; the default of HealthPolicy
WINDOW = 3.0  # seconds measured
SPEED_UP = 10.0
"""Checks are made so many times as often as at 30 s, and the cost divided by it: a window of 3 s then sees each
resource checked once, as 30 s would."""
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


def main() -> int:
    """Print both shares; the exit code is 1 when the target is missed."""
    idle = asyncio.run(share(OFF))
    watched = asyncio.run(share(HealthPolicy(interval=INTERVAL / SPEED_UP)))
    cost = (watched - idle) / SPEED_UP
    print(f"{RESOURCES} resources, Python {sys.version.split()[0]}, share of one core")
    print(f"{'not watched':40}{idle:>10.3%}")
    print(f"{f'watched every {INTERVAL / SPEED_UP:g} s':40}{watched:>10.3%}")
    print(
        f"{f'watched every {INTERVAL:g} s':40}{cost:>10.3%}   target {TARGET:.0%} {'ok' if cost < TARGET else 'MISSED'}"
    )
    return 0 if cost < TARGET else 1


if __name__ == "__main__":
    raise SystemExit(main())
