"""Creations: who learns of a failed one, how fast they are repeated, and resources that behave badly."""

import asyncio
from typing import Any

import pytest

from nebula_resource.errors import (
    AcquireTimeout,
    CircuitOpen,
    CreateFailed,
    Unavailable,
)
from nebula_resource.model.backoff import Backoff
from nebula_resource.model.context import ResourceContext
from nebula_resource.pool import Pool, PoolConfig
from nebula_resource.testing.asserts import assert_sound
from nebula_resource.testing.mock import MockError, MockResource, Outcome
from tests.unit.pool.support import MockPool, Notes, now, opened, take, turns

EXACT = Backoff(base=1.0, factor=2.0, max=8.0, jitter=0.0)


async def test_a_failed_create_reaches_its_caller() -> None:
    """CreateFailed has the cause, the id, and is as retryable as its cause."""
    notes = Notes()
    resource = MockResource(create=[ConnectionRefusedError("no"), Outcome.ERROR, Outcome.OK])
    async with opened(resource, observer=notes) as pool:
        for retryable in (True, False):
            with pytest.raises(CreateFailed) as caught:
                await pool.acquire()
            assert caught.value.cause is caught.value.__cause__
            assert (caught.value.retryable, caught.value.resource_id) == (retryable, "mock")
        assert pool.stats().create_failures == len(notes.of("create_failed")) == 2
        await (await pool.acquire()).release()


async def test_a_create_has_its_own_limit() -> None:
    """create_timeout ends it to the tick; the caller's own limit may be later."""
    async with opened(MockResource(create=Outcome.NEVER), create_timeout=2.0) as pool:
        with pytest.raises(CreateFailed) as caught:
            await pool.acquire()
        assert now() == 2.0
        assert isinstance(caught.value.cause, AcquireTimeout)
        assert (caught.value.cause.operation, caught.value.cause.waited_s) == ("create", 2.0)
        assert caught.value.retryable


async def test_a_timeout_of_the_create_itself_is_no_limit_of_ours() -> None:
    """What the user's code raises stays as it is."""
    async with opened(MockResource(create=TimeoutError("mine"))) as pool:
        with pytest.raises(CreateFailed) as caught:
            await pool.acquire()
        assert type(caught.value.cause) is TimeoutError


async def test_a_failed_create_passes_the_vacancy_on() -> None:
    """Who is next in line gets the right to create; nobody starves."""
    resource = MockResource(create=[Outcome.OK, Outcome.ERROR, Outcome.OK], turns=1)
    async with opened(resource, max_size=2, max_concurrent_creates=1) as pool:
        handle = await pool.acquire()
        first, second = (asyncio.create_task(_handle(pool)) for _ in range(2))
        with pytest.raises(CreateFailed):
            await first
        await (await second).release()
        await handle.release()


async def test_a_caller_who_left_leaves_the_instance_to_the_next() -> None:
    """The creation is not torn: its result goes to whoever waits, or on the shelf."""
    async with opened(MockResource(create=Outcome.SLOW), max_size=1) as pool:
        gone = asyncio.create_task(_handle(pool))
        await turns(1)
        waits = asyncio.create_task(_handle(pool))
        await turns(1)
        gone.cancel()
        handle = await waits
        assert now() == 1.0
        await handle.release()
        pool.recycle_all()
        await turns()
        alone = asyncio.create_task(_handle(pool))
        await turns(1)
        alone.cancel()
        await asyncio.sleep(2)
        assert (pool.stats().idle, pool.stats().created) == (1, 2)


