"""Reload: what is wanted takes the place of what serves, without a gap, one at a time, or not at all."""

import asyncio
from typing import Any

import pytest

from nebula_resource import (
    OFF,
    AcquireTimeout,
    CircularDependency,
    CreateFailed,
    DependencyFailure,
    HealthPolicy,
    Manager,
    NotRegistered,
    Resource,
    ResourceContext,
    ResourceNotFound,
    Scope,
    Unavailable,
    ValidationFailed,
)
from nebula_resource.events import ConfigReloaded, ConfigReloadRejected, ErrorOccurred, Event, PoolSuspended
from nebula_resource.manager import Registration, RegistrationState, ReloadResult
from nebula_resource.pool.state import PoolState
from tests.unit.manager.things import Instance, Needy, Thing, ThingConfig, assert_manager_sound


class Slow(Thing):
    """Its creates wait until they may go on; ``create`` notes for which name."""

    def __init__(self, id: str = "thing", **more: Any) -> None:
        super().__init__(id, **more)
        self.may = asyncio.Event()
        self.may.set()
        self.asked: list[str] = []

    async def create(self, config: ThingConfig, context: ResourceContext) -> Instance:
        self.asked.append(config.name)
        await self.may.wait()
        return await super().create(config, context)


class Names(Resource[ThingConfig, dict[str, str]]):
    """Its instance is what it was configured with."""

    id = "thing"

    async def create(self, config: ThingConfig, context: ResourceContext) -> dict[str, str]:
        return {"name": config.name}


class Budget:
    """So many places for all."""

    def __init__(self, total: int) -> None:
        self.total = total
        self.taken = self.most = 0

    def take(self) -> bool:
        if self.taken >= self.total:
            return False
        self.taken += 1
        self.most = max(self.most, self.taken)
        return True

    def give_back(self) -> None:
        self.taken -= 1

    def want(self, waiting: int) -> None:
        """Nobody is told."""


def listen(manager: Manager, *kinds: type[Event]) -> list[Event]:
    """All events of these kinds from now on."""
    seen: list[Event] = []
    manager.events.add_listener(seen.append, kinds)
    return seen


async def one_of(manager: Manager, *, timeout: float | None = None) -> str:
    """The name that the next caller is served with."""
    async with manager.acquire("thing", timeout=timeout) as value:
        name = value["name"]
        assert isinstance(name, str)
        return name


# ── no acquire fails because of the swap ──


@pytest.mark.parametrize("road", ["block", "handle"])
async def test_whoever_waits_for_the_old_pool_is_served_by_the_new(road: str) -> None:
    """Callers in line when the swap comes get the new configuration at once; nobody is told 'draining'."""
    async with Manager() as manager:
        await manager.register(Names(), {"name": "old"}, pool={"max_size": 1})
        held = await manager.acquire("thing")

        async def ask() -> str:
            if road == "block":
                return await one_of(manager)
            handle = await manager.acquire("thing")
            name = handle.value["name"]
            await handle.release()
            return str(name)

        waiting = [asyncio.ensure_future(ask()) for _ in range(5)]
        await asyncio.sleep(1)
        await manager.reload("thing", {"name": "new"})
        assert await asyncio.gather(*waiting) == ["new"] * 5
        assert held.value == {"name": "old"}, "old handles are not interrupted"
        await held.release()
        assert_manager_sound(manager)


@pytest.mark.parametrize("road", ["block", "handle", "limited"])
async def test_a_wait_across_a_swap_has_one_deadline(road: str) -> None:
    """Five seconds are five seconds, two of them spent in the old pool's line and three in the new one's."""
    loop = asyncio.get_running_loop()
    async with Manager() as manager:
        await manager.register(Names(), {"name": "old"}, pool={"max_size": 1, "acquire_timeout": 5})
        first = await manager.acquire("thing")

        async def ask() -> None:
            if road == "handle":
                await manager.acquire("thing")
            elif road == "limited":
                await one_of(manager, timeout=5.0)
            else:
                await one_of(manager)

        began = loop.time()
        waiting = asyncio.ensure_future(ask())
        await asyncio.sleep(2)
        reloading = asyncio.ensure_future(manager.reload("thing", {"name": "new"}))
        manager.registry.resolve("thing").pool.suspend()
        await reloading
        with pytest.raises(AcquireTimeout):
            await waiting
        assert loop.time() - began == pytest.approx(5.0, abs=1e-6)
        await first.release()
        manager.resume("thing")
        assert await one_of(manager) == "new"


