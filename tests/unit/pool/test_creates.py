"""Creations: who learns of a failed one, how fast they are repeated, and resources that behave badly."""

import asyncio
import time
from typing import Any

import pytest

from nebula_resource.errors import (
    AcquireTimeout,
    CircuitOpen,
    CreateFailed,
    HookCancelled,
    InternalError,
)
from nebula_resource.model.backoff import Backoff
from nebula_resource.model.context import ResourceContext
from nebula_resource.model.reasons import CleanupReason
from nebula_resource.pool import Pool, PoolConfig
from nebula_resource.testing.asserts import assert_no_leaks, assert_sound
from nebula_resource.testing.mock import MockError, MockInstance, MockResource, Outcome
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
        assert notes.of("rejected") == ["circuit"]

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


@pytest.mark.parametrize("made", [None, "the same"])
async def test_a_create_must_make_something_new(made: str | None) -> None:
    """None, or an instance that the pool has already, is a failed create that says what is wrong."""
    twin = MockInstance(99)
    resource = MockResource(create=lambda: twin)
    if made is None:
        resource.create = _makes_nothing  # type: ignore[method-assign]  # a bad resource, on purpose
    pool: MockPool = Pool(resource, None, PoolConfig(min_size=0))
    await pool.open()
    if made is not None:
        handle = await pool.acquire()
    with pytest.raises(CreateFailed) as caught:
        await pool.acquire()
    assert isinstance(caught.value.cause, InternalError)
    assert ("None" if made is None else "already") in str(caught.value.cause)
    if made is not None:
        await handle.release()
        assert resource.calls["cleanup"] == 0  # the one it has is not cleaned up for its twin
    await pool.close()
    pool.check()


async def _makes_nothing(config: Any, context: ResourceContext) -> Any:
    return None


class Rude(BaseException):
    """Not an Exception."""


@pytest.mark.parametrize("error", [Rude("x"), asyncio.CancelledError("by itself")])
async def test_a_create_that_raises_what_it_should_not_is_a_failed_create(error: BaseException) -> None:
    """A BaseException, or a CancelledError that nobody asked for, neither kills the pool nor its caller."""
    async with opened(MockResource(create=[error, Outcome.OK])) as pool:
        with pytest.raises(CreateFailed) as caught:
            await pool.acquire()
        assert caught.value.cause is error
        await (await pool.acquire()).release()


def test_an_exit_of_the_process_passes() -> None:
    """SystemExit ends the program as it would anywhere; the books are right all the same."""
    resource = MockResource(create=[Outcome.OK, SystemExit(3)])
    pool: MockPool = Pool(resource, None)

    async def main() -> None:
        await pool.open()
        await pool.acquire(timeout=1.0)
        await pool.acquire(timeout=1.0)

    with pytest.raises(SystemExit):
        asyncio.run(main())
    assert pool.stats().creating == 0
    pool.check()


async def test_a_create_that_blocks_the_loop_is_reported() -> None:
    """The time is measured by the wall clock and told with the step."""
    notes = Notes()
    async with opened(MockResource(create=lambda: time.sleep(0.12)), observer=notes) as pool:
        await (await pool.acquire()).release()
        [(step, seconds)] = notes.of("loop_blocked")
        assert step == "create"
        assert seconds >= 0.12


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


class Hooked(Notes):
    """An observer with hooks around creations and cleanups."""

    hooks_create = True
    hooks_cleanup = True

    def __init__(self, before: BaseException | None = None) -> None:
        super().__init__()
        self.before = before

    async def before_create(self) -> object:
        if self.before is not None:
            raise self.before
        return "token"

    async def after_create(self, token: object, error: BaseException | None) -> None:
        self.notes.append(("after_create", token, error))

    async def before_cleanup(self, reason: CleanupReason) -> object:
        if self.before is not None:
            raise self.before
        return "token"

    async def after_cleanup(self, token: object, reason: CleanupReason, error: BaseException | None) -> None:
        self.notes.append(("after_cleanup", token, reason, error))


async def test_hooks_stand_around_every_creation_and_cleanup() -> None:
    """After is told what before returned and how it went."""
    hooked = Hooked()
    resource = MockResource(create=[Outcome.OK, Outcome.ERROR])
    async with opened(resource, observer=hooked) as pool:
        handle = await pool.acquire()
        with pytest.raises(CreateFailed):
            await pool.acquire()
        await handle.release()
        pool.recycle_all()
        await turns()
    [went_well, failed] = hooked.of("after_create")
    assert went_well == ("token", None)
    assert isinstance(failed[1], MockError)
    assert hooked.of("after_cleanup") == [("token", CleanupReason.EVICTED, None)]


async def test_a_hook_may_refuse_a_creation() -> None:
    """Its caller is told so; the server was not asked, so neither circuit nor failures count it."""
    refusal = HookCancelled("audit", "not today")
    hooked = Hooked(refusal)
    async with opened(observer=hooked, circuit_threshold=1) as pool:
        for _ in range(2):
            with pytest.raises(HookCancelled):
                await pool.acquire()
        assert await pool.scale_up(1) == 0
        assert (pool.stats().create_failures, pool.stats().size) == (0, 0)
        hooked.before = None
        await (await pool.acquire()).release()


async def test_no_hook_keeps_an_instance_from_its_cleanup() -> None:
    """A before-hook that raises is reported, and the instance is cleaned up all the same."""
    hooked = Hooked()
    async with opened(observer=hooked) as pool:
        await (await pool.acquire()).release()
        hooked.before = MockError("hook")
    assert hooked.before in hooked.of("failed")
    assert not hooked.of("after_cleanup")


async def test_hooks_end_when_a_close_stops_a_creation() -> None:
    """A creation that is cancelled by a close tells its after-hook; nothing is left."""
    hooked = Hooked()
    async with opened(MockResource(create=Outcome.NEVER), observer=hooked) as pool:
        asking = asyncio.create_task(_handle(pool))
        await turns()
        await pool.close()
        with pytest.raises(Exception, match="closed"):
            await asking
    [(token, error)] = hooked.of("after_create")
    assert token == "token"
    assert isinstance(error, asyncio.CancelledError)
    assert_no_leaks(pool)


def _fail_at(tried: list[float]) -> None:
    tried.append(now())
    raise MockError("create")


async def _handle(pool: MockPool) -> Any:
    return await pool.acquire()
