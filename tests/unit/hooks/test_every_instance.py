"""CREATE hooks see every instance that is made, CLEANUP hooks every one that goes, whoever caused it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from nebula_resource import OFF, HealthPolicy, Manager
from nebula_resource.hooks import HookEvent, HookPayload, HookResult, OnCleanup, Outcome, ResourceHook
from nebula_resource.model.reasons import CleanupReason
from tests.unit.manager.things import Instance, Thing, ThingConfig


class Counting(ResourceHook):
    """Counts what it stands beside."""

    name = "counting"
    events = frozenset({HookEvent.CREATE, HookEvent.CLEANUP})

    def __init__(self) -> None:
        self.begun: dict[HookEvent, int] = dict.fromkeys(self.events, 0)
        self.well: dict[HookEvent, int] = dict.fromkeys(self.events, 0)
        self.reasons: set[CleanupReason] = set()

    def before(self, event: HookPayload) -> None:
        self.begun[event.kind] += 1
        if isinstance(event, OnCleanup):
            self.reasons.add(event.reason)

    def after(self, event: HookPayload, result: HookResult) -> None:
        self.well[event.kind] += result.outcome is Outcome.OK

    @property
    def made(self) -> int:
        return self.well[HookEvent.CREATE]


async def test_hooks_see_each_instance_come_and_go() -> None:
    """Warm-up, a caller, a scale-up, upkeep, a check, a recovery; tainted, scaled down, recycled, idled away, drained."""
    thing, hook = Thing(), Counting()
    async with Manager(health=HealthPolicy(interval=3600, success_threshold=1)) as manager:
        manager.hooks.add(hook)
        sizes = {"min_size": 2, "max_size": 8, "idle_timeout": 30.0, "maintenance_interval": 5.0}
        registration = await manager.register(thing, pool=sizes)
        pool = registration.pool
        assert hook.made == len(thing.made) == 2, "warm-up"
        held = [await manager.acquire("thing") for _ in range(3)]
        assert hook.made == len(thing.made) == 3, "a caller"
        held[0].taint("odd")
        for handle in held:
            await handle.release()
        await asyncio.sleep(6)
        assert await pool.scale_up(2) == 2
        assert hook.made == len(thing.made) == 5, "a scale-up"
        assert pool.scale_down(1) == 1
        await asyncio.sleep(60)
        assert pool.stats().size == 2, "idled away"
        pool.recycle_all()
        await asyncio.sleep(10)
        assert hook.made == len(thing.made) == 7, "upkeep fills up again"
        held = [await manager.acquire("thing") for _ in range(2)]
        await manager.check("thing")
        assert hook.made == len(thing.made) == 8, "a check whose every instance is out"
        manager.quarantine("thing", "by hand")
        await manager.release("thing")
        assert hook.made == len(thing.made) == 9, "a recovery, on a fresh one"
        for handle in held:
            await handle.release()
    for event in hook.events:
        assert hook.begun[event] == hook.well[event] == 9
    assert len(thing.gone) == 9
    assert hook.reasons == {
        CleanupReason.TAINTED,
        CleanupReason.EVICTED,
        CleanupReason.IDLE_TIMEOUT,
        CleanupReason.DRAINED,
    }


async def test_what_a_removed_hook_left_running_has_ended_when_the_registry_is_closed() -> None:
    """It is asked to end, and has had its turn for that, although no hook is left to close."""

    class Hanging(ResourceHook):
        name = "hanging"

        async def before(self, event: HookPayload) -> None:
            await asyncio.Event().wait()

    manager = Manager()
    await manager.register(Thing())
    manager.hooks.add(Hanging())
    caller = asyncio.create_task(_acquire(manager))
    await asyncio.sleep(1)
    manager.hooks.remove("hanging")
    running = [task for task in asyncio.all_tasks() if "hanging" in task.get_name()]
    assert len(running) == 1
    await manager.hooks.close()
    assert running[0].done()
    await caller
    await manager.shutdown()


async def _acquire(manager: Manager) -> None:
    async with manager.acquire("thing"):
        pass


class Hanging(Thing):
    """Nothing that it does ends, as long as that is wanted."""

    def __init__(self, step: HookEvent) -> None:
        super().__init__()
        self.step = step

    async def create(self, config: ThingConfig, context: Any) -> Instance:
        if self.step is HookEvent.CREATE:
            await asyncio.Event().wait()
        return await super().create(config, context)

    async def cleanup(self, instance: Instance) -> None:
        await asyncio.Event().wait()


class Telling(ResourceHook):
    """Notes how each step went, and may take its time for that."""

    name = "telling"

    def __init__(self, step: HookEvent, takes: float) -> None:
        self.events = (step,)
        self.takes = takes
        self.told: list[str | None] = []

    async def after(self, event: HookPayload, result: HookResult) -> None:
        self.told.append(result.error)
        await asyncio.sleep(self.takes)


@pytest.mark.parametrize("takes", [0.0, 3.0])
@pytest.mark.parametrize("step", [HookEvent.CREATE, HookEvent.CLEANUP])
async def test_a_step_that_a_shutdown_cuts_off_has_its_after(step: HookEvent, takes: float) -> None:
    """Its before ran, so its after does, with how it ended; one that is slow holds up no shutdown."""
    manager = Manager(health=OFF)
    hook = Telling(step, takes)
    manager.hooks.add(hook)
    pool = {"min_size": 0, "cleanup_timeout": None, "create_timeout": None}
    await manager.register(Hanging(step), pool=pool)
    caller = asyncio.create_task(_acquire(manager))
    await asyncio.sleep(1)
    report = await manager.shutdown(drain=1.0, cleanup=1.0, terminate=0.5)
    assert (report.failed, report.left) == (int(step is HookEvent.CLEANUP), 0)
    assert report.duration_s <= 2.5
    await asyncio.wait([caller])
    assert (caller.exception() is None) == (step is HookEvent.CLEANUP)
    assert hook.told == ["CancelledError"]
    await asyncio.sleep(5)
    assert asyncio.all_tasks() == {asyncio.current_task()}
