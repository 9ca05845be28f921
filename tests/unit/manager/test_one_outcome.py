"""Every attempt at an acquire counts once, as one outcome, whatever it stumbles over on its way."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial

import pytest

from nebula_resource import AcquireCancelled, AcquireTimeout, Manager, Resource, ResourceContext, Unavailable
from nebula_resource._aio import CancellationToken
from nebula_resource.hooks import HookEvent, HookPayload, ResourceHook
from nebula_resource.manager.registration import Cause, Registration
from nebula_resource.metrics.readout import PoolReading
from tests.unit.manager.things import Thing, assert_manager_sound

Step = Callable[[], Awaitable[object]]


class Leased(Resource[None, object, object]):
    """Its lease begins as the test says: a step that waits, or that raises."""

    id = "leased"

    def __init__(self) -> None:
        self.step: Step | None = None

    async def create(self, config: None, context: ResourceContext) -> object:
        return object()

    @asynccontextmanager
    async def lease(self, instance: object, context: ResourceContext) -> AsyncGenerator[object]:
        if self.step is not None:
            await self.step()
        yield object()


class Slow(ResourceHook):
    """A hook that takes an hour."""

    name = "slow"
    events = (HookEvent.ACQUIRE,)
    timeout = 7200.0

    async def before(self, event: HookPayload) -> object:
        await asyncio.sleep(3600)
        return None


def outcomes(registration: Registration) -> dict[str, int]:
    """What a scrape would tell of its acquires, without the zeros."""
    reading = PoolReading(
        resource_id="x", stats=registration.pool.numbers(), refused=dict(registration.refused)
    )
    return {name: count for name, count in reading.acquires.items() if count}


async def hang() -> None:
    """For ever."""
    await asyncio.Event().wait()


async def fail() -> None:
    """As a driver does that lost its server."""
    raise ConnectionError("gone")


@pytest.mark.parametrize("sharing", ["exclusive", "shared"])
async def test_a_lease_that_is_not_entered_is_no_use(sharing: str) -> None:
    """Failed, out of time or called off: that alone; no number falls meanwhile, and nothing was released."""
    async with Manager() as manager:
        thing = Leased()
        registration = await manager.register(thing, pool={"max_size": 2, "sharing": sharing})
        seen: list[tuple[int, int]] = []

        def look() -> None:
            stats = registration.pool.stats()
            seen.append((stats.acquisitions, stats.releases))

        async with manager.acquire("leased"):
            look()
        look()
        thing.step = fail
        with pytest.raises(ConnectionError):
            await manager.acquire("leased")
        look()
        thing.step = hang
        asking = asyncio.ensure_future(_take(manager, timeout=5.0))
        await asyncio.sleep(1)
        look()
        with pytest.raises(AcquireTimeout):
            await asking
        look()
        asking = asyncio.ensure_future(_take(manager))
        await asyncio.sleep(1)
        asking.cancel()
        await asyncio.wait((asking,))
        look()
        assert outcomes(registration) == {"ok": 1, "failed": 1, "timeout": 1, "cancelled": 1}
        assert seen == [(1, 0), *[(1, 1)] * 5]
        stats = registration.pool.stats()
        assert (stats.wait.count, stats.wait_timeout.count, stats.wait_timeout.total_s) == (1, 1, 5.0)
        assert stats.use.count <= 1
        assert_manager_sound(manager)


async def _take(manager: Manager, *, timeout: float | None = None) -> None:
    async with manager.acquire("leased", timeout=timeout):
        pass


async def test_what_a_lease_needs_is_refused_to_it() -> None:
    """The refusal is the other resource's own; of this one it is a use that failed."""
    async with Manager() as manager:
        thing = Leased()
        registration = await manager.register(thing)
        other = await manager.register(Thing())

        async def needs_other() -> None:
            async with manager.acquire("thing"):
                pass

        thing.step = needs_other
        manager.quarantine("thing", "ill")
        with pytest.raises(Unavailable):
            await manager.acquire("leased")
        assert outcomes(registration) == {"failed": 1}
        assert outcomes(other) == {"quarantined": 1}


