"""The roads of an acquire that the shortest one leaves out: a limit, a context, a wait, a refusal in between."""

import asyncio
import gc
import threading
import warnings
from collections.abc import Callable
from typing import Any

import pytest

from nebula_resource import (
    AcquireTimeout,
    CreateFailed,
    HookCancelled,
    InternalError,
    Manager,
    ResourceContext,
    Scope,
    Unavailable,
    WrongEventLoop,
)
from nebula_resource.events import CleanedUp, Created, Event, LoopBlocked, PoolResized, PoolResumed
from nebula_resource.hooks import Cancel, HookEvent, ResourceHook
from nebula_resource.hooks.payload import HookPayload, HookResult
from nebula_resource.manager import ManagedAcquisition
from nebula_resource.manager.registration import Cause
from nebula_resource.model.policy import OFF
from tests.unit.manager.things import Instance, Thing, ThingConfig, assert_manager_sound

Ask = Callable[[Manager], ManagedAcquisition[Any]]

ROADS: dict[str, Ask] = {
    "plain": lambda manager: manager.acquire("thing"),
    "limited": lambda manager: manager.acquire("thing", timeout=5),
    "as somebody": lambda manager: manager.acquire("thing", ResourceContext(Scope.tenant("acme"))),
    "strictly": lambda manager: manager.acquire("thing", strategy="strict"),
}


@pytest.fixture(params=ROADS)
def ask(request: pytest.FixtureRequest) -> Ask:
    """Each way to ask."""
    return ROADS[request.param]


async def test_every_road_ends_where_it_began(ask: Ask) -> None:
    """A hundred uses, one timed among them; with an error of the body; with somebody in line: all is back."""
    async with Manager() as manager:
        await manager.register(Thing(), pool={"max_size": 1})
        for _ in range(100):
            async with ask(manager) as instance:
                assert isinstance(instance, Instance)
        with pytest.raises(ValueError, match="ours"):
            async with ask(manager):
                raise ValueError("ours")
        async with ask(manager):
            waiting = [asyncio.ensure_future(_use(ask(manager))) for _ in range(3)]
            await asyncio.sleep(1)
        await asyncio.gather(*waiting)
        assert manager.stats()["thing"].acquisitions == 100 + 1 + 1 + 3
        assert_manager_sound(manager)


async def _use(acquisition: ManagedAcquisition[Any]) -> None:
    async with acquisition:
        await asyncio.sleep(0)


async def test_a_wait_that_is_timed_is_timed(ask: Ask) -> None:
    """Whoever waited for the use that is picked to be timed gets it timed."""
    async with Manager() as manager:
        registration = await manager.register(Thing(), pool={"max_size": 1})
        for _ in range(62):
            async with ask(manager):
                pass
        before = registration.pool.stats().use.count
        async with ask(manager):
            waiting = asyncio.ensure_future(_use(ask(manager)))
            await asyncio.sleep(1)
        await waiting
        for _ in range(64):
            async with ask(manager):
                pass
        assert registration.pool.stats().use.count > before
        assert_manager_sound(manager)


async def test_a_refusal_that_comes_while_one_waits(ask: Ask) -> None:
    """Refused in the very turn in which the instance is handed over: the caller is refused, the instance goes back."""
    async with Manager() as manager:
        registration = await manager.register(Thing(), pool={"max_size": 1})
        handle = await manager.acquire("thing")
        waiting = asyncio.ensure_future(_use(ask(manager)))
        await asyncio.sleep(1)
        await handle.release()
        registration.refuse(Cause.UNHEALTHY, lambda: Unavailable("unhealthy"))
        with pytest.raises(Unavailable) as caught:
            await waiting
        assert caught.value.scope is not None
        registration.allow(Cause.UNHEALTHY)
        async with ask(manager):
            pass
        assert_manager_sound(manager)


async def test_what_a_caller_is_refused_with_names_his_scope(ask: Ask) -> None:
    """A refusal, a timeout and a full line say in whose scope was asked."""
    async with Manager() as manager:
        registration = await manager.register(Thing(), pool={"max_size": 1, "acquire_timeout": 2})
        async with manager.acquire("thing"):
            with pytest.raises(AcquireTimeout) as late:
                async with ask(manager):
                    pass
        registration.refuse(Cause.UNHEALTHY, lambda: Unavailable("unhealthy"))
        with pytest.raises(Unavailable) as refused:
            async with ask(manager):
                pass
        with pytest.raises(Unavailable) as handle:
            await ask(manager)
        mine = ask(manager)._context if ask is ROADS["as somebody"] else None
        scope = Scope.GLOBAL if mine is None else mine.scope
        assert late.value.scope == refused.value.scope == handle.value.scope == scope
        registration.refuse(Cause.UNHEALTHY, lambda: Unavailable("unhealthy", scope=Scope.tenant("t")))
        with pytest.raises(Unavailable) as named:
            await ask(manager)
        assert named.value.scope == Scope.tenant("t"), "what says so itself is left alone"


