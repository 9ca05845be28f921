"""Creation: what a create is given: its dependencies, for as long as it needs them, and credentials or none."""

from typing import Any

from nebula_resource import Manager, ResourceContext
from tests.unit.manager.things import Instance, Thing, ThingConfig, assert_manager_sound


class Curious(Thing):
    """Notes what its create was given; ``for_good`` says how long it wants its dependency."""

    def __init__(self, *, for_good: bool) -> None:
        super().__init__("curious", dependencies=["thing"])
        self.for_good = for_good
        self.given: list[Any] = []
        self.contexts: list[ResourceContext] = []

    async def create(self, config: ThingConfig, context: ResourceContext) -> Instance:
        self.contexts.append(context)
        if self.for_good:
            self.given.append(await context.dependency("thing"))
        else:
            async with context.dependency("thing") as thing:
                self.given.append(thing)
        return await super().create(config, context)


async def both(manager: Manager, *, for_good: bool) -> tuple[Thing, Curious]:
    """A thing, and one that needs it."""
    thing, curious = Thing(), Curious(for_good=for_good)
    await manager.register(thing)
    await manager.register(curious)
    return thing, curious


async def test_a_dependency_that_is_awaited_is_held_as_long_as_the_instance_lives() -> None:
    """The create is given the instance itself; the retirement gives it back, unharmed."""
    async with Manager() as manager:
        thing, curious = await both(manager, for_good=True)
        async with manager.acquire("curious"):
            assert curious.given == thing.made[:1]
        assert manager.stats()["thing"].in_use == 1
        await manager.deregister("curious")
        stats = manager.stats()["thing"]
        assert (stats.idle, stats.in_use, stats.leaks) == (1, 0, 0)
        assert_manager_sound(manager)


async def test_a_dependency_in_a_block_is_given_back_at_its_end() -> None:
    """The create had it, and when it is through the next caller may have it."""
    async with Manager() as manager:
        thing, curious = await both(manager, for_good=False)
        async with manager.acquire("curious"):
            assert curious.given == thing.made[:1]
            stats = manager.stats()["thing"]
            assert (stats.idle, stats.in_use, stats.leaks) == (1, 0, 0)
        assert_manager_sound(manager)


async def test_without_a_provider_a_create_has_no_credentials() -> None:
    """None, so that a resource may ask whether there are any."""
    async with Manager() as manager:
        _, curious = await both(manager, for_good=False)
        async with manager.acquire("curious"):
            assert [context.credentials for context in curious.contexts] == [None]
