"""ResourceTestHarness: runs an action against resources of a test, in scopes like those of production."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from nebula_resource.manager import Manager
from nebula_resource.model.policy import OFF
from nebula_resource.model.resource import Resource
from nebula_resource.testing.asserts import assert_no_leaks
from nebula_resource.workflow.bridge import Resources
from nebula_resource.workflow.context import ActionContext

if TYPE_CHECKING:
    from nebula_resource.pool.config import PoolConfig

__all__ = ["ResourceTestHarness"]


class ResourceTestHarness:
    """A manager for one test, with resources of the test.

    ::

        async with ResourceTestHarness().with_resource(MockResource("db")) as harness:
            async with harness.action_context(tenant="acme") as context:
                await charge(context, order)

    When the block ends well, nothing may be out, waiting or leaked. ``harness.manager`` is a real `Manager`.
    """

    def __init__(self) -> None:
        self.manager = Manager(health=OFF, quarantine=OFF)
        self._announced: list[tuple[Resource[Any, Any, Any], Any, Any]] = []

    def with_resource(
        self,
        resource: Resource[Any, Any, Any],
        config: Any = None,
        *,
        pool: PoolConfig | Mapping[str, Any] | None = None,
    ) -> Self:
        """Announce a resource; it is registered when the first action needs it. Returns the harness."""
        self._announced.append((resource, config, pool))
        return self

    @asynccontextmanager
    async def action_context(
        self,
        *,
        tenant: str | None = None,
        user: str | None = None,
        workflow: str = "test-workflow",
        execution: str = "test-execution",
        action: str = "test-action",
    ) -> AsyncGenerator[ActionContext]:
        """An action in an execution of its own; what it leased is given back, with the outcome, at the end."""
        await self._register()
        resources = Resources(self.manager, workflow=workflow, execution=execution, tenant=tenant, user=user)
        async with resources.open(), resources.action(action):
            yield ActionContext(
                workflow_id=workflow,
                execution_id=execution,
                action_id=action,
                tenant_id=tenant,
                user_id=user,
                cancellation=resources.cancellation,
                resources=resources,
            )

    async def _register(self) -> None:
        announced, self._announced = self._announced, []
        for resource, config, pool in announced:
            await self.manager.register(resource, config, pool=pool)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if error is None:
                assert_no_leaks(*(registration.pool for registration in self.manager.pools()))
        finally:
            await self.manager.shutdown(drain=0.0)
