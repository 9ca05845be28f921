"""Running hooks: brackets around the operation, results, refusals."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from nebula_resource.errors import AcquireTimeout, HookCancelled
from nebula_resource.hooks import (
    Cancel,
    HookPayload,
    HookResult,
    OnAcquire,
    Outcome,
    ResourceHook,
)
from tests.unit.hooks.story import (
    ACQUIRE,
    CANNOT_CANCEL,
    CREATE,
    Story,
    hanging,
    raising,
    refusing,
)


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


async def test_how_long_hooks_take_is_counted() -> None:
    """By hook, phase and how it went, for the metrics; the operation's time is not in it."""

    async def slow() -> None:
        await asyncio.sleep(2)

    class Plain(ResourceHook):
        name = "plain"

    story = Story()
    for _ in range(2):
        await story.operate(Plain(), story.hook("a", slow, slow), story.hook("bad", hanging))
    await story.operate(story.hook("a"), Plain())
    with pytest.raises(HookCancelled):
        await story.operate(story.hook("b"), story.hook("no", refusing))
    assert {key: (held.count, held.total_s) for key, held in story.registry.durations.items()} == {
        ("plain", "before", "ok"): (3, 0.0),
        ("a", "before", "ok"): (3, 4.0),
        ("bad", "before", "failed"): (2, 10.0),
        ("a", "after", "ok"): (3, 4.0),
        ("plain", "after", "ok"): (3, 0.0),
        ("b", "before", "ok"): (1, 0.0),
        ("no", "before", "refused"): (1, 0.0),
        ("b", "after", "ok"): (1, 0.0),
    }
