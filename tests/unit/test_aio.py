"""The asyncio tricks: owners lose no task, cancellations are never swallowed, tokens end waits and leak nothing."""

import asyncio
import contextlib
import contextvars
import gc
import inspect
import weakref
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import pytest

from nebula_resource._aio import (
    CancellationToken,
    OwnedTasks,
    TokenGuard,
    WorkCancelled,
    cancel_soundly,
    earliest,
    end_of_all,
    error_of,
    finish,
    has_started,
    leave,
    race,
    run_to_end,
    until,
    watch_steps,
    within,
)
from nebula_resource.errors import AcquireCancelled

STEPS = 12  # more loop turns than any operation below takes


class Errors:
    """What an owner reported."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, str]] = []

    def __call__(self, error: BaseException, name: str) -> None:
        self.seen.append((str(error), name))


async def turns(count: int) -> None:
    """Let the loop go round ``count`` times."""
    for _ in range(count):
        await asyncio.sleep(0)


async def fail(message: str) -> None:
    """Fail after one turn."""
    await asyncio.sleep(0)
    raise ValueError(message)


# ── OwnedTasks ────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_an_owner_holds_its_tasks_until_they_end() -> None:
    """A task nobody else refers to survives garbage collection and is counted until it ended."""
    owner = OwnedTasks("pool db")
    done = asyncio.Event()

    async def work() -> None:
        await asyncio.sleep(5)
        done.set()

    owner.start(work(), name="upkeep")
    assert len(owner) == 1
    assert repr(owner) == "<OwnedTasks 'pool db': 1 running>"
    assert [task.get_name() for task in owner] == ["pool db: upkeep"]
    gc.collect()
    await owner.idle()
    assert done.is_set()
    assert len(owner) == 0
    assert bool(owner), "an owner without tasks is an owner"


async def test_owned_work_begins_in_the_next_turn_whatever_the_loop_makes_of_tasks() -> None:
    """A factory of eager tasks would run it in the middle of what its owner is just deciding."""
    begun: list[str] = []

    async def work() -> None:
        begun.append("begun")

    def eager(loop: asyncio.AbstractEventLoop, coroutine: Any, **kwargs: Any) -> asyncio.Task[Any]:
        with contextlib.suppress(StopIteration):
            coroutine.send(None)
        return asyncio.Task(work(), loop=loop, **kwargs)

    loop = asyncio.get_running_loop()
    loop.set_task_factory(getattr(asyncio, "eager_task_factory", eager))  # there is one since 3.12
    try:
        task = OwnedTasks("pool db").spawn(work(), name="create", awaited=True)
        assert not begun
        await task
        assert begun == ["begun"]
    finally:
        loop.set_task_factory(None)


async def test_unnamed_tasks_are_numbered() -> None:
    """A task without a name of its own is told from the next."""
    owner = OwnedTasks("pool db")
    first, second = owner.spawn(turns(1)), owner.spawn(turns(1))
    assert (first.get_name(), second.get_name()) == ("pool db: 1", "pool db: 2")
    await owner.idle()


async def test_an_error_is_reported_once_with_the_tasks_name() -> None:
    """A failed task that nobody awaits tells on_error; one that was cancelled tells nothing."""
    errors = Errors()
    owner = OwnedTasks("pool db", on_error=errors)
    owner.start(fail("no route"), name="create")
    _ = owner.spawn(asyncio.sleep(60), name="timer").cancel()
    await owner.idle()
    assert errors.seen == [("no route", "pool db: create")]


async def test_an_error_without_on_error_goes_to_the_loop() -> None:
    """With nobody to tell, the loop's exception handler is told, so nothing is lost."""
    told: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context))
    owner = OwnedTasks("pool db")
    owner.start(fail("no route"), name="create")
    await owner.idle()
    assert [(each["message"], str(each["exception"])) for each in told] == [
        ("pool db: create failed", "no route")
    ]


