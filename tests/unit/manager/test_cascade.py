"""A root that dies under six resources: degraded, one incident, one recovery, and no echo of our own refusals."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from nebula_resource import (
    CircuitOpen,
    HealthPolicy,
    Manager,
    Resource,
    ResourceContext,
    ResourceError,
    Unavailable,
)
from nebula_resource.events import (
    CascadeDetected,
    CascadeResolved,
    Event,
    HealthChanged,
    Quarantined,
    QuarantineReleased,
)
from nebula_resource.model.health import HealthCheckable, HealthStatus
from nebula_resource.model.policy import OFF
from nebula_resource.quarantine import CascadeFailure
from tests.unit.manager.things import assert_manager_sound

POLICY = HealthPolicy(interval=10, jitter=0, failure_threshold=3)
STORIES = (CascadeDetected, CascadeResolved, Quarantined, QuarantineReleased, HealthChanged)


class Server:
    """What the root talks to; everybody above reaches it through the root."""

    def __init__(self) -> None:
        self.up = True
        self.connects = 0
        self.connecting_at_once = 0
        self.most_at_once = 0


class Node(Resource[None, Any], HealthCheckable):
    """One of the six. Its instances hold what they need and reach the server through it; ``alone`` ones never ask
    it, and use what they need only while they are made.
    """

    def __init__(
        self, id: str, server: Server, dependencies: Sequence[str] = (), *, alone: bool = False
    ) -> None:
        self.id = id
        self.dependencies = dependencies
        self.server = server
        self.alone = alone

    async def create(self, config: None, context: ResourceContext) -> Any:
        for key in self.dependencies:
            if self.alone:
                async with context.dependency(key):
                    pass
            else:
                await context.dependency(key)
        self.server.connects += 1
        self.server.connecting_at_once += 1
        self.server.most_at_once = max(self.server.most_at_once, self.server.connecting_at_once)
        try:
            await asyncio.sleep(0.01)
        finally:
            self.server.connecting_at_once -= 1
        if not self.server.up and not self.alone:
            raise ConnectionRefusedError("down")
        return object()

    async def is_valid(self, instance: Any) -> bool:
        return self.server.up or self.alone

    async def health_check(self, instance: Any, context: ResourceContext) -> HealthStatus:
        well = self.server.up or self.alone
        return HealthStatus.healthy() if well else HealthStatus.unhealthy("the server does not answer")

    async def cleanup(self, instance: Any) -> None:
        """Nothing to close."""


class Story:
    """What listeners were told, in order, as short lines."""

    def __init__(self, manager: Manager) -> None:
        self.events: list[Event] = []
        manager.events.add_listener(self.events.append, STORIES)

    def of(self, kind: type[Event]) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]

    def who(self, kind: type[Event]) -> list[str]:
        return [str(event.resource_id) for event in self.of(kind)]

    def clear(self) -> None:
        self.events.clear()


async def build(manager: Manager, server: Server, *, alone: bool = False) -> None:
    """Six: db; four that need it (orders, users, mails, stock); shop above orders."""
    await manager.register(Node("db", server), pool={"max_size": 16, "min_size": 1})
    for key in ("orders", "users", "mails", "stock"):
        await manager.register(Node(key, server, ["db"], alone=alone), pool={"max_size": 2, "min_size": 1})
    await manager.register(Node("shop", server, ["orders"], alone=True), pool={"max_size": 2, "min_size": 1})
    await asyncio.sleep(0.5)


async def test_a_dead_root_is_one_incident_and_one_recovery() -> None:
    """Most dependents fail themselves: one CascadeDetected, each of the group in once, one CascadeResolved, no echo."""
    server = Server()
    async with Manager(health=POLICY) as manager:
        await build(manager, server)
        story = Story(manager)
        server.up = False
        await asyncio.sleep(60)
        detected = story.of(CascadeDetected)
        assert [event.root for event in detected] == ["db"]
        assert sorted(story.who(Quarantined)) == ["db", "mails", "orders", "stock", "users"]
        assert manager.watch.health_of(manager.registry.resolve("shop", None)).kind == "degraded"
        first = story.events.index(detected[0])
        told = [event.resource_id for event in story.events[:first] if isinstance(event, HealthChanged)]
        assert set(told) & {"orders", "users", "mails", "stock"}, "that they fell is told before the cascade"
        for member in ("orders", "users", "mails", "stock"):
            with pytest.raises(CircuitOpen) as caught:
                await manager.acquire(member)
            assert caught.value.operation == "group"
        with pytest.raises(Unavailable) as refused:
            await manager.acquire("db")
        assert refused.value.why == "quarantined"
        before = server.connects
        await asyncio.sleep(100)
        assert server.connects - before <= 25, "only the root is tried, members wait for it"

        server.up = True
        server.most_at_once = 0
        story.clear()
        await asyncio.sleep(200)
        assert len(story.of(CascadeResolved)) == 1
        assert story.who(QuarantineReleased)[0] == "db", "the root first"
        assert sorted(story.who(QuarantineReleased)) == ["db", "mails", "orders", "stock", "users"]
        assert story.who(Quarantined) == [], "nobody falls again"
        assert len(manager.watch.quarantine) == 0
        for key in ("db", "orders", "users", "mails", "stock", "shop"):
            async with manager.acquire(key):
                pass
            assert manager.watch.health_of(manager.registry.resolve(key, None)).kind == "healthy"
        assert manager.watch.incidents.cascades.incidents() == ()


async def test_dependents_that_work_by_themselves_are_only_degraded() -> None:
    """A root is down and nobody above fails by own evidence: Degraded naming the root, served, no incident, no echo."""
    server = Server()
    async with Manager(health=POLICY) as manager:
        await build(manager, server, alone=True)
        story = Story(manager)
        server.up = False
        await asyncio.sleep(60)
        assert story.of(CascadeDetected) == []
        assert story.who(Quarantined) == ["db"]
        for key in ("orders", "users", "mails", "stock", "shop"):
            state = manager.watch.health_of(manager.registry.resolve(key, None))
            assert state.kind == "degraded"
            assert "'db'" in state.because
            async with manager.acquire(key):
                pass
        server.up = True
        await asyncio.sleep(120)
        assert story.who(QuarantineReleased) == ["db"]
        for key in ("orders", "users", "mails", "stock", "shop"):
            assert manager.watch.health_of(manager.registry.resolve(key, None)).kind == "healthy"
        assert_manager_sound(manager)


async def test_a_create_that_a_dependency_refuses_is_no_evidence_of_its_own() -> None:
    """Twenty acquires fail because db is quarantined: the dependent stays out of quarantine, and is not Unhealthy."""
    server = Server()
    async with Manager(health=POLICY) as manager:
        await manager.register(Node("db", server), pool={"max_size": 8, "min_size": 0})
        await manager.register(Node("orders", server, ["db"]), pool={"max_size": 2, "min_size": 0})
        manager.quarantine("db", "by hand")
        for _ in range(20):
            with pytest.raises(ResourceError):
                await manager.acquire("orders")
        await asyncio.sleep(100)
        assert "orders" not in manager.watch.quarantine
        assert manager.watch.board.own("orders").kind != "unhealthy"
        await manager.release("db")
        await asyncio.sleep(60)
        assert "orders" not in manager.watch.quarantine
        async with manager.acquire("orders"):
            pass


async def test_without_quarantine_the_circuit_still_refuses_the_group() -> None:
    """Quarantine off: the members are refused as a group until they are well by their own checks."""
    server = Server()
    async with Manager(health=POLICY, quarantine=OFF) as manager:
        await build(manager, server)
        server.up = False
        await asyncio.sleep(60)
        with pytest.raises(CircuitOpen):
            await manager.acquire("orders")
        server.up = True
        await asyncio.sleep(400)
        async with manager.acquire("orders"):
            pass


async def test_a_member_that_is_deregistered_does_not_hold_up_its_incident() -> None:
    """What is gone is neither waited for nor told of."""
    server = Server()
    async with Manager(health=POLICY) as manager:
        await build(manager, server)
        story = Story(manager)
        server.up = False
        await asyncio.sleep(60)
        await manager.deregister("stock")
        server.up = True
        await asyncio.sleep(200)
        assert len(story.of(CascadeResolved)) == 1
        assert len(manager.watch.quarantine) == 0


async def test_a_cascade_while_the_checker_doubts_itself_isolates_nobody_until_it_is_sure() -> None:
    """Then all that still fail go in as what they are: one cascade, with the group's circuit."""
    server = Server()
    async with Manager(health=POLICY) as manager:
        await build(manager, server)
        story = Story(manager)
        manager.watch.quarantine.freeze()
        server.up = False
        await asyncio.sleep(60)
        assert len(story.of(CascadeDetected)) == 1
        assert story.of(Quarantined) == []
        manager.watch.cleared(3, 6)
        reasons = {key: entry.reason for key, entry in manager.watch.quarantine.entries().items()}
        assert reasons == dict.fromkeys(("db", "orders", "users", "mails", "stock"), CascadeFailure("db"))
        with pytest.raises(CircuitOpen):
            await manager.acquire("orders")
        server.up = True
        await asyncio.sleep(200)
        assert len(manager.watch.quarantine) == 0
        assert len(story.of(CascadeResolved)) == 1


async def test_an_incident_whose_root_is_well_and_never_isolated_ends_with_its_members() -> None:
    """With quarantine off a root that never failed is not released, and need not get well: its members decide."""
    async with Manager(health=POLICY) as manager:
        await manager.register(Node("db", Server()), pool={"max_size": 16}, quarantine=OFF)
        theirs = Server()
        for key in ("orders", "users", "mails"):
            await manager.register(Node(key, theirs, ["db"]), pool={"max_size": 2})
        story = Story(manager)
        theirs.up = False
        await asyncio.sleep(60)
        assert [event.root for event in story.of(CascadeDetected)] == ["db"]
        assert story.of(CascadeResolved) == []
        theirs.up = True
        await asyncio.sleep(200)
        assert len(manager.watch.quarantine) == 0
        assert len(story.of(CascadeResolved)) == 1
        assert manager.watch.incidents.cascades.incidents() == ()
        holders = sum(manager.stats()[key].size for key in ("orders", "users", "mails"))
        assert_manager_sound(manager, out=holders)
