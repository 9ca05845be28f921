"""Run: one execution of a workflow, from its first step to its result."""

from __future__ import annotations

import asyncio
import random
import traceback
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from contextvars import ContextVar
from datetime import UTC, datetime
from functools import partial
from typing import Any

from nebula_resource._aio import CancellationToken, WorkCancelled, within
from nebula_resource.events import WorkflowProgress
from nebula_resource.manager import Manager
from nebula_resource.manager.action_scope import prepare_action
from nebula_resource.workflow.bridge import Resources
from nebula_resource.workflow.context import ActionContext
from nebula_resource.workflow.definition import Parallel, Step, WorkflowDefinition
from nebula_resource.workflow.result import Progress, WorkflowResult, WorkflowStatus

__all__ = ["Run", "is_a_step_of"]

_around: ContextVar[tuple[Run, ...]] = ContextVar("nebula_resource_runs", default=())
"""The runs that this call chain is a step of, the outermost first."""


def is_a_step_of(run: Run) -> bool:
    """Whether whoever calls this is inside one of its steps, which would never end if they waited for it."""
    return run in _around.get()


class Run:
    """Runs the steps in order, each in an ACTION of its own; `WorkflowExecutor` makes one for every execution."""

    __slots__ = (
        "_attempts",
        "_failed_at",
        "_manager",
        "_resources",
        "_results",
        "_rng",
        "_stopping",
        "abandoned",
        "cancelled",
        "definition",
        "task",
        "waiting",
    )

    def __init__(self, manager: Manager, definition: WorkflowDefinition, resources: Resources) -> None:
        self.definition = definition
        self.task: asyncio.Task[WorkflowResult] | None = None
        self.waiting = 0
        """How many callers wait for its result."""
        self.cancelled = False
        """Somebody asked it to stop: that is its result."""
        self.abandoned = False
        """Every caller was cancelled: it stops, and has no result."""
        self._manager = manager
        self._resources = resources
        self._results: dict[str, Any] = {}
        self._attempts: dict[str, int] = {}
        self._failed_at: str | None = None
        self._rng = random.Random()
        self._stopping = False

    @property
    def token(self) -> CancellationToken:
        """Cancelled when the execution is."""
        return self._resources.cancellation

    def cancel(self) -> None:
        """Ask it to stop; it cleans up and its result is CANCELLED."""
        self.cancelled = True
        self._stop()

    def abandon(self) -> None:
        """Ask it to stop because nobody waits any more."""
        self.abandoned = True
        self._stop()

    def _stop(self) -> None:
        if self._stopping:
            return  # the token tells us what we told it, and a second cancellation would interrupt the cleaning up
        self._stopping = True
        self.token.cancel()
        if self.task is not None:
            self.task.cancel()

    def progress(self) -> Progress:
        """How far it has come."""
        return Progress(
            workflow_id=self.definition.id,
            execution_id=self._execution_id,
            status=WorkflowStatus.RUNNING,
            done=len(self._results),
            total=len(self.definition),
            running=dict(self._attempts),
        )

    @property
    def _execution_id(self) -> str:
        found = self._resources.scope.execution_id
        assert found is not None, "the scope of an execution names it"
        return found

    # ── from the first step to the result ──

    async def execute(self) -> WorkflowResult:
        """Run it; an error is part of the result, whose scopes are closed when this returns."""
        _around.set((*_around.get(), self))  # in a task of its own
        started_at = datetime.now(UTC)
        status, error = WorkflowStatus.SUCCEEDED, None
        self._tell("started")
        try:
            async with self._resources.open():
                for step in self.definition.steps:
                    self._stop_if_cancelled()
                    await self._run(step)
                self._stop_if_cancelled()
        except asyncio.CancelledError:
            if not self.cancelled or self.abandoned:
                self._tell("cancelled")
                raise
            status = WorkflowStatus.CANCELLED
        except Exception as raised:
            # What a cancelled token made of a wait is the cancellation, too.
            status, error = (
                (WorkflowStatus.CANCELLED, None) if self.cancelled else (WorkflowStatus.FAILED, raised)
            )
            _let_go(raised)
        self._tell(status.value, self._failed_at)
        return WorkflowResult(
            status=status,
            results=dict(self._results),
            error=error,
            step=self._failed_at,
            started_at=started_at,
            finished_at=datetime.now(UTC),
        )

    def _stop_if_cancelled(self) -> None:
        """A step may have swallowed the cancellation; the next one is not begun all the same."""
        if self.cancelled or self.abandoned:
            raise asyncio.CancelledError

    async def _run(self, step: Step | Parallel) -> None:
        if isinstance(step, Step):
            await self._run_step(step)
        else:
            await self._run_together(step.steps, step.limit)

    async def _run_together(self, steps: Sequence[Step], limit: int | None) -> None:
        places = asyncio.Semaphore(limit or max(len(steps), 1))

        async def in_turn(step: Step) -> None:
            async with places:
                await self._run_step(step)

        try:
            async with asyncio.TaskGroup() as group:
                for step in steps:
                    group.create_task(in_turn(step), name=f"step {step.name}")
        except BaseExceptionGroup as several:
            # The first to fail ended the others; those that failed as well are told beside it.
            first = several.exceptions[0]
            for other in several.exceptions[1:]:
                first.add_note(f"another step of the group failed as well: {type(other).__name__}")
            raise first from None

    # ── one step ──

    async def _run_step(self, step: Step) -> None:
        attempt = 1
        while True:
            self._attempts[step.name] = attempt
            self._tell("step_started", step.name)
            try:
                self._results[step.name] = await self._attempt(step, attempt)
            except Exception as error:
                if attempt >= step.retry.attempts or self.token.cancelled or not step.retry.when(error):
                    self._failed_at = self._failed_at or step.name
                    raise
                self._tell("step_retrying", step.name)
                await asyncio.sleep(self._pause(step, attempt, error))
                attempt += 1
                continue
            finally:
                del self._attempts[step.name]
            self._tell("step_succeeded", step.name)
            return

    def _pause(self, step: Step, attempt: int, error: Exception) -> float:
        """Seconds before the next attempt: the back-off, and no less than the error asks for."""
        pause = step.retry.backoff.delay(attempt, self._rng)
        asked: object = getattr(error, "retry_after", None)
        return max(pause, float(asked)) if isinstance(asked, (int, float)) else pause

    async def _attempt(self, step: Step, attempt: int) -> Any:
        args, kwargs = step.arguments(self._results)
        scope = self._resources.scope
        if step.context_parameter is not None and step.context_parameter not in kwargs:
            kwargs[step.context_parameter] = ActionContext(
                workflow_id=self.definition.id,
                execution_id=self._execution_id,
                action_id=step.name,
                tenant_id=scope.tenant_id,
                user_id=scope.user_id,
                attempt=attempt,
                cancellation=self.token,
                resources=self._resources,
            )
        call: Callable[[], Any] = partial(step.action, *args, **kwargs)
        limit = within(step.timeout)
        try:
            async with limit:
                return await self._call(step, call)
        except TimeoutError as error:
            if limit.expired():
                raise TimeoutError(f"step '{step.name}' took longer than {step.timeout:g} s") from error
            raise
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            # Nobody cancelled the step: something that it awaited was, and a step that ends so has failed.
            raise WorkCancelled(f"step '{step.name}' awaited something that was cancelled") from error

    async def _call(self, step: Step, call: Callable[[], Any]) -> Any:
        async with AsyncExitStack() as stack:
            if getattr(step.function, "opens_action", False):
                prepare_action(step.name)
            else:
                await stack.enter_async_context(self._resources.action(step.name))
            return await call()

    def _tell(self, status: str, step: str | None = None) -> None:
        bus = self._manager.events
        if bus.wants(WorkflowProgress):
            bus.publish(
                WorkflowProgress,
                scope=self._resources.scope,
                workflow=self.definition.id,
                execution=self._execution_id,
                status=status,
                step=step,
                done=len(self._results),
                total=len(self.definition),
            )


def _let_go(error: BaseException) -> None:
    """A remembered error keeps its lines, not the variables of its frames: those hold what was leased."""
    seen: BaseException | None = error
    while seen is not None:
        traceback.clear_frames(seen.__traceback__)
        seen = seen.__cause__ or seen.__context__