async def test_a_failing_on_error_goes_to_the_loop_with_both_errors() -> None:
    """A broken reporter hides neither its own error nor the one it was given."""
    told: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context))

    def broken(error: BaseException, name: str) -> None:
        raise RuntimeError("reporter broke")

    owner = OwnedTasks("pool db", on_error=broken)
    owner.start(fail("no route"))
    await owner.idle()
    assert len(told) == 1
    assert str(told[0]["exception"]) == "reporter broke"
    assert str(told[0]["exception"].__context__) == "no route"


async def test_idle_waits_for_tasks_started_meanwhile() -> None:
    """Idle means that no task is left, whoever started it."""
    owner = OwnedTasks("pool db")
    loop = asyncio.get_running_loop()

    async def first() -> None:
        await asyncio.sleep(1)
        owner.start(asyncio.sleep(2))

    owner.start(first())
    await owner.idle()
    assert loop.time() == 3.0


async def test_idle_from_inside_does_not_wait_for_itself() -> None:
    """An owned task may wait for its siblings."""
    owner = OwnedTasks("pool db")
    owner.start(asyncio.sleep(2))
    inside = owner.spawn(owner.idle())
    async with asyncio.timeout(10):
        await inside


async def test_a_cancelled_idle_leaves_the_tasks_alone() -> None:
    """To stop waiting is not to stop the work."""
    owner = OwnedTasks("pool db")
    work = owner.spawn(asyncio.sleep(5, result="done"))
    waiting = asyncio.create_task(owner.idle())
    await turns(2)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert await work == "done"


async def test_cancel_all_waits_for_clean_ups_and_reaches_tasks_started_meanwhile() -> None:
    """Every task ends, its clean-up included, and so does what a clean-up starts."""
    owner = OwnedTasks("pool db")
    trace: list[str] = []

    async def late() -> None:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            trace.append("late cancelled")
            raise

    async def work() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(1)
            trace.append("cleaned up")
            owner.start(late())
            await turns(2)

    owner.start(work())
    await turns(1)
    await owner.cancel_all()
    assert trace == ["cleaned up", "late cancelled"]
    assert len(owner) == 0
    assert asyncio.get_running_loop().time() == 1.0


async def test_cancel_all_asks_each_task_once() -> None:
    """A task that needs long to end is not cancelled again in the middle of it."""
    owner = OwnedTasks("pool db")
    asked = 0

    async def slow() -> None:
        nonlocal asked
        for _ in range(3):
            try:
                await asyncio.sleep(10)
            except asyncio.CancelledError:
                asked += 1
                break
        await asyncio.sleep(10)

    owner.start(slow())
    owner.start(asyncio.sleep(1))
    await turns(1)
    await owner.cancel_all()
    assert asked == 1
    assert len(owner) == 0


async def test_cancel_asks_without_waiting() -> None:
    """The synchronous way asks all; they end by themselves."""
    owner = OwnedTasks("pool db")
    owner.start(asyncio.sleep(60))
    owner.cancel()
    await owner.idle()
    assert asyncio.get_running_loop().time() == 0.0


def test_work_is_closed_when_no_task_can_be_made() -> None:
    """No coroutine is left un-awaited where no loop runs."""
    owner = OwnedTasks("pool db")
    work = turns(1)
    with pytest.raises(RuntimeError, match="no running event loop"):
        owner.start(work)
    assert inspect.getcoroutinestate(work) == inspect.CORO_CLOSED
    assert len(owner) == 0


async def test_a_task_runs_in_the_given_context_or_in_a_copy() -> None:
    """Changes of context variables stay in the copy, or in the context that was given."""
    tenant = contextvars.ContextVar("tenant", default="none")
    owner = OwnedTasks("pool db")

    async def work() -> str:
        before = tenant.get()
        tenant.set("changed")
        return before

    tenant.set("acme")
    own = contextvars.copy_context()
    own.run(tenant.set, "globex")
    assert await owner.spawn(work()) == "acme"
    assert await owner.spawn(work(), context=own) == "globex"
    assert tenant.get() == "acme"
    assert own[tenant] == "changed"