async def test_the_circuit_opens_and_lets_one_through() -> None:
    """After circuit_threshold failures callers are refused at once; after circuit_open_for one tries for all."""
    notes = Notes()
    resource = MockResource(create=Outcome.ERROR, turns=1)
    async with opened(resource, observer=notes, circuit_threshold=3, circuit_open_for=10.0) as pool:
        for _ in range(3):
            with pytest.raises(CreateFailed):
                await pool.acquire()
        with pytest.raises(CircuitOpen) as caught:
            await pool.acquire()
        assert (caught.value.operation, caught.value.retry_after, caught.value.retryable) == (
            "create",
            10.0,
            True,
        )
        assert isinstance(caught.value.__cause__, CreateFailed)
        assert notes.of("circuit_opened") == [("create", 10.0)]
        assert notes.of("rejected") == [("circuit", 0.0)]

        await asyncio.sleep(10)
        results = await asyncio.gather(*(_handle(pool) for _ in range(3)), return_exceptions=True)
        assert [type(result) for result in results] == [CreateFailed, CircuitOpen, CircuitOpen]
        assert resource.calls["create"] == 4

        resource.script("create", Outcome.OK)
        await asyncio.sleep(10)
        await (await pool.acquire()).release()
        assert notes.of("circuit_closed") == ["create"]


async def test_an_open_circuit_leaves_those_in_line_who_can_be_served() -> None:
    """While an instance is out, waiting for it is not hopeless; the trial is made for them when its time comes."""
    resource = MockResource(create=[Outcome.OK, Outcome.ERROR, Outcome.OK])
    async with opened(resource, max_size=2, circuit_threshold=1, circuit_open_for=10.0) as pool:
        handle = await pool.acquire()
        with pytest.raises(CreateFailed):
            await pool.acquire()
        waiting = asyncio.create_task(_handle(pool))
        second = await waiting
        assert now() == 10.0
        await handle.release()
        await second.release()


@pytest.mark.parametrize("early", [0.0005, 1e-9])
async def test_who_waits_for_the_trial_is_woken_by_a_timer_that_rings_early(early: float) -> None:
    """Nobody wakes it a second time: by half a millisecond as uvloop's timers may, or by the last place of a float."""
    resource = MockResource(create=[Outcome.OK, Outcome.ERROR, Outcome.OK])
    async with opened(resource, max_size=2, circuit_threshold=1, circuit_open_for=10.0) as pool:
        handle = await pool.acquire()
        with pytest.raises(CreateFailed):
            await pool.acquire()
        waiting = asyncio.create_task(_handle(pool))
        timer = pool.maker._retry_timer
        assert timer is not None
        timer.cancel()
        pool.maker._retry_timer = pool.loop.call_at(timer.when() - early, pool.desk.serve)
        second = await waiting
        assert now() == pytest.approx(10.0, abs=0.001)
        await handle.release()
        await second.release()


async def test_eager_tasks_of_a_loop_are_none_of_the_pool_s() -> None:
    """Callers may run in them: what is made for one goes through the line as ever, and leaves nothing in it."""
    loop = asyncio.get_running_loop()
    loop.set_task_factory(getattr(asyncio, "eager_task_factory", None))  # there is one since 3.12
    try:
        async with opened(MockResource(recycle=Outcome.OK), max_size=3) as pool:
            callers = [loop.create_task(_handle(pool)) for _ in range(6)]
            await turns()
            assert (pool.stats().in_use, pool.stats().waiting, pool.line.attended) == (3, 3, {})
            for caller in callers:
                await (await caller).release()
            assert not pool.line.waiters
    finally:
        loop.set_task_factory(None)


async def test_the_last_instance_going_makes_waiting_hopeless() -> None:
    """With the circuit open and nothing left, those in line are told at once."""
    resource = MockResource(create=[Outcome.OK, Outcome.ERROR])
    async with opened(resource, max_size=2, circuit_threshold=1, circuit_open_for=10.0) as pool:
        handle = await pool.acquire()
        with pytest.raises(CreateFailed):
            await pool.acquire()
        waiting = asyncio.create_task(_handle(pool))
        await asyncio.sleep(1)
        handle.taint("gone")
        await handle.release()
        with pytest.raises(CircuitOpen):
            await waiting
        assert now() == 1.0


