"""Together: several registrations are reloaded in one step, or none of them is."""

import asyncio
from typing import Any

import pytest

from nebula_resource import (
    AlreadyRegistered,
    CircularDependency,
    CreateFailed,
    Manager,
    NotRegistered,
    Resource,
    ResourceContext,
    Scope,
    Unavailable,
    ValidationFailed,
)
from nebula_resource.events import ConfigReloaded, ConfigReloadRejected, Event
from nebula_resource.manager import Registration, ReloadResult
from nebula_resource.manager.operations import OF_ANOTHER
from nebula_resource.pool.state import PoolState
from tests.unit.manager.things import Instance, Needy, Thing, ThingConfig, assert_manager_sound


class Named(Thing):
    """Its creates wait for ``may`` and fail for the name "wrong"."""

    def __init__(self, id: str, **more: Any) -> None:
        super().__init__(id, **more)
        self.may = asyncio.Event()
        self.may.set()
        self.opening = asyncio.Event()

    async def create(self, config: ThingConfig, context: ResourceContext) -> Instance:
        self.opening.set()
        await self.may.wait()
        if config.name == "wrong":
            raise ConnectionRefusedError("no such host")
        return await super().create(config, context)


def like(registration: Registration, manager: Manager, name: str) -> Registration:
    """What it is to be: the same with another name."""
    return manager.propose(registration.resource, {"name": name}, scope=registration.scope)


def names(manager: Manager) -> list[str]:
    """What serves."""
    return [each.pool.resource_config.name for each in manager.pools()]


async def test_all_are_swapped_in_one_step() -> None:
    """While the second's new pool is being opened the first still serves the old; then both serve the new."""
    async with Manager() as manager:
        first = await manager.register(Named("first"), {"name": "old"})
        slow = Named("second")
        second = await manager.register(slow, {"name": "old"})
        told: list[Event] = []
        manager.events.add_listener(told.append, ConfigReloaded)
        slow.may.clear()
        slow.opening.clear()
        going = asyncio.ensure_future(
            manager.replace_all([like(first, manager, "new"), like(second, manager, "new")])
        )
        await slow.opening.wait()
        assert names(manager) == ["old", "old"]
        assert not told
        async with manager.acquire("first"), manager.acquire("second"):
            slow.may.set()
            outcomes = await going
            assert names(manager) == ["new", "new"]
        assert [(each.result, each.generation) for each in outcomes] == [(ReloadResult.SWAPPED, 2)] * 2
        assert [each.resource_id for each in told] == ["first", "second"]
        await asyncio.sleep(1)
        assert_manager_sound(manager)
    assert len(manager._tasks) == 0


async def test_one_that_fails_leaves_all_as_they_were() -> None:
    """The second cannot be opened: both serve the old one on, each is told as refused, and nothing is left open."""
    async with Manager() as manager:
        good = Named("first")
        first = await manager.register(good, {"name": "old"})
        second = await manager.register(Named("second"), {"name": "old"}, pool={"circuit_threshold": 1})
        refused: list[Any] = []
        manager.events.add_listener(refused.append, ConfigReloadRejected)
        with pytest.raises(CreateFailed):
            await manager.replace_all([like(first, manager, "new"), like(second, manager, "wrong")])
        assert names(manager) == ["old", "old"]
        assert [each.generation for each in manager.pools()] == [1, 1]
        told = [(each.resource_id, each.violations) for each in refused]
        assert told == [("first", (OF_ANOTHER,)), ("second", ("CreateFailed",))]
        await asyncio.sleep(1)
        assert len(good.made) - len(good.gone) == 1
        async with manager.acquire("first"), manager.acquire("second"):
            pass
        assert_manager_sound(manager)


async def test_all_that_cannot_be_opened_are_named() -> None:
    """Two of three refuse: both errors, each with whose it is, in the time of one; the third's new pool is closed again."""
    async with Manager() as manager:
        things = [Named(each) for each in ("first", "second", "third")]
        registered = [await manager.register(each, {"name": "old"}) for each in things]
        told: list[Event] = []
        manager.events.add_listener(told.append, ConfigReloadRejected)
        for each in things:
            each.may.clear()
            each.opening.clear()
        going = asyncio.ensure_future(
            manager.replace_all(
                [
                    like(each, manager, name)
                    for each, name in zip(registered, ("wrong", "new", "wrong"), strict=True)
                ]
            )
        )
        for each in things:
            await each.opening.wait()  # none waits for another
        for each in things:
            each.may.set()
        with pytest.raises(ExceptionGroup) as caught:
            await going
        errors = [each for each in caught.value.exceptions if isinstance(each, CreateFailed)]
        assert [(each.resource_id, each.scope) for each in errors] == [
            ("first", Scope.GLOBAL),
            ("third", Scope.GLOBAL),
        ]
        reasons = [["CreateFailed"], [OF_ANOTHER], ["CreateFailed"]]
        assert [each.data()["violations"] for each in told] == reasons
        await asyncio.sleep(1)
        assert names(manager) == ["old"] * 3
        assert [len(each.made) - len(each.gone) for each in things] == [1, 1, 1]
        assert_manager_sound(manager)


