"""ManagedHandle: one release with its hooks, gates and event, whatever interrupts it."""

import asyncio
import gc
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from nebula_resource import (
    OFF,
    AcquireCancelled,
    CancellationToken,
    ConfigurationError,
    HandleReleased,
    Manager,
    QuotaExceeded,
    ResourceContext,
    Scope,
)
from nebula_resource.events import AcquireRejected, ErrorOccurred, Event, Released
from nebula_resource.hooks import HookEvent, ResourceHook
from nebula_resource.hooks.payload import HookPayload, HookResult
from nebula_resource.manager import ManagedHandle, Registration
from nebula_resource.testing.clock import VirtualTimeLoop
from tests.unit.manager.things import Instance, Leasing, Thing, assert_manager_sound


class CountingGate:
    """Counts who is in, with what error each left; ``breaks`` makes it raise when it is left."""

    def __init__(self) -> None:
        self.inside = 0
        self.left: list[str | None] = []
        self.breaks = False
        self.full = False

    def enter(self) -> "CountingGate":
        if self.full:
            raise QuotaExceeded("connections", 1, 1)
        self.inside += 1
        return self

    def leave(self, error: BaseException | None) -> None:
        self.inside -= 1
        self.left.append(None if error is None else type(error).__name__)
        if self.breaks:
            raise RuntimeError("a bug of the gate")


class SlowHook(ResourceHook):
    """Takes its time before and after a release."""

    name = "slow"
    events = frozenset({HookEvent.ACQUIRE, HookEvent.RELEASE})

    def __init__(self) -> None:
        self.log: list[str] = []
        self.takes = 1.0

    async def before(self, event: HookPayload) -> None:
        await asyncio.sleep(self.takes)
        self.log.append(f"before {event.kind.value}")

    async def after(self, event: HookPayload, result: HookResult) -> None:
        await asyncio.sleep(self.takes)
        self.log.append(f"after {event.kind.value} {result.error or 'ok'}")


async def prepared(
    manager: Manager, thing: Thing | None = None
) -> tuple[Registration, CountingGate, CountingGate]:
    """A thing behind two gates."""
    registration = await manager.register(thing or Thing())
    gates = CountingGate(), CountingGate()
    registration.gates = gates
    manager._road.pave(registration)
    return registration, *gates


def listen(manager: Manager, *kinds: type[Event]) -> list[Event]:
    """All events of these kinds from now on."""
    seen: list[Event] = []
    manager.events.add_listener(seen.append, kinds)
    return seen


async def test_a_second_release_while_the_first_is_under_way_does_nothing_but_warn() -> None:
    """Hooks take a second: whoever releases meanwhile is warned, and there is one release, one event, one pair of hooks."""
    async with Manager() as manager:
        _, gate, _ = await prepared(manager)
        hook = SlowHook()
        manager.hooks.add(hook)
        told = listen(manager, Released)
        handle = await manager.acquire("thing")
        first = asyncio.ensure_future(handle.release())
        await asyncio.sleep(0.5)
        with pytest.warns(RuntimeWarning, match="second time"):
            await handle.release()
        with pytest.raises(HandleReleased):
            handle.detach()
        await first
        with pytest.warns(RuntimeWarning, match="second time"):
            await handle.release()
        assert len(told) == 1
        assert [line for line in hook.log if "release" in line] == ["before release", "after release ok"]
        assert gate.left == [None]
        assert_manager_sound(manager)


async def test_an_error_reported_by_hand_reaches_everybody() -> None:
    """Hooks, gates and the lease learn of ``release(error=...)``."""
    async with Manager() as manager:
        leasing = Leasing()
        _, gate, _ = await prepared(manager, leasing)
        hook = SlowHook()
        manager.hooks.add(hook)
        handle = await manager.acquire("thing")
        await handle.release(error=ValueError("no"))
        assert "rollback ValueError" in leasing.log
        assert gate.left == ["ValueError"]
        assert hook.log[-1].startswith("after release")
        assert "ValueError" in hook.log[-1]


async def test_an_error_of_the_lease_s_end_reaches_caller_gates_and_hooks() -> None:
    """A failed commit is raised, and is the outcome for all that follows."""
    async with Manager() as manager:
        leasing = Leasing()
        _, gate, other = await prepared(manager, leasing)
        leasing.commit_fails = OSError("lost")
        handle = await manager.acquire("thing")
        with pytest.raises(OSError, match="lost"):
            await handle.release()
        assert gate.left == other.left == ["OSError"]
        assert_manager_sound(manager)


