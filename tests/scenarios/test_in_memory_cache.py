"""From end to end: a cache is registered, used by an action, released, and cleaned up when the manager ends (SPEC §25)."""

from __future__ import annotations

from collections.abc import AsyncGenerator

from dependency_injector.wiring import Provide

from nebula_resource import Manager, ResourceConfig, ResourceContext, resource_factory
from nebula_resource.di import Leased, ResourceContainer, action, wired
from nebula_resource.events import Acquired, CleanedUp, Created, Registered, Released, ShutdownFinished
from nebula_resource.testing.asserts import assert_no_leaks


class InMemoryCache:
    """A dict that says whether it is open."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.held: dict[str, str] = {}
        self.open = True

    def put(self, key: str, value: str) -> None:
        """Keep a value, and lose the oldest beyond the capacity."""
        self.held[key] = value
        while len(self.held) > self.capacity:
            del self.held[next(iter(self.held))]

    def close(self) -> None:
        """Forget everything."""
        self.held.clear()
        self.open = False


class CacheConfig(ResourceConfig):
    """How much it holds."""

    capacity: int = 2


made: list[InMemoryCache] = []


@resource_factory(id="cache", config=CacheConfig)
async def in_memory_cache(config: CacheConfig, context: ResourceContext) -> AsyncGenerator[InMemoryCache]:
    """The resource: what is yielded is the instance, what follows is the cleanup."""
    cache = InMemoryCache(config.capacity)
    made.append(cache)
    try:
        yield cache
    finally:
        cache.close()


class Container(ResourceContainer):
    """What the action asks for."""

    cache = Leased("cache")


@action
async def remember(key: str, value: str, cache: InMemoryCache = Provide["cache"]) -> int:
    """Put one value into the cache and say how many it holds."""
    assert cache.open
    cache.put(key, value)
    return len(cache.held)


async def test_an_in_memory_cache_from_registration_to_cleanup() -> None:
    """Register, acquire from an action, use, release, shut down; then nothing is out, left or open."""
    made.clear()
    manager = Manager()
    heard: list[str] = []
    manager.events.add_listener(lambda event: heard.append(event.name))
    registration = await manager.register(in_memory_cache, {"capacity": 2}, pool={"max_size": 1})
    with wired(Container(), __name__):
        async with manager.scope(tenant="acme", execution="e1"):
            assert await remember("a", "1") == 1
            assert await remember("b", "2") == 2
            assert await remember("c", "3") == 2
            assert registration.pool.stats().in_use == 0  # each action gave it back at its end
    [cache] = made
    assert cache.held == {"b": "2", "c": "3"}
    assert cache.open

    report = await manager.shutdown()

    assert (report.drained, report.forced, report.failed, report.left) == (1, 0, 0, 0)
    assert not cache.open
    stats = registration.pool.stats()
    assert (stats.size, stats.acquisitions, stats.releases, stats.created, stats.destroyed) == (
        0,
        3,
        3,
        1,
        {"drained": 1},
    )
    story = [
        Registered.name,
        Created.name,
        *[Acquired.name, Released.name] * 3,
        CleanedUp.name,
        ShutdownFinished.name,
    ]
    assert [name for name in heard if name in story] in (story, [story[1], story[0], *story[2:]])
    assert_no_leaks(registration.pool)
