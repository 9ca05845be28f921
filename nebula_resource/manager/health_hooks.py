"""HealthHooks: runs the hooks of a health change, beside and never before what follows from it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nebula_resource.hooks import HookEvent, HookRegistry
from nebula_resource.hooks.payload import OnHealthChange
from nebula_resource.model.health import HealthState

if TYPE_CHECKING:
    from nebula_resource._aio import OwnedTasks
    from nebula_resource.manager.registration import Registration

__all__ = ["HealthHooks"]


class HealthHooks:
    """A change cannot be stopped by a hook, so nobody waits for them."""

    def __init__(self, hooks: HookRegistry, tasks: OwnedTasks) -> None:
        self._hooks = hooks
        self._tasks = tasks

    def run(
        self, registration: Registration, old: HealthState, new: HealthState, because: tuple[str, ...]
    ) -> None:
        """Run those that apply, if any, in a task of the manager."""
        hooks = self._hooks.for_resource(registration.key, HookEvent.HEALTH_CHANGED)
        if not hooks:
            return
        payload = OnHealthChange(
            resource_id=registration.key,
            public_id=registration.public_id,
            scope=registration.scope,
            old=old.kind,
            new=new.kind,
            because=because,
        )

        async def run() -> None:
            began = await self._hooks.run_before(hooks, payload)
            await began.after(None)

        self._tasks.start(run(), name=f"health hooks {registration.public_id}")