async def test_a_gate_that_fails_keeps_back_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """It is told and logged; the other gate is left, the event comes, the instance is back; on the way in as well."""
    async with Manager() as manager:
        registration, first, last = await prepared(manager)
        last.breaks = True
        told = listen(manager, Released, ErrorOccurred)
        handle = await manager.acquire("thing")
        await handle.release()
        assert (first.inside, last.inside) == (0, 0)
        assert [type(event) for event in told] == [ErrorOccurred, Released]
        assert [record.getMessage() for record in caplog.records] == ["a gate failed when it was left"]
        first.full, registration.gates = True, (last, first)
        rejected = listen(manager, AcquireRejected)
        with pytest.raises(QuotaExceeded) as caught:
            await manager.acquire("thing", ResourceContext(Scope.tenant("acme")))
        assert caught.value.scope == Scope.tenant("acme")
        assert (first.inside, last.inside) == (0, 0)
        assert [str(event.reason.value) for event in rejected if isinstance(event, AcquireRejected)] == [
            "quota"
        ]
        assert_manager_sound(manager)


async def test_a_detached_instance_leaves_its_gates() -> None:
    """It is the holder's from then on; with a lease it is refused and the handle stays."""
    async with Manager() as manager:
        thing = Thing()
        _, gate, _ = await prepared(manager, thing)
        handle = await manager.acquire("thing")
        instance = handle.detach()
        assert instance.open
        assert gate.left == [None]
        assert handle.is_released
        with pytest.raises(HandleReleased):
            handle.taint("too late")
        assert manager.stats()["thing"].destroyed == {"detached": 1}
        leasing = Leasing("leasing")
        await manager.register(leasing)
        leased = await manager.acquire("leasing")
        with pytest.raises(ConfigurationError):
            leased.detach()
        await leased.release()
        assert_manager_sound(manager)


async def test_a_tainted_instance_goes_when_it_is_back() -> None:
    """The next caller gets another."""
    async with Manager() as manager:
        thing = Thing()
        await prepared(manager, thing)
        async with await manager.acquire("thing") as instance:
            first = instance
        handle = await manager.acquire("thing")
        assert handle.value is first
        handle.taint("half read")
        await handle.release()
        async with manager.acquire("thing") as instance:
            assert instance is not first


@pytest.mark.parametrize("leases", [False, True])
@pytest.mark.parametrize("step", range(1, 15))
async def test_a_release_cancelled_at_any_step_ends(step: int, leases: bool) -> None:
    """With hooks, gates and a lease: the releaser leaves with its cancellation, everything is given back once."""
    async with Manager() as manager:
        thing = Leasing() if leases else Thing()
        _, gate, other = await prepared(manager, thing)
        hook = SlowHook()
        hook.takes = 0
        manager.hooks.add(hook)
        told = listen(manager, Released)
        handle = await manager.acquire("thing")
        releasing = asyncio.ensure_future(handle.release())
        for _ in range(step):
            await asyncio.sleep(0)
        done = releasing.done()
        releasing.cancel()
        await asyncio.wait((releasing,))
        assert done or releasing.cancelled()
        await asyncio.sleep(1)
        assert (gate.inside, other.inside) == (0, 0)
        assert len(gate.left) == len(told) == 1
        assert handle.is_released
        if leases:
            assert [line for line in thing.log if line in {"commit", "rollback CancelledError"}]
        assert_manager_sound(manager)


