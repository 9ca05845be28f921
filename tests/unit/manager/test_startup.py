"""Startup and ends: whatever comes at once, nothing is half open, forgotten or left behind."""

import asyncio
from typing import Any

import pytest

from nebula_resource import (
    OFF,
    AlreadyRegistered,
    AmbiguousScope,
    CancellationToken,
    CircularDependency,
    ConfigurationError,
    CreateFailed,
    DependencyFailure,
    Manager,
    NotRegistered,
    Pool,
    ResourceContext,
    ResourceNotFound,
    Scope,
    Strategy,
    Unavailable,
    ValidationFailed,
)
from nebula_resource.events import Deregistered, ErrorOccurred, Event, Registered
from nebula_resource.manager import Registration, RegistrationState
from nebula_resource.model.resource import Resource
from tests.unit.manager.things import Instance, Leasing, Needy, Thing, ThingConfig, assert_manager_sound

ACME = Scope.tenant("acme")


class Slow(Needy):
    """Its creates wait until they may go on."""

    def __init__(self, id: str = "thing", **more: Any) -> None:
        super().__init__(id, **more)
        self.may = asyncio.Event()

    async def create(self, config: ThingConfig, context: ResourceContext) -> Instance:
        await self.may.wait()
        return await super().create(config, context)


def assert_no_trace(manager: Manager) -> None:
    """Nothing is registered, and nothing remembers that anything was."""
    assert manager.pools() == ()
    assert manager.stats() == {}
    assert list(manager.dependencies) == []
    assert list(manager.registry._needing) == list(manager.registry._shelves) == []
    assert len(manager.watch.quarantine) == 0
    assert not manager.watch._probes
    assert not manager.watch._creations
    assert not manager.watch.board._records
    assert not manager.watch.checker._watches
    assert not manager._startup._openings
    assert not manager._enrolment._announced


# ── register ──


async def test_two_at_once_register_one() -> None:
    """The second of two concurrent registers is refused while the first still opens."""
    async with Manager() as manager:
        slow = Slow()
        first = asyncio.ensure_future(manager.register(slow))
        second = asyncio.ensure_future(manager.register(Thing()))
        await asyncio.sleep(1)
        with pytest.raises(AlreadyRegistered):
            await second
        slow.may.set()
        assert (await first).is_open
        assert (await first).resource is slow


async def test_a_required_one_that_fails_leaves_nothing_behind() -> None:
    """Neither in a book, nor an event, nor a task; and the id is free again."""
    async with Manager() as manager:
        thing = Thing(dependencies=["db"])
        await manager.register(Thing("db"))
        await manager.deregister("db")
        told: list[Event] = []
        manager.events.add_listener(told.append, (Registered, Deregistered))
        thing.dependencies = ()
        thing.fails = OSError("down")
        with pytest.raises(CreateFailed):
            await manager.register(thing, required=True)
        assert_no_trace(manager)
        await asyncio.sleep(0.1)
        assert len(manager._tasks) == 0
        assert told == []
        thing.fails = None
        assert (await manager.register(thing, required=True)).is_open
        assert [type(event) for event in told] == [Registered]


@pytest.mark.parametrize("required", [False, True])
async def test_a_register_cancelled_while_it_opens_leaves_nothing_behind(required: bool) -> None:
    """The caller does not know of it, so it is not there; the pool that was being opened is closed."""
    async with Manager() as manager:
        slow = Slow()
        registering = asyncio.ensure_future(manager.register(slow, required=required))
        await asyncio.sleep(1)
        registering.cancel()
        await asyncio.wait((registering,))
        assert registering.cancelled()
        assert manager.pools() == ()
        await asyncio.sleep(0.1)
        assert_no_trace(manager)
        slow.may.set()
        await asyncio.sleep(1)
        assert len(manager._tasks) == 0
        assert [instance.open for instance in slow.made] == [False] * len(slow.made)


