"""Around: hooks take their caller's time, and a caller's patience ends whatever it waits for."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager

import pytest

from nebula_resource import (
    OFF,
    AcquireCancelled,
    AcquireTimeout,
    CancellationToken,
    Manager,
    ResourceContext,
    Scope,
)
from nebula_resource.events import Acquired, Released
from nebula_resource.hooks import HookEvent, ResourceHook
from nebula_resource.hooks.payload import HookPayload, HookResult
from tests.unit.manager.things import Thing, assert_manager_sound


class Slow(ResourceHook):
    """Takes so many seconds before and after an acquire; notes what it came to."""

    name = "slow"
    events = frozenset({HookEvent.ACQUIRE})

    def __init__(self, before: float = 0.0, after: float = 0.0) -> None:
        self.takes = before, after
        self.log: list[str] = []

    async def before(self, event: HookPayload) -> None:
        await asyncio.sleep(self.takes[0])

    async def after(self, event: HookPayload, result: HookResult) -> None:
        await asyncio.sleep(self.takes[1])
        self.log.append(result.error or "ok")


@asynccontextmanager
async def hooked(hook: Slow) -> AsyncGenerator[Manager]:
    """One thing, one instance of it, and the hook; nothing is out in the end."""
    async with Manager(health=OFF, quarantine=OFF) as manager:
        await manager.register(Thing(), pool={"max_size": 1})
        manager.hooks.add(hook)
        yield manager
        assert_manager_sound(manager)


def now() -> float:
    """Virtual seconds."""
    return asyncio.get_running_loop().time()


Limit = Callable[[float], tuple[ResourceContext | None, float | None]]
LIMITS: dict[str, Limit] = {
    "the call's timeout": lambda seconds: (None, seconds),
    "the context's deadline": lambda seconds: (ResourceContext(deadline=now() + seconds), None),
}


@pytest.mark.parametrize("limit", LIMITS)
async def test_a_hook_before_takes_no_more_than_the_caller_has(limit: str) -> None:
    """The acquire ends at its deadline, to the tick, and says what it waited for; the hook hears how it ended."""
    hook = Slow(before=3.0)
    async with hooked(hook) as manager:
        context, timeout = LIMITS[limit](0.5)
        began = now()
        with pytest.raises(AcquireTimeout) as caught:
            await manager.acquire("thing", context, timeout=timeout)
        assert now() - began == pytest.approx(0.5)
        assert (caught.value.operation, caught.value.scope) == ("before-hooks", Scope.GLOBAL)
        assert caught.value.waited_s == pytest.approx(0.5)
        assert manager.stats()["thing"].timeouts == 1
        assert manager.stats()["thing"].acquisitions == 0


@pytest.mark.parametrize("limit", LIMITS)
async def test_what_hooks_took_is_not_granted_to_the_line_again(limit: str) -> None:
    """One absolute deadline: three seconds are two for the hook and one in line."""
    async with hooked(Slow(before=2.0)) as manager:
        async with manager.acquire("thing"):
            context, timeout = LIMITS[limit](3.0)
            began = now()
            with pytest.raises(AcquireTimeout, match=r"^acquire "):
                await manager.acquire("thing", context, timeout=timeout)
            assert now() - began == pytest.approx(3.0)


async def test_the_pool_s_own_limit_holds_for_hooks_and_line_together() -> None:
    """acquire_timeout, where a caller says nothing."""
    async with Manager(health=OFF, quarantine=OFF) as manager:
        await manager.register(Thing(), pool={"max_size": 1, "acquire_timeout": 4.0})
        async with manager.acquire("thing"):
            manager.hooks.add(Slow(before=3.0))
            began = now()
            with pytest.raises(AcquireTimeout):
                await manager.acquire("thing")
            assert now() - began == pytest.approx(4.0)


@pytest.mark.parametrize("phase", ["before", "after"])
async def test_a_token_ends_the_wait_for_hooks(phase: str) -> None:
    """AcquireCancelled at once; what was taken by then is back."""
    hook = Slow(**{phase: 3.0})
    async with hooked(hook) as manager:
        token = CancellationToken()
        asyncio.get_running_loop().call_later(0.5, token.cancel)
        began = now()
        with pytest.raises(AcquireCancelled) as caught:
            await manager.acquire("thing", ResourceContext(cancellation=token))
        assert now() - began == pytest.approx(0.5)
        assert caught.value.resource_id == "thing"
        assert_manager_sound(manager)
        async with manager.acquire("thing", timeout=4.0):
            pass


async def test_a_hook_after_delays_nobody_beyond_the_deadline() -> None:
    """The caller has what it asked for when its time is over, and the hook goes on by itself."""
    hook = Slow(after=3.0)
    async with hooked(hook) as manager:
        began = now()
        async with manager.acquire("thing", timeout=0.5):
            assert now() - began == pytest.approx(0.5)
            assert hook.log == []
            await asyncio.sleep(3)
            assert hook.log == ["ok"]


async def test_acquired_is_told_when_the_hooks_are_through() -> None:
    """SPEC §7: after-hooks, then the event: it says that the caller has it, with how long the pool let it wait."""
    hook = Slow(after=1.0)
    async with hooked(hook) as manager:
        told: list[tuple[str, float]] = []
        remove = manager.events.add_listener(
            lambda event: told.append((type(event).__name__, now())), types=[Acquired, Released]
        )
        began = now()
        async with manager.acquire("thing"):
            assert told == [("Acquired", began + 1.0)]
        assert [name for name, _ in told] == ["Acquired", "Released"]
        remove()


@pytest.mark.parametrize("way", ["cancelled", "called off"])
async def test_what_was_withheld_from_its_caller_is_no_event(way: str) -> None:
    """Called off while a hook's after runs: the instance goes back, and neither half of the pair is told."""
    hook = Slow(after=2.0)
    async with hooked(hook) as manager:
        told: list[str] = []
        remove = manager.events.add_listener(
            lambda event: told.append(type(event).__name__), types=[Acquired, Released]
        )
        token = CancellationToken()
        caller = asyncio.ensure_future(
            manager.acquire("thing", ResourceContext(cancellation=token)).__aenter__()
        )
        await asyncio.sleep(1)
        call_off: Callable[[], object] = caller.cancel if way == "cancelled" else token.cancel
        call_off()
        with pytest.raises(asyncio.CancelledError if way == "cancelled" else AcquireCancelled):
            await caller
        await asyncio.sleep(2)
        assert told == []
        async with manager.acquire("thing"):
            pass
        assert told == ["Acquired", "Released"]
        remove()