# ── finish, leave ─────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("wait", [True, False])
async def test_the_result_or_the_error_of_the_work_is_the_callers(wait: bool) -> None:
    """Without a cancellation an owned run is like an await, and its error is not reported besides."""
    errors = Errors()
    owner = OwnedTasks("pool db", on_error=errors)
    assert await run_to_end(asyncio.sleep(1, result=7), owner, wait=wait, name="recycle") == 7
    with pytest.raises(ValueError, match="no route"):
        await run_to_end(fail("no route"), owner, wait=wait)
    await owner.idle()
    assert errors.seen == []


@pytest.mark.parametrize("wait", [True, False])
async def test_work_cancelled_by_its_owner_does_not_look_like_a_cancel_of_the_caller(wait: bool) -> None:
    """Nobody cancelled the caller, so no CancelledError reaches it."""
    owner = OwnedTasks("pool db")
    waiting = asyncio.create_task(run_to_end(asyncio.sleep(60), owner, wait=wait, name="create"))
    await turns(2)
    owner.cancel()
    with pytest.raises(WorkCancelled, match="pool db: create was cancelled by its owner"):
        await waiting


@pytest.mark.parametrize("at", range(1, STEPS))
@pytest.mark.parametrize("fails", [False, True])
@pytest.mark.parametrize("run", [finish, leave])
async def test_a_cancel_at_any_step_is_raised_and_the_work_ends(
    run: Callable[..., Coroutine[Any, Any, str]], fails: bool, at: int
) -> None:
    """Swept over the turns: a cancel that was accepted comes out, the work runs to its end, its error shows once."""
    errors = Errors()
    owner = OwnedTasks("pool db", on_error=errors)
    ended = False

    async def work() -> str:
        nonlocal ended
        await turns(4)
        ended = True
        if fails:
            raise ValueError("no route")
        return "done"

    caller = asyncio.create_task(run(work(), owner))
    await turns(at)
    accepted = caller.cancel()
    outcome = (await asyncio.gather(caller, return_exceptions=True))[0]
    if run is finish:
        assert ended, "finish returned before its work had ended"
    await owner.idle()
    raised_here = [] if not isinstance(outcome, ValueError) else [str(outcome)]
    assert ended
    assert isinstance(outcome, asyncio.CancelledError) is accepted
    assert len(errors.seen) + len(raised_here) == (1 if fails else 0)


@pytest.mark.parametrize("first", range(1, STEPS))
@pytest.mark.parametrize("second", range(1, STEPS))
async def test_finish_waits_through_two_cancels(first: int, second: int) -> None:
    """Swept over pairs of turns: a second cancel does not shake the waiter off."""
    owner = OwnedTasks("pool db")
    ended = False

    async def work() -> None:
        nonlocal ended
        await turns(6)
        ended = True

    caller = asyncio.create_task(finish(work(), owner))
    await turns(first)
    accepted = caller.cancel()
    await turns(second)
    accepted |= caller.cancel()
    outcome = (await asyncio.gather(caller, return_exceptions=True))[0]
    assert ended
    assert isinstance(outcome, asyncio.CancelledError) is accepted


async def test_a_timeout_around_finish_is_still_a_timeout() -> None:
    """A put-off cancellation keeps its meaning: asyncio.timeout turns it into TimeoutError, after the work's end."""
    owner = OwnedTasks("pool db")
    loop = asyncio.get_running_loop()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(1):
            await finish(asyncio.sleep(5), owner)
    assert loop.time() == 5.0
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(1):
            await leave(asyncio.sleep(5), owner)
    assert loop.time() == 6.0
    await owner.idle()


@pytest.mark.parametrize("run", [finish, leave])
async def test_a_caller_that_is_closed_leaves_the_error_to_the_owner(
    run: Callable[..., Coroutine[Any, Any, None]],
) -> None:
    """A coroutine closed in the middle (a generator collected, a loop's end) loses no error."""
    errors = Errors()
    owner = OwnedTasks("pool db", on_error=errors)
    caller = run(fail("no route"), owner)
    caller.send(None)
    caller.close()
    await owner.idle()
    assert [text for text, _ in errors.seen] == ["no route"]


