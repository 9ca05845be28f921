"""resource_factory: one async generator is a resource: it makes, yields once, and cleans up."""

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

import pytest

from nebula_resource import (
    ConfigurationError,
    CreateFailed,
    HealthCheckable,
    HealthStatus,
    Manager,
    Pool,
    PoolConfig,
    ResourceConfig,
    ResourceContext,
    ResourceMetadata,
    Secret,
    ValidationFailed,
    resource_factory,
)
from nebula_resource.events import CleanedUp, Event
from nebula_resource.model.factory import FactoryResource
from nebula_resource.model.resource import overrides

LOG: list[str] = []


class CacheConfig(ResourceConfig):
    """Where the cache is."""

    url: Secret = Secret("redis://localhost")
    fails: str = ""


class Client:
    """Stands for a redis client."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.open = True

    async def aclose(self) -> None:
        self.open = False


# The example of SPEC §2, word for word but for the client's name: fewer than 15 lines.
@resource_factory(id="cache", config=CacheConfig)
async def cache(config: CacheConfig, context: ResourceContext) -> AsyncGenerator[Client]:
    """The cache of the service."""
    client = Client(config.url.get_secret_value())
    try:
        yield client
    finally:
        await client.aclose()


async def test_the_example_of_the_specification_works() -> None:
    """A mapping becomes its config, an acquire gives the client, the shutdown closes it; its docstring is kept."""
    assert cache.__doc__ == "The cache of the service."
    assert repr(cache) == "<Resource 'cache' from cache>"
    async with Manager() as manager:
        await manager.register(cache, {"url": "redis://there"})
        with pytest.raises(ValidationFailed):
            await manager.reload("cache", {"urls": 1})
        async with manager.acquire("cache") as client:
            assert client.url == "redis://there"
            assert client.open
    assert not client.open
    assert cache._made == {}


async def test_every_instance_has_a_generator_of_its_own() -> None:
    """Three clients, closed one by one; equal instances are told apart by identity."""

    class Equal(Client):
        def __eq__(self, other: object) -> bool:
            return True

        __hash__ = None  # type: ignore[assignment]  # cannot be hashed, as many a client

    made: list[Equal] = []

    @resource_factory(id="many")
    async def many(config: None, context: ResourceContext) -> AsyncGenerator[Equal]:
        made.append(Equal("x"))
        own = made[-1]
        yield own
        await own.aclose()

    pool = Pool(many, None, PoolConfig(min_size=3, max_size=3))
    await pool.open()
    first = await pool.acquire()
    first.taint("first")
    tainted = first.value
    await first.release()
    await asyncio.sleep(0.1)
    assert not tainted.open
    assert [each.open for each in made].count(False) == 1
    await pool.close()
    assert not any(each.open for each in made)


async def test_a_generator_that_yields_nothing_makes_no_instance() -> None:
    """It ends before a yield: create fails and says what is missing."""

    @resource_factory(id="none")
    async def none(config: None, context: ResourceContext) -> AsyncGenerator[object]:
        nothing: list[object] = []
        for each in nothing:
            yield each

    pool = Pool(none, None)
    with pytest.raises(CreateFailed) as caught:
        await pool.open()
    assert isinstance(caught.value.cause, ConfigurationError)
    assert "without a yield" in str(caught.value.cause)


async def test_a_generator_that_yields_none_is_ended() -> None:
    """None is no instance: create fails, and the finally has run."""
    LOG.clear()

    @resource_factory(id="nothing")
    async def nothing(config: None, context: ResourceContext) -> AsyncGenerator[None]:
        try:
            yield None
        finally:
            LOG.append("finally")

    pool = Pool(nothing, None)
    with pytest.raises(CreateFailed, match="nothing"):
        await pool.open()
    assert LOG == ["finally"]
    assert nothing._made == {}


async def test_a_generator_that_yields_twice_is_told_and_closed() -> None:
    """The second yield is a fault of its author: the cleanup fails with it, and the generator's finally has run."""
    LOG.clear()

    @resource_factory(id="twice")
    async def twice(config: None, context: ResourceContext) -> AsyncGenerator[object]:
        try:
            yield object()
            yield object()
        finally:
            LOG.append("finally")

    async with Manager() as manager:
        told: list[Event] = []
        manager.events.add_listener(told.append, (CleanedUp,))
        await manager.register(twice)
    assert LOG == ["finally"]
    (event,) = told
    assert isinstance(event, CleanedUp)
    assert event.error == "ConfigurationError"


async def test_an_error_before_the_yield_is_the_create_s() -> None:
    """Raised before anything was yielded: the finally of the generator has run, nothing is remembered."""
    LOG.clear()

    @resource_factory(id="broken", config=CacheConfig)
    async def broken(config: CacheConfig, context: ResourceContext) -> AsyncGenerator[object]:
        try:
            raise ConnectionRefusedError("nobody")
            yield
        finally:
            LOG.append("finally")

    pool = Pool(broken, CacheConfig())
    with pytest.raises(CreateFailed) as caught:
        await pool.open()
    assert isinstance(caught.value.cause, ConnectionRefusedError)
    assert LOG == ["finally"]
    assert broken._made == {}


