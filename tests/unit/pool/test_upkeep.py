"""Upkeep: what goes by itself, what stays, and what is made anew."""

import asyncio
from typing import Any

from nebula_resource.testing.asserts import assert_sound
from nebula_resource.testing.mock import MockResource, Outcome
from tests.unit.pool.support import MockPool, now, opened, take, turns


async def test_idle_ones_go_down_to_min_size() -> None:
    """idle_timeout retires what is above min_size, the longest idle first, and never below."""
    async with opened(min_size=2, max_size=5, idle_timeout=30.0, maintenance_interval=10.0) as pool:
        for handle in await take(pool, 5):
            await handle.release()
        await asyncio.sleep(1000)
        assert pool.stats().idle == 2
        assert pool.stats().destroyed == {"idle_timeout": 3}
        assert pool.stats().created == 5


async def test_one_that_was_never_used_expires() -> None:
    """Made ahead of need and never lent, it goes like any other idle one."""
    async with opened(idle_timeout=30.0, maintenance_interval=10.0) as pool:
        assert await pool.scale_up(2) == 2
        await asyncio.sleep(29)
        assert pool.stats().idle == 2
        await asyncio.sleep(12)
        assert pool.stats().idle == 0


async def test_one_in_use_does_not_idle() -> None:
    """However long it is held, its idle time begins when it is back, known to one tick."""
    async with opened(idle_timeout=30.0, maintenance_interval=10.0, max_lifetime=None) as pool:
        async with pool.acquire():
            await asyncio.sleep(500)
        await asyncio.sleep(29)
        assert pool.stats().idle == 1
        await asyncio.sleep(30 + 15 - 29 + 10)
        assert pool.stats().idle == 0


async def test_without_idle_timeout_nothing_goes() -> None:
    """None keeps idle ones for ever."""
    async with opened(idle_timeout=None, max_lifetime=None, maintenance_interval=10.0) as pool:
        await (await pool.acquire()).release()
        await asyncio.sleep(10_000)
        assert pool.stats().idle == 1


async def test_lifetimes_are_drawn_apart() -> None:
    """Each instance lives max_lifetime less up to 5 %, its own share; min_size is kept throughout."""
    settings: dict[str, Any] = {"max_lifetime": 1000.0, "idle_timeout": None, "validation_interval": 1.0}
    async with opened(min_size=10, maintenance_interval=1.0, max_concurrent_creates=10, **settings) as pool:
        ends = [entry.expires_at for entry in pool.ledger.entries]
        assert all(end is not None and 950.0 <= end <= 1000.0 for end in ends)
        assert len(set(ends)) == 10
        await asyncio.sleep(949)
        assert pool.stats().destroyed == {}
        await asyncio.sleep(53)
        assert pool.stats().destroyed == {"expired": 10}
        assert pool.stats().idle == 10


async def test_a_busy_one_past_its_life_goes_on_return() -> None:
    """Nobody who holds one notices; it is not lent again."""
    async with opened(max_lifetime=100.0, idle_timeout=None) as pool:
        handle = await pool.acquire()
        quick = pool.acquire()
        async with quick:
            await asyncio.sleep(150)
            assert pool.stats().in_use == 2
        await handle.release()
        await turns()
        assert pool.stats().destroyed == {"expired": 2}


async def test_an_expired_idle_one_is_passed_over() -> None:
    """A caller who comes before the sweep gets a living one; the expired is retired on the way."""
    async with opened(max_size=1, max_lifetime=100.0, maintenance_interval=None) as pool:
        await (await pool.acquire()).release()
        await asyncio.sleep(106)  # the tick that marks it comes every 15 seconds
        async with pool.acquire() as value:
            assert value.number == 2
        assert pool.stats().destroyed == {"expired": 1}


async def test_an_expired_one_is_passed_over_before_any_tick() -> None:
    """The long way reads the clock itself."""
    settings: dict[str, Any] = {"max_lifetime": 100.0, "idle_timeout": None, "validation_interval": 0.0}
    async with opened(
        MockResource(is_valid=Outcome.OK), min_size=1, maintenance_interval=None, **settings
    ) as pool:
        await asyncio.sleep(99.9999)  # every life but one in fifty thousand has ended, and no tick has come
        handle = await pool.acquire(timeout=1.0)
        assert handle.value.number == 2
        await handle.release()


async def test_without_lifetime_it_lives_for_ever() -> None:
    """None draws no end."""
    async with opened(min_size=1, max_lifetime=None, idle_timeout=None) as pool:
        await asyncio.sleep(1e6)
        assert pool.stats().created == 1