async def test_a_storm_of_callers_notices_no_reload() -> None:
    """Twenty tasks acquire without a pause through ten reloads: every use is served, and every old pool ends."""
    async with Manager() as manager:
        await manager.register(Names(), {"name": "0"}, pool={"max_size": 3, "min_size": 2})
        seen: set[str] = set()
        ended = False

        async def use() -> None:
            while not ended:
                async with manager.acquire("thing") as value:
                    seen.add(value["name"])
                    await asyncio.sleep(0.01)

        users = [asyncio.ensure_future(use()) for _ in range(20)]
        for number in range(1, 11):
            await asyncio.sleep(0.5)
            await manager.reload("thing", {"name": str(number)})
        await asyncio.sleep(0.5)
        ended = True
        await asyncio.gather(*users)
        assert seen == {str(number) for number in range(11)}
        await asyncio.sleep(1)
        assert manager._reload.beside(manager.registry.resolve("thing")) == ()
        assert_manager_sound(manager)
    assert len(manager._tasks) == 0


# ── all or nothing ──


async def test_a_failed_reload_counts_against_nobody() -> None:
    """The new configuration cannot connect, five times: the old one serves on, healthy and unquarantined."""
    async with Manager() as manager:
        thing = Thing()
        registration = await manager.register(thing, {"name": "old"})
        rejected = listen(manager, ConfigReloadRejected)
        thing.fails = ConnectionRefusedError("wrong port")
        for _ in range(5):
            with pytest.raises(CreateFailed):
                await manager.reload("thing", {"name": "new"})
        thing.fails = None
        assert len(rejected) == 5
        assert registration.generation == 1
        assert manager.watch.health_of(registration).kind != "unhealthy"
        assert len(manager.watch.quarantine) == 0
        async with manager.acquire("thing") as instance:
            assert instance is thing.made[0]
        manager.hooks.add(_hook("late"))
        assert registration.pool.observer.hooks_cleanup, (
            "hooks that come later are those of the pool that serves"
        )
        assert_manager_sound(manager)


def _hook(name: str) -> Any:
    from nebula_resource.hooks import HookEvent, ResourceHook

    class Looks(ResourceHook):
        events = frozenset({HookEvent.CLEANUP})

    Looks.name = name
    return Looks()


async def test_reloads_of_one_follow_each_other() -> None:
    """Two at once: the second begins when the first has ended, and no pool is lost between them."""
    async with Manager() as manager:
        slow = Slow()
        registration = await manager.register(slow, {"name": "old"})
        slow.may.clear()
        first = asyncio.ensure_future(manager.reload("thing", {"name": "first"}))
        second = asyncio.ensure_future(manager.reload("thing", {"name": "second"}))
        await asyncio.sleep(1)
        assert slow.asked == ["old", "first"]
        slow.may.set()
        assert [(await first).generation, (await second).generation] == [2, 3]
        await asyncio.sleep(1)
        assert registration.config.name == "second"
        assert [instance.open for instance in slow.made] == [False, False, True]


