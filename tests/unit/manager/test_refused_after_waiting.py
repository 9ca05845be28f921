"""Refused after waiting: who was promised an instance and refused after all is counted once, with how long it stood."""

import asyncio

import pytest

from nebula_resource import AcquireTimeout, Manager, Unavailable
from nebula_resource.hooks import HookEvent, HookPayload, ResourceHook
from nebula_resource.manager.registration import Cause, Registration
from tests.unit.manager.things import Thing, assert_manager_sound


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
        before = registration.pool.stamp()
        registration.pool.recycle_all()
        await asyncio.sleep(2)
        stats = registration.pool.stats()
        assert (stats.cleanup.count, stats.cleanup.total_s) == (1, 1.5)
        assert registration.pool.stamp() != before