@pytest.mark.parametrize("at", [0.5, 1.5, 2.5])
async def test_a_release_that_is_cancelled_waits_for_nothing(at: float) -> None:
    """In the hooks before it, in the lease's end, in the hooks after it: the releaser leaves at once, cancelled.

    The lease ends badly, and that is told; it does not take the place of the cancellation.
    """

    class Slow(Leasing):
        @asynccontextmanager
        async def _slow(self, instance: Instance) -> AsyncGenerator[Instance]:
            yield instance
            await asyncio.sleep(1)
            raise OSError("lost")

        def lease(self, instance: Instance, context: ResourceContext) -> Any:
            return self._slow(instance)

    async with Manager() as manager:
        _, gate, _ = await prepared(manager, Slow())
        hook = SlowHook()
        manager.hooks.add(hook)
        told = listen(manager, Released, ErrorOccurred)
        handle = await manager.acquire("thing")
        releasing = asyncio.ensure_future(handle.release())
        began = asyncio.get_running_loop().time()
        await asyncio.sleep(at)
        releasing.cancel()
        await asyncio.wait((releasing,))
        assert releasing.cancelled()
        assert asyncio.get_running_loop().time() - began == at
        assert handle.is_released
        await asyncio.sleep(3)
        assert gate.inside == 0
        assert [event for event in told if isinstance(event, Released)]
        assert any(isinstance(event, ErrorOccurred) for event in told) == (at < 2)
        # A before that was torn has no after.
        assert any(line.startswith("after release") for line in hook.log) == (at > 1)
        assert_manager_sound(manager)


@pytest.mark.parametrize("error", [asyncio.CancelledError, AcquireCancelled])
async def test_an_acquire_that_is_called_off_does_not_wait_for_its_hooks(error: type[BaseException]) -> None:
    """Their other half runs without the caller, who leaves at once."""
    async with Manager() as manager:
        await prepared(manager)
        async with manager.acquire("thing"):
            manager.resize("thing", max_size=1)
            hook = SlowHook()
            manager.hooks.add(hook)
            token = CancellationToken()
            asking = asyncio.ensure_future(_handle(manager, ResourceContext(cancellation=token)))
            began = asyncio.get_running_loop().time()
            await asyncio.sleep(1.5)
            asking.cancel() if error is asyncio.CancelledError else token.cancel()
            await asyncio.wait((asking,))
            assert asyncio.get_running_loop().time() - began == 1.5
            with pytest.raises(error):
                await asking
            assert hook.log == ["before acquire"]
            await asyncio.sleep(1.5)
            assert hook.log[1:] == [f"after acquire {error.__name__}"]


async def _closed_after(coroutine: Any, waits: int) -> bool:
    """Drive a coroutine by hand to a certain wait, then close it there as the garbage collector would.

    Returns whether it had begun; it may end before.
    """
    for number in range(1, waits + 1):
        try:
            waits_for = coroutine.send(None)
        except StopIteration:
            return True
        waits_for._asyncio_future_blocking = False  # what a task does when it takes the future
        if number < waits:
            await asyncio.wait((waits_for,))
    coroutine.close()
    return waits > 0


@pytest.mark.parametrize("leases", [False, True])
@pytest.mark.parametrize("steps", range(4))
async def test_a_release_whose_coroutine_is_closed_ends(steps: int, leases: bool) -> None:
    """Closed at any await (GeneratorExit): no 'coroutine ignored GeneratorExit', and everything is given back."""
    async with Manager() as manager:
        thing = Leasing() if leases else Thing()
        _, gate, _ = await prepared(manager, thing)
        hook = SlowHook()
        hook.takes = 0.01
        manager.hooks.add(hook)
        handle = await manager.acquire("thing")
        if await _closed_after(handle.release(ValueError("of the body")), steps):
            await asyncio.sleep(1)
            assert gate.left == ["ValueError"]
            assert_manager_sound(manager)
        else:
            await handle.release()


def test_a_release_closed_between_two_runs_of_its_loop_gives_back_in_the_next() -> None:
    """In its hooks, while the loop stands still: no task can be started, so the pool hears of it when it runs again."""
    releases: list[Any] = []
    manager = Manager(health=OFF)

    async def begin() -> CountingGate:
        _, gate, _ = await prepared(manager)
        manager.hooks.add(SlowHook())
        handle = await manager.acquire("thing")
        releases.append(handle.release(ValueError("of the body")))
        releases[0].send(None)
        return gate

    async def end() -> None:
        await asyncio.sleep(1)
        assert manager.stats()["thing"].destroyed == {"leaked": 1}
        await manager.shutdown()

    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        gate = runner.run(begin())
        releases.pop().close()
        runner.run(end())
    assert gate.left == ["HandleLost"]