async def test_a_cancelled_reload_leaves_the_old_one_and_no_new_one() -> None:
    """Cancelled while the new pool opens: what it made is cleaned up."""
    async with Manager() as manager:
        slow = Slow()
        registration = await manager.register(slow, {"name": "old"})
        old = registration.pool
        slow.may.clear()
        reloading = asyncio.ensure_future(manager.reload("thing", {"name": "new"}))
        await asyncio.sleep(1)
        reloading.cancel()
        await asyncio.wait((reloading,))
        assert reloading.cancelled()
        slow.may.set()
        await asyncio.sleep(5)
        assert registration.pool is old
        assert (registration.config.name, registration.generation) == ("old", 1)
        assert [instance.open for instance in slow.made] == [True]
        assert (await manager.reload("thing", {"name": "again"})).result is ReloadResult.SWAPPED


@pytest.mark.parametrize("end", ["deregister", "shutdown", "shutdown_scope"])
async def test_a_reload_that_an_end_overtakes_leaves_nothing(end: str) -> None:
    """Taken down while the new pool opens: the reload is refused, and the new pool ends too."""
    manager = Manager()
    slow = Slow()
    await manager.register(slow, {"name": "old"})
    slow.may.clear()
    reloading = asyncio.ensure_future(manager.reload("thing", {"name": "new"}))
    await asyncio.sleep(1)
    if end == "deregister":
        ending = asyncio.ensure_future(manager.deregister("thing"))
    elif end == "shutdown":
        ending = asyncio.ensure_future(manager.shutdown())  # type: ignore[arg-type]  # whatever it returns
    else:
        ending = asyncio.ensure_future(manager.shutdown_scope(Scope.GLOBAL))  # type: ignore[arg-type]  # the same
    await asyncio.sleep(1)
    slow.may.set()
    with pytest.raises(Unavailable):
        await reloading
    await ending
    await manager.shutdown()
    assert [instance.open for instance in slow.made] == [False] * len(slow.made)
    assert len(manager._tasks) == 0


async def test_what_is_taken_down_is_not_reloaded_nor_replaced() -> None:
    """While a deregister drains, a reload and a replace are refused: they would be forgotten with it."""
    async with Manager() as manager:
        await manager.register(Thing())
        handle = await manager.acquire("thing")
        ending = asyncio.ensure_future(manager.deregister("thing"))
        await asyncio.sleep(1)
        with pytest.raises(Unavailable) as caught:
            await manager.reload("thing", {"name": "new"})
        assert caught.value.why == "draining"
        assert caught.value.retryable
        with pytest.raises(Unavailable):
            await manager.register(Thing(), replace=True)
        await handle.release()
        await ending
        with pytest.raises(NotRegistered):
            await manager.reload("thing", {"name": "new"})
        await manager.register(Thing(), replace=True)
        async with manager.acquire("thing"):
            pass


# ── one that is not open ──


async def test_a_reload_waits_for_the_opening_under_way() -> None:
    """Reloaded while it is being opened, it ends with the new configuration, not with the old pool under its name."""
    async with Manager() as manager:
        slow = Slow()
        slow.may.clear()
        registering = asyncio.ensure_future(manager.register(slow, {"name": "old"}))
        await asyncio.sleep(1)
        reloading = asyncio.ensure_future(manager.reload("thing", {"name": "new"}))
        await asyncio.sleep(1)
        assert slow.asked == ["old"]
        slow.may.set()
        await registering
        await reloading
        assert slow.asked == ["old", "new"]
        assert manager.registry.resolve("thing").pool.resource_config.name == "new"


async def test_a_reload_of_one_that_could_not_be_opened_tries_at_once() -> None:
    """With the right configuration it opens then and there, leaves quarantine, and takes its dependents along."""
    async with Manager() as manager:

        class Picky(Thing):
            async def create(self, config: ThingConfig, context: ResourceContext) -> Instance:
                if config.name == "wrong":
                    raise ConnectionRefusedError("no such host")
                return await super().create(config, context)

        registration = await manager.register(Picky(), {"name": "wrong"})
        dependent = await manager.register(Needy("repo", dependencies=["thing"]))
        assert "thing" in manager.watch.quarantine
        assert (await manager.reload("thing", {"name": "wrong", "size": 2})).result is ReloadResult.SWAPPED
        assert not registration.is_open
        await manager.reload("thing", {"name": "right"})
        assert registration.is_open
        assert "thing" not in manager.watch.quarantine
        await asyncio.sleep(0.1)
        assert dependent.is_open
        assert registration.generation == 3
    assert len(manager._tasks) == 0


