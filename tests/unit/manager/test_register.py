"""Register: everything is checked first, openings that fail heal, dependencies come in any order."""

import asyncio

import pytest

from nebula_resource import (
    OFF,
    CircularDependency,
    ConfigurationError,
    CreateFailed,
    DependencyFailure,
    Manager,
    Resource,
    ResourceContext,
    Scope,
    ScopeLevel,
    Unavailable,
    ValidationFailed,
)
from nebula_resource.manager import RegistrationState
from tests.unit.manager.things import Instance, Needy, Thing, ThingConfig, assert_manager_sound


async def test_an_invalid_registration_names_everything_and_leaves_no_trace() -> None:
    """Violations of the config, the pool and the scope come in one error, and nothing is registered."""

    class Private(Thing):
        min_level = ScopeLevel.TENANT

    async with Manager() as manager:
        with pytest.raises(ValidationFailed) as caught:
            await manager.register(
                Private(), {"name": 7, "sise": 1}, pool={"max_size": 0, "strategy": "random", "colour": 1}
            )
        fields = {violation.field for violation in caught.value.violations}
        assert fields >= {"name", "sise", "pool.max_size", "pool.strategy", "pool.colour", "scope"}
        assert caught.value.resource_id == "thing"
        assert manager.pools() == ()
        assert manager.dependencies.order() == ()
        with pytest.raises(ValidationFailed) as caught:
            await manager.register(Thing(), {"name": 7}, pool="large")  # type: ignore[arg-type]  # that is the point
        assert [violation.field for violation in caught.value.violations] == ["name", "pool"]


async def test_the_class_itself_is_no_resource() -> None:
    """The commonest slip is answered with what to do."""
    async with Manager() as manager:
        with pytest.raises(ConfigurationError, match="instance"):
            await manager.register(Thing)  # type: ignore[arg-type]  # the slip


async def test_a_mapping_becomes_the_resource_s_own_config() -> None:
    """The model is read off ``Resource[ThingConfig, ...]``."""
    async with Manager() as manager:
        registration = await manager.register(Thing(), {"name": "x"})
        assert registration.config == ThingConfig(name="x")


async def test_a_required_resource_that_does_not_open_raises_and_leaves_no_trace() -> None:
    """The server is down and the service cannot do without: register raises the real error's CreateFailed."""
    thing = Thing()
    thing.fails = ConnectionRefusedError("nobody there")
    async with Manager() as manager:
        with pytest.raises(CreateFailed) as caught:
            await manager.register(thing, required=True)
        assert caught.value.cause is thing.fails
        assert caught.value.retryable
        assert manager.pools() == ()
        assert "thing" not in manager.watch.quarantine


async def test_a_service_starts_during_an_outage_and_heals() -> None:
    """An optional resource that does not open is quarantined; the first recovery opens it, then its dependents."""
    thing = Thing("db")
    thing.fails = ConnectionRefusedError("nobody there")
    user = Needy("repo", dependencies=["db"])
    async with Manager() as manager:
        down = await manager.register(thing)
        waiting = await manager.register(user)
        assert down.public_id in manager.watch.quarantine
        assert waiting.state is RegistrationState.CREATED
        with pytest.raises(Unavailable) as refused:
            async with manager.acquire("db"):
                pass
        assert refused.value.retryable
        assert refused.value.retry_after is not None
        with pytest.raises(DependencyFailure):
            async with manager.acquire("repo"):
                pass
        thing.fails = None
        await asyncio.sleep(10)
        assert down.is_open
        assert waiting.is_open
        async with manager.acquire("repo"):
            pass
    assert [instance.open for instance in thing.made] == [False] * len(thing.made)


async def test_dependencies_are_registered_in_any_order() -> None:
    """A dependent registered first stays CREATED and opens by itself when what it needs is open."""
    async with Manager() as manager:
        top = await manager.register(Needy("top", dependencies=["middle"]))
        middle = await manager.register(Needy("middle", dependencies=["bottom"]))
        assert not top.is_open
        assert not middle.is_open
        with pytest.raises(DependencyFailure) as caught:
            async with manager.acquire("top"):
                pass
        assert caught.value.dependency_id == "middle"
        await manager.register(Thing("bottom"))
        assert top.is_open
        assert middle.is_open
        assert manager.dependencies.init_order("top") == ("bottom", "middle", "top")


