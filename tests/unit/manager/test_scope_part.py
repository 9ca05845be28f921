"""ScopePart: leases of a stretch of a scope that end before it does."""

from __future__ import annotations

import asyncio

from nebula_resource import Manager, ScopeLevel, current_scope
from nebula_resource.manager.scope_part import ScopePart
from nebula_resource.model.scope import Scope
from tests.unit.manager.things import Leasing, Thing, ThingConfig, assert_manager_sound


async def test_a_part_has_leases_of_its_own_and_ends_first() -> None:
    """What is leased in the part is given back at its end; what the scope leased is not."""
    manager = Manager()
    thing = Thing()
    await manager.register(thing, ThingConfig())
    async with manager.scope(tenant="acme", execution="e1") as scope:
        outer = await scope.get("thing")
        async with ScopePart(manager, scope.scope, scope) as part:
            assert current_scope() is part
            assert part.scope == scope.scope
            assert await part.get("thing") is not outer
            assert manager.stats()["thing"].in_use == 2
        assert current_scope() is scope
        assert manager.stats()["thing"].in_use == 1
    assert manager.stats()["thing"].in_use == 0
    await manager.shutdown()
    assert_manager_sound(manager)


async def test_a_part_is_no_scope_of_its_own_unless_it_is_said_to_be() -> None:
    """Parts are not counted; a block that stands for the request itself is, once, however it ends."""
    manager = Manager()
    async with manager.scope(execution="e1") as scope:
        async with ScopePart(manager, scope.scope, scope):
            assert manager.open_scopes[ScopeLevel.EXECUTION] == 1
    for error in (None, ValueError()):
        own = ScopePart(manager, Scope.execution("e2"), None, counted=True)
        assert manager.open_scopes[ScopeLevel.EXECUTION] == 1
        await own.__aexit__(None if error is None else ValueError, error, None)
        assert manager.open_scopes[ScopeLevel.EXECUTION] == 0
    await manager.shutdown()


async def test_the_outcome_of_a_part_reaches_its_leases() -> None:
    """An error of the part is what its leases end with."""
    manager = Manager()
    leasing = Leasing()
    await manager.register(leasing, ThingConfig())
    async with manager.scope(execution="e1") as scope:
        part = ScopePart(manager, scope.scope, scope)
        part.enter()
        await part.get(leasing.id)
        error = ValueError()
        await part.__aexit__(ValueError, error, None)
        assert part.is_closed
        assert "rollback ValueError" in leasing.log
        assert current_scope() is scope
    await manager.shutdown()
    assert_manager_sound(manager)


async def test_a_part_that_another_task_ends_is_ended() -> None:
    """Its context cannot be taken back from there; what it held is given back all the same."""
    async with Manager() as manager:
        await manager.register(Thing("thing"))
        part = ScopePart(manager, Scope.execution("e1"), None, counted=True)
        part.enter()
        await part.get("thing")
        await asyncio.create_task(part.__aexit__(None, None, None))
        assert part.is_closed
        assert not any(manager.open_scopes.values())
        assert manager.stats()["thing"].in_use == 0
        assert current_scope() is part, "the context of the task that entered it is not that one's to change"