async def test_an_error_after_the_yield_is_the_cleanup_s() -> None:
    """It is reported, never lost, and the instance is gone."""

    @resource_factory(id="grumpy")
    async def grumpy(config: None, context: ResourceContext) -> AsyncGenerator[object]:
        yield object()
        raise OSError("would not close")

    async with Manager() as manager:
        told: list[Event] = []
        manager.events.add_listener(told.append, (CleanedUp,))
        await manager.register(grumpy)
        report = await manager.shutdown()
    assert report.failed == 1
    assert [event.error for event in told if isinstance(event, CleanedUp)] == ["OSError"]
    assert grumpy._made == {}


async def test_a_create_that_is_cancelled_before_its_yield_runs_its_finally() -> None:
    """A timeout in the middle of connecting: what was opened is closed."""
    LOG.clear()

    @resource_factory(id="slow")
    async def slow(config: None, context: ResourceContext) -> AsyncGenerator[object]:
        try:
            await asyncio.sleep(100)
            yield object()
        finally:
            LOG.append("finally")

    pool = Pool(slow, None, PoolConfig(create_timeout=1))
    with pytest.raises(CreateFailed):
        await pool.open()
    assert LOG == ["finally"]


async def test_a_cleanup_that_is_cancelled_runs_its_finally() -> None:
    """Given up after its time: the generator is ended there, and nothing is remembered."""
    LOG.clear()

    @resource_factory(id="slow")
    async def slow(config: None, context: ResourceContext) -> AsyncGenerator[object]:
        try:
            yield object()
            await asyncio.sleep(100)
        finally:
            LOG.append("finally")

    pool = Pool(slow, None, PoolConfig(cleanup_timeout=1))
    await pool.open()
    report = await pool.close()
    assert report.failed == 1
    assert LOG == ["finally"]
    assert slow._made == {}


async def test_a_cleanup_of_what_it_did_not_make_does_nothing() -> None:
    """A second cleanup, or one of a stranger, finds no generator."""
    instance = await cache.create(CacheConfig(), ResourceContext())
    await cache.cleanup(instance)
    await cache.cleanup(instance)
    await cache.cleanup(Client("stranger"))
    assert not instance.open


async def test_the_same_object_twice_is_refused_and_its_second_generator_ended() -> None:
    """A factory that yields one shared object for two instances: the pool refuses the second, which is cleaned up."""
    LOG.clear()
    shared = object()

    @resource_factory(id="shared")
    async def same(config: None, context: ResourceContext) -> AsyncGenerator[object]:
        try:
            yield shared
        finally:
            LOG.append("finally")

    pool = Pool(same, None, PoolConfig(min_size=1, max_size=2))
    await pool.open()
    async with pool.acquire():
        with pytest.raises(CreateFailed):
            await pool.acquire()
    await pool.close()
    assert "finally" in LOG


async def test_the_keywords_are_the_hooks_of_the_same_name() -> None:
    """Given, they are asked; not given, a pool does not even look for them."""
    LOG.clear()

    async def check(client: Client, context: ResourceContext) -> HealthStatus:
        LOG.append("check")
        return HealthStatus.healthy()

    def recycle(client: Client) -> None:
        LOG.append("recycle")

    async def is_valid(client: Client) -> bool:
        LOG.append("valid")
        return client.open

    metadata = ResourceMetadata(name="Cache")

    @resource_factory(
        id="full",
        config=CacheConfig,
        health_check=check,
        recycle=recycle,
        is_valid=is_valid,
        dependencies=["net"],
        metadata=metadata,
    )
    async def full(config: CacheConfig, context: ResourceContext) -> AsyncGenerator[Client]:
        yield Client("x")

    assert isinstance(full, HealthCheckable)
    assert not isinstance(cache, HealthCheckable)
    assert (full.dependencies, full.metadata) == (("net",), metadata)
    assert overrides(full, "recycle")
    assert not overrides(cache, "recycle")

    @resource_factory(id="net")
    async def net(config: None, context: ResourceContext) -> AsyncGenerator[object]:
        yield object()

    async with Manager() as manager:
        await manager.register(net)
        await manager.register(full, pool={"validation_interval": 0})
        async with manager.acquire("full"):
            pass
        assert (await manager.check("full")).is_usable()
    assert LOG == ["valid", "recycle", "check"]


async def test_an_asynchronous_recycle_is_awaited() -> None:
    """Either kind of function will do."""
    LOG.clear()

    async def recycle(client: object) -> None:
        await asyncio.sleep(1)
        LOG.append("recycled")

    @resource_factory(id="reset", recycle=recycle)
    async def reset(config: None, context: ResourceContext) -> AsyncGenerator[object]:
        yield object()

    pool = Pool(reset, None)
    await pool.open()
    async with pool.acquire():
        pass
    assert LOG == ["recycled"]
    await pool.close()


def test_what_is_no_async_generator_is_refused_at_once() -> None:
    """A coroutine, a plain function, and an id that cannot be one."""

    async def coroutine(config: None, context: ResourceContext) -> object:
        return object()

    with pytest.raises(ConfigurationError, match="one yield"):
        resource_factory(id="x")(coroutine)  # type: ignore[arg-type]  # the slip
    with pytest.raises(ConfigurationError, match="one yield"):
        resource_factory(id="x")(lambda config, context: None)  # type: ignore[arg-type,return-value]  # the slip

    async def fine(config: None, context: ResourceContext) -> AsyncGenerator[object]:
        yield object()

    with pytest.raises(ValidationFailed):
        resource_factory(id="not an id")(fine)
    made: Any = resource_factory(id="fine")(fine)
    assert isinstance(made, FactoryResource)
