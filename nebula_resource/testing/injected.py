"""Injected: somebody's resource, with a scripted outcome before each of its steps."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TYPE_CHECKING, Any

from nebula_resource.model.resource import DelegatedStats, Resource, overrides
from nebula_resource.testing.mock import Outcome, Player, Script

if TYPE_CHECKING:
    from nebula_resource.model.context import ResourceContext

__all__ = ["STEPS", "Injected"]

STEPS = ("create", "is_valid", "recycle", "cleanup", "lease_entry", "lease_exit")
"""What can be made to fail."""


class Injected(Resource[Any, Any, Any]):
    """Does what ``inner`` does, unless a script says otherwise: first the scripted outcome, then the real step.

    ERROR and NEVER happen instead of the real step, SLOW before it. An injected cleanup that fails has cleaned up
    before, so that a test leaves nothing behind.
    """

    def __init__(self, inner: Resource[Any, Any, Any], *, slow: float = 1.0) -> None:
        self.id = inner.id
        self.dependencies = inner.dependencies
        self.metadata = inner.metadata
        self.min_level = inner.min_level
        self.inner = inner
        self.player = Player(slow=slow)
        self.heal()
        if overrides(inner, "lease"):
            self.lease = self._lease  # type: ignore[method-assign]  # only where there is one: callers see it

    def inject(self, step: str, script: Script) -> None:
        """Say how a step goes from now on. Raises `ValueError` for a step that there is not."""
        if step not in STEPS:
            raise ValueError(f"there is no step {step!r}; there are {', '.join(STEPS)}")
        self.player.script(step, script)

    def heal(self) -> None:
        """Everything goes as the resource itself goes."""
        for step in STEPS:
            self.player.script(step, Outcome.OK)

    # ── the steps ──

    async def create(self, config: Any, context: ResourceContext) -> Any:
        """The scripted outcome, then the real create."""
        await self.player.play("create")
        return await self.inner.create(config, context)

    async def is_valid(self, instance: Any) -> bool:
        """The scripted outcome, then the real answer."""
        await self.player.play("is_valid")
        return await self.inner.is_valid(instance)

    async def recycle(self, instance: Any) -> None:
        """The scripted outcome, then the real reset."""
        await self.player.play("recycle")
        step = self.inner.recycle(instance)
        if isinstance(step, Awaitable):
            await step

    async def cleanup(self, instance: Any) -> None:
        """The real cleanup, then the scripted outcome."""
        await self.inner.cleanup(instance)
        await self.player.play("cleanup")

    def is_broken(self, instance: Any) -> bool:
        """Ask the resource."""
        return self.inner.is_broken(instance)

    def is_fault(self, error: BaseException) -> bool:
        """Ask the resource."""
        return self.inner.is_fault(error)

    def delegated_stats(self, instance: Any) -> DelegatedStats | None:
        """Ask the resource."""
        return self.inner.delegated_stats(instance)

    def memory_usage(self, instance: Any) -> int | None:
        """Ask the resource."""
        return self.inner.memory_usage(instance)

    def _lease(self, instance: Any, context: ResourceContext) -> AbstractAsyncContextManager[Any]:
        return self._leased(instance, context)

    @asynccontextmanager
    async def _leased(self, instance: Any, context: ResourceContext) -> AsyncGenerator[Any]:
        await self.player.play("lease_entry")
        async with self.inner.lease(instance, context) as value:
            yield value
        await self.player.play("lease_exit")
