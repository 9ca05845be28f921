"""Reading: what the tests of subscriptions publish and read."""

from __future__ import annotations

import asyncio

from nebula_resource.events import (
    EventBus,
    Lagged,
    PoolDraining,
    Subscription,
)


def publish(bus: EventBus, count: int) -> None:
    """Publish so many events."""
    for _ in range(count):
        bus.publish(PoolDraining, "db")


async def read(subscription: Subscription, count: int) -> list[int | Lagged]:
    """The next items: sequence numbers, and markers as they are."""
    items = [await anext(subscription) for _ in range(count)]
    return [item if isinstance(item, Lagged) else item.seq for item in items]


async def drain(subscription: Subscription) -> list[int | Lagged]:
    """Everything that is there to be read."""
    found: list[int | Lagged] = []
    while True:
        task = asyncio.ensure_future(anext(subscription))
        await asyncio.sleep(0)
        if not task.done():
            task.cancel()
            await asyncio.wait([task])
            return found
        item = task.result()
        found.append(item if isinstance(item, Lagged) else item.seq)
