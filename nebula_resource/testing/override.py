"""Override: something of the test's in the place of a resource, put back when the test has ended."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from nebula_resource.manager import Manager
from nebula_resource.model.context import ResourceContext
from nebula_resource.model.resource import Resource
from nebula_resource.model.scope import Scope
from nebula_resource.pool import PoolConfig, Sharing

__all__ = ["Overrides", "StandIn", "overriding"]


class StandIn(Resource[Any, Any, Any]):
    """Leases one given object to everybody who asks for ``id``."""

    def __init__(self, id: str, value: Any) -> None:
        self.id = id
        self.value = value

    async def create(self, config: Any, context: ResourceContext) -> Any:
        """The object."""
        return self.value


class Overrides:
    """``await override_resource("db", fake)``: every acquire of it, by whatever way, gets the fake."""

    def __init__(self, manager: Manager, stack: AsyncExitStack) -> None:
        self._manager = manager
        self._stack = stack

    async def __call__(
        self, key: str, value: Any, config: Any = None, *, scope: Scope = Scope.GLOBAL
    ) -> None:
        """Put something in the place of a resource until the test has ended; it need not be registered.

        Args:
            key: the resource's id.
            value: what everybody gets, one object for all; or a `Resource` with that id (a `MockResource` say), which
                then is pooled as ever.
            config: what the resource's ``create`` is given.
            scope: where it is registered.

        Raises what ``register`` raises, and `ValueError` for a resource with another id.
        """
        if isinstance(value, Resource):
            if value.id != key:
                raise ValueError(f"a resource with the id {value.id!r} cannot stand for {str(key)!r}")
            stand_in, pool = value, PoolConfig(min_size=0)
        else:
            stand_in = StandIn(str(key), value)
            pool = PoolConfig(min_size=0, max_size=2, sharing=Sharing.SHARED)
        standing = self._manager.registry.at(str(key), scope)
        before = None if standing is None else (standing.resource, standing.config, standing.pool_config)
        await self._manager.register(stand_in, config, pool=pool, scope=scope, replace=True)
        self._stack.push_async_callback(self._put_back, str(key), scope, before)

    async def _put_back(self, key: str, scope: Scope, before: tuple[Any, Any, Any] | None) -> None:
        if self._manager.is_ending:
            return
        if before is None:
            await self._manager.deregister(key, scope=scope, cascade=True)
        else:
            resource, config, pool = before
            await self._manager.register(resource, config, pool=pool, scope=scope, replace=True)


@asynccontextmanager
async def overriding(manager: Manager) -> AsyncGenerator[Overrides]:
    """``async with overriding(manager) as override: await override("db", fake)``, for tests without the plugin."""
    async with AsyncExitStack() as stack:
        yield Overrides(manager, stack)
