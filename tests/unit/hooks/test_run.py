"""Running hooks: order, refusal, and nothing a hook does can harm the operation beside it."""

from __future__ import annotations

import asyncio
import contextvars
import logging
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from nebula_resource.errors import AcquireTimeout, HookCancelled
from nebula_resource.hooks import (
    Cancel,
    HookEvent,
    HookPayload,
    HookRegistry,
    HookResult,
    OnAcquire,
    OnCleanup,
    OnCreate,
    OnHealthChange,
    OnRelease,
    Outcome,
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


async def test_before_in_order_after_in_reverse() -> None:
    """Hooks stand around the operation like brackets."""
    story = Story()
    await story.operate(story.hook("a"), story.hook("b"))
    assert story.lines == ["a before", "b before", "operation", "b after ok", "a after ok"]
    assert story.reports == []


async def test_without_hooks_nothing_happens() -> None:
    """A run without hooks is legal and empty."""
    story = Story()
    await story.operate()
    assert story.lines == ["operation"]


async def test_plain_functions_are_hooks_too() -> None:
    """A hook that does not wait may be written without async; it runs in the operation's own task."""
    tasks: list[asyncio.Task[Any] | None] = []

    class Plain(ResourceHook):
        name = "plain"

        def before(self, event: HookPayload) -> object:
            tasks.append(asyncio.current_task())
            return 7

        def after(self, event: HookPayload, result: HookResult) -> None:
            tasks.append(asyncio.current_task())
            assert result.note == 7

    story = Story()
    await story.operate(Plain())
    assert tasks == [asyncio.current_task()] * 2
    assert story.reports == []


async def test_the_note_of_before_reaches_its_own_after() -> None:
    """Two operations at once with one hook do not mix up their notes."""
    notes = iter("xy")
    seen: list[tuple[object, str]] = []

    class Noting(ResourceHook):
        name = "noting"

        async def before(self, event: HookPayload) -> object:
            note = next(notes)
            await asyncio.sleep(1)
            return note

        async def after(self, event: HookPayload, result: HookResult) -> None:
            seen.append((result.note, event.public_id))

    story, hook = Story(), Noting()
    await asyncio.gather(
        *(
            story.operate(hook, payload=OnAcquire(resource_id="db", public_id=public_id))
            for public_id in ("first", "second")
        )
    )
    assert seen == [("x", "first"), ("y", "second")]


async def test_the_result_tells_how_it_went_and_how_long_the_operation_took() -> None:
    """Elapsed is the operation's own time: the hooks' time is not in it. The error is told by name, without its text."""

    async def slow() -> None:
        await asyncio.sleep(2)

    story = Story()
    run = await story.registry.run_before([story.hook("a", slow, slow), story.hook("b", slow, slow)], ACQUIRE)
    await asyncio.sleep(3)
    await run.after(AcquireTimeout("acquire", 3.0, resource_id="db"))
    for name in "ab":
        result = story.results[name]
        assert (result.outcome, result.elapsed_s) == (Outcome.ERROR, 3.0)
        assert (result.error, result.code) == ("AcquireTimeout", "acquire_timeout")


async def test_after_runs_once() -> None:
    """A second call of after finds nothing left to do."""
    story = Story()
    run = await story.registry.run_before([story.hook("a")], ACQUIRE)
    await run.after()
    await run.after(ValueError())
    assert story.lines == ["a before", "a after ok"]


# ── refusing ──────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("payload", [ACQUIRE, CREATE], ids=lambda payload: payload.kind.name)
async def test_a_hook_may_stop_acquire_and_create(payload: HookPayload) -> None:
    """The hooks before it have their after, itself and those behind it have not, and the caller is told who and why."""
    story = Story()
    with pytest.raises(HookCancelled, match="'b' refused resource 'db': not on Sundays") as caught:
        await story.operate(story.hook("a"), story.hook("b", refusing), story.hook("c"), payload=payload)
    assert story.lines == ["a before", "b before", "a after refused"]
    assert (caught.value.hook, caught.value.reason) == ("b", "not on Sundays")
    assert (caught.value.resource_id, caught.value.scope) == ("db", payload.scope)
    assert isinstance(caught.value.__cause__, Cancel)
    assert story.reports == []
    assert story.results["a"].elapsed_s == 0.0


@pytest.mark.parametrize("payload", CANNOT_CANCEL, ids=lambda payload: payload.kind.name)
@pytest.mark.parametrize("on_failure", ["ignore", "cancel"])
async def test_a_hook_cannot_stop_anything_else(payload: HookPayload, on_failure: str) -> None:
    """A release, a cleanup or a change of health goes on; the attempt is reported."""
    story = Story()
    await story.operate(
        story.hook("a", refusing, on_failure=on_failure),
        story.hook("b", raising, on_failure=on_failure),
        payload=payload,
    )
    assert story.lines == ["a before", "b before", "operation"]
    assert story.reports == [("a", "before", "Cancel"), ("b", "before", "ValueError")]


# ── failing ───────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("bad", "error"), BAD, ids=lambda value: getattr(value, "__name__", value))
async def test_a_before_that_fails_is_ignored_and_reported(
    bad: Callable[[], Awaitable[None]], error: str
) -> None:
    """The operation and the other hooks go on; its own after does not run, since its before did not end."""
    story = Story()
    await story.operate(story.hook("a"), story.hook("bad", bad), story.hook("c"))
    assert story.lines == ["a before", "bad before", "c before", "operation", "c after ok", "a after ok"]
    assert story.reports == [("bad", "before", error)]
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0
    await asyncio.sleep(100)
    assert story.no_task_left()


@pytest.mark.parametrize(("bad", "error"), BAD, ids=lambda value: getattr(value, "__name__", value))
async def test_a_before_that_fails_may_stop_the_operation(
    bad: Callable[[], Awaitable[None]], error: str
) -> None:
    """With on_failure "cancel" the caller gets HookCancelled, which names the hook and not the error's text."""
    story = Story()
    with pytest.raises(HookCancelled) as caught:
        await story.operate(story.hook("a"), story.hook("bad", bad, on_failure="cancel"))
    assert story.lines == ["a before", "bad before", "a after refused"]
    assert story.reports == [("bad", "before", error)]
    assert "s3cret" not in str(caught.value)
    await asyncio.sleep(100)
    assert story.no_task_left()


@pytest.mark.parametrize(
    ("bad", "error"), [*BAD, (refusing, "Cancel")], ids=lambda value: getattr(value, "__name__", value)
)
async def test_an_after_that_fails_harms_nobody(bad: Callable[[], Awaitable[None]], error: str) -> None:
    """The operation's result stands and the other afters run."""
    story = Story()
    await story.operate(story.hook("a"), story.hook("bad", None, bad), story.hook("c"))
    assert story.lines[-3:] == ["c after ok", "bad after ok", "a after ok"]
    assert story.reports == [("bad", "after", error)]
    await asyncio.sleep(100)
    assert story.no_task_left()


@pytest.mark.parametrize("error", [ValueError("x"), asyncio.CancelledError()], ids=repr)
async def test_a_plain_function_that_raises_is_isolated(error: BaseException) -> None:
    """Also a CancelledError: nothing was awaited, so it cannot be the operation's own."""

    class Plain(ResourceHook):
        name = "plain"

        def before(self, event: HookPayload) -> object:
            raise error

    class Late(ResourceHook):
        name = "late"

        def after(self, event: HookPayload, result: HookResult) -> object:
            raise error

    story = Story()
    await story.operate(Plain(), Late())
    assert story.reports == [
        ("plain", "before", type(error).__name__),
        ("late", "after", type(error).__name__),
    ]


async def test_a_hook_waits_exactly_its_timeout() -> None:
    """Five seconds unless it says otherwise, for before and for after."""
    story = Story()
    loop = asyncio.get_running_loop()
    await story.operate(story.hook("bad", hanging))
    assert loop.time() == 5 + 1
    started = loop.time()
    await story.operate(
        story.hook("bad", hanging, timeout=0.5), story.hook("worse", None, hanging, timeout=0.25)
    )
    assert loop.time() - started == 0.5 + 1 + 0.25


async def test_a_hook_without_timeout_may_take_its_time() -> None:
    """None means none."""

    async def slow() -> None:
        await asyncio.sleep(1000)

    story = Story()
    await story.operate(story.hook("a", slow, timeout=None))
    assert story.reports == []


async def test_a_failing_report_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """Even the one who is told of failures cannot harm the operation."""

    def report(*_: object) -> None:
        raise RuntimeError

    story = Story()
    story.registry = HookRegistry(on_failure_report=report)
    await story.operate(story.hook("bad", raising))
    assert story.lines[-1] == "operation"
    assert "a hook's failure could not be reported" in caplog.messages


async def test_without_a_report_failures_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    """A failure is never lost."""
    story = Story()
    story.registry = HookRegistry()
    await story.operate(story.hook("bad", raising))
    assert [(record.message, record.levelno) for record in caplog.records] == [
        ("a hook failed", logging.WARNING)
    ]


async def test_a_hook_that_was_given_up_and_fails_later_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """Its error has nobody to go to any more, and is not dropped."""

    async def fail_when_cancelled() -> None:
        try:
            await hanging()
        finally:
            raise OSError("while cleaning up")

    story = Story()
    await story.operate(story.hook("bad", fail_when_cancelled))
    assert story.reports == [("bad", "before", "TimeoutError")]
    assert "a hook that was given up failed later" in caplog.messages


async def test_hooks_see_the_callers_context_and_keep_their_own_changes() -> None:
    """A context variable of the caller is visible in the hook; one that the hook sets stays with it."""
    variable = contextvars.ContextVar("variable", default="unset")
    seen: list[str] = []

    async def change() -> None:
        seen.append(variable.get())
        variable.set("hook")

    story = Story()
    variable.set("caller")
    await story.operate(story.hook("a", change))
    assert seen == ["caller"]
    assert variable.get() == "caller"


# ── the operation is cancelled ────────────────────────────────────────────────────────────────────────────────────


async def steps_of(turns: int) -> None:
    """A step that takes some turns of the loop."""
    for _ in range(turns):
        await asyncio.sleep(0)


@pytest.mark.parametrize("turns", range(40))
async def test_cancelled_at_any_turn_every_before_that_ended_has_its_after(turns: int) -> None:
    """Sweep the cancellation over the loop's turns: it propagates, and each completed before is matched once."""
    story = Story()
    ended: list[str] = []

    def completing(name: str) -> Callable[[], Awaitable[None]]:
        async def step() -> None:
            await steps_of(3)
            ended.append(name)

        return step

    async def after() -> None:
        await steps_of(3)

    hooks = [story.hook(name, completing(name), after) for name in "abc"]

    async def operation() -> None:
        run = await story.registry.run_before(hooks, ACQUIRE)
        error: BaseException | None = None
        try:
            await steps_of(3)
        except BaseException as raised:
            error = raised
            raise
        finally:
            await run.after(error)

    task = asyncio.create_task(operation())
    await steps_of(turns)
    was_done = task.done()
    task.cancel()
    if was_done:
        await task
    else:
        with pytest.raises(asyncio.CancelledError):
            await task
    await asyncio.sleep(10)
    afters = [line.split()[0] for line in story.lines if "after" in line]
    assert afters == ended[::-1]
    assert story.reports == []
    assert story.no_task_left()


async def test_a_cancelled_operation_leaves_a_hanging_before_at_once() -> None:
    """The caller does not wait for the hook, the hook is cancelled, and the afters tell of a cancellation."""
    story = Story()
    task = asyncio.create_task(story.operate(story.hook("a"), story.hook("bad", hanging)))
    loop = asyncio.get_running_loop()
    await asyncio.sleep(2)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert loop.time() == 2
    await asyncio.sleep(0.001)
    assert story.lines == ["a before", "bad before", "a after cancelled"]
    assert story.no_task_left()


async def test_a_before_that_ends_in_spite_of_the_cancellation_has_its_after() -> None:
    """One that will not be interrupted has run when it is through, and is told how it went."""

    async def stubborn() -> str:
        try:
            await asyncio.sleep(3)
        except asyncio.CancelledError:
            await asyncio.sleep(1)
        return "note"

    story = Story()
    task = asyncio.create_task(story.operate(story.hook("a"), story.hook("stubborn", stubborn)))
    await asyncio.sleep(2)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert asyncio.get_running_loop().time() == 2
    await asyncio.sleep(10)
    assert story.lines[-2:] == ["stubborn after cancelled", "a after cancelled"]
    assert story.results["stubborn"].note == "note"
    assert story.reports == []


async def test_a_before_that_fails_when_it_is_cancelled_is_reported() -> None:
    """Its caller is gone, its error is not lost."""

    async def failing() -> None:
        try:
            await hanging()
        finally:
            raise OSError

    story = Story()
    task = asyncio.create_task(story.operate(story.hook("bad", failing)))
    await asyncio.sleep(2)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.sleep(0.001)
    assert story.reports == [("bad", "before", "OSError")]
    assert story.no_task_left()


async def test_afters_go_on_without_a_caller_who_was_cancelled_in_them() -> None:
    """The one that ran is not interrupted and the rest follow."""
    finished: list[str] = []

    async def slow() -> None:
        await asyncio.sleep(2)
        finished.append("c")

    story = Story()
    task = asyncio.create_task(story.operate(story.hook("a"), story.hook("b"), story.hook("c", None, slow)))
    await asyncio.sleep(2)  # in the middle of c's after
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert asyncio.get_running_loop().time() == 2
    await asyncio.sleep(10)
    assert finished == ["c"]
    assert story.lines[-3:] == ["c after ok", "b after ok", "a after ok"]


async def test_cancelled_twice_is_no_different() -> None:
    """A second cancellation while the refusal's afters run changes nothing."""

    async def slow() -> None:
        await asyncio.sleep(2)

    story = Story()
    task = asyncio.create_task(story.operate(story.hook("a", None, slow), story.hook("no", refusing)))
    await asyncio.sleep(1)
    task.cancel()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.sleep(10)
    assert story.lines == ["a before", "no before", "a after refused"]
    assert story.no_task_left()


async def test_close_ends_what_still_runs() -> None:
    """It waits as long as it is told, then cancels, and does not wait for one that will not end."""
    story = Story()
    await story.operate(story.hook("stubborn", hanging_through_cancellation, timeout=0.5))
    loop = asyncio.get_running_loop()
    started = loop.time()
    await story.registry.close(timeout=2.0)
    assert loop.time() - started == 2.0
    assert not story.no_task_left()
    await asyncio.sleep(100)
    assert story.no_task_left()
    await story.registry.close()


async def test_close_cancels_afters_without_harming_the_operation() -> None:
    """An operation that waits in its afters when the registry is closed ends well."""
    story = Story()
    task = asyncio.create_task(story.operate(story.hook("a", None, hanging, timeout=None)))
    await asyncio.sleep(2)
    await story.registry.close()
    await task
    assert story.no_task_left()


def test_only_acquire_and_create_may_be_stopped() -> None:
    """As the specification says."""
    assert {event for event in HookEvent if event.may_cancel} == {HookEvent.ACQUIRE, HookEvent.CREATE}
