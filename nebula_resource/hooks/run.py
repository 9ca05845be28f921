"""HookRun: the hooks of one operation, from the first before to the last after, kept from harming it.

Invariants:

- ``after`` runs once for every hook whose ``before`` ran to its end, in reverse order, even when the operation's task
  is cancelled: then in a task of the runner.
- A ``CancelledError`` that leaves here is the cancellation of the operation's own task. One that a hook raised, or
  that hit a hook's own task, is a failure of that hook.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any

from nebula_resource._aio import OwnedTasks, WorkCancelled, cancel_soundly, leave
from nebula_resource.errors import HookCancelled, ResourceError
from nebula_resource.events.frames import frames
from nebula_resource.hooks.hook import Cancel, ResourceHook
from nebula_resource.hooks.payload import HookPayload, HookResult, Outcome
from nebula_resource.model.censor import censored_words
from nebula_resource.model.histogram import Histogram

__all__ = ["FailureReport", "HookRun", "HookRunner", "told"]

_log = logging.getLogger("nebula_resource.hooks")

FailureReport = Callable[[str, str, BaseException, HookPayload], object]
"""Called as ``(hook name, "before" | "after", error, payload)``; must not wait."""


@dataclass(frozen=True, slots=True)
class _Answer:
    """What one call of a hook came to."""

    note: object = None
    error: BaseException | None = None


_NOTHING = _Answer()


class HookRunner:
    """Calls hooks and owns the tasks of those that wait."""

    def __init__(self, report: FailureReport | None = None) -> None:
        self._report = report
        self.tasks = OwnedTasks("hooks", on_error=_note_late_failure)
        self.durations: dict[tuple[str, str, str], Histogram] = {}
        """How long hooks took, by (hook, "before" | "after", "ok" | "failed" | "refused")."""

    async def run_before(
        self, hooks: Sequence[ResourceHook], payload: HookPayload, secrets: Callable[[], object] = tuple
    ) -> HookRun:
        """Run each hook's ``before``, in order; return what to call `HookRun.after` on.

        ``secrets`` returns what holds those that no hook's reason may quote.

        Raises:
            HookCancelled: a hook stopped the operation, or failed and has ``on_failure="cancel"``; the hooks before it
                have had their ``after`` by then. Only for ACQUIRE and CREATE.
        """
        run = HookRun(self, payload)
        clock = asyncio.get_running_loop().time
        for hook in hooks:
            began_at = clock()
            answer = self.begin(hook, payload, None)
            if not isinstance(answer, _Answer):
                task = self.spawn(hook, answer)
                try:
                    answer = await self.settle(hook, task)
                except (asyncio.CancelledError, GeneratorExit) as error:
                    run.abandon(error, hook, task)
                    raise
            self.clocked(hook, "before", answer, clock() - began_at)
            if answer.error is None:
                run.add(hook, answer.note)
                continue
            refusal = self._judge(hook, payload, answer.error, secrets)
            if refusal is not None:
                await run.after(refusal)
                raise refusal from answer.error
        run.start()
        return run

    def _judge(
        self, hook: ResourceHook, payload: HookPayload, error: BaseException, secrets: Callable[[], object]
    ) -> HookCancelled | None:
        """Return what stops the operation, None if it goes on; whatever is no proper `Cancel` is reported."""
        may_cancel = payload.kind.may_cancel
        if isinstance(error, Cancel) and may_cancel:
            reason = censored_words(error.reason, secrets())
            error.args = (reason,)  # a traceback prints it as the cause
        else:
            self.report(hook, "before", error, payload)
            if not may_cancel or hook.on_failure != "cancel":
                return None
            reason = f"the hook failed ({type(error).__name__})"
        return HookCancelled(hook.name, reason, resource_id=payload.resource_id, scope=payload.scope)

    def begin(
        self, hook: ResourceHook, payload: HookPayload, result: HookResult | None
    ) -> _Answer | Awaitable[object]:
        """Call it; return its answer, or what has to be awaited for that."""
        try:
            returned = hook.before(payload) if result is None else hook.after(payload, result)
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:
            # We have not waited: a CancelledError or a GeneratorExit here is the hook's own, and not meant for us.
            return _Answer(error=error)
        if inspect.isawaitable(returned):
            return returned
        return _NOTHING if returned is None else _Answer(note=returned)

    def spawn(self, hook: ResourceHook, awaitable: Awaitable[object]) -> asyncio.Task[object]:
        """Start what `begin` returned in a task of its own, so that the hook's cancellations and ours stay apart."""
        return self.tasks.spawn(_await(awaitable), name=hook.name, awaited=True)

    async def settle(self, hook: ResourceHook, task: asyncio.Task[object]) -> _Answer:
        """Wait for the task, no longer than the hook's timeout; cancelled ourselves, ask it to end and leave."""
        try:
            await asyncio.wait((task,), timeout=hook.timeout)
        except BaseException:
            cancel_soundly(task)
            raise
        if not task.done():
            # Asked to end and not waited for: one that will not is left to the owner.
            cancel_soundly(task)
            self.tasks.unwatch(task)
            return _Answer(error=TimeoutError(f"the hook took longer than {hook.timeout} s"))
        if task.cancelled():
            return _Answer(error=asyncio.CancelledError("the hook cancelled itself"))
        error = task.exception()
        return _Answer(error=error) if error is not None else _Answer(note=task.result())

    def clocked(self, hook: ResourceHook, phase: str, answer: _Answer, seconds: float) -> None:
        """Count how long one call took."""
        how = "ok" if answer.error is None else "refused" if isinstance(answer.error, Cancel) else "failed"
        key = (hook.name, phase, how)
        durations = self.durations.get(key)
        if durations is None:
            durations = self.durations[key] = Histogram()
        durations.add(seconds)

    def report(self, hook: ResourceHook, phase: str, error: BaseException, payload: HookPayload) -> None:
        """Tell of a failure; with nobody to tell, it is logged."""
        if self._report is None:
            _log.warning(
                "a hook failed",
                extra={
                    "hook": hook.name,
                    "phase": phase,
                    "resource.id": payload.resource_id,
                    **told(error),
                },
            )
            return
        try:
            self._report(hook.name, phase, error, payload)
        except Exception as second:
            _log.error(
                "a hook's failure could not be reported",
                extra={"hook": hook.name, "failure": type(error).__name__, **told(second)},
            )


