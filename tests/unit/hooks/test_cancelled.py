"""The operation itself is cancelled: it leaves at once, and every before that ended has its after."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from nebula_resource.hooks import (
    HookEvent,
    HookPayload,
    HookResult,
    ResourceHook,
)
from nebula_resource.testing.clock import run_virtual
from tests.unit.hooks.story import (
    ACQUIRE,
    Story,
    hanging,
    hanging_through_cancellation,
    refusing,
)


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


async def test_close_keeps_no_after_from_its_turn() -> None:
    """The one that hangs is cancelled, those behind it still hear how the operation went."""
    story = Story()
    task = asyncio.create_task(story.operate(story.hook("a"), story.hook("b", None, hanging, timeout=None)))
    await asyncio.sleep(2)
    await story.registry.close()
    assert asyncio.get_running_loop().time() == 2, "it waits for nobody unless it is told how long"
    await task
    assert story.lines[-2:] == ["b after ok", "a after ok"]
    assert story.no_task_left()


@pytest.mark.parametrize("turns", range(1, 6))
async def test_close_in_the_turn_in_which_a_hook_is_called_loses_no_call(turns: int) -> None:
    """Its coroutine is run up to where it waits, however few turns of the loop it had."""
    story = Story()
    run = await story.registry.run_before([story.hook("a"), story.hook("b", None, hanging)], ACQUIRE)
    task = asyncio.create_task(run.after())
    await steps_of(turns)
    await story.registry.close()
    await task
    assert story.lines == ["a before", "b before", "b after ok", "a after ok"]
    await asyncio.sleep(0)
    assert story.no_task_left()


def test_only_acquire_and_create_may_be_stopped() -> None:
    """As the specification says."""
    assert {event for event in HookEvent if event.may_cancel} == {HookEvent.ACQUIRE, HookEvent.CREATE}


async def test_plain_afters_run_behind_one_that_waits() -> None:
    """What follows an after that was waiting runs in its place, waiting or not."""
    seen: list[str] = []

    class Plain(ResourceHook):
        name = "plain"

        def after(self, event: HookPayload, result: HookResult) -> None:
            seen.append(result.outcome.value)

    story = Story()
    await story.operate(Plain(), story.hook("a"))
    assert seen == ["ok"]


async def test_an_operation_that_is_closed_leaves_its_afters_behind() -> None:
    """A coroutine that is being closed may not wait: its afters run in a task of the runner."""
    story = Story()
    run = await story.registry.run_before([story.hook("a")], ACQUIRE)
    run.leave_behind(GeneratorExit())
    assert story.lines == ["a before"]
    await asyncio.sleep(1)
    assert story.lines == ["a before", "a after error"]
    assert story.no_task_left()


async def test_an_operation_that_is_closed_in_a_before_leaves_its_afters_behind() -> None:
    """The coroutine ends at once; the hook it waited for is cancelled and the one before it has its after."""
    story = Story()
    operation = story.operate(story.hook("a"), story.hook("bad", hanging))
    while "bad before" not in story.lines:
        operation.send(None)  # by hand, as whoever closes it would have
        await asyncio.sleep(0.001)
    operation.close()
    await asyncio.sleep(1)
    assert story.lines == ["a before", "bad before", "a after error"]
    assert story.no_task_left()


def test_a_caller_that_outlives_the_loop_is_told_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    """There is nothing left in which afters could run; that is said and nothing is raised."""
    story = Story()
    run = run_virtual(story.registry.run_before([story.hook("a")], ACQUIRE))
    run.leave_behind(GeneratorExit())
    assert story.lines == ["a before"]
    assert caplog.messages == ["the loop ended before the hooks"]