async def test_without_maintenance_nothing_is_swept() -> None:
    """maintenance_interval None: no timer retires, checks or refills."""
    resource = MockResource(is_valid=Outcome.OK)
    async with opened(resource, idle_timeout=10.0, maintenance_interval=None) as pool:
        await (await pool.acquire()).release()
        await asyncio.sleep(10_000)
        assert (pool.stats().idle, resource.calls["is_valid"]) == (1, 0)


async def test_an_empty_pool_has_no_timers() -> None:
    """Without entries nothing ticks: the loop could end its wait for timers."""
    async with opened(idle_timeout=10.0, maintenance_interval=10.0) as pool:
        await (await pool.acquire()).release()
        await asyncio.sleep(100)
        assert pool.stats().size == 0
        assert pool.upkeep._timer is None
        await (await pool.acquire()).release()
        await asyncio.sleep(100)
        assert pool.stats().size == 0


async def test_what_is_lost_is_made_anew() -> None:
    """min_size is kept whatever takes instances away: taint, detach, an operator."""
    async with opened(min_size=2) as pool:
        tainted, detached = await take(pool, 2)
        tainted.taint("x")
        await tainted.release()
        detached.detach()
        await turns()
        assert pool.stats().idle == 2
        pool.recycle_all()
        await turns(8)
        assert (pool.stats().idle, pool.stats().created) == (2, 6)


async def test_refilling_is_bounded() -> None:
    """At most warm_concurrency of the missing are made at once."""
    resource = MockResource(create=Outcome.SLOW)
    async with opened(resource, min_size=6, warm_concurrency=2, max_concurrent_creates=6) as pool:
        pool.recycle_all()
        most = 0
        for _ in range(40):
            await asyncio.sleep(0.1)
            most = max(most, pool.stats().creating)
        assert (most, pool.stats().idle) == (2, 6)


async def test_the_sweep_locks_nothing() -> None:
    """While it retires with slow cleanups, callers are served."""
    resource = MockResource(cleanup=Outcome.SLOW)
    async with opened(resource, min_size=1, max_size=4, idle_timeout=10.0, maintenance_interval=5.0) as pool:
        for handle in await take(pool, 4):
            await handle.release()
        await asyncio.sleep(15.5)  # the sweep at 15 finds what idles since 5 at the latest
        assert pool.stats().retiring == 3
        at = now()
        async with pool.acquire():
            assert now() == at
        assert_sound(pool)


async def test_the_oldest_hold_is_known_to_one_tick() -> None:
    """Untimed uses are seen by the tick; a timed one is exact."""
    async with opened(min_size=1, use_timing="off", validation_interval=10.0) as pool:
        assert pool.stats().oldest_hold_s is None
        async with pool.acquire():
            await asyncio.sleep(20)
            assert 15.0 <= (pool.stats().oldest_hold_s or 0.0) <= 20.0
    async with opened(min_size=1, use_timing="always") as timed:
        await asyncio.sleep(1)
        async with timed.acquire():
            await asyncio.sleep(20)
            assert timed.stats().oldest_hold_s == 20.0
        handle = await timed.acquire()
        await asyncio.sleep(3)
        assert timed.stats().oldest_hold_s == 3.0
        await handle.release()


async def test_uses_are_timed_as_asked() -> None:
    """SAMPLED times one in 64, ALWAYS all, OFF none."""
    for timing, expected in (("sampled", 2), ("always", 128), ("off", 0)):
        async with opened(min_size=1, use_timing=timing) as pool:
            for _ in range(128):
                await _use(pool)
            assert pool.stats().use.count == expected
            assert pool.stats().acquisitions == pool.stats().releases == 128


async def test_a_sampled_use_is_timed_exactly() -> None:
    """The 64th use of an instance, on the short way, after a wait and through a handle."""
    async with opened(max_size=1, use_timing="sampled") as pool:
        for _ in range(63):
            await _use(pool)
        async with pool.acquire():
            await asyncio.sleep(2)
        assert pool.stats().use.total_s == 2.0
        for _ in range(62):
            await _use(pool)
        holder = await pool.acquire()
        waits = asyncio.create_task(_use(pool, 3.0))
        await turns(1)
        await holder.release()
        await waits
        assert pool.stats().use.total_s == 5.0


async def _use(pool: MockPool, seconds: float = 0.0) -> None:
    async with pool.acquire():
        if seconds:
            await asyncio.sleep(seconds)
