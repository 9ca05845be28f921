"""Refused after waiting: who was promised an instance and refused after all is counted once, with how long it stood."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import pytest

from nebula_resource import AcquireTimeout, Manager, ResourceContext, Unavailable
from nebula_resource.hooks import HookEvent, HookPayload, ResourceHook
from nebula_resource.manager.registration import Cause, Registration
from tests.unit.manager.things import Instance, Leasing, Thing, assert_manager_sound


class Looks(ResourceHook):
    """A hook, so that the long road is taken."""

    name = "looks"
    events = (HookEvent.ACQUIRE,)

    def before(self, event: HookPayload) -> object:
        return None


@pytest.fixture(params=["short road", "long road"])
def with_hook(request: pytest.FixtureRequest) -> bool:
    """Whether a hook stands on the road."""
    return bool(request.param == "long road")


async def _told_of_both(registration: Registration, manager: Manager, seconds: float) -> None:
    """A caller waits so long, is handed the instance and finds the verdict that fell in that same moment."""
    async with manager.acquire("thing"):
        waiter = asyncio.ensure_future(manager.acquire("thing").__aenter__())
        await asyncio.sleep(seconds)
    # Handed over by the release just now; the waiter has not run since.
    registration._causes[Cause.UNHEALTHY] = lambda: Unavailable("unhealthy", retryable=True)
    registration._settle()
    with pytest.raises(Unavailable):
        await waiter


@pytest.mark.parametrize("seconds", [3.0, 0.0])
async def test_it_is_no_acquisition(with_hook: bool, seconds: float) -> None:
    """It counts as refused alone; its wait, however short, is among those of the refused; the instance is idle again."""
    async with Manager() as manager:
        if with_hook:
            manager.hooks.add(Looks())
        registration = await manager.register(Thing(), pool={"max_size": 1})
        await _told_of_both(registration, manager, seconds)
        stats = registration.pool.stats()
        assert (stats.acquisitions, stats.releases, stats.idle, stats.in_use) == (1, 1, 1, 0)
        assert registration.refused == {"unhealthy": 1}
        assert (stats.wait.count, stats.wait.total_s) == (1, 0.0)
        assert (stats.wait_refused.count, stats.wait_refused.total_s) == (1, seconds)
        assert_manager_sound(manager)


class Doomed(Leasing):
    """The verdict falls while its lease is entered, at the second use."""

    registration: Registration | None = None

    @asynccontextmanager
    async def _lease(self, instance: Instance, context: ResourceContext) -> AsyncGenerator[Instance]:
        async with super()._lease(instance, context):
            if self.registration is not None:
                self.registration._causes[Cause.UNHEALTHY] = lambda: Unavailable("unhealthy", retryable=True)
                self.registration._settle()
            yield instance


async def test_a_lease_that_was_entered_in_vain_is_no_acquisition() -> None:
    """It is ended like any other, learns why, and neither it nor its wait is among those served."""
    async with Manager() as manager:
        thing = Doomed()
        registration = await manager.register(thing, pool={"max_size": 1})
        async with manager.acquire("thing"):
            waiter = asyncio.ensure_future(manager.acquire("thing").__aenter__())
            await asyncio.sleep(3)
            thing.registration = registration
        with pytest.raises(Unavailable, match="unhealthy"):
            await waiter
        stats = registration.pool.stats()
        assert (stats.acquisitions, stats.releases, stats.in_use) == (1, 1, 0)
        assert (stats.wait.count, stats.wait.total_s) == (1, 0.0)
        assert (stats.wait_refused.count, stats.wait_refused.total_s) == (1, 3.0)
        assert thing.log[-2:] == ["rollback Unavailable", "cleanup"] or thing.log[-1] == "commit"
        assert_manager_sound(manager)


async def test_the_line_that_is_failed_is_timed() -> None:
    """Refused while still in line: the wait is among those of the refused."""
    async with Manager() as manager:
        registration = await manager.register(Thing(), pool={"max_size": 1})
        async with manager.acquire("thing"):
            waiter = asyncio.ensure_future(manager.acquire("thing").__aenter__())
            await asyncio.sleep(2)
            manager.quarantine("thing", "ill")
            with pytest.raises(Unavailable):
                await waiter
        stats = registration.pool.stats()
        assert (stats.acquisitions, stats.wait.count) == (1, 1)
        assert (stats.wait_refused.count, stats.wait_refused.total_s) == (1, 2.0)


@pytest.mark.parametrize("limit", [None, 100.0], ids=["short wait", "bounded wait"])
async def test_who_waits_on_at_the_pool_that_was_swapped_in_is_served_alone(
    with_hook: bool, limit: float | None
) -> None:
    """One attempt, one outcome: among the waits it is one that was served, and none that was refused."""
    async with Manager() as manager:
        if with_hook:
            manager.hooks.add(Looks())
        registration = await manager.register(Thing(), pool={"max_size": 1, "acquire_timeout": 50.0})
        old = registration.pool
        async with manager.acquire("thing"):
            waiter = asyncio.ensure_future(manager.acquire("thing", timeout=limit).__aenter__())
            await asyncio.sleep(3.0)
            await manager.reload("thing", {"size": 2})
            await waiter
        stats = registration.pool.stats()
        assert registration.pool is not old
        assert (old.stats().wait_refused.count, old.stats().wait_refused.total_s) == (0, 0.0)
        assert (old.stats().acquisitions, stats.acquisitions) == (1, 1)
        assert (stats.wait.count, stats.wait_refused.count) == (1, 0)
        assert registration.refused == {}


async def test_an_error_says_how_long_it_was_waited_for() -> None:
    """Who is refused in line hears how long it stood there; who is refused at once hears of no wait."""
    async with Manager() as manager:
        registration = await manager.register(Thing(), pool={"max_size": 1})
        async with manager.acquire("thing"):
            waiter = asyncio.ensure_future(registration.pool.acquire())
            await asyncio.sleep(2)
            registration.pool.suspend(fail=True)
            with pytest.raises(Unavailable) as told:
                await waiter
            assert told.value.waited_s == 2.0
            with pytest.raises(Unavailable) as told:
                await registration.pool.acquire()
            assert told.value.waited_s is None


async def test_a_timeout_is_timed() -> None:
    """Who stood in line to the end of its time is in a histogram of its own, not among the served."""
    async with Manager() as manager:
        registration = await manager.register(Thing(), pool={"max_size": 1})
        async with manager.acquire("thing"):
            with pytest.raises(AcquireTimeout):
                await manager.acquire("thing", timeout=4.0)
        stats = registration.pool.stats()
        assert (stats.wait.count, stats.wait.total_s) == (1, 0.0)
        assert (stats.wait_timeout.count, stats.wait_timeout.total_s) == (1, 4.0)


async def test_a_cleanup_is_timed() -> None:
    """How long an instance took to go."""

    class Slow(Thing):
        async def cleanup(self, instance: object) -> None:
            await asyncio.sleep(1.5)

    async with Manager() as manager:
        registration = await manager.register(Slow(), pool={"min_size": 0, "max_size": 1})
        async with manager.acquire("thing"):
            pass
        before = registration.pool.numbers()
        registration.pool.recycle_all()
        await asyncio.sleep(2)
        stats = registration.pool.stats()
        assert (stats.cleanup.count, stats.cleanup.total_s) == (1, 1.5)
        assert registration.pool.numbers() != before
