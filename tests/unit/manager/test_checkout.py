"""Checkout: the road of an acquire: refusal, gates, hooks, pool, and everything given back on any failure."""

import asyncio
import gc
import warnings

import pytest

from nebula_resource import (
    AcquireCancelled,
    AcquireTimeout,
    CancellationToken,
    HandleReleased,
    HookCancelled,
    InternalError,
    Manager,
    ResourceContext,
    ResourceKey,
    Scope,
    Unavailable,
)
from nebula_resource.events import Acquired, Released
from nebula_resource.hooks import Cancel, HookEvent, HookPayload, HookResult, ResourceHook
from nebula_resource.manager.registration import Cause
from tests.unit.manager.things import Instance, Leasing, Thing, ThingConfig, assert_manager_sound


class Gate:
    """Lets ``room`` callers in at a time, and notes how each left."""

    def __init__(self, room: int) -> None:
        self.room = room
        self.left: list[BaseException | None] = []

    def enter(self) -> "Gate":
        if self.room == 0:
            raise Unavailable("unhealthy", retryable=True)
        self.room -= 1
        return self

    def leave(self, error: BaseException | None) -> None:
        self.room += 1
        self.left.append(error)


async def test_the_three_ways_to_acquire() -> None:
    """As a block, as a handle, as a handle's block; each gives the value and gives it back."""
    async with Manager() as manager:
        await manager.register(Thing())
        async with manager.acquire("thing") as instance:
            assert isinstance(instance, Instance)
            assert_manager_sound(manager, out=1)
        handle = await manager.acquire("thing")
        assert handle.value is instance
        assert handle.instance is instance
        await handle.release()
        with pytest.raises(HandleReleased):
            _ = handle.value
        async with await manager.acquire(ResourceKey[Instance]("thing")) as again:
            assert again is instance
        assert_manager_sound(manager)


async def test_an_acquisition_is_used_once() -> None:
    """Entered or awaited a second time it says so; released a second time it only warns."""
    async with Manager() as manager:
        await manager.register(Thing())
        acquisition = manager.acquire("thing")
        async with acquisition:
            with pytest.raises(InternalError, match="once"):
                async with acquisition:
                    pass
        with pytest.raises(InternalError):
            await acquisition
        handle = await manager.acquire("thing")
        await handle.release()
        with pytest.warns(RuntimeWarning, match="second time"):
            await handle.release()
        assert_manager_sound(manager)


async def test_whoever_waits_is_told_a_refusal_at_once() -> None:
    """A quarantine fails the line the moment it begins; the one who holds the instance is not disturbed."""
    async with Manager() as manager:
        await manager.register(Thing(), pool={"max_size": 1})
        async with manager.acquire("thing"):
            waiter = asyncio.ensure_future(manager.acquire("thing").__aenter__())
            await asyncio.sleep(1)
            manager.quarantine("thing", "ill")
            started = asyncio.get_running_loop().time()
            with pytest.raises(Unavailable) as caught:
                await waiter
            assert caught.value.why == "quarantined"
            assert asyncio.get_running_loop().time() == started
        assert_manager_sound(manager)


async def test_a_wait_does_not_outlive_the_verdict() -> None:
    """Refused while an instance is made for the caller: the instance goes back, the caller is refused."""

    class Slow(Thing):
        async def create(self, config: ThingConfig, context: ResourceContext) -> Instance:
            await asyncio.sleep(5)
            return await super().create(config, context)

    async with Manager() as manager:
        await manager.register(Slow(), pool={"min_size": 0})
        waiter = asyncio.ensure_future(manager.acquire("thing").__aenter__())
        await asyncio.sleep(1)
        manager.quarantine("thing", "ill")
        with pytest.raises(Unavailable):
            await waiter
        await asyncio.sleep(10)
        assert_manager_sound(manager)


async def test_the_strongest_cause_speaks() -> None:
    """Of several standing causes the strongest makes the error; when it ends the next one does."""
    async with Manager() as manager:
        registration = await manager.register(Thing())
        for cause, why in ((Cause.UNHEALTHY, "unhealthy"), (Cause.DRAINING, "draining")):
            registration.refuse(cause, lambda why=why: Unavailable(why))  # type: ignore[misc]  # a default binds it
        with pytest.raises(Unavailable, match="draining"):
            async with manager.acquire("thing"):
                pass
        registration.allow(Cause.DRAINING)
        with pytest.raises(Unavailable, match="unhealthy"):
            await manager.acquire("thing")
        registration.allow(Cause.UNHEALTHY)
        async with manager.acquire("thing"):
            pass
        assert_manager_sound(manager)


async def test_gates_are_left_exactly_once_with_the_outcome() -> None:
    """A ticket is given back after a good use, a failed one, a refused acquire and a cancelled wait."""
    async with Manager() as manager:
        registration = await manager.register(Thing(), pool={"max_size": 1})
        gate = Gate(2)
        registration.gates = (gate,)
        manager._road.pave(registration)
        async with manager.acquire("thing"):
            waiting = asyncio.ensure_future(manager.acquire("thing").__aenter__())
            await asyncio.sleep(0)
            with pytest.raises(Unavailable):
                await manager.acquire("thing")
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
        with pytest.raises(ValueError, match="body"):
            async with manager.acquire("thing"):
                raise ValueError("body")
        assert gate.room == 2
        assert [type(error) for error in gate.left] == [asyncio.CancelledError, type(None), ValueError]
        assert_manager_sound(manager)