async def test_finish_passes_the_context_on() -> None:
    """The work may run in a context that outlives the caller's."""
    tenant = contextvars.ContextVar("tenant", default="none")
    own = contextvars.copy_context()

    async def work() -> None:
        tenant.set("acme")

    await finish(work(), OwnedTasks("pool db"), context=own)
    assert own[tenant] == "acme"


# ── deadlines ─────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_deadlines_are_exact() -> None:
    """One helper takes a loop time, the other seconds from now; None never ends."""
    loop = asyncio.get_running_loop()
    await asyncio.sleep(1)
    with pytest.raises(TimeoutError):
        async with until(3.0):
            await asyncio.sleep(60)
    assert loop.time() == 3.0
    with pytest.raises(TimeoutError):
        async with within(2.0):
            await asyncio.sleep(60)
    assert loop.time() == 5.0
    async with until(None), within(None):
        await asyncio.sleep(100)


def test_earliest_ignores_what_is_not_given() -> None:
    """The earliest of several deadlines counts; without one there is none."""
    assert earliest(None, 3.0, 2.0) == 2.0
    assert earliest(0.0, None) == 0.0
    assert earliest(None, None) is None
    assert earliest() is None


# ── CancellationToken ─────────────────────────────────────────────────────────────────────────────────────────────


async def test_cancelling_a_parent_cancels_its_children_and_never_the_other_way() -> None:
    """Requests to stop run down the family."""
    parent = CancellationToken()
    child, other = parent.child(), parent.child()
    grandchild = child.child()
    child.cancel()
    assert (parent.cancelled, child.cancelled, grandchild.cancelled, other.cancelled) == (
        False,
        True,
        True,
        False,
    )
    parent.cancel()
    assert other.cancelled
    assert parent.child().cancelled


async def test_an_awaited_token_wakes_on_cancel_of_any_ancestor() -> None:
    """Whoever awaits a token goes on when it, or a token it came from, is cancelled."""
    parent = CancellationToken()
    child = parent.child().child()  # nobody holds the one in the middle

    async def wait(token: CancellationToken) -> None:
        await token

    waiting = [asyncio.create_task(wait(parent)), asyncio.create_task(wait(child))]
    await turns(2)
    gc.collect()
    parent.cancel()
    async with asyncio.timeout(1):
        await asyncio.gather(*waiting)
        await parent


async def test_cancel_is_idempotent() -> None:
    """A second cancel calls nobody."""
    token = CancellationToken()
    calls: list[int] = []
    token.subscribe(lambda: calls.append(1))
    token.cancel()
    token.cancel()
    assert calls == [1]
    token.subscribe(lambda: calls.append(2))
    assert calls == [1, 2]


async def test_a_callback_that_was_taken_back_is_not_called() -> None:
    """Also when another callback takes it back during the cancel."""
    token = CancellationToken()
    calls: list[str] = []

    def first() -> None:
        take_back_second()

    token.subscribe(first)
    take_back_second = token.subscribe(lambda: calls.append("second"))
    token.subscribe(lambda: calls.append("third"))
    token.cancel()
    assert calls == ["third"]
    take_back_second()


async def test_a_failing_callback_stops_nobody_and_is_raised() -> None:
    """All are called; one error comes out as itself, several as a group."""

    def broken() -> None:
        raise ValueError("broken")

    calls: list[int] = []
    one = CancellationToken()
    one.child().subscribe(broken)
    one.subscribe(lambda: calls.append(1))
    with pytest.raises(ValueError, match="broken"):
        one.cancel()
    assert calls == [1]
    assert one.cancelled

    two = CancellationToken()
    two.subscribe(broken)
    two.subscribe(broken)
    with pytest.raises(ExceptionGroup) as group:
        two.cancel()
    assert len(group.value.exceptions) == 2


async def test_dropped_children_cost_their_parent_nothing() -> None:
    """A million requests may each take a child of one application token."""
    parent = CancellationToken()
    kept = [weakref.ref(parent.child()) for _ in range(100)]
    gc.collect()
    assert [each() for each in kept] == [None] * 100
    assert repr(parent) == "<CancellationToken 0 listening>"

    child = parent.child()
    for _ in range(3):
        unsubscribe = child.subscribe(lambda: None)
        assert repr(parent) == "<CancellationToken 1 listening>"
        unsubscribe()
        unsubscribe()
        assert repr(parent) == "<CancellationToken 0 listening>"

    child.subscribe(lambda: None)
    child.cancel()
    assert repr(parent) == "<CancellationToken 0 listening>"
    assert repr(child) == "<CancellationToken cancelled>"


