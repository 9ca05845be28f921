"""Sources: what a real manager tells of a pool's life, one story for the types that no other test of it hears."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from nebula_resource import OFF, HealthPolicy, Manager
from nebula_resource.errors import AcquireTimeout, CircuitOpen, CreateFailed, PoolExhausted
from nebula_resource.events import (
    AcquireRejected,
    CircuitClosed,
    CircuitOpened,
    CleanupReason,
    Event,
    HookFailed,
    InstanceRetired,
    LeakSuspected,
    LoopBlocked,
    PoolDrained,
    PoolDraining,
    PoolResumed,
    PoolSuspended,
    RecoveryAttempted,
    RejectReason,
)
from nebula_resource.hooks import HookEvent, HookPayload, ResourceHook
from tests.unit.manager.things import Instance, Thing, ThingConfig, assert_manager_sound

QUIET = HealthPolicy(interval=3600, jitter=0)


def listen(manager: Manager, *types: type[Event]) -> list[Any]:
    """Everything that is told of these types from now on."""
    told: list[Any] = []
    manager.events.add_listener(told.append, types)
    return told


async def test_every_way_to_be_turned_away_is_told_with_its_reason() -> None:
    """A create that takes too long, nothing free, and a circuit that is open."""

    class Slow(Thing):
        async def create(self, config: ThingConfig, context: Any) -> Instance:
            await asyncio.sleep(20)
            return await super().create(config, context)

    async with Manager(health=OFF, quarantine=OFF) as manager:
        told = listen(manager, AcquireRejected, CircuitOpened, CircuitClosed)
        thing = Thing()
        pool = {
            "max_size": 1,
            "min_size": 0,
            "backpressure": "fail_fast",
            "circuit_threshold": 1,
            "circuit_open_for": 5,
        }
        await manager.register(thing, pool=pool)
        await manager.register(Slow("slow"), pool={"min_size": 0, "create_timeout": None})
        with pytest.raises(AcquireTimeout):
            await manager.acquire("slow", timeout=1)
        async with manager.acquire("thing"):
            with pytest.raises(PoolExhausted):
                await manager.acquire("thing")
        manager.recycle("thing")
        thing.fails = OSError("down")
        await asyncio.sleep(0.1)
        for refusal in (CreateFailed, CircuitOpen):
            with pytest.raises(refusal):
                await manager.acquire("thing", timeout=1)
        thing.fails = None
        await asyncio.sleep(10)
        async with manager.acquire("thing"):
            pass
        reasons = [event.reason for event in told if isinstance(event, AcquireRejected)]
        assert reasons == [RejectReason.TIMEOUT, RejectReason.EXHAUSTED, RejectReason.CIRCUIT]
        circuits = [event for event in told if not isinstance(event, AcquireRejected)]
        assert [(type(event), event.operation) for event in circuits] == [
            (CircuitOpened, "create"),
            (CircuitClosed, "create"),
        ]
        assert_manager_sound(manager)


async def test_a_pool_that_is_held_back_and_emptied_is_told_in_order() -> None:
    """Suspended, resumed, draining, drained, and open again."""
    async with Manager(health=QUIET) as manager:
        told = listen(manager, PoolSuspended, PoolResumed, PoolDraining, PoolDrained, InstanceRetired)
        registration = await manager.register(Thing())
        registration.pool.suspend()
        registration.pool.resume()
        await manager.drain("thing")
        manager.resume("thing")
        assert [type(event) for event in told] == [
            PoolSuspended,
            PoolResumed,
            PoolDraining,
            InstanceRetired,
            PoolDrained,
            PoolResumed,
        ]
        assert told[3].reason is CleanupReason.DRAINED
        assert {event.resource_id for event in told} == {"thing"}


async def test_a_handle_that_is_kept_and_a_create_that_holds_the_loop_are_told() -> None:
    """With how long, and for the handle with the place that asked for it."""

    class Heavy(Thing):
        async def create(self, config: ThingConfig, context: Any) -> Instance:
            time.sleep(0.11)  # noqa: ASYNC251  # that is the point
            return await super().create(config, context)

    async with Manager(health=QUIET) as manager:
        told = listen(manager, LeakSuspected, LoopBlocked)
        await manager.register(Heavy(), pool={"min_size": 0, "leak_threshold": 60, "max_lifetime": None})
        async with manager.acquire("thing"):
            await asyncio.sleep(200)
        assert {type(event) for event in told} == {LeakSuspected, LoopBlocked}
        (leak,) = [event for event in told if isinstance(event, LeakSuspected)]
        assert leak.held_s is not None
        assert leak.held_s >= 60
        assert any("test_sources.py" in line for line in leak.where)
        assert all(event.blocked_s >= 0.1 for event in told if isinstance(event, LoopBlocked))


async def test_a_hook_that_fails_and_every_attempt_at_recovery_are_told() -> None:
    """The hook by its name; the attempts by how they ended."""

    class Rude(ResourceHook):
        name = "rude"
        events = frozenset({HookEvent.ACQUIRE})

        async def before(self, event: HookPayload) -> None:
            raise RuntimeError("s3cret")

    async with Manager(health=HealthPolicy(interval=10, jitter=0)) as manager:
        told = listen(manager, HookFailed, RecoveryAttempted)
        thing = Thing()
        await manager.register(thing)
        manager.hooks.add(Rude())
        async with manager.acquire("thing"):
            pass
        thing.valid, thing.fails = False, OSError("down")
        await asyncio.sleep(60)
        thing.valid, thing.fails = True, None
        await asyncio.sleep(60)
        (failed,) = [event for event in told if isinstance(event, HookFailed)]
        assert failed.hook == "rude"
        assert "s3cret" not in str(failed)
        outcomes = [event.outcome for event in told if isinstance(event, RecoveryAttempted)]
        assert outcomes[0] == "failed"
        assert outcomes[-1] == "recovered"
        assert outcomes.count("recovered") == 1
