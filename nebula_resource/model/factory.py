"""resource_factory: the short form of a resource: one async generator that makes, yields and cleans up."""

from __future__ import annotations

import inspect
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from typing import Any, TypeVar

from nebula_resource.errors import ConfigurationError
from nebula_resource.model.context import ResourceContext
from nebula_resource.model.health import HealthCheckable, HealthStatus
from nebula_resource.model.key import check_resource_id
from nebula_resource.model.resource import Resource, ResourceMetadata

__all__ = ["resource_factory"]

ConfigT = TypeVar("ConfigT")
InstanceT = TypeVar("InstanceT")

Factory = Callable[[ConfigT, ResourceContext], AsyncGenerator[InstanceT]]


class FactoryResource(Resource[ConfigT, InstanceT, InstanceT]):
    """A resource whose life is one async generator: up to the yield it creates, after it cleans up."""

    def __init__(
        self,
        factory: Factory[ConfigT, InstanceT],
        *,
        id: str,
        config: type[ConfigT] | None,
        dependencies: Sequence[str],
        metadata: ResourceMetadata | None,
    ) -> None:
        self.id = check_resource_id(id)
        self.config_type = config
        self.dependencies = tuple(dependencies)
        self.metadata = metadata
        self._factory = factory
        self._made: dict[int, list[AsyncGenerator[InstanceT]]] = {}
        """The generators that will clean up, by the identity of what they yielded: it need not be hashable."""
        self.__doc__ = factory.__doc__

    def __repr__(self) -> str:
        return f"<Resource '{self.id}' from {getattr(self._factory, '__qualname__', 'a factory')}>"

    async def create(self, config: ConfigT, context: ResourceContext) -> InstanceT:
        """Run the generator up to its yield."""
        generator = self._factory(config, context)
        try:
            value = await anext(generator)
        except StopAsyncIteration:
            raise ConfigurationError(
                "the factory ended without a yield; it must yield the instance once", resource_id=self.id
            ) from None
        if value is None:
            await generator.aclose()  # the pool will refuse it, and nobody would end it
            return value
        self._made.setdefault(id(value), []).append(generator)
        return value

    async def cleanup(self, instance: InstanceT) -> None:
        """Run the generator from its yield to its end."""
        generators = self._made.get(id(instance))
        if generators is None:
            return
        generator = generators.pop()
        if not generators:
            del self._made[id(instance)]
        try:
            await anext(generator)
        except StopAsyncIteration:
            return
        await generator.aclose()
        raise ConfigurationError(
            "the factory yielded a second time; it must yield the instance once", resource_id=self.id
        )


class _Checkable(FactoryResource[ConfigT, InstanceT], HealthCheckable):
    """A factory resource that brings a health check."""

    check: Callable[[InstanceT, ResourceContext], Awaitable[HealthStatus]]

    async def health_check(self, instance: InstanceT, context: ResourceContext) -> HealthStatus:
        """Call the function that was given."""
        return await self.check(instance, context)


def resource_factory(
    *,
    id: str,
    config: type[ConfigT] | None = None,
    health_check: Callable[[Any, ResourceContext], Awaitable[HealthStatus]] | None = None,
    recycle: Callable[[Any], Awaitable[None] | None] | None = None,
    is_valid: Callable[[Any], Awaitable[bool]] | None = None,
    dependencies: Sequence[str] = (),
    metadata: ResourceMetadata | None = None,
) -> Callable[[Factory[ConfigT, InstanceT]], FactoryResource[ConfigT, InstanceT]]:
    """Make a resource of an async generator that takes (config, context) and yields the instance once.

    The keywords are the hooks of `Resource` of the same name, as functions of the instance. Raises
    `ConfigurationError` for what is no async generator function.
    """

    def decorate(factory: Factory[ConfigT, InstanceT]) -> FactoryResource[ConfigT, InstanceT]:
        if not inspect.isasyncgenfunction(factory):
            raise ConfigurationError(
                "resource_factory decorates an async generator function: async def with one yield",
                resource_id=id,
            )
        cls = FactoryResource if health_check is None else _Checkable
        made = cls(factory, id=id, config=config, dependencies=dependencies, metadata=metadata)
        if health_check is not None and isinstance(made, _Checkable):
            made.check = health_check
        # A pool looks at the instance's own attributes too, so a hook that is not given costs nothing.
        if recycle is not None:
            made.recycle = recycle  # type: ignore[method-assign,assignment]  # that is the point
        if is_valid is not None:
            made.is_valid = is_valid  # type: ignore[method-assign,assignment]  # that is the point
        return made

    return decorate