async def test_an_acquisition_is_used_once_on_every_road(ask: Ask) -> None:
    """A second entry, an await after it, an exit without an entry, and a second exit."""
    async with Manager() as manager:
        await manager.register(Thing())
        acquisition = ask(manager)
        with pytest.raises(InternalError, match="without having been entered"):
            await acquisition.__aexit__(None, None, None)
        acquisition = ask(manager)
        async with acquisition:
            with pytest.raises(InternalError, match="once"):
                await acquisition.__aenter__()
            with pytest.raises(InternalError, match="once"):
                await acquisition
        with pytest.warns(RuntimeWarning, match="second time"):
            await acquisition.__aexit__(None, None, None)
        acquisition = ask(manager)
        async with await acquisition:
            with pytest.raises(InternalError, match="once"):
                await acquisition
            with pytest.raises(InternalError, match="once"):
                await acquisition.__aenter__()
        assert_manager_sound(manager)


async def test_a_use_released_inside_its_block_is_released_once() -> None:
    """With hooks a block holds a handle; whoever releases that early finds nothing left to do at the end."""

    class Watching(ResourceHook):
        name = "watching"
        events = frozenset({HookEvent.ACQUIRE})

    async with Manager() as manager:
        await manager.register(Thing())
        manager.hooks.add(Watching())
        acquisition = manager.acquire("thing")
        async with acquisition:
            assert acquisition._handle is not None
            await acquisition._handle.release()
        assert_manager_sound(manager)


async def test_a_gate_that_needs_no_ticket_gives_none() -> None:
    """None is an answer too, and nothing is left for it."""

    class Open:
        asked = 0

        def enter(self) -> None:
            self.asked += 1

    async with Manager() as manager:
        registration = await manager.register(Thing())
        gate = Open()
        registration.gates = (gate,)
        manager._road.pave(registration)
        async with manager.acquire("thing"):
            pass
        assert gate.asked == 1


async def test_a_pool_that_is_shut_without_its_registration_refuses() -> None:
    """Suspended by hand, failing: the pool's own refusal reaches the caller with his scope, and is not tried again."""
    async with Manager() as manager:
        registration = await manager.register(Thing())
        registration.pool.suspend(fail=True)
        for road in (ROADS["plain"], ROADS["limited"]):
            with pytest.raises(Unavailable) as caught:
                async with road(manager):
                    pass
            assert (caught.value.why, caught.value.scope) == ("suspended", Scope.GLOBAL)
        with pytest.raises(Unavailable):
            await manager.acquire("thing")


async def test_hooks_around_creates_and_cleanups_see_each_of_them() -> None:
    """Warm-up, reload and shutdown included; a create that fails is told as failed."""

    class Looking(ResourceHook):
        name = "looking"
        events = frozenset({HookEvent.CREATE, HookEvent.CLEANUP})

        def __init__(self) -> None:
            self.log: list[str] = []

        async def before(self, event: HookPayload) -> None:
            self.log.append(f"before {event.kind.value}")

        async def after(self, event: HookPayload, result: HookResult) -> None:
            self.log.append(f"after {event.kind.value} {'ok' if result.error is None else 'failed'}")

    looking = Looking()
    async with Manager() as manager:
        manager.hooks.add(looking)
        thing = Thing()
        told: list[Event] = []
        manager.events.add_listener(told.append, (Created, CleanedUp))
        await manager.register(thing)
        await manager.reload("thing", {"name": "new"})
        await asyncio.sleep(1)
        thing.fails = OSError("down")
        manager.recycle("thing")
        await asyncio.sleep(0.1)
    assert looking.log.count("after create ok") == 2
    assert "after create failed" in looking.log
    assert looking.log.count("before cleanup") == looking.log.count("after cleanup ok") == 2
    assert [type(event) for event in told] == [Created, Created, CleanedUp, CleanedUp]


def test_an_acquisition_swept_up_after_its_loop_says_nothing_worse() -> None:
    """A coroutine that held a use when its loop ended is closed by the collector: no error escapes it."""

    async def hold(manager: Manager) -> None:
        async with manager.acquire("thing"):
            await asyncio.Event().wait()

    async def main() -> Any:
        manager = Manager()
        await manager.register(Thing())
        coroutine = hold(manager)
        coroutine.send(None)
        return coroutine

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        coroutine = asyncio.run(main())
        coroutine.close()
        del coroutine
        gc.collect()