async def test_a_child_with_listeners_is_not_forgotten() -> None:
    """Whoever listens to a child that nobody else holds still hears the parent."""
    parent = CancellationToken()
    calls: list[int] = []
    parent.child().subscribe(lambda: calls.append(1))
    gc.collect()
    parent.cancel()
    assert calls == [1]


@pytest.mark.parametrize("at", range(5))
async def test_a_cancelled_waiter_of_a_token_leaves_nothing_behind(at: int) -> None:
    """Swept over the turns: the task's own cancel is a CancelledError and the token forgets the waiter."""
    token = CancellationToken()

    async def wait() -> None:
        await token

    waiting = asyncio.create_task(wait())
    await turns(at)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert repr(token) == "<CancellationToken 0 listening>"


# ── TokenGuard, race ──────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_race_is_lost_to_its_token_at_once() -> None:
    """The wait ends in the turn of the cancel, with the error asked for; the awaited coroutine is cancelled."""
    token = CancellationToken()
    loop = asyncio.get_running_loop()
    ended: list[str] = []

    async def work() -> None:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            ended.append("cancelled")
            raise

    loop.call_at(2.0, token.cancel)
    with pytest.raises(AcquireCancelled):
        await race(work(), token)
    assert loop.time() == 2.0
    assert ended == ["cancelled"]
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0


async def test_a_race_is_won_without_a_trace() -> None:
    """The result is the awaitable's, and the token holds nobody."""
    token = CancellationToken()
    assert await race(asyncio.sleep(1, result=3), token) == 3
    assert await race(asyncio.sleep(1, result=3), None) == 3
    assert repr(token) == "<CancellationToken 0 listening>"
    with pytest.raises(ValueError, match="no route"):
        await race(fail("no route"), token)


async def test_a_race_with_a_cancelled_token_does_not_begin() -> None:
    """Nothing of the work runs, and its coroutine is closed."""
    token = CancellationToken()
    token.cancel()
    work = turns(1)
    with pytest.raises(LookupError):
        await race(work, token, error=LookupError)
    assert inspect.getcoroutinestate(work) == inspect.CORO_CLOSED


@pytest.mark.parametrize("cancel_at", range(1, STEPS))
@pytest.mark.parametrize("token_at", range(1, STEPS))
async def test_a_tasks_own_cancel_wins_over_its_token(token_at: int, cancel_at: int) -> None:
    """Swept over pairs of turns: a cancel that was accepted comes out as CancelledError, else the token's error."""
    token = CancellationToken()

    async def work() -> str:
        await turns(5)
        return "done"

    async def main() -> str:
        return await race(work(), token)

    caller = asyncio.create_task(main())
    cancelled = False
    for turn in range(max(cancel_at, token_at) + 1):
        if turn == token_at:
            token.cancel()
        if turn == cancel_at:
            cancelled = caller.cancel()
        await asyncio.sleep(0)
    outcome = (await asyncio.gather(caller, return_exceptions=True))[0]
    assert isinstance(outcome, asyncio.CancelledError) is cancelled
    if not cancelled:
        assert outcome == "done" or isinstance(outcome, AcquireCancelled)
    assert repr(token) in ("<CancellationToken cancelled>", "<CancellationToken 0 listening>")


async def test_a_timeout_inside_and_outside_a_guard_stays_a_timeout() -> None:
    """Timeouts and tokens around one wait do not take each other's cancellations."""
    token = CancellationToken()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(1), TokenGuard(token):
            await asyncio.sleep(60)
    with pytest.raises(TimeoutError):
        async with TokenGuard(token), asyncio.timeout(1):
            await asyncio.sleep(60)
    asyncio.get_running_loop().call_later(1, token.cancel)
    with pytest.raises(AcquireCancelled):
        async with TokenGuard(token), asyncio.timeout(5):
            await asyncio.sleep(60)