@pytest.mark.parametrize("required", [False, True])
async def test_a_register_cancelled_while_its_dependents_open_stays(required: bool) -> None:
    """It is open already, and somebody has it: the dependents open by themselves, and it is told like any other."""
    async with Manager() as manager:
        slow = Slow("top", dependencies=["db"])
        top = await manager.register(slow)
        told: list[Event] = []
        manager.events.add_listener(told.append, (Registered, Deregistered))
        registering = asyncio.ensure_future(manager.register(Thing("db"), required=required))
        await asyncio.sleep(1)
        registering.cancel()
        await asyncio.wait((registering,))
        assert registering.cancelled()
        slow.may.set()
        await asyncio.sleep(1)
        assert top.is_open
        assert manager.registry.resolve("db").is_open
        await manager.deregister("db", cascade=True)
        assert [(type(event), event.resource_id) for event in told] == [
            (Registered, "db"),
            (Deregistered, "top"),
            (Deregistered, "db"),
        ]


async def test_dependents_open_beside_each_other() -> None:
    """One that hangs keeps none of the others waiting."""
    async with Manager() as manager:
        slow, quick = Slow("slow", dependencies=["db"]), Needy("quick", dependencies=["db"])
        await manager.register(slow)
        opened = await manager.register(quick)
        registering = asyncio.ensure_future(manager.register(Thing("db")))
        await asyncio.sleep(0.1)
        assert opened.is_open
        slow.may.set()
        await registering
        assert manager.registry.resolve("slow").is_open


async def test_a_dependent_that_fails_is_quarantined_and_does_not_fail_the_register() -> None:
    """What waits for a resource is not its caller's business."""
    async with Manager() as manager:
        failing = Needy("top", dependencies=["db"])
        failing.fails = OSError("down")
        await manager.register(failing)
        assert (await manager.register(Thing("db"))).is_open
        assert "top" in manager.watch.quarantine


@pytest.mark.parametrize("how", ["force", "expires"])
async def test_a_release_opens_what_was_not_open(how: str) -> None:
    """Forced out, or let out by its time: one that never opened is opened then, and its dependents after it."""
    async with Manager() as manager:
        thing = Thing("db")
        if how == "force":
            thing.fails = OSError("down")
            registration = await manager.register(thing)
            top = await manager.register(Needy("top", dependencies=["db"]))
            thing.fails = None
            await manager.release("db", "force")
        else:
            registration = await manager.register(Thing("db", dependencies=["net"]))
            top = await manager.register(Needy("top", dependencies=["db"]))
            manager.quarantine("db", "later", expires_in=10)
            await manager.register(Thing("net"))
            assert not registration.is_open
            await asyncio.sleep(10)
        await asyncio.sleep(0.1)
        assert registration.is_open
        assert top.is_open


async def test_a_failed_opening_leaves_no_old_pool() -> None:
    """Recovery builds a fresh pool for each attempt; those that failed are closed and nobody speaks for them."""
    async with Manager() as manager:
        thing = Thing()
        thing.fails = OSError("down")
        registration = await manager.register(thing)
        first = registration.pool
        await asyncio.sleep(20)
        thing.fails = None
        await asyncio.sleep(60)
        assert registration.is_open
        assert registration.pool is not first
        assert first.state.value == "closed"
        assert len(first.tasks) + len(first.cleanups) + len(first.closers) == 0
        async with manager.acquire("thing"):
            pass
        assert_manager_sound(manager)


async def test_what_the_first_attempt_was_resized_to_stays() -> None:
    """A pool that was never opened is the one that is opened: nothing is built twice."""
    async with Manager() as manager:
        waiting = await manager.register(Thing("top", dependencies=["db"]))
        pool = waiting.pool
        manager.resize("top", max_size=3)
        await manager.register(Thing("db"))
        assert waiting.pool is pool
        assert manager.stats()["top"].max == 3


async def test_what_a_failed_attempt_was_resized_to_stays() -> None:
    """The pool that the next attempt opens has the bounds that were asked for, not those of the registration."""
    async with Manager() as manager:
        thing = Thing()
        thing.fails = OSError("down")
        registration = await manager.register(thing, pool={"max_size": 2})
        failed = registration.pool
        manager.resize("thing", max_size=3)
        thing.fails = None
        await manager.release("thing")
        async with manager.acquire("thing"):
            assert registration.pool is not failed
        assert manager.stats()["thing"].max == 3
        assert_manager_sound(manager)


# ── dependencies ──