async def _entered(manager: Manager) -> None:
    async with manager.acquire("thing"):
        pass


async def _awaited(manager: Manager) -> None:
    await manager.acquire("thing")


FORMS = {"entered": _entered, "awaited": _awaited}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("limit", ["deadline", "token"])
async def test_an_acquire_inside_a_scope_is_bounded_as_the_scope_is(form: str, limit: str) -> None:
    """Without a context of its own it has that of the scope it is made in, for the line and for a lease."""
    async with Manager(health=OFF, quarantine=OFF) as manager:
        await manager.register(Thing(), pool={"max_size": 1})
        async with manager.acquire("thing"):
            token = CancellationToken()
            context = ResourceContext(Scope.tenant("acme"), cancellation=token)
            if limit == "deadline":
                context = ResourceContext(Scope.tenant("acme"), deadline=now() + 0.5)
            asyncio.get_running_loop().call_later(0.5, token.cancel)
            began = now()
            async with manager.scope(context), manager.scope(execution="e1"):
                with pytest.raises(AcquireTimeout if limit == "deadline" else AcquireCancelled):
                    await FORMS[form](manager)
                assert now() - began == pytest.approx(0.5)
                with manager.detached(), pytest.raises(AcquireTimeout):
                    await manager.acquire("thing", timeout=2.0)
                assert now() - began == pytest.approx(2.5)
        assert_manager_sound(manager)


@pytest.mark.parametrize("is_plain", [True, False])
async def test_who_was_called_off_before_gets_nothing(is_plain: bool) -> None:
    """Idle or not, whatever stands on the road."""
    async with Manager(health=OFF, quarantine=OFF) as manager:
        await manager.register(Thing())
        if not is_plain:
            manager.hooks.add(Slow())
        token = CancellationToken()
        context = ResourceContext(Scope.tenant("acme"), cancellation=token)
        async with manager.acquire("thing", context):
            pass
        token.cancel()
        with pytest.raises(AcquireCancelled):
            async with manager.acquire("thing", context):
                pass
        assert manager.stats()["thing"].acquisitions == 1
        assert_manager_sound(manager)
