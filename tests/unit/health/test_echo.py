"""No echo: a resource whose dependency is down is not ill for that, unless it had failed by itself before."""

from __future__ import annotations

import asyncio
from typing import Any

from nebula_resource import HealthPolicy, Manager, QuarantinePolicy
from nebula_resource.events import Event, HealthChanged, Quarantined, RecoveryAttempted
from nebula_resource.quarantine import RecoveryBackoff
from tests.unit.manager.things import Needy, Thing, assert_manager_sound

OFTEN = HealthPolicy(interval=10, jitter=0, failure_threshold=3, success_threshold=1)
RARELY = HealthPolicy(interval=3600, jitter=0)
WAITS = QuarantinePolicy(backoff=RecoveryBackoff(base=1, factor=1, max=1, jitter=0))


def told_of(manager: Manager, key: str, *kinds: type[Event]) -> list[Any]:
    """What is told of one resource from now on."""
    events: list[Any] = []
    manager.events.add_listener(
        lambda event: events.append(event) if event.resource_id == key else None, kinds
    )
    return events


async def test_a_check_that_a_dependency_refuses_is_put_off() -> None:
    """Every instance is in use and a fresh one cannot be made, because what it needs is quarantined: no failure."""
    async with Manager(health=OFTEN, quarantine=WAITS) as manager:
        await manager.register(Thing("db"), pool={"min_size": 1}, health=RARELY)
        orders = Needy("orders", dependencies=["db"])
        await manager.register(orders, pool={"min_size": 0, "max_size": 3})
        told = told_of(manager, "orders", Quarantined)
        async with manager.acquire("orders"):
            manager.quarantine("db", "by hand")
            await asyncio.sleep(95)  # nine checks
            assert len(orders.made) > 5, "each was tried on an instance of its own"
            view = manager.watch.board.get("orders")
            assert view is not None
            assert (view.own.kind, view.failures, told) == ("healthy", 0, [])
            assert (await manager.check("orders")).metadata == {"postponed": "'db', which it needs, refuses"}
        await manager.release("db", "force")
        async with manager.acquire("orders"):
            pass
        assert_manager_sound(manager, out=1)  # db, held by the instance of orders


async def test_who_had_failed_by_itself_goes_on_failing_whatever_its_dependency_does() -> None:
    """A refusal below neither begins a streak of failures nor ends one: the third of them is still the third."""
    async with Manager(health=OFTEN, quarantine=WAITS) as manager:
        await manager.register(Thing("db"), pool={"min_size": 1}, health=RARELY)
        orders = Needy("orders", dependencies=["db"])
        await manager.register(orders, pool={"min_size": 1, "max_size": 3})
        told = told_of(manager, "orders", HealthChanged, Quarantined)
        orders.valid = False
        await manager.check("orders")
        view = manager.watch.board.get("orders")
        assert view is not None
        assert view.failures == 1
        manager.quarantine("db", "by hand")
        await asyncio.sleep(35)
        fell = [event for event in told if isinstance(event, Quarantined)]
        assert [event.reason for event in fell] == ["consecutive_failures"]


async def test_a_recovery_that_a_dependency_refuses_is_put_off_and_goes_on_after_it() -> None:
    """It is in by its own failures; while what it needs is refused no attempt is used up, and afterwards one lets it out."""
    async with Manager(health=RARELY, quarantine=WAITS) as manager:
        await manager.register(Thing("db"), pool={"min_size": 1})
        orders = Needy("orders", dependencies=["db"])
        await manager.register(orders, pool={"min_size": 1, "max_size": 3}, health=OFTEN)
        orders.valid = False
        while "orders" not in manager.watch.quarantine:
            await manager.check("orders")
        manager.quarantine("db", "by hand")
        orders.valid = True
        told = told_of(manager, "orders", RecoveryAttempted)
        await asyncio.sleep(30.5)
        assert {(event.outcome, event.attempt) for event in told} == {("postponed", 0)}
        assert len(told) == 30, "it goes on at its pace"
        await manager.release("db", "force")
        await asyncio.sleep(2)
        assert (told[-1].outcome, "orders" in manager.watch.quarantine) == ("recovered", False)