async def test_a_dependency_that_is_ambiguous_fails_closed() -> None:
    """Two that fit equally: the register is refused; for one that stands it counts as not open."""
    scope = Scope.execution("e", workflow="w", user="u", tenant="acme")
    async with Manager() as manager:
        await manager.register(Thing("db"), scope=Scope.workflow("w", tenant="acme"))
        waits = await manager.register(Thing("early", dependencies=["db", "net"]), scope=scope)
        await manager.register(Thing("db"), scope=Scope.workflow("w", user="u"), cross_tenant=True)
        with pytest.raises(AmbiguousScope):
            await manager.register(Thing("late", dependencies=["db"]), scope=scope)
        assert [each.key for each in manager.pools()] == ["db", "early", "db"]
        await manager.register(Thing("net"))
        assert not waits.is_open
        with pytest.raises(DependencyFailure) as caught:
            await manager.acquire("early", ResourceContext(scope))
        assert caught.value.dependency_id == "db"
        await manager.deregister("db", scope=Scope.workflow("w", user="u"))
        await asyncio.sleep(0.1)
        assert waits.is_open, "it is plain again which one is meant"


async def test_a_dependency_that_goes_makes_way_for_an_outer_one() -> None:
    """A tenant's own broken database is deregistered: what waited for it opens with the one for all."""
    async with Manager() as manager:
        await manager.register(Thing("db"))
        broken = Thing("db")
        broken.fails = OSError("down")
        await manager.register(broken, scope=ACME)
        repo = await manager.register(Needy("repo", dependencies=["db"]), scope=ACME)
        assert not repo.is_open
        await manager.deregister("db", scope=ACME)
        await asyncio.sleep(0.1)
        assert repo.is_open
        assert manager.dependencies.dependencies(repo.public_id) == ("db",)


async def test_a_circle_by_another_meaning_leaves_the_books_as_they_were() -> None:
    """A tenant's own registration turns an edge of another into a circle: refused, every edge as before, nothing left."""
    async with Manager() as manager:
        await manager.register(Thing("b"))
        first = await manager.register(Thing("a", dependencies=["b"]), scope=ACME)
        with pytest.raises(CircularDependency):
            await manager.register(Thing("b", dependencies=["a"]), scope=ACME)
        assert len(manager.pools()) == 2
        assert manager.dependencies.dependencies(first.public_id) == ("b",)
        assert len(manager.watch._creations) == 2
        with pytest.raises(CircularDependency):
            await manager.register(Thing("b", dependencies=["b"]), scope=ACME)
        assert len(manager.dependencies) == 2


async def test_a_strict_manager_s_dependencies_are_still_found_outside() -> None:
    """The strategy is for callers: an id resolves from the dependent's own scope, hierarchically."""
    async with Manager(strategy=Strategy.STRICT) as manager:
        await manager.register(Thing("db"))
        repo = await manager.register(Needy("repo", dependencies=["db"]), scope=ACME)
        assert repo.is_open
        assert manager.stats()["db"].in_use == 1
        with pytest.raises(ResourceNotFound):
            await manager.acquire("db", ResourceContext(ACME))


async def test_a_dependency_held_for_life_is_no_leak() -> None:
    """It may be held for hours; a caller's handle is reported."""
    async with Manager(health=OFF) as manager:
        await manager.register(Thing("db"), pool={"leak_threshold": 60, "max_lifetime": None})
        await manager.register(Needy("repo", dependencies=["db"]), pool={"max_lifetime": None})
        await asyncio.sleep(600)
        assert manager.stats()["db"].leaks == 0
        handle = await manager.acquire("db")
        await asyncio.sleep(600)
        assert manager.stats()["db"].leaks == 1
        await handle.release()


async def test_what_a_failed_create_held_is_given_back() -> None:
    """A create that fails, or is given up, after it took a dependency keeps none; one that takes it too late neither."""
    late: list[Instance] = []

    class Late(Thing):
        async def create(self, config: ThingConfig, context: ResourceContext) -> Instance:
            await context.dependency("db")
            if config.name == "fails":
                raise OSError("down")
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                late.append(await context.dependency("db"))
                raise
            raise AssertionError("it is given up after 30 s")

    async with Manager() as manager:
        await manager.register(Thing("db"), pool={"max_size": 3})
        await manager.register(Late("a", dependencies=["db"]), {"name": "fails"}, quarantine=OFF)
        await asyncio.sleep(1)
        assert manager.stats()["db"].in_use == 0
        await manager.register(Late("b", dependencies=["db"]), quarantine=OFF)
        await asyncio.sleep(1)
        assert late
        assert manager.stats()["db"].in_use == 0
        assert_manager_sound(manager)