@pytest.mark.parametrize("timeout_outside", [True, False])
async def test_a_timeout_and_a_token_in_the_same_turn_end_the_wait_once(timeout_outside: bool) -> None:
    """Both fire together: the outer one's error comes out, and no cancellation is left over."""
    token = CancellationToken()
    asyncio.get_running_loop().call_at(1.0, token.cancel)
    guard, timeout = TokenGuard(token), asyncio.timeout_at(1.0)

    async def wait() -> None:
        if timeout_outside:
            async with timeout, guard:
                await asyncio.sleep(60)
        else:
            async with guard, timeout:
                await asyncio.sleep(60)

    with pytest.raises(TimeoutError if timeout_outside else AcquireCancelled):
        await wait()
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0
    await asyncio.sleep(1)


async def test_a_block_that_cancels_its_own_token_and_ends_is_not_hit_later() -> None:
    """The guard's cancel does not strike a wait after the block."""
    token = CancellationToken()
    async with TokenGuard(token):
        token.cancel()
    await asyncio.sleep(1)
    with pytest.raises(AcquireCancelled):
        async with TokenGuard(token):
            pytest.fail("a cancelled token lets nobody in")


async def test_a_block_that_cancels_itself_and_its_token_is_cancelled() -> None:
    """The guard takes back its own cancel, never the task's."""
    token = CancellationToken()

    async def main() -> None:
        async with TokenGuard(token):
            token.cancel()
            task = asyncio.current_task()
            assert task is not None
            task.cancel()
        await asyncio.sleep(1)

    caller = asyncio.create_task(main())
    with pytest.raises(asyncio.CancelledError):
        await caller


async def test_a_cancel_in_the_turn_in_which_the_guard_takes_its_own_back_is_kept() -> None:
    """Taking back costs one turn before 3.13; a real cancel that arrives in it comes out."""
    token = CancellationToken()
    reached = asyncio.Event()

    async def main() -> None:
        task = asyncio.current_task()
        assert task is not None
        asyncio.get_running_loop().call_soon(task.cancel)
        async with TokenGuard(token):
            token.cancel()
        reached.set()
        await asyncio.sleep(1)

    caller = asyncio.create_task(main())
    with pytest.raises(asyncio.CancelledError):
        await caller


async def test_a_result_that_survives_the_tokens_cancel_is_kept() -> None:
    """Work that finishes in spite of the cancel hands over what it has."""
    token = CancellationToken()

    async def stubborn() -> str:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            return "kept"
        return "slept"

    asyncio.get_running_loop().call_later(1, token.cancel)
    assert await race(stubborn(), token) == "kept"
    await asyncio.sleep(1)


def test_a_guard_wants_a_task() -> None:
    """Outside a task there is nobody to cancel, and the guard says so."""
    entering = TokenGuard(CancellationToken()).__aenter__()

    async def main() -> None:
        loop = asyncio.get_running_loop()
        failed: asyncio.Future[BaseException] = loop.create_future()

        def in_a_callback() -> None:
            try:
                entering.send(None)
            except RuntimeError as error:
                failed.set_result(error)

        loop.call_soon(in_a_callback)
        assert "use it inside one" in str(await failed)

    asyncio.run(main())


async def test_a_race_takes_any_awaitable() -> None:
    """A future or an object with __await__ will do."""
    future: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    future.set_result("ready")
    waiting: Awaitable[str] = future
    assert await race(waiting, CancellationToken()) == "ready"


# ── steps ─────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_watched_work_behaves_as_unwatched() -> None:
    """Results, errors, what is thrown in and what is awaited pass unchanged."""
    held: list[float] = []

    async def work() -> str:
        await asyncio.sleep(1)
        try:
            await fail("no route")
        except ValueError as error:
            await turns(2)
            return str(error)
        return "never"

    assert await watch_steps(work(), 60.0, held.append) == "no route"
    assert asyncio.get_running_loop().time() == 1.0
    with pytest.raises(ValueError, match="no route"):
        await watch_steps(fail("no route"), 60.0, held.append)
    assert held == []