async def test_a_reload_does_not_end_what_a_person_quarantined() -> None:
    """Not open, and quarantined by hand: it gets the configuration and stays in."""
    async with Manager() as manager:
        waiting = await manager.register(Thing("repo", dependencies=["db"]))
        manager.quarantine("repo", "not yet")
        await manager.reload("repo", {"name": "new"})
        await manager.register(Thing("db"))
        assert waiting.state is RegistrationState.CREATED
        await manager.release("repo", "force")
        await asyncio.sleep(0.1)
        assert waiting.is_open
        assert waiting.config.name == "new"


async def test_without_quarantine_a_reload_is_the_way_back() -> None:
    """Quarantine is off and the opening failed: nothing tries again by itself, a reload does; failing it is quiet."""
    async with Manager(quarantine=OFF) as manager:
        thing = Thing()
        thing.fails = OSError("down")
        registration = await manager.register(thing)
        await asyncio.sleep(3600)
        assert not registration.is_open
        await manager.reload("thing", {"name": "still down"})
        assert not registration.is_open
        thing.fails = None
        await manager.reload("thing", {"name": "up"})
        assert registration.is_open


async def test_an_end_during_the_first_opening_by_a_reload_is_told() -> None:
    """A reload opens one that never was open, and the manager ends meanwhile: the reload is refused."""
    manager = Manager(quarantine=OFF)
    slow = Slow()
    slow.fails = OSError("down")
    await manager.register(slow)
    slow.fails = None
    slow.may.clear()
    reloading = asyncio.ensure_future(manager.reload("thing", {"name": "new"}))
    await asyncio.sleep(1)
    await manager.shutdown()
    with pytest.raises(Unavailable):
        await reloading
    assert len(manager._tasks) == 0


# ── what follows ──


async def test_the_new_dependencies_hold_from_the_first_create() -> None:
    """A resource that needs something else is opened with that; graph, refusals and deregistering know of it."""
    async with Manager() as manager:
        for key in ("old", "new"):
            await manager.register(Thing(key))
        await manager.register(Needy("repo", dependencies=["old"]))
        await manager.register(Needy("repo", dependencies=["new"]), replace=True)
        assert manager.dependencies.dependencies("repo") == ("new",)
        await asyncio.sleep(1)
        assert [manager.stats()[key].in_use for key in ("old", "new")] == [0, 1]
        await manager.deregister("old")
        with pytest.raises(DependencyFailure):
            await manager.deregister("new")


async def test_new_dependencies_are_checked_before_anything_changes() -> None:
    """One that is not open, and a circle, are refused; the old one serves on, with its own edges."""
    async with Manager() as manager:
        await manager.register(Thing("db"))
        served = await manager.register(Needy("repo", dependencies=["db"]))
        await manager.register(Thing("top", dependencies=["repo"]))
        rejected = listen(manager, ConfigReloadRejected)
        with pytest.raises(DependencyFailure) as caught:
            await manager.register(Needy("repo", dependencies=["absent"]), replace=True)
        assert caught.value.dependency_id == "absent"
        with pytest.raises(CircularDependency):
            await manager.register(Needy("repo", dependencies=["top"]), replace=True)
        with pytest.raises(ValidationFailed):
            await manager.register(Needy("repo"), {"name": 7}, replace=True)
        assert len(rejected) == 3
        assert manager.dependencies.dependencies("repo") == ("db",)
        assert served.generation == 1
        async with manager.acquire("repo"):
            pass