async def test_what_is_taken_after_the_create_has_failed_is_given_back_at_once() -> None:
    """A task that create left behind gets its dependency when nobody can hold it any more: it goes straight back."""
    strays: list[asyncio.Task[Any]] = []

    class Careless(Thing):
        async def create(self, config: ThingConfig, context: ResourceContext) -> Instance:
            async def stray() -> None:
                await context.dependency("db")

            strays.append(asyncio.ensure_future(stray()))
            await asyncio.sleep(0)
            raise OSError("down")

    async with Manager() as manager:
        await manager.register(Thing("db"), pool={"max_size": 1})
        busy = await manager.acquire("db")
        await manager.register(Careless("repo", dependencies=["db"]), quarantine=OFF)
        assert manager.stats()["db"].waiting == 1
        await busy.release()
        await asyncio.gather(*strays)
        await asyncio.sleep(0.1)
        assert manager.stats()["db"].in_use == 0


async def test_a_quota_counts_what_is_held_for_life() -> None:
    """A half-open permit is given back at once (a long use is no trial), a connection's place is not."""

    class Gate:
        inside = 0

        def enter(self) -> "Gate":
            self.inside += 1
            return self

        def leave(self, error: BaseException | None) -> None:
            self.inside -= 1

    async with Manager() as manager:
        db = await manager.register(Thing("db"))
        gate = Gate()
        db.gates = (gate,)
        manager._road.pave(db)
        await manager.register(Needy("repo", dependencies=["db"]), pool={"min_size": 3})
        assert gate.inside == 3
        await manager.deregister("repo")
        await asyncio.sleep(0.1)
        assert gate.inside == 0


async def test_a_pool_that_was_closed_by_itself_is_replaced_by_a_reload() -> None:
    """Somebody closed the pool under its registration: a reload brings one that serves."""
    async with Manager() as manager:
        registration = await manager.register(Thing())
        await registration.pool.close()
        await manager.reload("thing", {"name": "new"})
        async with manager.acquire("thing"):
            pass
        await asyncio.sleep(0.1)
        assert manager._reload.beside(registration) == ()


async def test_a_dependency_whose_lease_fails_at_its_end_keeps_back_no_other() -> None:
    """Two are held; the commit of one fails: it is told, and both are back."""
    async with Manager() as manager:
        leasing = Leasing("lease")
        leasing.commit_fails = OSError("lost")
        await manager.register(leasing)
        await manager.register(Thing("db"))
        await manager.register(Needy("repo", dependencies=["db", "lease"]))
        told: list[Event] = []
        manager.events.add_listener(told.append, (ErrorOccurred,))
        await manager.deregister("repo")
        await asyncio.sleep(0.1)
        assert [manager.stats()[key].in_use for key in ("db", "lease")] == [0, 0]
        assert told


async def test_a_dependency_for_a_block_is_back_after_it() -> None:
    """``async with`` inside create; what is not declared is refused with what to do."""

    class Borrows(Thing):
        async def create(self, config: ThingConfig, context: ResourceContext) -> Instance:
            async with context.dependency("db") as db:
                assert isinstance(db, Instance)
            with pytest.raises(ConfigurationError, match="add it"):
                await context.dependency("net")
            return await super().create(config, context)

    async with Manager() as manager:
        await manager.register(Thing("db"))
        assert (await manager.register(Borrows("repo", dependencies=["db"]))).is_open
        assert manager.stats()["db"].in_use == 0


async def test_an_acquire_of_itself_inside_create_is_bounded() -> None:
    """A pool of one whose create asks for another of the same: it fails by its time limit, and hangs nobody."""
    loop = asyncio.get_running_loop()

    class Snake(Thing):
        async def create(self, config: ThingConfig, context: ResourceContext) -> Instance:
            async with manager.acquire(self.id):
                return await super().create(config, context)

    async with Manager(quarantine=OFF, health=OFF) as manager:
        began = loop.time()
        registration = await manager.register(Snake(), pool={"max_size": 1, "min_size": 0})
        with pytest.raises((CreateFailed, TimeoutError)):
            async with manager.acquire("thing"):
                pass
        assert loop.time() - began <= 30.0
        await asyncio.sleep(31)
        registration.pool.check()
        assert registration.pool.stats().creating == 0