async def test_circles_are_refused_with_their_path() -> None:
    """`a → b → a` is refused when the second end is registered, and the first stays as it was."""
    async with Manager() as manager:
        await manager.register(Thing("a", dependencies=["b"]))
        with pytest.raises(CircularDependency) as caught:
            await manager.register(Thing("b", dependencies=["a"]))
        assert set(caught.value.cycle) == {"a", "b"}
        assert caught.value.cycle[0] == caught.value.cycle[-1]
        assert [each.key for each in manager.pools()] == ["a"]
        with pytest.raises(CircularDependency):
            await manager.register(Thing("c", dependencies=["c"]))


async def test_a_dependency_is_found_from_the_dependent_s_own_scope() -> None:
    """A tenant's dependent gets the tenant's own dependency, not the global one."""
    async with Manager() as manager:
        acme = Scope.tenant("acme")
        world, own = Thing("db"), Thing("db")
        await manager.register(world)
        await manager.register(own, scope=acme)
        await manager.register(Needy("repo", dependencies=["db"]), scope=acme)
        assert manager.registry.resolve("db", acme).pool.stats().in_use == 1
        assert manager.registry.resolve("db", Scope.GLOBAL).pool.stats().in_use == 0


async def test_what_open_ones_need_is_not_deregistered_by_accident() -> None:
    """Without cascade it is refused and names who needs it; with cascade the dependents go first."""
    order: list[str] = []

    class Noting(Needy):
        async def cleanup(self, instance: Instance) -> None:
            order.append(self.id)

    async with Manager() as manager:
        await manager.register(Noting("bottom"))
        await manager.register(Noting("top", dependencies=["bottom"]))
        with pytest.raises(DependencyFailure) as caught:
            await manager.deregister("bottom")
        assert caught.value.resource_id == "top"
        await manager.deregister("bottom", cascade=True)
        assert order == ["top", "bottom"]
        assert manager.pools() == ()


async def test_edges_survive_a_re_registration() -> None:
    """Deregistered and registered again, a dependency is still one."""
    async with Manager() as manager:
        await manager.register(Thing("db"))
        await manager.register(Thing("repo", dependencies=["db"]))
        await manager.deregister("db", cascade=True)
        await manager.register(Thing("repo", dependencies=["db"]))
        await manager.register(Thing("db"))
        assert manager.dependencies.depends_on("repo", "db")
        assert manager.registry.resolve("repo").is_open


async def test_creates_get_the_registration_s_own_scope() -> None:
    """Whoever causes a create, its context is the registration's, not the caller's."""
    async with Manager() as manager:
        acme = Scope.tenant("acme")
        thing = Thing()
        await manager.register(thing, scope=acme, pool={"min_size": 0})
        caller = ResourceContext(Scope.execution("e1", tenant="acme"), metadata={"trace": "1"})
        async with manager.acquire("thing", caller):
            pass
        assert thing.made[0].context.scope == acme
        assert thing.made[0].context.metadata == {}
        assert_manager_sound(manager)


async def test_a_setting_that_does_nothing_yet_is_refused() -> None:
    """autoscale is not silently ignored; OFF and None are fine."""
    with pytest.raises(ConfigurationError):
        Manager(autoscale=object())  # type: ignore[arg-type]  # what a caller might try
    async with Manager() as manager:
        await manager.register(Thing(), autoscale=OFF, health=OFF, quarantine=OFF)
        assert manager.registry.resolve("thing").health is None


async def test_a_setting_of_the_pool_that_the_resource_gives_no_meaning_is_refused() -> None:
    """With everything else that is wrong, and with nothing left behind."""

    class Plain(Thing):
        is_valid = Resource.is_valid

    async with Manager() as manager:
        with pytest.raises(ValidationFailed) as caught:
            await manager.register(Plain(), {"size": "x"}, pool={"keepalive_interval": 5.0})
        assert [each.field for each in caught.value.violations] == ["size", "pool.keepalive_interval"]
        assert manager.pools() == ()


async def test_nothing_is_registered_after_the_shutdown() -> None:
    """A manager that ended takes nothing in."""
    manager = Manager()
    await manager.shutdown()
    with pytest.raises(Unavailable, match="'thing' is closed: its manager is shut down") as caught:
        await manager.register(Thing())
    assert (caught.value.why, caught.value.retryable) == ("closed", False)
