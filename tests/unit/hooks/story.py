"""Story: what happened around an operation, and hooks that misbehave in every way."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from nebula_resource.hooks import (
    Cancel,
    HookPayload,
    HookRegistry,
    HookResult,
    OnAcquire,
    OnCleanup,
    OnCreate,
    OnHealthChange,
    OnRelease,
    ResourceHook,
)
from nebula_resource.model.reasons import CleanupReason
from nebula_resource.model.scope import Scope

ACQUIRE = OnAcquire(resource_id="db", public_id="db", scope=Scope.tenant("acme"))
CREATE = OnCreate(resource_id="db", public_id="db")
CANNOT_CANCEL: list[HookPayload] = [
    OnRelease(resource_id="db", public_id="db"),
    OnCleanup(resource_id="db", public_id="db", reason=CleanupReason.EXPIRED),
    OnHealthChange(resource_id="db", public_id="db", old="unknown", new="healthy"),
]


class Story:
    """What happened, in order, and what was reported."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.reports: list[tuple[str, str, str]] = []
        self.results: dict[str, HookResult] = {}
        self.registry = HookRegistry(on_failure_report=self._report)

    def _report(self, hook: str, phase: str, error: BaseException, payload: HookPayload) -> None:
        assert payload.resource_id == "db"
        self.reports.append((hook, phase, type(error).__name__))

    def hook(
        self,
        name: str,
        before: Callable[[], Awaitable[object]] | None = None,
        after: Callable[[], Awaitable[object]] | None = None,
        **attributes: Any,
    ) -> ResourceHook:
        """A hook that writes the story down; ``before`` and ``after`` say what it does then."""
        story = self

        class Hook(ResourceHook):
            async def before(self, event: HookPayload) -> object:
                story.lines.append(f"{name} before")
                return await before() if before else None

            async def after(self, event: HookPayload, result: HookResult) -> None:
                story.results[name] = result
                story.lines.append(f"{name} after {result.outcome.value}")
                if after:
                    await after()

        hook = Hook()
        hook.name = name
        for attribute, value in attributes.items():
            setattr(hook, attribute, value)
        return hook

    async def operate(self, *hooks: ResourceHook, payload: HookPayload = ACQUIRE) -> None:
        """One operation of one second between its hooks."""
        run = await self.registry.run_before(hooks, payload)
        self.lines.append("operation")
        await asyncio.sleep(1)
        await run.after()

    def no_task_left(self) -> bool:
        """Whether every task of a hook has ended."""
        return not len(self.registry._runner.tasks)


async def raising() -> None:
    """A step that fails."""
    raise ValueError("s3cret")


async def hanging() -> None:
    """A step that never ends."""
    await asyncio.get_running_loop().create_future()


async def hanging_through_cancellation() -> None:
    """A step that will not be cancelled, for a minute."""
    for _ in range(60):
        try:
            await asyncio.sleep(1)
        except asyncio.CancelledError:
            pass


async def cancelled_by_itself() -> None:
    """A step that raises what a cancellation raises."""
    raise asyncio.CancelledError


async def cancelling_its_task() -> None:
    """A step that cancels the task it finds itself in."""
    task = asyncio.current_task()
    assert task is not None
    task.cancel()
    await asyncio.sleep(0)


async def cancelling_its_task_as_it_ends() -> None:
    """The same, without a wait in which the cancellation could arrive."""
    task = asyncio.current_task()
    assert task is not None
    task.cancel()


async def refusing() -> None:
    """A step that stops the operation."""
    raise Cancel("not on Sundays")


BAD = [
    (raising, "ValueError"),
    (hanging, "TimeoutError"),
    (hanging_through_cancellation, "TimeoutError"),
    (cancelled_by_itself, "CancelledError"),
    (cancelling_its_task, "CancelledError"),
    (cancelling_its_task_as_it_ends, "CancelledError"),
]
