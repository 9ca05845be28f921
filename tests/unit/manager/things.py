"""Resources that tests of the manager register: small, scriptable, counting."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from nebula_resource import Manager, Resource, ResourceConfig, ResourceContext
from nebula_resource.manager import Registration

__all__ = ["Instance", "Leasing", "Needy", "Thing", "ThingConfig", "assert_manager_sound"]


class ThingConfig(ResourceConfig):
    """Settings of a `Thing`."""

    name: str = "thing"
    size: int = 1


class Instance:
    """One live thing."""

    def __init__(self, number: int, context: ResourceContext) -> None:
        self.number = number
        self.context = context
        self.open = True


class Thing(Resource[ThingConfig, Instance]):
    """Counts what happens to it; ``fails`` (an error, or None) is what the next creates raise."""

    def __init__(self, id: str = "thing", *, dependencies: Sequence[str] = ()) -> None:
        self.id = id
        self.dependencies = dependencies
        self.fails: BaseException | None = None
        self.valid = True
        self.made: list[Instance] = []
        self.gone: list[Instance] = []
        self.log: list[str] = []

    async def create(self, config: ThingConfig, context: ResourceContext) -> Instance:
        if self.fails is not None:
            raise self.fails
        instance = Instance(len(self.made) + 1, context)
        self.made.append(instance)
        return instance

    async def is_valid(self, instance: Instance) -> bool:
        return self.valid

    def is_fault(self, error: BaseException) -> bool:
        return isinstance(error, ConnectionError)

    async def cleanup(self, instance: Instance) -> None:
        instance.open = False
        self.gone.append(instance)
        self.log.append("cleanup")


class Needy(Thing):
    """Holds its dependencies as long as an instance lives."""

    async def create(self, config: ThingConfig, context: ResourceContext) -> Instance:
        instance = await super().create(config, context)
        for key in self.dependencies:
            await context.dependency(key)
        return instance


class Leasing(Thing):
    """Its lease notes the scope of its caller and how the use ended; ``commit_fails`` is raised at a good end."""

    commit_fails: BaseException | None = None

    @asynccontextmanager
    async def _lease(self, instance: Instance, context: ResourceContext) -> AsyncGenerator[Instance]:
        self.log.append(f"begin {context.scope}")
        try:
            yield instance
        except BaseException as error:
            self.log.append(f"rollback {type(error).__name__}")
            raise
        if self.commit_fails is not None:
            self.log.append("commit failed")
            raise self.commit_fails
        self.log.append("commit")

    def lease(self, instance: Instance, context: ResourceContext) -> Any:
        return self._lease(instance, context)


def assert_manager_sound(manager: Manager, *, out: int = 0) -> None:
    """Every pool's books add up, and exactly ``out`` instances are lent."""
    lent = 0
    for registration in manager.pools():
        registration.pool.check()
        lent += registration.pool.stats().in_use
    assert lent == out, f"{lent} out, not {out}: {[_brief(each) for each in manager.pools()]}"


def _brief(registration: Registration) -> str:
    return f"{registration.public_id}: {registration.pool!r}"