async def test_what_could_not_be_opened_says_whether_it_comes_by_itself() -> None:
    """With quarantine off nobody tries again: callers are told so, and what opens it is what they are told."""
    async with Manager(quarantine=OFF) as manager:
        thing = Thing()
        thing.fails = OSError("down")
        await manager.register(thing, pool={"min_size": 1})
        thing.fails = None
        await asyncio.sleep(3600)
        with pytest.raises(Unavailable, match="deregister and register it anew") as caught:
            await manager.acquire("thing")
        assert (caught.value.why, caught.value.retryable) == ("not_open", False)
        await manager.deregister("thing")
        await manager.register(thing, pool={"min_size": 1})
        async with manager.acquire("thing"):
            pass


# ── what register refuses ──


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"health": 5}, "health"),
        ({"quarantine": True}, "quarantine"),
        ({"dependencies": "db"}, "dependencies"),
        ({"dependencies": {"db": 1}}, "dependencies"),
        ({"dependencies": ["db", "", 7]}, "dependencies.1"),
    ],
)
async def test_wrong_kinds_are_named_before_anything_changes(change: dict[str, Any], field: str) -> None:
    """A policy that is none, and a string where a list of ids belongs, are violations with their path."""
    async with Manager() as manager:
        thing = Thing()
        if "dependencies" in change:
            thing.dependencies = change.pop("dependencies")
        with pytest.raises(ValidationFailed) as caught:
            await manager.register(thing, **change)
        assert field in {violation.field for violation in caught.value.violations}
        assert_no_trace(manager)
    with pytest.raises(ValidationFailed):
        Manager(health=5)  # type: ignore[arg-type]  # the slip


async def test_a_scope_as_text_is_refused_with_what_to_write() -> None:
    """The commonest slip with scopes."""
    async with Manager() as manager:
        with pytest.raises(ConfigurationError, match=r"Scope\.tenant"):
            await manager.register(Thing(), scope="tenant:acme")  # type: ignore[arg-type]  # the slip


async def test_configs_come_in_every_form() -> None:
    """A model where none is declared, the declared model's defaults, and a class that names its model."""

    class Free(Resource[Any, Any]):
        id = "free"

        async def create(self, config: Any, context: ResourceContext) -> object:
            return object()

    class Named(Free):
        id = "named"
        config_type = ThingConfig

    async with Manager() as manager:
        assert (await manager.register(Free(), ThingConfig(name="x"))).config == ThingConfig(name="x")
        assert (await manager.register(Named())).config == ThingConfig()
        assert (await manager.register(Thing(), ThingConfig())).config == ThingConfig()


async def test_a_resource_s_own_rules_are_violations_too() -> None:
    """What ``validate_config`` finds is told like the rest."""
    from nebula_resource.errors import FieldViolation

    class Ruled(Thing):
        def validate_config(self, config: ThingConfig) -> list[FieldViolation]:
            return [FieldViolation("size", "must be even", str(config.size))]

    async with Manager() as manager:
        with pytest.raises(ValidationFailed) as caught:
            await manager.register(Ruled(), pool={"max_size": 0})
        assert {each.field for each in caught.value.violations} >= {"size", "pool.max_size"}


# ── deregister ──


async def test_a_deregister_drains_and_then_there_is_nothing() -> None:
    """Callers meanwhile are told 'draining'; after it the id is unknown, to callers and operators alike."""
    loop = asyncio.get_running_loop()
    async with Manager() as manager:
        await manager.register(Thing())
        handle = await manager.acquire("thing")
        ending = asyncio.ensure_future(manager.deregister("thing"))
        await asyncio.sleep(1)
        with pytest.raises(Unavailable) as caught:
            await manager.acquire("thing")
        assert caught.value.why == "draining"
        assert caught.value.scope == Scope.GLOBAL
        await ending
        assert loop.time() == pytest.approx(30.0, abs=1.0), (
            "thirty seconds for a handle that does not come back"
        )
        with pytest.raises(ResourceNotFound):
            await manager.acquire("thing")
        with pytest.raises(NotRegistered):
            await manager.deregister("thing")
        await handle.release()
        assert_no_trace(manager)
        assert len(manager._tasks) == 0