async def test_what_is_wrong_with_one_is_not_said_of_the_others() -> None:
    """Two of one id in two tenants' scopes: the words of each stand in its own event alone."""
    async with Manager() as manager:
        thing = Named("db")
        scopes = [Scope.tenant("acme"), Scope.tenant("zen")]
        registered = [await manager.register(thing, {"name": "old"}, scope=each) for each in scopes]
        told: list[Any] = []
        manager.events.add_listener(told.append, ConfigReloadRejected)
        with pytest.raises(CreateFailed):
            await manager.replace_all(
                [like(each, manager, name) for each, name in zip(registered, ("new", "wrong"), strict=True)]
            )
        assert [(each.scope, each.violations) for each in told] == [
            (scopes[0], (OF_ANOTHER,)),
            (scopes[1], ("CreateFailed",)),
        ]


async def test_a_cancelled_caller_leaves_all_as_they_were() -> None:
    """Cancelled while the second is being opened: what was opened for the first is closed again."""
    async with Manager() as manager:
        good, slow = Named("first"), Named("second")
        registrations = [await manager.register(each, {"name": "old"}) for each in (good, slow)]
        slow.may.clear()
        slow.opening.clear()
        going = asyncio.ensure_future(
            manager.replace_all([like(each, manager, "new") for each in registrations])
        )
        await slow.opening.wait()
        going.cancel()
        with pytest.raises(asyncio.CancelledError):
            await going
        slow.may.set()
        await asyncio.sleep(60)
        assert names(manager) == ["old", "old"]
        assert len(good.made) - len(good.gone) == 1
        assert_manager_sound(manager)
        await manager.replace_all([like(each, manager, "new") for each in registrations])
        assert names(manager) == ["new", "new"]


async def test_an_edge_may_be_turned_round() -> None:
    """a needed b; now b needs a: no circle at any moment. Both at once are one, and refused without a trace."""
    async with Manager() as manager:
        await manager.register(Thing("b"))
        await manager.register(Needy("a", dependencies=["b"]))
        await manager.replace_all(
            [manager.propose(Needy("b", dependencies=["a"])), manager.propose(Thing("a"))]
        )
        assert manager.dependencies.dependencies("b") == ("a",)
        assert manager.dependencies.dependencies("a") == ()
        with pytest.raises(CircularDependency):
            await manager.replace_all([manager.propose(Needy("a", dependencies=["b"]))])
        assert manager.dependencies.dependencies("b") == ("a",)
        assert manager.dependencies.dependencies("a") == ()
        async with manager.acquire("b"):
            pass


async def test_what_is_the_same_is_left_alone() -> None:
    """No change, no new pool, no event."""
    async with Manager() as manager:
        thing = Thing()
        registration = await manager.register(thing, {"name": "old"})
        (outcome,) = await manager.replace_all([like(registration, manager, "old")])
        assert (outcome.result, outcome.generation) == (ReloadResult.NO_CHANGE, 1)
        assert len(thing.made) == 1


async def test_one_that_could_not_be_opened_is_tried_with_the_new_configuration() -> None:
    """It was quarantined with the wrong one; in the same step as the others it gets the right one, and opens."""
    async with Manager() as manager:
        ill = await manager.register(Named("ill"), {"name": "wrong"})
        well = await manager.register(Named("well"), {"name": "old"})
        assert not ill.is_open
        await manager.replace_all([like(ill, manager, "right"), like(well, manager, "new")])
        assert ill.is_open
        assert names(manager) == ["right", "new"]