async def test_another_thread_s_loop_is_told_so() -> None:
    """A release from a second loop is refused, and the handle can still be released where it belongs."""
    async with Manager() as manager:
        await manager.register(Thing())
        handle = await manager.acquire("thing")

        told: list[BaseException] = []

        def elsewhere() -> None:
            try:
                asyncio.run(handle.release())
            except WrongEventLoop as error:
                told.append(error)

        thread = threading.Thread(target=elsewhere)
        thread.start()
        thread.join()  # nothing else is to happen meanwhile
        assert len(told) == 1
        await handle.release()
        assert_manager_sound(manager)


async def test_a_slow_create_is_waited_for_by_all_roads(ask: Ask) -> None:
    """Nothing idle and room: one is made for the caller."""

    class Slow(Thing):
        async def create(self, config: ThingConfig, context: ResourceContext) -> Instance:
            await asyncio.sleep(2)
            return await super().create(config, context)

    async with Manager() as manager:
        await manager.register(Slow(), pool={"min_size": 0})
        async with ask(manager) as instance:
            assert instance.number == 1
        assert_manager_sound(manager)


async def test_a_hook_that_refuses_a_create_is_heard_by_whoever_waits_for_it() -> None:
    """The error names the scope of the create already, and is left as it is."""

    class Refusing(ResourceHook):
        name = "refusing"
        events = frozenset({HookEvent.CREATE})

        async def before(self, event: HookPayload) -> None:
            raise Cancel("not today")

    async with Manager() as manager:
        await manager.register(Thing(), pool={"min_size": 0})
        manager.hooks.add(Refusing())
        with pytest.raises(HookCancelled) as caught:
            async with manager.acquire("thing"):
                pass
        assert caught.value.scope == Scope.GLOBAL
        assert_manager_sound(manager)


async def test_an_old_pool_speaks_for_nobody() -> None:
    """What befalls a pool that a reload replaced is told as an event, and changes nothing for callers."""
    async with Manager() as manager:
        registration = await manager.register(Thing(), pool={"max_size": 3})
        handle = await manager.acquire("thing")
        old = registration.pool
        await manager.reload("thing", {"name": "new"})
        told: list[Event] = []
        manager.events.add_listener(told.append, (PoolResized, PoolResumed, LoopBlocked))
        await asyncio.sleep(1)
        old.resize(max_size=1)
        old.resume()
        old.observer.loop_blocked("create", 0.2)
        assert [type(event) for event in told] == [PoolResized, PoolResumed, LoopBlocked]
        assert registration.refusal is None
        await old.drain(0)
        assert registration.refusal is None
        await handle.release()
        async with manager.acquire("thing"):
            pass


async def test_callers_who_are_turned_away_are_counted_by_why(ask: Ask) -> None:
    """A refusal before and after the wait, a failed create, a hook that says no: one each, whichever road it was."""

    class No(ResourceHook):
        name = "no"
        events = frozenset({HookEvent.ACQUIRE})

        def before(self, event: HookPayload) -> object:
            raise Cancel("not today")

    async with Manager(health=OFF, quarantine=OFF) as manager:
        thing = Thing()
        await manager.register(thing, pool={"max_size": 1})
        registration = manager.pools()[0]
        registration.refuse(Cause.UNHEALTHY, lambda: Unavailable("unhealthy", resource_id="thing"))
        with pytest.raises(Unavailable):
            await ask(manager)
        registration.allow(Cause.UNHEALTHY)
        async with ask(manager):
            waiting = asyncio.ensure_future(enter(ask(manager)))
            for _ in range(5):
                await asyncio.sleep(0)
            assert registration.pool.stats().waiting == 1
            registration.refuse(Cause.QUARANTINED, lambda: Unavailable("quarantined", resource_id="thing"))
            with pytest.raises(Unavailable):
                await waiting
            registration.allow(Cause.QUARANTINED)
        registration.pool.retire_where(lambda _: True)
        thing.fails = OSError("down")
        with pytest.raises(CreateFailed):
            await enter(ask(manager))
        thing.fails = None
        manager.hooks.add(No())
        with pytest.raises(HookCancelled):
            await ask(manager)
        expected = {"unhealthy": 1, "quarantined": 1, "create_failed": 1, "hook_cancelled": 1}
        assert registration.refused == expected


async def enter(acquisition: ManagedAcquisition[Any]) -> None:
    """Enter it and leave it."""
    async with acquisition:
        pass
