"""World: an application to inject into: a container, a module wired to it, and a resource that writes down its leases."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from dependency_injector import providers

from nebula_resource import Manager, PoolConfig, ResourceKey, Scope
from nebula_resource.di import Leased, ManagerProvider, ResourceContainer, ScopedSingleton, running
from tests.unit.manager.things import Instance, Leasing, Thing, assert_manager_sound

__all__ = ["CACHE", "DB", "App", "Repo", "Unit", "World", "world"]

F = TypeVar("F", bound=Callable[..., Any])

DB = ResourceKey("db", Instance)
"""Its lease is told the outcome."""

CACHE = ResourceKey("cache", Instance)
"""It has no lease of its own: the quickest kind."""


class Repo:
    """Something that is given a lease."""

    def __init__(self, db: Instance) -> None:
        self.db = db


class Unit:
    """Something that lives as long as a scope, and says so."""

    log: list[str]

    def __init__(self, repo: Repo | None = None, log: list[str] | None = None) -> None:
        self.repo = repo
        self.log = [] if log is None else log
        self.log.append("unit made")

    async def aclose(self) -> None:
        self.log.append("unit closed")


class App(ResourceContainer):
    """The container under test."""

    things: providers.Dependency[Any] = providers.Dependency()
    manager = ManagerProvider(things)
    db = Leased(DB)
    tx = Leased(DB, hold="execution")
    cache = Leased(CACHE)
    missing = Leased("missing")
    repo = providers.Factory(Repo, db)
    unit = ScopedSingleton("execution", Unit, repo=repo)
    answer = providers.Object(42)


class World:
    """A container that runs, its two resources, and the module of the test, wired to it."""

    def __init__(self, container: App, name: str, db: Leasing, cache: Thing) -> None:
        self.container = container
        self.db = db
        self.cache = cache
        self.module = sys.modules[name]
        self._tasks: set[asyncio.Task[Any]] = set()

    @property
    def manager(self) -> Manager:
        """The container's."""
        return self.container.manager()

    @property
    def log(self) -> list[str]:
        """How leases of DB ended, in order."""
        return [line for line in self.db.log if not line.startswith(("begin", "cleanup"))]

    def later(self, work: Coroutine[Any, Any, Any]) -> None:
        """Run a coroutine from a callback."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def live(self, fn: F) -> F:
        """Wire the module anew, now that it has this function."""
        self.container.wire(modules=[self.module])
        return fn


@asynccontextmanager
async def world(name: str, *, pool_size: int = 5) -> AsyncGenerator[World]:
    """Everything, in a tenant's registration scope; afterwards nothing is out, waiting or open."""
    db, cache = Leasing("db"), Thing("cache")
    pool = PoolConfig(min_size=0, max_size=pool_size)

    async def register(manager: Manager) -> None:
        await manager.register(db, {}, pool=pool, scope=Scope.tenant("acme"))
        await manager.register(cache, {}, pool=pool)

    container = App(things=register)
    async with running(container):
        here = World(container, name, db, cache)
        here.live(world)
        try:
            yield here
        finally:
            container.unwire()
        assert_manager_sound(here.manager)
        assert all(stats.waiting == 0 for stats in here.manager.stats().values())
        assert not any(here.manager.open_scopes.values())
