"""ResourceContainer: the base of a container that has a manager, with its start and its end."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from dependency_injector import containers, providers

from nebula_resource.di.manager_provider import ManagerProvider

__all__ = ["ResourceContainer", "running"]

_EVERY: Any = providers.BaseResource  # what the two methods below mean by "every resource"


class _Instance(containers.DynamicContainer):
    """What a `ResourceContainer` is when it has been made."""

    def init_resources(self, resource_type: type[Any] = _EVERY) -> Awaitable[None]:
        return self._init(resource_type)

    async def _init(self, resource_type: type[Any]) -> None:
        started = super().init_resources(resource_type)
        if started is not None:
            await started
        for manager in self._managers():
            await manager.init()

    def shutdown_resources(self, resource_type: type[Any] = _EVERY) -> Awaitable[None]:
        return self._shutdown(resource_type)

    async def _shutdown(self, resource_type: type[Any]) -> None:
        async with AsyncExitStack() as ends:  # each, whatever becomes of the others
            # What the manager's resources were made from ends after them.
            ends.push_async_callback(self._shutdown_own, resource_type)
            for manager in self._managers():
                ends.push_async_callback(manager.shutdown)

    async def _shutdown_own(self, resource_type: type[Any]) -> None:
        ended = super().shutdown_resources(resource_type)
        if ended is not None:
            await ended

    def _managers(self) -> list[ManagerProvider]:
        return list(self.traverse(types=[ManagerProvider]))


class ResourceContainer(containers.DeclarativeContainer):
    """Declare a ``manager = ManagerProvider(...)``, ``Leased`` and other providers in a subclass; make one for the application.

    ``await container.init_resources()`` starts dependency-injector's resources, then registers what the managers keep;
    ``await container.shutdown_resources()`` ends them the other way round. Both are always awaited. `running` does both.
    """

    instance_type = _Instance

    if TYPE_CHECKING:  # what an instance has

        def init_resources(self, resource_type: type[Any] = _EVERY) -> Awaitable[None]:
            """Start everything."""
            ...

        def shutdown_resources(self, resource_type: type[Any] = _EVERY) -> Awaitable[None]:
            """End everything."""
            ...


C = TypeVar("C", bound=ResourceContainer)


@asynccontextmanager
async def running(container: C) -> AsyncGenerator[C]:
    """``async with running(container):`` starts everything in it, and ends it after the block."""
    try:
        await container.init_resources()
        yield container
    finally:
        await container.shutdown_resources()