async def test_background_creates_back_off() -> None:
    """What is missing to min_size is tried again after 1, 2, 4, 8, 8 … seconds, and the circuit's pause."""
    resource = MockResource(create=[Outcome.OK, Outcome.ERROR])
    settings: dict[str, Any] = {
        "min_size": 2,
        "warm_concurrency": 1,
        "create_backoff": EXACT,
        "circuit_threshold": 100,
    }
    async with opened(resource, **settings) as pool:
        tried: list[float] = []
        resource.script("create", lambda: _fail_at(tried))
        await asyncio.sleep(31.5)
        assert tried == [1.0, 3.0, 7.0, 15.0, 23.0, 31.0]
        resource.script("create", Outcome.OK)
        await asyncio.sleep(8)
        assert pool.stats().size == 2


async def test_an_open_circuit_holds_background_creates_back() -> None:
    """The pause is the longer of back-off and circuit."""
    resource = MockResource(create=[Outcome.OK, Outcome.ERROR])
    settings: dict[str, Any] = {
        "min_size": 2,
        "warm_concurrency": 1,
        "create_backoff": EXACT,
        "circuit_threshold": 1,
    }
    async with opened(resource, circuit_open_for=20.0, **settings):
        tried: list[float] = []
        resource.script("create", lambda: _fail_at(tried))
        await asyncio.sleep(45)
        assert tried == [20.0, 40.0]


async def test_a_success_ends_the_back_off() -> None:
    """A caller's create that goes well fills the pool behind it at once."""
    resource = MockResource(create=[Outcome.OK, Outcome.ERROR, Outcome.OK])
    async with opened(resource, min_size=3, warm_concurrency=1, create_backoff=EXACT) as pool:
        handles = await take(pool, 2)
        await turns()
        assert (now(), pool.stats().size) == (0.0, 3)
        for handle in handles:
            await handle.release()


async def test_a_create_sees_the_pool_s_context_and_no_caller() -> None:
    """Its context is the factory's; what the factory gave beside it is released when the instance is gone."""
    released: list[str] = []

    class Held:
        def release(self) -> None:
            released.append("released")

    mine = ResourceContext(metadata={"of": "the pool"})
    resource = MockResource(create=[Outcome.OK, Outcome.ERROR])
    pool: MockPool = Pool(resource, None, PoolConfig(min_size=0), context_factory=lambda: (mine, Held()))
    await pool.open()
    handle = await pool.acquire(ResourceContext(metadata={"of": "the caller"}))
    assert resource.contexts == [mine]
    with pytest.raises(CreateFailed):
        await pool.acquire()
    assert released == ["released"]  # that of the one that failed
    await handle.release()
    await pool.close()
    assert released == ["released"] * 2
    assert_sound(pool)


def _fail_at(tried: list[float]) -> None:
    tried.append(now())
    raise MockError("create")


async def _handle(pool: MockPool) -> Any:
    return await pool.acquire()


@pytest.mark.parametrize("sharing", ["exclusive", "shared"])
async def test_whoever_a_failure_turns_everybody_away_its_own_caller_hears_of_it(sharing: str) -> None:
    """Whoever observes the pool may refuse the whole line for it; the caller for whom it was made is told the failure."""

    class Refusing(Notes):
        def create_failed(self, error: BaseException) -> None:
            super().create_failed(error)
            pool.fail_line(lambda: Unavailable("unhealthy"))

    notes = Refusing()
    resource = MockResource(create=Outcome.ERROR, turns=2)
    async with opened(
        resource, observer=notes, sharing=sharing, max_size=2, max_concurrent_creates=1
    ) as pool:
        errors = await asyncio.gather(*(take(pool, 1) for _ in range(3)), return_exceptions=True)
        told = [type(error) for error in errors]
        assert told == (
            [CreateFailed] * 3 if sharing == "shared" else [CreateFailed, Unavailable, Unavailable]
        )
        assert isinstance(errors[0], CreateFailed)
        assert isinstance(errors[0].cause, MockError)
        assert len(notes.of("create_failed")) == 1