async def test_each_step_over_the_limit_is_reported() -> None:
    """With a limit of nothing every stretch between two waits is one too long, the failing one too."""
    held: list[float] = []
    await watch_steps(turns(3), 0.0, held.append)
    assert len(held) == 4
    held.clear()
    with pytest.raises(ValueError, match="no route"):
        await watch_steps(fail("no route"), 0.0, held.append)
    assert len(held) == 2
    assert all(seconds > 0 for seconds in held)


@pytest.mark.parametrize("at", range(1, 5))
async def test_a_cancel_reaches_watched_work(at: int) -> None:
    """Swept over the turns: the work sees the cancellation, and so does the caller."""
    seen: list[object] = []

    async def work() -> None:
        try:
            await turns(10)
        except asyncio.CancelledError:
            seen.append("cancelled")
            raise

    async def main() -> None:
        await watch_steps(work(), 60.0, seen.append)

    caller = asyncio.create_task(main())
    await turns(at)
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    assert seen == ["cancelled"]


def test_closed_watched_work_is_closed() -> None:
    """Whoever closes the outer coroutine closes the inner one, its finally included."""
    trace: list[object] = []

    async def work() -> None:
        try:
            await asyncio.sleep(0)
        finally:
            trace.append("closed")

    async def main() -> None:
        await watch_steps(work(), 60.0, trace.append)

    outer = main()
    outer.send(None)
    outer.close()
    assert trace == ["closed"]


async def test_a_sound_cancel_lets_the_first_step_happen() -> None:
    """A task cancelled before it ran would skip its finally; soundly cancelled it runs to its first wait."""
    trace: list[str] = []

    async def work() -> None:
        try:
            trace.append("began")
            await asyncio.sleep(60)
        finally:
            trace.append("ended")

    for begun in (False, True):
        trace.clear()
        task = asyncio.create_task(work())
        assert not has_started(task)
        if begun:
            await turns(1)
            assert has_started(task)
        cancel_soundly(task)
        with pytest.raises(asyncio.CancelledError):
            await task
        assert trace == ["began", "ended"]
        cancel_soundly(task)
        assert task.cancelled()


# ── many at once ──


async def test_whoever_waits_for_many_and_is_called_off_calls_them_off() -> None:
    """They have ended, clean-ups and all, when the cancel arrives at its caller; what was done by then is there."""
    owner, cleaned = OwnedTasks("many"), list[str]()

    async def quick() -> str:
        return "done"

    async def slow() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(1)
            cleaned.append("slow")

    tasks: list[asyncio.Task[Any]] = [owner.spawn(work, awaited=True) for work in (quick(), slow())]
    waiting = asyncio.create_task(end_of_all(tasks, owner))
    await asyncio.sleep(0.1)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert cleaned == ["slow"]
    assert tasks[0].result() == "done"
    assert isinstance(error_of(tasks[1]), WorkCancelled)
    assert len(owner) == 0


async def test_whoever_waits_for_many_and_is_closed_waits_no_more() -> None:
    """A closed coroutine may not wait: what it asked for is called off, and errors go to the owner."""
    told: list[str] = []
    owner = OwnedTasks("many", on_error=lambda error, name: told.append(str(error)))

    async def stubborn() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            raise ValueError("called off") from None

    waiting = end_of_all([owner.spawn(stubborn(), awaited=True)], owner)
    waiting.send(None)
    await asyncio.sleep(0.1)
    waiting.close()
    await owner.idle()
    assert told == ["called off"]


async def test_what_many_raised_is_told_apart_from_a_cancel() -> None:
    """An owner's cancel of the work is no cancel of who asks."""
    owner = OwnedTasks("many")

    async def fails() -> None:
        raise LookupError("no")

    failed = owner.spawn(fails(), awaited=True)
    cancelled = owner.spawn(asyncio.Event().wait(), awaited=True)
    await asyncio.sleep(0.1)
    owner.cancel()
    await end_of_all([failed, cancelled], owner)
    assert isinstance(error_of(failed), LookupError)
    assert isinstance(error_of(cancelled), WorkCancelled)
