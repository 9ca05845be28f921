"""TestPool: a real resource whose steps fail on command, and a check at the end."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from nebula_resource.errors import AcquireTimeout, CreateFailed
from nebula_resource.model.context import ResourceContext
from nebula_resource.model.resource import DelegatedStats, Resource
from nebula_resource.pool import PoolConfig
from nebula_resource.testing.mock import MockError, Outcome
from nebula_resource.testing.pool import TestPool


class Cache(Resource[str, dict[str, str], Any]):
    """A user's resource that overrides everything."""

    id = "cache"

    def __init__(self) -> None:
        self.done: list[str] = []

    async def create(self, config: str, context: ResourceContext) -> dict[str, str]:
        self.done.append("create")
        return {"config": config}

    async def is_valid(self, instance: dict[str, str]) -> bool:
        self.done.append("is_valid")
        return True

    def recycle(self, instance: dict[str, str]) -> None:
        self.done.append("recycle")

    async def cleanup(self, instance: dict[str, str]) -> None:
        self.done.append("cleanup")

    def is_broken(self, instance: dict[str, str]) -> bool:
        return "broken" in instance

    def is_fault(self, error: BaseException) -> bool:
        return isinstance(error, OSError)

    def delegated_stats(self, instance: dict[str, str]) -> DelegatedStats:
        return DelegatedStats(size=1)

    def memory_usage(self, instance: dict[str, str]) -> int:
        return 7


class Leased(Cache):
    """One with a lease and a coroutine for a recycle."""

    async def recycle(self, instance: dict[str, str]) -> None:  # type: ignore[override]  # the other of its two forms
        self.done.append("recycle")

    @asynccontextmanager
    async def lease(self, instance: dict[str, str], context: ResourceContext) -> AsyncGenerator[str]:
        self.done.append("enter")
        yield instance["config"]
        self.done.append("leave")


async def test_the_resource_is_used_as_ever() -> None:
    """Without a script every step is the resource's own."""
    resource = Cache()
    async with TestPool(resource, "mine", {"validation_interval": 0}) as pool:
        async with pool.acquire() as first:
            assert first == {"config": "mine"}
        injected = pool.resource
        assert injected.is_fault(OSError())
        assert injected.delegated_stats(first) == DelegatedStats(size=1)
        assert injected.memory_usage(first) == 7
        async with pool.acquire() as cache:
            cache["broken"] = "yes"
    assert resource.done == ["create", "recycle", "is_valid", "cleanup"]
    assert pool.stats().destroyed == {"broken": 1}


async def test_a_lease_is_the_resource_s_own() -> None:
    """Its value reaches the caller; its entry and its exit may fail on command."""
    resource = Leased()
    async with TestPool(resource, "mine") as pool:
        async with pool.acquire() as value:
            assert value == "mine"
        pool.fail("lease_entry")
        with pytest.raises(MockError):
            await pool.acquire()
        pool.heal()
        pool.fail("lease_exit")
        handle = await pool.acquire()
        with pytest.raises(MockError):
            await handle.release()
        await asyncio.sleep(0)
    assert resource.done[:4] == ["create", "enter", "leave", "recycle"]


async def test_every_step_fails_on_command() -> None:
    """An outcome, an exception, or several in order; calls are counted."""
    async with TestPool(Cache(), "mine", {"validation_interval": 0, "create_timeout": 2.0}) as pool:
        pool.inject("create", [ConnectionRefusedError("no"), Outcome.NEVER, Outcome.OK])
        with pytest.raises(CreateFailed, match="ConnectionRefused"):
            await pool.acquire()
        with pytest.raises(CreateFailed) as caught:
            await pool.acquire()
        assert isinstance(caught.value.cause, AcquireTimeout)
        await (await pool.acquire()).release()
        pool.fail("is_valid")
        pool.fail("cleanup")
        async with pool.acquire():
            assert pool.stats().created == 2
        pool.fail("recycle")
        async with pool.acquire(timeout=5.0):
            pass
        await asyncio.sleep(1)
        assert pool.calls("create") == 5
        with pytest.raises(ValueError, match="there is no step 'connect'"):
            pool.inject("connect", Outcome.ERROR)


async def test_what_is_left_fails_the_test() -> None:
    """A handle that is not released is told when the block ends, and the pool is closed all the same."""
    pool = TestPool(Cache(), "mine")

    async def forgetful() -> None:
        async with pool:
            handles.append(await pool.acquire())

    handles: list[Any] = []
    with pytest.raises(AssertionError, match="1 in use"):
        await forgetful()
    assert pool.stats().state == "closed"
    await handles[0].release()


async def test_settings_may_be_a_whole_config() -> None:
    """A PoolConfig is taken as it is, its min_size too."""
    async with TestPool(Cache(), "mine", PoolConfig(min_size=2)) as pool:
        assert pool.stats().idle == 2


async def test_an_error_of_the_test_is_not_hidden() -> None:
    """When the block raised, that is what the test is told."""
    pool = TestPool(Cache(), "mine")

    async def wrong() -> None:
        async with pool:
            handles.append(await pool.acquire())
            raise ZeroDivisionError

    handles: list[Any] = []
    with pytest.raises(ZeroDivisionError):
        await wrong()
    await handles[0].release()