async def test_instances_that_hold_the_old_pool_s_go() -> None:
    """Dependents' instances hold something of the old configuration: idle ones are replaced now, busy ones on return."""
    async with Manager() as manager:
        await manager.register(Thing("db"), {"name": "old"})
        needy = Needy("repo", dependencies=["db"])
        registration = await manager.register(needy, pool={"min_size": 2})
        busy = await manager.acquire("repo")
        await manager.reload("db", {"name": "new"})
        await asyncio.sleep(1)
        assert busy.value.open
        assert [instance.open for instance in needy.made].count(False) == 1
        await busy.release()
        await asyncio.sleep(1)
        assert [instance.open for instance in needy.made[:2]] == [False, False]
        assert registration.pool.stats().idle == 2
        assert manager.stats()["db"].in_use == 2
        assert manager._reload.beside(manager.registry.resolve("db")) == ()
        assert_manager_sound(manager, out=2)


async def test_draining_a_dependency_lets_its_dependents_instances_go() -> None:
    """The drain ends although an idle instance above held something of it; the refusal names the strongest cause."""
    async with Manager(health=OFF) as manager:
        await manager.register(Thing("db"))
        await manager.register(Needy("repo", dependencies=["db"]))
        assert await manager.drain("db", timeout=5)
        with pytest.raises(Unavailable) as caught:
            await manager.acquire("db")
        assert (caught.value.why, caught.value.retryable) == ("draining", True)
        manager.quarantine("db", "too")
        with pytest.raises(Unavailable) as caught:
            await manager.acquire("db")
        assert caught.value.why == "draining", "it is stronger than quarantined"
        manager.resume("db")
        with pytest.raises(Unavailable) as caught:
            await manager.acquire("db")
        assert caught.value.why == "quarantined"
        await manager.release("db", "force")
        async with manager.acquire("db"):
            pass


async def test_policies_and_visibility_follow_a_replace() -> None:
    """Everything that register takes counts for a replace as well; None inherits the manager's."""
    async with Manager() as manager:
        workflow = Scope.workflow("w")
        registration = await manager.register(Thing(), scope=workflow)
        caller = ResourceContext(Scope.execution("e", workflow="w", tenant="acme"))
        with pytest.raises(ResourceNotFound):
            await manager.acquire("thing", caller)
        policy = HealthPolicy(interval=7)
        await manager.register(
            Thing(),
            scope=workflow,
            cross_tenant=True,
            required=True,
            health=policy,
            quarantine=OFF,
            replace=True,
        )
        assert registration.health is policy
        assert registration.quarantine is None
        assert registration.required
        async with manager.acquire("thing", caller):
            pass
        await manager.register(Thing(), scope=workflow, health=OFF, replace=True)
        assert registration.quarantine is not None
        assert registration.public_id not in manager.watch.checker
        assert registration.public_id not in manager.watch.board
        await manager.register(Thing(), scope=workflow, replace=True)
        assert registration.public_id in manager.watch.checker


async def test_checks_look_at_the_new_resource() -> None:
    """A replaced resource is probed by its own health check, not by that of the one it replaced."""
    async with Manager(health=HealthPolicy(interval=10, jitter=0)) as manager:
        old, new = Thing(), Thing()
        registration = await manager.register(old)
        await manager.register(new, replace=True)
        old.valid = False
        await asyncio.sleep(60)
        assert manager.watch.health_of(registration).kind == "healthy"
        new.valid = False
        await asyncio.sleep(60)
        assert manager.watch.board.own(registration.public_id).kind == "unhealthy"


async def test_what_an_operator_stopped_stays_stopped() -> None:
    """A suspended pool is replaced by a suspended one, a drained one by a drained one."""
    async with Manager() as manager:
        registration = await manager.register(Names(), {"name": "old"})
        suspended = listen(manager, PoolSuspended)
        registration.pool.suspend(fail=True)
        await manager.reload("thing", {"name": "new"})
        assert len(suspended) == 2
        with pytest.raises(Unavailable) as caught:
            await one_of(manager)
        assert caught.value.why == "suspended"
        manager.resume("thing")
        assert await one_of(manager) == "new"
        assert await manager.drain("thing", timeout=1)
        await manager.reload("thing", {"name": "newer"})
        assert registration.pool.state is PoolState.DRAINED
        with pytest.raises(Unavailable) as caught:
            await one_of(manager)
        assert caught.value.why == "draining"
        manager.resume("thing")
        assert await one_of(manager) == "newer"