class HookRun:
    """The hooks of one operation whose ``before`` ran to its end, and their notes."""

    __slots__ = ("_payload", "_ran", "_runner", "_started_at")

    def __init__(self, runner: HookRunner, payload: HookPayload) -> None:
        self._runner = runner
        self._payload = payload
        self._ran: list[tuple[ResourceHook, object]] = []
        self._started_at: float | None = None

    def add(self, hook: ResourceHook, note: object) -> None:
        """A ``before`` ran to its end."""
        self._ran.append((hook, note))

    def start(self) -> None:
        """All ran: the operation itself begins."""
        self._started_at = asyncio.get_running_loop().time()

    async def after(self, error: BaseException | None = None) -> None:
        """Run the afters; ``error`` is what the operation raised. A second call does nothing.

        A caller cancelled meanwhile leaves at once with its CancelledError; the afters go on.
        """
        pending = self._pending(error)
        clock = asyncio.get_running_loop().time
        while pending:
            hook, result = pending.pop()
            began_at = clock()
            answer = self._runner.begin(hook, self._payload, result)
            if isinstance(answer, _Answer):
                self._note(hook, answer, clock() - began_at)
                continue
            try:
                await leave(self._rest(pending, hook, answer), self._runner.tasks, name=f"after {hook.name}")
            except WorkCancelled:
                pass  # the owner is closing; that is no failure of the operation, and the others have their turn

    def leave_behind(self, error: BaseException | None) -> None:
        """Run the afters in a task of the runner: the operation's caller may not, or does not, wait for them."""
        self._detach(self.after(error))

    def abandon(
        self, error: asyncio.CancelledError | GeneratorExit, hook: ResourceHook, task: asyncio.Task[object]
    ) -> None:
        """The same for one that was cancelled, or closed, while it waited for this hook's ``before``."""
        self._detach(self._abandoned(error, hook, task))

    def _detach(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            self._runner.tasks.start(work, name="afters of a caller who left")
        except RuntimeError:
            # The loop has ended, and its callers with it: nothing can run any more.
            _log.warning("the loop ended before the hooks", extra={"resource.id": self._payload.resource_id})

    async def _abandoned(self, error: BaseException, hook: ResourceHook, task: asyncio.Task[object]) -> None:
        """See how the ``before`` ends that was interrupted: if well, in spite of that, its after is due as well."""
        answer = await self._runner.settle(hook, task)
        if answer.error is None:
            self.add(hook, answer.note)
        elif not isinstance(answer.error, asyncio.CancelledError | Cancel):
            self._runner.report(hook, "before", answer.error, self._payload)
        await self._rest(self._pending(error))

    def _pending(self, error: BaseException | None) -> list[tuple[ResourceHook, HookResult]]:
        """Every after that is due, the first to run last in the list; none of them twice."""
        ran, self._ran = self._ran, []
        started_at = self._started_at
        elapsed = 0.0 if started_at is None else asyncio.get_running_loop().time() - started_at
        outcome = _outcome(error)
        name = None if error is None else type(error).__name__
        code = error.code if isinstance(error, ResourceError) else None
        return [
            (hook, HookResult(outcome=outcome, elapsed_s=elapsed, error=name, code=code, note=note))
            for hook, note in ran
        ]

    async def _rest(
        self,
        pending: list[tuple[ResourceHook, HookResult]],
        hook: ResourceHook | None = None,
        awaitable: Awaitable[object] | None = None,
    ) -> None:
        """Finish the after that has begun, then run the others."""
        runner = self._runner
        clock = asyncio.get_running_loop().time
        began_at = clock()
        if hook is not None and awaitable is not None:
            answer = await runner.settle(hook, runner.spawn(hook, awaitable))
            self._note(hook, answer, clock() - began_at)
        while pending:
            hook, result = pending.pop()
            began_at = clock()
            begun = runner.begin(hook, self._payload, result)
            answer = (
                begun if isinstance(begun, _Answer) else await runner.settle(hook, runner.spawn(hook, begun))
            )
            self._note(hook, answer, clock() - began_at)

    def _note(self, hook: ResourceHook, answer: _Answer, seconds: float) -> None:
        self._runner.clocked(hook, "after", answer, seconds)
        if answer.error is not None:
            self._runner.report(hook, "after", answer.error, self._payload)


def told(error: BaseException) -> dict[str, object]:
    """What a log line says of a user's error: its type and where it was raised. Its words may hold a secret."""
    return {"error": type(error).__name__, "where": frames(error)}


async def _await(awaitable: Awaitable[object]) -> object:
    return await awaitable


def _outcome(error: BaseException | None) -> Outcome:
    if error is None:
        return Outcome.OK
    if isinstance(error, HookCancelled):
        return Outcome.REFUSED
    return Outcome.CANCELLED if isinstance(error, asyncio.CancelledError) else Outcome.ERROR


def _note_late_failure(error: BaseException, task: str) -> None:
    _log.warning(
        "a hook that was given up failed later",
        extra={"task": task, **told(error)},
    )
