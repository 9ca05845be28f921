"""Resources: the bridge from one execution of a workflow to a manager."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any, TypeVar, overload

from nebula_resource._aio import CancellationToken
from nebula_resource.errors import AmbiguousScope, NoOpenScope, ResourceNotFound
from nebula_resource.manager import Manager, OpenScope
from nebula_resource.manager.current import innermost_of
from nebula_resource.model.context import ResourceContext
from nebula_resource.model.key import ResourceKey
from nebula_resource.model.scope import Scope

__all__ = ["Resources"]

T = TypeVar("T")


class Resources:
    """The resources of one execution, for whatever runs its actions: the executor here, or an engine of yours.

    ``async with resources.open():`` for the execution, ``async with resources.action(id):`` inside it for each action;
    `acquire` leases in the innermost of these. It is a `ResourceProvider`.

    Args:
        manager: whose resources.
        workflow: id of the workflow.
        execution: id of this execution.
        tenant: whose execution it is; None: nobody's.
        user: on whose behalf.
        cancellation: whatever waits for a resource stops when it is cancelled.

    Raises:
        InvalidScope: an id cannot be one, or the ids contradict the open scope of the caller.
    """

    __slots__ = ("_cancellation", "_manager", "_scope")

    def __init__(
        self,
        manager: Manager,
        *,
        workflow: str,
        execution: str,
        tenant: str | None = None,
        user: str | None = None,
        cancellation: CancellationToken | None = None,
    ) -> None:
        self._manager = manager
        self._cancellation = CancellationToken() if cancellation is None else cancellation
        self._scope = Scope.execution(execution, tenant=tenant, user=user, workflow=workflow)

    @property
    def scope(self) -> Scope:
        """The execution as a scope."""
        return self._scope

    @property
    def cancellation(self) -> CancellationToken:
        """Cancelled when the execution is."""
        return self._cancellation

    @asynccontextmanager
    async def open(self) -> AsyncGenerator[OpenScope]:
        """Open WORKFLOW and EXECUTION (and TENANT, USER) anew, out of whatever scopes the caller is in."""
        with self._manager.detached():
            async with self._manager.scope(
                ResourceContext(self._scope, cancellation=self._cancellation)
            ) as scope:
                yield scope

    @asynccontextmanager
    async def action(self, id: str) -> AsyncGenerator[OpenScope]:
        """Open an ACTION in the execution that is open here."""
        async with self._manager.scope(action=id) as scope:
            yield scope

    @overload
    async def acquire(self, key: ResourceKey[T], /) -> T: ...

    @overload
    async def acquire(self, key: str, /) -> Any: ...

    async def acquire(self, key: str, /) -> Any:
        """The value for this key in the innermost open scope of this execution, where it is leased once.

        Raises:
            NoOpenScope: this execution is not open here.
            ResourceError: what `Manager.acquire` raises.
        """
        here = innermost_of(self._manager)
        if here is None or not self._scope.contains(here.scope):
            raise NoOpenScope(
                f"'{key}' was asked for outside its execution; wrap the call: async with resources.open(): ...",
                resource_id=key,
            )
        return await here.get(key)

    def exists(self, key: str, /) -> bool:
        """Whether this execution is served with this key; it says nothing of health or load."""
        try:
            self._manager.registry.find(key, self._scope)
        except (ResourceNotFound, AmbiguousScope):
            return False
        return True