async def test_a_hook_may_stop_an_acquire_and_sees_what_it_let_pass() -> None:
    """Before-hooks stand before the pool, after-hooks see the outcome, a refused caller holds nothing."""

    class Guard(ResourceHook):
        name = "guard"
        events = (HookEvent.ACQUIRE, HookEvent.RELEASE)

        def __init__(self) -> None:
            self.closed = False
            self.seen: list[str] = []

        def before(self, event: HookPayload) -> object:
            if self.closed and event.kind is HookEvent.ACQUIRE:
                raise Cancel("closed for today")
            return None

        def after(self, event: HookPayload, result: HookResult) -> object:
            self.seen.append(f"{event.kind.value} {result.outcome.value}")
            return None

    async with Manager() as manager:
        registration = await manager.register(Thing())
        guard = Guard()
        manager.hooks.add(guard)
        assert not registration.is_plain
        async with manager.acquire("thing"):
            pass
        guard.closed = True
        with pytest.raises(HookCancelled, match="closed for today"):
            async with manager.acquire("thing"):
                pass
        assert guard.seen == ["acquire ok", "release ok"]
        manager.hooks.remove("guard")
        assert registration.is_plain
        assert_manager_sound(manager)


async def test_events_cost_nothing_until_somebody_listens() -> None:
    """With a subscriber the road tells of every use; without one the registration is plain."""
    async with Manager() as manager:
        registration = await manager.register(Thing())
        assert registration.is_plain
        subscription = manager.subscribe((Acquired, Released))
        assert not registration.is_plain
        async with manager.acquire("thing"):
            pass
        told = [await anext(subscription) for _ in range(2)]
        assert [type(event) for event in told] == [Acquired, Released]
        subscription.close()
        assert registration.is_plain


async def test_the_lease_learns_the_caller_and_the_outcome() -> None:
    """Commit after a good body, rollback after an error or a cancellation; a failed commit reaches the caller."""
    async with Manager() as manager:
        thing = Leasing()
        await manager.register(thing)
        async with manager.scope(tenant="acme"), manager.acquire("thing"):
            pass
        assert thing.log == ["begin tenant:acme", "commit"]
        with pytest.raises(KeyError):
            async with manager.acquire("thing"):
                raise KeyError("x")
        assert thing.log[-1] == "cleanup"
        assert thing.log[-2] == "rollback KeyError"
        thing.commit_fails = RuntimeError("deadlock")
        with pytest.raises(RuntimeError, match="deadlock"):
            async with manager.acquire("thing"):
                pass
        assert_manager_sound(manager)


async def test_timeouts_and_tokens_end_a_wait_exactly() -> None:
    """The call's timeout, the context's deadline and its token each end the wait, and nothing is leaked."""
    loop = asyncio.get_running_loop()
    async with Manager() as manager:
        await manager.register(Thing(), pool={"max_size": 1, "acquire_timeout": 30.0})
        async with manager.acquire("thing"):
            for timeout, deadline, waits in (
                (2.0, None, 2.0),
                (None, 3.0, 3.0),
                (9.0, 4.0, 4.0),
                (None, None, 30.0),
            ):
                started = loop.time()
                context = ResourceContext(deadline=None if deadline is None else started + deadline)
                with pytest.raises(AcquireTimeout) as caught:
                    await manager.acquire("thing", context, timeout=timeout)
                assert loop.time() - started == pytest.approx(waits, abs=1e-6)
                assert caught.value.waited_s == pytest.approx(waits, abs=1e-6)
                assert caught.value.scope == Scope.GLOBAL
            token = CancellationToken()
            loop.call_later(1.5, token.cancel)
            started = loop.time()
            with pytest.raises(AcquireCancelled):
                await manager.acquire("thing", ResourceContext(cancellation=token))
            assert loop.time() - started == pytest.approx(1.5, abs=1e-6)
        assert_manager_sound(manager)


async def test_a_lost_handle_is_reported_and_its_instance_never_lent_again() -> None:
    """A handle collected by the garbage collector: the instance is cleaned up, the place is free again."""
    async with Manager() as manager:
        thing = Thing()
        await manager.register(thing, pool={"max_size": 1})
        handle = await manager.acquire("thing")
        lost = handle.value
        del handle
        gc.collect()
        await asyncio.sleep(1)
        assert lost in thing.gone
        async with manager.acquire("thing") as instance:
            assert instance is not lost
        assert manager.stats()["thing"].leaks == 1
        assert_manager_sound(manager)


@pytest.mark.parametrize("step", range(12))
async def test_cancelled_at_every_step_nothing_is_left_behind(step: int) -> None:
    """A caller with gate, hook and lease, cancelled at each turn of the loop, leaves nothing out."""

    class Waiting(ResourceHook):
        name = "waiting"
        events = (HookEvent.ACQUIRE, HookEvent.RELEASE)

        async def before(self, event: HookPayload) -> object:
            await asyncio.sleep(0)
            return None

    async with Manager() as manager:
        registration = await manager.register(Leasing(), pool={"max_size": 1, "min_size": 0})
        gate = Gate(1)
        registration.gates = (gate,)
        manager.hooks.add(Waiting())

        async def use() -> None:
            async with manager.acquire("thing"):
                await asyncio.sleep(0)

        task = asyncio.ensure_future(use())
        for _ in range(step):
            await asyncio.sleep(0)
        task.cancel()
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            await asyncio.wait((task,))
        assert task.cancelled() or step >= 8, "a cancellation was swallowed"
        await asyncio.sleep(1)
        assert gate.room == 1
        assert_manager_sound(manager)
        async with manager.acquire("thing"):
            pass