async def test_one_that_comes_to_serve_meanwhile_is_swapped_too() -> None:
    """It waited for its dependency, which comes while the other's new pool is being opened."""
    async with Manager() as manager:
        waiting = await manager.register(Named("waiting", dependencies=["db"]), {"name": "old"})
        slow = Named("slow")
        served = await manager.register(slow, {"name": "old"})
        slow.may.clear()
        slow.opening.clear()
        going = asyncio.ensure_future(
            manager.replace_all([like(served, manager, "new"), like(waiting, manager, "new")])
        )
        await slow.opening.wait()
        await manager.register(Thing("db"))
        assert waiting.is_open
        slow.may.set()
        await going
        async with manager.acquire("waiting"):
            pass
        assert names(manager)[:2] == ["new", "new"]
        await asyncio.sleep(1)
        assert_manager_sound(manager)


async def test_what_an_operator_suspended_meanwhile_stays_so() -> None:
    """Suspended while the other one is being opened: the new pool is suspended too."""
    async with Manager() as manager:
        first = await manager.register(Named("first"), {"name": "old"})
        slow = Named("second")
        second = await manager.register(slow, {"name": "old"})
        slow.may.clear()
        slow.opening.clear()
        going = asyncio.ensure_future(
            manager.replace_all([like(first, manager, "new"), like(second, manager, "new")])
        )
        await slow.opening.wait()
        first.pool.suspend()
        slow.may.set()
        await going
        assert first.pool.state is PoolState.SUSPENDED
        assert second.pool.state is PoolState.OPEN


async def test_one_that_is_taken_down_stops_all() -> None:
    """Deregistered while the other is being opened: refused, and the other serves the old one on."""
    async with Manager() as manager:
        first = await manager.register(Named("first"), {"name": "old"})
        slow = Named("second")
        second = await manager.register(slow, {"name": "old"})
        slow.may.clear()
        slow.opening.clear()
        going = asyncio.ensure_future(
            manager.replace_all([like(first, manager, "new"), like(second, manager, "new")])
        )
        await slow.opening.wait()
        await manager.deregister("first")
        slow.may.set()
        with pytest.raises(Unavailable):
            await going
        assert names(manager) == ["old"]


async def test_two_at_once_do_not_wait_for_each_other() -> None:
    """In opposite orders; both end, one after the other."""
    async with Manager() as manager:
        one, other = [await manager.register(Named(each), {"name": "old"}) for each in ("one", "other")]
        await asyncio.gather(
            manager.replace_all([like(one, manager, "a"), like(other, manager, "a")]),
            manager.replace_all([like(other, manager, "b"), like(one, manager, "b")]),
        )
        assert len(set(names(manager))) == 1


async def test_a_proposal_is_checked_and_leaves_no_trace() -> None:
    """Wrong: every violation. Right: a value that is in no book. Unknown ones are not replaced."""
    async with Manager() as manager:
        with pytest.raises(ValidationFailed) as caught:
            manager.propose(Thing(), {"name": 7, "size": "many"}, pool={"max_size": 0})
        assert {each.field for each in caught.value.violations} == {"name", "size", "pool.max_size"}
        proposal = manager.propose(Thing(), scope=Scope.tenant("acme"))
        assert isinstance(proposal.resource, Resource)
        assert manager.pools() == ()
        with pytest.raises(NotRegistered):
            await manager.replace_all([proposal])
        await manager.register(Thing())
        with pytest.raises(AlreadyRegistered):
            await manager.register(Thing())


async def test_one_that_is_just_being_opened_is_waited_for() -> None:
    """Its opening ends first; then it is swapped like the others."""
    async with Manager() as manager:
        slow = Named("slow")
        slow.may.clear()
        opening = asyncio.ensure_future(manager.register(slow, {"name": "old"}))
        await slow.opening.wait()
        [registration] = manager.pools()
        going = asyncio.ensure_future(manager.replace_all([like(registration, manager, "new")]))
        await asyncio.sleep(1)
        assert not going.done()
        slow.may.set()
        await opening
        assert [each.result for each in await going] == [ReloadResult.SWAPPED]
        assert names(manager) == ["new"]


async def test_one_that_went_while_it_waited_its_turn_stops_all() -> None:
    """Two replace it one after the other; it is taken down during the first, and the second is told so too."""
    async with Manager() as manager:
        slow = Named("slow")
        registration = await manager.register(slow, {"name": "old"})
        slow.may.clear()
        slow.opening.clear()
        first = asyncio.ensure_future(manager.replace_all([like(registration, manager, "a")]))
        await slow.opening.wait()
        second = asyncio.ensure_future(manager.replace_all([like(registration, manager, "b")]))
        await asyncio.sleep(1)
        await manager.deregister("slow")
        slow.may.set()
        for each in (first, second):
            with pytest.raises(Unavailable):
                await each
        assert manager.pools() == ()