async def test_old_and_new_stay_within_their_budget() -> None:
    """With every place taken by the old pool the new one opens empty, and gets what the old one gives back."""
    async with Manager() as manager:
        budget = Budget(2)
        await manager.register(Names(), {"name": "old"}, pool={"min_size": 2, "max_size": 2}, budget=budget)
        first, second = await manager.acquire("thing"), await manager.acquire("thing")
        await manager.reload("thing", {"name": "new"}, pool={"min_size": 2, "max_size": 2})
        waiting = asyncio.ensure_future(one_of(manager))
        await asyncio.sleep(1)
        assert not waiting.done()
        await first.release()
        await second.release()
        assert await waiting == "new"
        assert budget.most == 2
    assert budget.taken == 0


async def test_the_shutdown_ends_old_pools_too() -> None:
    """A handle of the configuration before the last is drained and forced like any other, and counted."""
    loop = asyncio.get_running_loop()
    manager = Manager()
    thing = Thing()
    await manager.register(thing, {"name": "old"})
    other = await manager.acquire("thing")
    handle = await manager.acquire("thing")
    await manager.reload("thing", {"name": "new"})
    await asyncio.sleep(1000)
    assert handle.value.open, "however long it takes"
    began = loop.time()
    report = await manager.shutdown(drain=3)
    assert loop.time() - began < 4
    assert (report.drained, report.forced) == (1, 2)
    assert [instance.open for instance in thing.made] == [False] * len(thing.made)
    assert len(manager._tasks) == 0
    await handle.release()
    await other.release()


async def test_a_mapping_of_no_model_is_compared_as_it_is() -> None:
    """A resource without a config model: equal configurations are no change."""

    class Free(Resource[Any, Any]):
        id = "free"

        async def create(self, config: Any, context: ResourceContext) -> object:
            return object()

    async with Manager() as manager:
        registration: Registration = await manager.register(Free(), {"a": 1})
        assert (await manager.reload("free", {"a": 1})).result is ReloadResult.NO_CHANGE
        told = listen(manager, ConfigReloaded, ErrorOccurred)
        assert (await manager.reload("free", {"a": 2})).result is ReloadResult.SWAPPED
        assert registration.config == {"a": 2}
        assert [type(event) for event in told] == [ConfigReloaded]


async def test_what_was_derived_from_the_old_pool_is_derived_anew() -> None:
    """The short road leads to the new pool, callers turned away are counted from nothing, edges stand as they did."""
    async with Manager() as manager:
        await manager.register(Thing("db"))
        repo = await manager.register(Needy("repo", dependencies=["db"]))
        assert repo.is_plain
        repo.count_refused(RuntimeError("somebody was turned away"))
        for number in range(2):
            await manager.reload("repo", {"name": f"new {number}"})
            assert repo.is_plain
            assert repo.refused == {}
            assert manager.registry.needing("db") == (repo,)
            assert manager.dependencies.dependents("db")
        manager.quarantine("repo", "ill")
        assert repo.take is None
        await manager.release("repo", "force")


async def test_while_it_opens_callers_are_told_to_come_again() -> None:
    """The pool alone would say that it is not open; whoever is opened will be."""
    thing = Slow()
    thing.may.clear()
    async with Manager() as manager:
        opening = asyncio.ensure_future(manager.register(thing))
        await asyncio.sleep(1)
        with pytest.raises(Unavailable) as caught:
            await manager.acquire("thing")
        assert (caught.value.why, caught.value.retryable) == ("not_open", True)
        thing.may.set()
        await opening
        async with manager.acquire("thing"):
            pass
