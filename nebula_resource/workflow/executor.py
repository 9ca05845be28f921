"""WorkflowExecutor: runs workflows in this process, each execution once."""

from __future__ import annotations

import asyncio
import uuid
from collections import OrderedDict
from types import TracebackType

from nebula_resource._aio import CancellationToken, OwnedTasks
from nebula_resource.errors import (
    ConfigurationError,
    FieldViolation,
    InvalidScope,
    Unavailable,
    ValidationFailed,
)
from nebula_resource.manager import Manager
from nebula_resource.manager.current import innermost_of
from nebula_resource.workflow.bridge import Resources
from nebula_resource.workflow.definition import WorkflowDefinition
from nebula_resource.workflow.result import Progress, WorkflowResult
from nebula_resource.workflow.run import Run, is_a_step_of

__all__ = ["WorkflowExecutor"]

Identity = tuple[str | None, str, str]


class WorkflowExecutor:
    """The reference runner: opens WORKFLOW and EXECUTION, runs the steps, retries, and always cleans up.

    Works entered (``async with WorkflowExecutor(manager) as executor``, which cancels what still runs at the end) or
    not; then `close` it before the manager is shut down.

    Args:
        manager: whose resources the actions use.
        remember: how many results are kept for those who ask for the same execution again; the oldest goes first.
    """

    def __init__(self, manager: Manager, *, remember: int = 1024) -> None:
        if remember < 0:
            raise ValidationFailed([FieldViolation("remember", "must be at least 0", str(remember))])
        self._manager = manager
        self._remember = remember
        self._runs: dict[Identity, Run] = {}
        self._results: OrderedDict[Identity, WorkflowResult] = OrderedDict()
        self._tasks = OwnedTasks("nebula workflows")
        self._closed = False

    def __repr__(self) -> str:
        return f"<WorkflowExecutor: {len(self._runs)} running, {len(self._results)} remembered>"

    async def __aenter__(self) -> WorkflowExecutor:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def run(
        self,
        definition: WorkflowDefinition,
        *,
        tenant: str | None = None,
        execution_id: str | None = None,
        cancellation: CancellationToken | None = None,
    ) -> WorkflowResult:
        """Run a workflow to its end and return how it ended; an error of a step is in the result, not raised.

        The same (tenant, workflow, execution id) again returns the first's result, and joins it while it still runs.
        A caller that is cancelled stops waiting; when every caller was, the execution is cancelled, cleaned up and
        forgotten, so that it may be run again.

        Args:
            definition: what to run.
            tenant: whose it is; inside an open scope of a tenant that is the default, and no other is allowed.
            execution_id: names this execution; a new id when not given.
            cancellation: cancelling it cancels the execution, as `cancel` does; also that which another began.

        Raises:
            ConfigurationError: a step waits for its own execution.
            InvalidScope: an id cannot be one, or ``tenant`` is not the caller's.
            Unavailable: the executor is closed.
        """
        tenant, user = self._whose(tenant)
        execution = uuid.uuid4().hex if execution_id is None else execution_id
        identity = (tenant, definition.id, execution)
        while True:
            if self._closed:
                raise Unavailable("closed", hint=": this WorkflowExecutor was closed")
            known = self._results.get(identity)
            if known is not None:
                return known
            run = self._runs.get(identity)
            if run is None:
                resources = Resources(
                    self._manager,
                    workflow=definition.id,
                    execution=execution,
                    tenant=tenant,
                    user=user,
                    cancellation=CancellationToken() if cancellation is None else cancellation.child(),
                )
                run = self._start(identity, Run(self._manager, definition, resources))
            elif is_a_step_of(run):
                raise ConfigurationError(
                    f"a step of execution '{execution}' waits for that execution, which would never end"
                )
            result = await self._join(run, cancellation)
            if result is not None:
                return result
            # It was given up by its other callers while this one came: begin anew.

    def cancel(self, execution_id: str, *, tenant: str | None = None, workflow: str | None = None) -> bool:
        """Ask an execution to stop; whoever waits for it gets a CANCELLED result when it has cleaned up.

        Returns False when nothing of that id runs. ``tenant`` and ``workflow`` narrow the search; inside an open scope of
        a tenant that is its own executions alone, so another's id says nothing and does nothing.

        Raises:
            ConfigurationError: several executions have that id.
            InvalidScope: ``tenant`` is not the caller's.
        """
        run = self._find(execution_id, tenant, workflow)
        if run is not None:
            run.cancel()
        return run is not None

    def progress(
        self, execution_id: str, *, tenant: str | None = None, workflow: str | None = None
    ) -> Progress | None:
        """How far a running execution has come; None when nothing of that id runs. Raises as `cancel` does."""
        run = self._find(execution_id, tenant, workflow)
        return None if run is None else run.progress()

    def result(
        self, definition_id: str, execution_id: str, *, tenant: str | None = None
    ) -> WorkflowResult | None:
        """The remembered result of an execution that ended, or None.

        Inside an open scope of a tenant that tenant is the default, and no other is allowed (`InvalidScope`).
        """
        return self._results.get((self._whose(tenant)[0], definition_id, execution_id))

    async def close(self) -> None:
        """Cancel what still runs and wait until it has cleaned up; nothing can be run any more."""
        self._closed = True
        for run in list(self._runs.values()):
            run.cancel()
        await self._tasks.idle()

    # ── one execution ──

    def _start(self, identity: Identity, run: Run) -> Run:
        self._runs[identity] = run
        unsubscribe = run.token.subscribe(run.cancel)
        run.task = task = self._tasks.spawn(run.execute(), name=" ".join(identity[1:]), awaited=True)

        def ended(_: asyncio.Task[WorkflowResult]) -> None:
            unsubscribe()
            del self._runs[identity]
            if not task.cancelled() and task.exception() is None and not run.abandoned:
                self._keep(identity, task.result())

        task.add_done_callback(ended)
        return run

    def _keep(self, identity: Identity, result: WorkflowResult) -> None:
        if self._remember:
            self._results[identity] = result
            while len(self._results) > self._remember:
                self._results.popitem(last=False)

    async def _join(self, run: Run, cancellation: CancellationToken | None) -> WorkflowResult | None:
        """Wait for its result; None when it was given up."""
        task = run.task
        assert task is not None, "a run has a task from its start"
        run.waiting += 1
        unsubscribe = None if cancellation is None else cancellation.subscribe(run.cancel)
        try:
            await asyncio.wait((task,))
        except asyncio.CancelledError as error:
            if run.waiting == 1 and not task.done():
                run.abandon()
                await _ended(task, error)
            raise
        finally:
            run.waiting -= 1
            if unsubscribe is not None:
                unsubscribe()
        if run.abandoned:
            return None
        return task.result()

    def _find(self, execution_id: str, tenant: str | None, workflow: str | None) -> Run | None:
        tenant = self._whose(tenant)[0]
        found = [
            run
            for (whose, which, execution), run in self._runs.items()
            if execution == execution_id and tenant in (None, whose) and workflow in (None, which)
        ]
        if len(found) > 1:
            raise ConfigurationError(
                f"{len(found)} running executions have this id: say which by tenant= and workflow="
            )
        return found[0] if found else None

    def _whose(self, tenant: str | None) -> tuple[str | None, str | None]:
        """Tenant and user of an execution: those of the open scope that asks, which it may not leave."""
        here = innermost_of(self._manager)
        if here is None:
            return tenant, None
        own = here.scope.tenant_id
        if tenant is not None and own is not None and tenant != own:
            raise InvalidScope(
                "an open scope of one tenant has nothing to do with another's workflows: manager.detached() leaves it"
            )
        return tenant or own, here.scope.user_id


async def _ended(task: asyncio.Task[WorkflowResult], cancelled: asyncio.CancelledError) -> None:
    """Wait for the end of a task through any number of cancellations; raise the last of them."""
    while not task.done():
        try:
            await asyncio.wait((task,))
        except asyncio.CancelledError as again:
            cancelled = again
    raise cancelled
