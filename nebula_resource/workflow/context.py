"""ActionContext: what an action is told of its execution, and where it gets resources."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, TypeVar, overload

from nebula_resource._aio import CancellationToken
from nebula_resource.errors import ConfigurationError
from nebula_resource.model.key import ResourceKey
from nebula_resource.workflow.port import ResourceProvider

__all__ = ["ActionContext"]

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class ActionContext:
    """One attempt of one action. A step's function that has a parameter of this type (or named ``ctx``) is given it.

    ``attempt`` counts from 1; ``action_id`` is the same for every attempt, so it may serve as an idempotency key
    together with ``execution_id``. ``cancellation`` is cancelled when the execution is.
    """

    workflow_id: str
    execution_id: str
    action_id: str
    tenant_id: str | None = None
    user_id: str | None = None
    attempt: int = 1
    cancellation: CancellationToken = field(default_factory=CancellationToken, repr=False, compare=False)
    resources: ResourceProvider | None = field(default=None, repr=False, compare=False)

    @overload
    async def resource(self, key: ResourceKey[T]) -> T: ...

    @overload
    async def resource(self, key: str) -> Any: ...

    async def resource(self, key: str) -> Any:
        """The value for this key, one per action, given back when the action ends.

        Raises:
            ConfigurationError: nobody gave this context resources.
            ResourceError: what acquiring raises.
        """
        if self.resources is None:
            raise ConfigurationError(
                f"this action context has no resources, so there is no '{key}'; give it some: "
                "context.with_resources(provider)",
                resource_id=key,
            )
        return await self.resources.acquire(key)

    def with_resources(self, provider: ResourceProvider) -> ActionContext:
        """A copy that gets its resources from ``provider`` (in a test: from the test)."""
        return replace(self, resources=provider)