async def test_a_cancelled_deregister_goes_on() -> None:
    """The caller leaves at once; the registration does not stay half ended."""
    async with Manager() as manager:
        thing = Thing()
        await manager.register(thing)
        handle = await manager.acquire("thing")
        ending = asyncio.ensure_future(manager.deregister("thing"))
        await asyncio.sleep(1)
        ending.cancel()
        await asyncio.wait((ending,))
        assert ending.cancelled()
        await handle.release()
        await asyncio.sleep(1)
        assert_no_trace(manager)
        await manager.register(thing)


async def test_a_deregister_ends_an_opening() -> None:
    """Taken out while it is being opened: the register is refused, and no quarantine entry of a ghost remains."""
    async with Manager() as manager:
        slow = Slow()
        registering = asyncio.ensure_future(manager.register(slow))
        await asyncio.sleep(1)
        await manager.deregister("thing")
        with pytest.raises(Unavailable) as caught:
            await registering
        assert caught.value.why == "closed"
        assert_no_trace(manager)


async def test_what_is_being_opened_counts_as_needing() -> None:
    """A dependency of one that is being opened is not taken away under it."""
    async with Manager() as manager:
        await manager.register(Thing("db"))
        slow = Slow("repo", dependencies=["db"])
        registering = asyncio.ensure_future(manager.register(slow))
        await asyncio.sleep(1)
        with pytest.raises(DependencyFailure):
            await manager.deregister("db")
        slow.may.set()
        await registering


async def test_everybody_may_end_it_at_once() -> None:
    """Two deregisters, a shutdown_scope and a shutdown together: each ends, one Deregistered is told."""
    manager = Manager()
    await manager.register(Thing())
    told: list[Event] = []
    manager.events.add_listener(told.append, (Deregistered,))
    handle = await manager.acquire("thing")
    all_of_them: list[asyncio.Future[Any]] = [
        asyncio.ensure_future(manager.deregister("thing")),
        asyncio.ensure_future(manager.deregister("thing")),
        asyncio.ensure_future(manager.shutdown_scope(Scope.GLOBAL)),
    ]
    await asyncio.sleep(1)
    ending = asyncio.ensure_future(manager.shutdown())
    await asyncio.sleep(1)
    assert not ending.done(), "the handle has its thirty seconds in each of them"
    await handle.release()
    await asyncio.gather(*all_of_them)
    assert (await ending).forced == 0
    assert len(told) == 1
    assert len(manager._tasks) == 0


async def test_a_scope_that_went_may_come_again() -> None:
    """Registered anew after its shutdown, it serves, and what waited for it opens."""
    async with Manager() as manager:
        await manager.register(Thing("db"), scope=ACME)
        await manager.register(Needy("repo", dependencies=["db"]), scope=ACME)
        report = await manager.shutdown_scope(ACME)
        assert report.drained == 2
        assert_no_trace(manager)
        repo = await manager.register(Needy("repo", dependencies=["db"]), scope=ACME)
        await manager.register(Thing("db"), scope=ACME)
        assert repo.is_open


async def test_a_recovery_opens_nothing_that_is_being_taken_down() -> None:
    """It waits in quarantine while a dependent of another pool drains: no attempt brings it back."""
    async with Manager() as manager:
        broken = Thing("broken")
        broken.fails = OSError("down")
        registration = await manager.register(broken, scope=ACME)
        await manager.register(Thing("busy"), scope=ACME)
        handle = await manager.acquire("busy", ResourceContext(ACME))
        ending = asyncio.ensure_future(manager.shutdown_scope(ACME, drain=20))
        broken.fails = None
        await asyncio.sleep(19)
        assert registration.state is RegistrationState.DRAINING
        assert broken.made == []
        await handle.release()
        await ending


# ── who is told ──