def condemn(registration: Registration) -> None:
    """Refuse callers, without telling those who wait: the verdict falls when they are served already."""
    registration._causes[Cause.UNHEALTHY] = lambda: Unavailable("unhealthy", retryable=True)
    registration._settle()


async def _is_refused_alone(registration: Registration, waiting: "asyncio.Future[object]") -> None:
    with pytest.raises(Unavailable):
        await waiting
    await asyncio.sleep(1)
    assert outcomes(registration)["unhealthy"] == 1
    stats = registration.pool.stats()
    assert (stats.wait_refused.count, stats.wait_refused.total_s, stats.in_use) == (1, 3.0, 0)
    assert stats.wait.count == stats.acquisitions == stats.releases == outcomes(registration).get("ok", 0)


async def test_refused_while_the_lease_is_entered_is_refused_alone() -> None:
    """After three seconds in line; the lease is ended as one that was never used."""
    async with Manager() as manager:
        thing = Leased()
        registration = await manager.register(thing, pool={"max_size": 1})
        async with manager.acquire("leased"):
            waiting = asyncio.ensure_future(manager.acquire("leased").__aenter__())
            await asyncio.sleep(3)

            async def verdict() -> None:
                condemn(registration)

            thing.step = verdict
        await _is_refused_alone(registration, waiting)
        assert outcomes(registration)["ok"] == 1
        assert_manager_sound(manager)


async def test_a_shared_use_that_is_refused_at_the_last_moment_is_refused_alone() -> None:
    """Between the moment in which it is handed over and that in which it is taken."""
    async with Manager() as manager:
        registration = await manager.register(Thing(), pool={"max_size": 2, "sharing": "shared"})
        registration.pool.suspend()
        waiting = asyncio.ensure_future(manager.acquire("thing").__aenter__())
        await asyncio.sleep(3)
        registration.pool.resume()
        condemn(registration)
        await _is_refused_alone(registration, waiting)
        assert_manager_sound(manager)


async def test_who_is_called_off_before_the_pool_is_asked_is_cancelled() -> None:
    """While the hooks run, and with a token that was cancelled before."""
    async with Manager() as manager:
        registration = await manager.register(Thing())
        token = CancellationToken()
        token.cancel()
        with pytest.raises(AcquireCancelled):
            await manager.acquire("thing", ResourceContext(cancellation=token))
        assert outcomes(registration) == {"cancelled": 1}
        manager.hooks.add(Slow())
        asking = asyncio.ensure_future(manager.acquire("thing").__aenter__())
        await asyncio.sleep(1)
        asking.cancel()
        await asyncio.wait((asking,))
        assert outcomes(registration) == {"cancelled": 2}
        with pytest.raises(AcquireTimeout):
            await manager.acquire("thing", timeout=5.0)
        assert outcomes(registration) == {"cancelled": 2, "timeout": 1}


async def test_a_lease_whose_pool_was_swapped_and_closed_begins_again_at_the_new_one() -> None:
    """It did not wait in line, so no wait of it was refused; it is served once, and nobody is refused."""
    async with Manager() as manager:
        leased = Leased()
        registration = await manager.register(leased, pool={"max_size": 1, "acquire_timeout": 50.0})
        old = registration.pool
        leased.step = partial(asyncio.sleep, 10)
        asking = asyncio.ensure_future(manager.acquire("leased").__aenter__())
        await asyncio.sleep(1)
        await manager.reload("leased", None, pool={"max_size": 2, "acquire_timeout": 50.0})
        leased.step = None
        await old.close(0.0)  # it would have waited for this lease
        await asking
        assert registration.pool is not old
        assert outcomes(registration) == {"ok": 1}
        assert (old.stats().acquisitions, old.stats().wait_refused.count) == (0, 0)