@pytest.mark.parametrize("gated", [False, True])
def test_a_body_closed_between_two_runs_of_its_loop_raises_nothing(gated: bool) -> None:
    """A block over a handle, its coroutine closed while the loop stands still: the pool hears of it in the next run."""
    bodies: list[Any] = []
    told: list[Event] = []
    gates: list[CountingGate] = []
    manager = Manager(health=OFF)

    async def body() -> None:
        async with await manager.acquire("thing"):
            await asyncio.get_running_loop().create_future()

    async def begin() -> None:
        if gated:
            _, gate, _ = await prepared(manager)
            gates.append(gate)
        else:
            await manager.register(Thing())
        manager.events.add_listener(told.append, (Released,))
        bodies.append(body())
        bodies[0].send(None)

    async def end() -> None:
        await asyncio.sleep(1)
        assert manager.stats()["thing"].destroyed == {"leaked": 1}
        await manager.shutdown()

    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        runner.run(begin())
        bodies.pop().close()
        assert not any(gate.left for gate in gates)
        runner.run(end())
    assert not told
    assert [gate.left for gate in gates] == [["HandleLost"]] * gated


@pytest.mark.parametrize("leases", [False, True])
@pytest.mark.parametrize("steps", range(4))
async def test_an_acquire_whose_coroutine_is_closed_takes_nothing(steps: int, leases: bool) -> None:
    """Closed at any await: gates are left, the hooks' other half runs, the instance is back on the shelf."""
    async with Manager() as manager:
        thing = Leasing() if leases else Thing()
        registration, gate, _ = await prepared(manager, thing)
        hook = SlowHook()
        hook.takes = 0.01
        manager.hooks.add(hook)
        road = manager._checkout.take(registration, Scope.GLOBAL, None, None)
        await _closed_after(road, steps)
        await asyncio.sleep(1)
        assert gate.inside == 0
        assert_manager_sound(manager)
        async with manager.acquire("thing"):
            pass


async def test_the_hooks_end_although_the_giving_back_is_cancelled() -> None:
    """Refused after the wait while its lease hangs at the end: cancelled there, the hooks still get their other half."""
    async with Manager() as manager:

        class Hangs(Leasing):
            commits = asyncio.Event()

            def lease(self, instance: Any, context: ResourceContext) -> Any:
                return self._hanging(instance)

            @asynccontextmanager
            async def _hanging(self, instance: Instance) -> AsyncGenerator[Instance]:
                manager.quarantine("thing", "in between")
                yield instance
                await self.commits.wait()

        thing = Hangs()
        await manager.register(thing)
        hook = SlowHook()
        hook.takes = 0
        manager.hooks.add(hook)
        asking = asyncio.ensure_future(_handle(manager))
        await asyncio.sleep(1)
        assert not asking.done()
        asking.cancel()
        await asyncio.wait((asking,))
        assert asking.cancelled()
        thing.commits.set()
        await asyncio.sleep(1)
        assert [line for line in hook.log if line.startswith("after acquire")]
        assert_manager_sound(manager)


async def _handle(manager: Manager, context: ResourceContext | None = None) -> ManagedHandle[Any]:
    return await manager.acquire("thing", context)


async def test_a_lost_handle_leaves_its_gates() -> None:
    """Collected unreleased, it keeps no quota: the gates are left with an error, in the loop."""
    async with Manager() as manager:
        _, gate, other = await prepared(manager)
        handle = await manager.acquire("thing")
        assert gate.inside == 1
        del handle
        gc.collect()
        assert gate.inside == 1, "not in the collector"
        await asyncio.sleep(1)
        assert (gate.inside, other.inside) == (0, 0)
        assert gate.left == ["HandleLost"]
        assert manager.stats()["thing"].leaks == 1
        assert_manager_sound(manager)


def test_a_handle_lost_after_its_loop_is_told(caplog: pytest.LogCaptureFixture) -> None:
    """There is no loop to leave the gates in: that is logged, and nothing is raised into the collector."""

    async def lose() -> ManagedHandle[Any]:
        manager = Manager(health=OFF)
        await prepared(manager)
        return await manager.acquire("thing")

    handle = asyncio.run(lose())
    del handle
    gc.collect()
    assert "gates were not left: their loop ended" in caplog.messages


async def test_a_handle_says_how_it_was_used() -> None:
    """Waiting and holding in seconds, and whose it is in its repr."""
    async with Manager() as manager:
        await manager.register(Thing(), pool={"use_timing": "always"})
        handle = await manager.acquire("thing")
        await asyncio.sleep(2)
        assert handle.usage.held_s == 2
        assert "thing" in repr(handle)
        await handle.release()
        assert handle.usage.held_s == 2
        assert "released" in repr(handle)
