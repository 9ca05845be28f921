"""ExecutionBlock: a border's block, whose scope is made when somebody asks for it."""

from __future__ import annotations

import asyncio

import pytest

from nebula_resource import Manager, PoolConfig, Scope, ScopeLevel, current_scope
from nebula_resource.errors import InvalidScope
from nebula_resource.manager import ExecutionBlock, Within
from tests.unit.manager.things import Leasing, Thing, ThingConfig, assert_manager_sound

ACME = Within(Scope.of(tenant="acme", workflow="w1"))
OPENED = {ScopeLevel.TENANT: 1, ScopeLevel.WORKFLOW: 1, ScopeLevel.EXECUTION: 1}


def opened(manager: Manager) -> dict[ScopeLevel, int]:
    """How many scopes of each level are open."""
    return {level: count for level, count in manager.open_scopes.items() if count}


async def test_it_counts_every_level_and_makes_no_scope_for_that() -> None:
    """As `manager.scope` would; nobody asked for the scope, so there is none."""
    async with Manager() as manager:
        block = ExecutionBlock(manager, ACME)
        block.enter_now()
        assert current_scope() is block
        assert opened(manager) == OPENED
        assert block.leave_now()
        assert "scope" not in _set_slots(block)
        assert (opened(manager), current_scope(), block.is_closed) == ({}, None, True)


def _set_slots(block: ExecutionBlock) -> set[str]:
    """The slots that hold something, without asking the block for what it makes on demand."""
    found = set()
    for kind in type(block).__mro__:
        for name in getattr(kind, "__slots__", ()):
            try:
                kind.__dict__[name].__get__(block)
            except AttributeError:
                continue
            found.add(name)
    return found


async def test_its_scope_stays_the_same_and_is_nobody_elses() -> None:
    """Inside of what is around it, with a parent of each level; another block has another id."""
    async with Manager() as manager:
        one, two = ExecutionBlock(manager, ACME), ExecutionBlock(manager, ACME)
        one.enter_now()
        assert one.scope is one.scope
        assert (one.scope.tenant_id, one.scope.workflow_id) == ("acme", "w1")
        assert one.scope.execution_id != two.scope.execution_id
        assert one.parent is not None
        assert one.parent.scope == ACME.scope
        assert one.at("tenant").scope == Scope.tenant("acme")
        assert not one.leave_now()  # the levels around it were made, and are to be closed
        await one.__aexit__(None, None, None)
        assert opened(manager) == {}


class Told:
    """A listener that notes what it is told."""

    def __init__(self, told: list[str]) -> None:
        self._told = told

    def opened(self, scope: Scope) -> None:
        """Note it."""
        self._told.append(f"opened {scope.level.name}")

    def closed(self, scope: Scope) -> None:
        """Note it."""
        self._told.append(f"closed {scope.level.name}")


async def test_listeners_are_told_of_each_level() -> None:
    """The same scopes when it opens and, in reverse, when it closes."""
    told: list[str] = []
    async with Manager() as manager:
        manager.scope_listeners = (Told(told),)
        block = ExecutionBlock(manager, ACME, "e1")
        block.enter_now()
        assert block.leave_now()
        assert opened(manager) == {}
    levels = ["TENANT", "WORKFLOW", "EXECUTION"]
    assert told == [f"opened {each}" for each in levels] + [f"closed {each}" for each in reversed(levels)]


async def test_an_id_is_taken_or_refused() -> None:
    """Before anything is open."""
    async with Manager() as manager:
        assert str(ExecutionBlock(manager, Within(Scope.GLOBAL), "e1").scope) == "execution:e1"
        with pytest.raises(InvalidScope):
            ExecutionBlock(manager, ACME, "")
        assert opened(manager) == {}


@pytest.mark.parametrize("error", [None, ValueError("x"), asyncio.CancelledError()])
async def test_leases_end_with_the_outcome(error: BaseException | None) -> None:
    """By `leave_now` where that is enough, else by ``__aexit__``."""
    manager = Manager()
    leasing = Leasing("leasing")
    await manager.register(Thing(), ThingConfig())
    await manager.register(leasing, ThingConfig())
    for key, at_once in (("thing", True), (leasing.id, False)):
        block = ExecutionBlock(manager, ACME)
        block.enter_now()
        await block.get(key)
        assert manager.stats()[key].in_use == 1
        if error is not None:
            await block.__aexit__(type(error), error, None)
        elif not block.leave_now():
            assert not at_once
            await block.__aexit__(None, None, None)
        assert manager.stats()[key].in_use == 0
        assert (opened(manager), current_scope()) == ({}, None)
    assert ("commit" if error is None else f"rollback {type(error).__name__}") in leasing.log
    await manager.shutdown()
    assert_manager_sound(manager)


async def test_someone_in_line_gets_what_it_held() -> None:
    """Handed over in the same breath, without a wait."""
    manager = Manager()
    await manager.register(Thing(), ThingConfig(), pool=PoolConfig(max_size=1))
    block = ExecutionBlock(manager, ACME)
    block.enter_now()
    await block.get("thing")
    waiting = asyncio.create_task(_use(manager))
    await asyncio.sleep(1)  # of virtual time: it stands in line by then
    assert manager.stats()["thing"].waiting == 1
    assert block.leave_now()
    await waiting
    await manager.shutdown()
    assert_manager_sound(manager)


async def test_it_is_left_from_another_task() -> None:
    """That context is gone; everything else ends."""
    async with Manager() as manager:
        block = ExecutionBlock(manager, ACME)

        async def begin() -> None:
            block.enter_now()

        await asyncio.create_task(begin())
        assert block.leave_now()
        assert opened(manager) == {}


async def _use(manager: Manager) -> None:
    async with manager.acquire("thing"):
        pass