async def test_failures_that_no_caller_hears_become_events() -> None:
    """A task of the manager that fails, and a hook that does: each is one event."""
    from nebula_resource.events import HookFailed
    from nebula_resource.hooks import HookEvent, ResourceHook
    from nebula_resource.hooks.payload import HookPayload

    class Broken(ResourceHook):
        name = "broken"
        events = frozenset({HookEvent.ACQUIRE})

        async def before(self, event: HookPayload) -> None:
            raise RuntimeError("a bug of the hook")

    async def fails() -> None:
        raise RuntimeError("a bug of ours")

    async with Manager() as manager:
        await manager.register(Thing())
        told: list[Event] = []
        manager.events.add_listener(told.append, (ErrorOccurred, HookFailed))
        manager._tasks.start(fails(), name="fails")
        manager.hooks.add(Broken())
        async with manager.acquire("thing"):
            pass
        assert {type(event) for event in told} == {ErrorOccurred, HookFailed}


async def test_reprs_answer_the_night_time_question() -> None:
    """How many are registered, open and quarantined; why one is refused; no scope, no secret."""
    async with Manager() as manager:
        registration = await manager.register(Thing(), scope=ACME)
        assert repr(manager) == "<Manager: 1 registered, 1 open, 0 quarantined>"
        assert repr(registration) == f"<Registration '{registration.public_id}' ready generation 1>"
        manager.quarantine("thing", "ill")
        assert repr(registration).endswith("generation 1 refused: quarantined>")
        assert registration.causes[0].name == "QUARANTINED"
        assert "acme" not in repr(registration)


async def test_a_release_of_an_unknown_kind_is_refused() -> None:
    """'probe' and 'force' are all there are."""
    async with Manager() as manager:
        await manager.register(Thing())
        manager.quarantine("thing", "ill")
        with pytest.raises(ConfigurationError, match="force"):
            await manager.release("thing", "gently")  # type: ignore[arg-type]  # the slip
        assert manager.recycle("thing") == 1


async def test_what_is_taken_down_is_not_resumed() -> None:
    """An operator's resume does not bring back what is being ended."""
    async with Manager() as manager:
        await manager.register(Thing())
        handle = await manager.acquire("thing")
        ending = asyncio.ensure_future(manager.deregister("thing"))
        await asyncio.sleep(1)
        with pytest.raises(Unavailable):
            manager.resume("thing")
        await handle.release()
        await ending


# ── the token ──


def test_a_token_that_was_cancelled_before() -> None:
    """Made outside a loop with a cancelled token, or cancelled outside: nothing is registered, the end still ends."""
    token = CancellationToken()
    manager = Manager(cancellation=token)
    token.cancel()
    dead = Manager(cancellation=token)
    for each in (manager, dead):
        assert "shutting down" in repr(each)

        async def use(each: Manager = each) -> None:
            with pytest.raises(Unavailable):
                await each.register(Thing())
            assert (await each.shutdown()).drained == 0

        asyncio.run(use())


async def test_an_end_before_the_token_lets_go_of_it() -> None:
    """A manager that was shut down does not listen to its token any more."""
    token = CancellationToken()
    manager = Manager(cancellation=token)
    report = await manager.shutdown()
    token.cancel()
    assert await manager.shutdown() is report
    assert repr(token) == "<CancellationToken cancelled>"


# ── another loop ──


def test_a_manager_belongs_to_its_loop() -> None:
    """Used from a second loop it says so; its shutdown there ends, counts what it could not end, and closes nothing."""
    manager = Manager(health=OFF)

    async def begin() -> Registration:
        return await manager.register(Thing())

    async def go_on() -> None:
        from nebula_resource import WrongEventLoop

        with pytest.raises(WrongEventLoop):
            await manager.acquire("thing", timeout=1)
        report = await manager.shutdown(drain=1)
        assert report.left == 1

    first = asyncio.new_event_loop()
    try:
        first.run_until_complete(begin())
        asyncio.run(go_on())
    finally:
        first.run_until_complete(_close(manager))
        first.close()


async def _close(manager: Manager) -> None:
    for each in manager.pools():
        await each.pool.close(0.0)


async def test_the_pool_of_each_registration_is_its_own() -> None:
    """One resource object in two scopes: two pools, and ending one leaves the other."""
    async with Manager() as manager:
        thing = Thing()
        first = await manager.register(thing)
        second = await manager.register(thing, scope=ACME)
        assert isinstance(first.pool, Pool)
        assert first.pool is not second.pool
        await manager.deregister("thing", scope=ACME)
        async with manager.acquire("thing", ResourceContext(ACME)):
            pass
