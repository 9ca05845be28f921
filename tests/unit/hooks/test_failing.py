"""Hooks that raise, hang or cancel: nothing they do harms the operation beside them."""

from __future__ import annotations

import asyncio
import contextvars
import logging
from collections.abc import Awaitable, Callable

import pytest

from nebula_resource.errors import HookCancelled
from nebula_resource.hooks import (
    HookPayload,
    HookRegistry,
    HookResult,
    ResourceHook,
)
from tests.unit.events.wording import assert_located_without_words, quoting
from tests.unit.hooks.story import (
    BAD,
    Story,
    hanging,
    raising,
    refusing,
)


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


class Odd(BaseException):
    """What no ``except Exception`` catches."""


@pytest.mark.parametrize(
    "error",
    [
        ValueError("x"),
        asyncio.CancelledError(),
        GeneratorExit(),
        Odd(),
        BaseExceptionGroup("several", [asyncio.CancelledError()]),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_a_plain_function_that_raises_is_isolated(error: BaseException) -> None:
    """Also a CancelledError or a GeneratorExit: nothing was awaited, so it cannot be the operation's own."""

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


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
async def test_who_ends_the_program_in_a_plain_hook_ends_it(error: type[BaseException]) -> None:
    """Ctrl-C comes wherever the program is; a hook is no place to hide from it."""

    class Plain(ResourceHook):
        name = "plain"

        def before(self, event: HookPayload) -> object:
            raise error

    with pytest.raises(error):
        await Story().operate(Plain())


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
        raise quoting()

    story = Story()
    story.registry = HookRegistry(on_failure_report=report)
    await story.operate(story.hook("bad", raising))
    assert story.lines[-1] == "operation"
    assert_located_without_words(caplog, "a hook's failure could not be reported", "report")
    fields = vars(caplog.records[0])
    assert (fields["hook"], fields["failure"]) == ("bad", "ValueError")


async def test_without_a_report_failures_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    """A failure is never lost; what it says is the hook's own, and is not repeated."""

    async def quote() -> None:
        raise quoting()

    story = Story()
    story.registry = HookRegistry()
    await story.operate(story.hook("bad", quote))
    assert_located_without_words(caplog, "a hook failed", "quote")
    fields = vars(caplog.records[0])
    assert (fields["hook"], fields["phase"], fields["resource.id"]) == ("bad", "before", "db")
    assert [(record.message, record.levelno) for record in caplog.records] == [
        ("a hook failed", logging.WARNING)
    ]


async def test_a_hook_that_was_given_up_and_fails_later_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """Its error has nobody to go to any more, and is not dropped."""

    async def fail_when_cancelled() -> None:
        try:
            await hanging()
        finally:
            raise quoting()

    story = Story()
    await story.operate(story.hook("bad", fail_when_cancelled))
    assert story.reports == [("bad", "before", "TimeoutError")]
    assert_located_without_words(caplog, "a hook that was given up failed later", "fail_when_cancelled")


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
