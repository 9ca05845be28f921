"""WorkflowExecutor: runs the steps, retries, cancels, remembers, and always cleans up."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from datetime import UTC, datetime
from functools import partial
from itertools import pairwise
from typing import Any

import pytest

from nebula_resource import (
    CancellationToken,
    CircuitOpen,
    ConfigurationError,
    InvalidScope,
    Manager,
    PoolConfig,
    PoolExhausted,
    Scope,
    Unavailable,
    ValidationFailed,
    current_scope,
)
from nebula_resource._aio import WorkCancelled
from nebula_resource.di import action
from nebula_resource.events import WorkflowProgress
from nebula_resource.workflow import (
    ActionContext,
    Parallel,
    Retry,
    Step,
    WorkflowDefinition,
    WorkflowExecutor,
    WorkflowResult,
    WorkflowStatus,
)
from tests.unit.manager.things import Leasing, assert_manager_sound

NOW = Retry(attempts=3, base=0.001, max=0.001)


class Shop:
    """A manager with a database, an executor, and what steps wrote down."""

    def __init__(self, manager: Manager, db: Leasing, executor: WorkflowExecutor) -> None:
        self.manager = manager
        self.db = db
        self.executor = executor
        self.log: list[str] = []

    @property
    def endings(self) -> list[str]:
        """How leases ended."""
        return [line for line in self.db.log if not line.startswith(("begin", "cleanup"))]


@pytest.fixture
async def shop() -> AsyncGenerator[Shop]:
    """Everything; afterwards no scope is open, nothing is out, no task is left."""
    db = Leasing("db")
    async with Manager() as manager:
        await manager.register(db, {}, pool=PoolConfig(min_size=0, max_size=3))
        async with WorkflowExecutor(manager) as executor:
            yield Shop(manager, db, executor)
        assert not any(manager.open_scopes.values())
        assert_manager_sound(manager)
    assert [task for task in asyncio.all_tasks() if task is not asyncio.current_task()] == []


def _now() -> float:
    return asyncio.get_running_loop().time()


# ── the steps ──


async def test_steps_run_in_order_each_in_an_action_of_its_own(shop: Shop) -> None:
    """Each has an ACTION under the EXECUTION, leases that end with it, and sees the results before it."""

    async def reserve(ctx: ActionContext, item: str) -> str:
        db = await ctx.resource("db")
        assert await ctx.resource("db") is db
        scope = current_scope()
        assert scope is not None
        return f"{item} {scope.scope}"

    @action
    async def charge(amount: int, where: ActionContext) -> str:
        await where.resource("db")
        scope = current_scope()
        assert scope is not None
        assert (where.tenant_id, where.workflow_id) == ("acme", "order")
        return f"{amount} {scope.scope.action_id} {where.attempt}"

    definition = WorkflowDefinition(
        "order",
        [
            Step(reserve, {"item": "hat"}),
            Step(charge, lambda results: (len(results["reserve"]),), name="pay"),
        ],
    )
    result = await shop.executor.run(definition, tenant="acme", execution_id="e1")
    assert result.ok
    assert result.raise_for_status() is result
    assert result.results["reserve"] == "hat tenant:acme/workflow:order/execution:e1/action:reserve"
    assert result.results["pay"].endswith(" pay 1")
    assert shop.endings == ["commit", "commit"]
    assert result.started_at <= result.finished_at
    assert result.duration_s >= 0


async def test_a_result_says_when_it_was(shop: Shop) -> None:
    """Its times are those of the first step's begin and the last one's end, in UTC."""
    inside: list[datetime] = []

    async def work() -> None:
        inside.append(datetime.now(UTC))

    definition = WorkflowDefinition("w", [Step(work), Step(work, name="again")])
    result = await shop.executor.run(definition)
    assert result.started_at <= inside[0] <= inside[1] <= result.finished_at
    assert result.started_at.tzinfo is result.finished_at.tzinfo is UTC


async def test_nested_actions_have_ids_of_their_own(shop: Shop) -> None:
    """The prepared id is for the step, not for what it calls."""

    @action
    async def inner() -> str | None:
        scope = current_scope()
        return None if scope is None else scope.scope.action_id

    @action
    async def outer() -> Any:
        return await inner()

    result = await shop.executor.run(WorkflowDefinition("w", [Step(outer)]))
    assert result.results["outer"].endswith("inner#1")


async def test_parallel_steps_run_together_within_their_limit(shop: Shop) -> None:
    """Six of one second each take two seconds three at a time; each has its own lease."""
    running = [0, 0]

    async def work(ctx: ActionContext) -> int:
        running[0] += 1
        running[1] = max(running)
        await ctx.resource("db")
        await asyncio.sleep(1)
        running[0] -= 1
        return running[1]

    steps = [Step(work, name=f"s{index}") for index in range(6)]
    result = await shop.executor.run(WorkflowDefinition("w", [Parallel(steps, limit=3)]))
    assert result.ok
    assert _now() == pytest.approx(2)
    assert running == [0, 3]
    assert len(result.results) == 6


async def test_one_that_fails_ends_its_group(shop: Shop) -> None:
    """The others are cancelled and rolled back; the first error is the result; later steps do not run."""

    async def slow(ctx: ActionContext) -> None:
        await ctx.resource("db")
        await asyncio.sleep(3600)

    async def bad() -> None:
        await asyncio.sleep(1)
        raise ValueError("no")

    definition = WorkflowDefinition("w", [Parallel([Step(slow), Step(bad)]), Step(_never)])
    result = await shop.executor.run(definition)
    assert (result.status, result.step, dict(result.results)) == (WorkflowStatus.FAILED, "bad", {})
    assert isinstance(result.error, ValueError)
    assert shop.endings == ["rollback CancelledError"]
    with pytest.raises(ValueError, match="no"):
        result.raise_for_status()


async def _never() -> None:
    raise AssertionError("never run")


async def test_several_that_fail_at_once_are_told_beside_the_first(shop: Shop) -> None:
    """One error is the result, the others are notes on it."""

    async def bad() -> None:
        await asyncio.sleep(1)
        raise ValueError

    steps = [Step(bad, name="a"), Step(bad, name="b")]
    result = await shop.executor.run(WorkflowDefinition("w", [Parallel(steps)]))
    assert isinstance(result.error, ValueError)
    assert result.error.__notes__ == ["another step of the group failed as well: ValueError"]


async def test_a_step_that_fails_ends_the_workflow(shop: Shop) -> None:
    """Its lease is rolled back; what succeeded before is in the results."""

    async def good() -> int:
        return 1

    async def bad(ctx: ActionContext) -> None:
        await ctx.resource("db")
        raise ValueError("declined")

    result = await shop.executor.run(WorkflowDefinition("w", [Step(good), Step(bad), Step(_never)]))
    assert (result.status, result.step, dict(result.results)) == (WorkflowStatus.FAILED, "bad", {"good": 1})
    assert shop.endings == ["rollback ValueError"]


async def test_a_failed_commit_fails_the_step(shop: Shop) -> None:
    """What its action's end raises counts as the step's own."""

    async def work(ctx: ActionContext) -> None:
        await ctx.resource("db")

    shop.db.commit_fails = RuntimeError("serialisation failure")
    result = await shop.executor.run(WorkflowDefinition("w", [Step(work)]))
    assert isinstance(result.error, RuntimeError)
    assert not result.results


# ── retries ──


async def test_retryable_errors_are_tried_again_with_growing_pauses(shop: Shop) -> None:
    """Each attempt is an action of its own; the pauses double from the base and are spread by a fifth."""
    tries: list[tuple[float, int]] = []

    async def flaky(ctx: ActionContext) -> str:
        await ctx.resource("db")
        tries.append((_now(), ctx.attempt))
        if len(tries) < 4:
            raise ConnectionError("reset")
        return "done"

    step = Step(flaky, retry=Retry(attempts=4, base=1.0, max=3.0))
    result = await shop.executor.run(WorkflowDefinition("w", [step]))
    assert result.results == {"flaky": "done"}
    assert [attempt for _, attempt in tries] == [1, 2, 3, 4]
    pauses = [later - earlier for (earlier, _), (later, _) in pairwise(tries)]
    for pause, bare in zip(pauses, (1.0, 2.0, 3.0), strict=True):
        assert 0.8 * bare <= pause <= 1.2 * bare
    assert shop.endings == ["rollback ConnectionError"] * 3 + ["commit"]


async def test_an_error_may_ask_for_a_longer_pause(shop: Shop) -> None:
    """``retry_after`` of the error counts where it is longer than the back-off."""
    tries: list[float] = []

    async def refused() -> None:
        tries.append(_now())
        if len(tries) == 1:
            raise CircuitOpen("create", retry_after=7.0)

    assert (await shop.executor.run(WorkflowDefinition("w", [Step(refused)]))).ok
    assert tries == [0, 7]


async def test_other_errors_are_not_tried_again(shop: Shop) -> None:
    """Nor more often than asked; ``when`` decides otherwise."""
    tries: list[str] = []

    async def wrong(kind: type[Exception]) -> None:
        tries.append(kind.__name__)
        raise kind

    for kind, retry, count in (
        (ValueError, NOW, 1),
        (ConnectionError, NOW, 3),
        (ConnectionError, Retry(attempts=1), 1),
        (ValueError, Retry(attempts=2, base=0.001, max=1, when=lambda error: True), 2),
    ):
        tries.clear()
        result = await shop.executor.run(WorkflowDefinition("w", [Step(wrong, (kind,), retry=retry)]))
        assert isinstance(result.error, kind)
        assert len(tries) == count


async def test_a_timeout_is_per_attempt_and_worth_another(shop: Shop) -> None:
    """An attempt that takes too long is cancelled, rolled back, and tried again."""
    tries: list[int] = []

    async def slow(ctx: ActionContext) -> str:
        await ctx.resource("db")
        tries.append(ctx.attempt)
        if ctx.attempt < 3:
            await asyncio.sleep(3600)
        return "done"

    result = await shop.executor.run(WorkflowDefinition("w", [Step(slow, timeout=2.0, retry=NOW)]))
    assert result.results == {"slow": "done"}
    assert shop.endings == ["rollback CancelledError"] * 2 + ["commit"]

    async def hangs() -> None:
        await asyncio.sleep(3600)

    result = await shop.executor.run(
        WorkflowDefinition("w", [Step(hangs, timeout=2.0, retry=Retry(attempts=1))])
    )
    assert isinstance(result.error, TimeoutError)
    assert str(result.error) == "step 'hangs' took longer than 2 s"

    async def own() -> None:
        raise TimeoutError("of the server")

    result = await shop.executor.run(
        WorkflowDefinition("w", [Step(own, timeout=2.0, retry=Retry(attempts=1))])
    )
    assert str(result.error) == "of the server"


@pytest.mark.parametrize("together", [False, True])
async def test_a_cancellation_from_inside_is_a_failure(shop: Shop, together: bool) -> None:
    """A step that awaited something cancelled has failed; nobody cancelled the workflow."""

    async def work() -> None:
        inner = asyncio.get_running_loop().create_future()
        inner.cancel()
        await inner

    step = Step(work)
    result = await shop.executor.run(WorkflowDefinition("w", [Parallel([step]) if together else step]))
    assert result.status is WorkflowStatus.FAILED
    assert isinstance(result.error, WorkCancelled)


# ── once per execution ──


async def test_the_same_execution_again_is_the_firsts_result(shop: Shop) -> None:
    """Afterwards, and while it runs; another tenant, workflow or id is another execution."""
    calls: list[str] = []

    async def work(ctx: ActionContext) -> int:
        calls.append(f"{ctx.tenant_id} {ctx.workflow_id} {ctx.execution_id}")
        await asyncio.sleep(1)
        return len(calls)

    one, two = WorkflowDefinition("one", [Step(work)]), WorkflowDefinition("two", [Step(work)])
    run = shop.executor.run
    first, joined = await asyncio.gather(
        run(one, tenant="a", execution_id="e"), run(one, tenant="a", execution_id="e")
    )
    assert first is joined is await run(one, tenant="a", execution_id="e")
    assert shop.executor.result("one", "e", tenant="a") is first
    assert shop.executor.result("one", "e") is None
    others = [
        await run(one, tenant="b", execution_id="e"),
        await run(one, execution_id="e"),
        await run(two, tenant="a", execution_id="e"),
        await run(one, tenant="a", execution_id="f"),
        await run(one, tenant="a"),
        await run(one, tenant="a"),
    ]
    assert len({id(each) for each in [first, *others]}) == 7
    assert len(calls) == 7


async def test_a_failure_is_remembered_too(shop: Shop) -> None:
    """A failed execution is not begun again under its id; its error holds no variables of its frames."""
    calls: list[int] = []

    async def work() -> None:
        big = bytearray(1000)
        calls.append(len(big))
        raise ValueError

    definition = WorkflowDefinition("w", [Step(work)])
    first = await shop.executor.run(definition, execution_id="e")
    assert await shop.executor.run(definition, execution_id="e") is first
    assert len(calls) == 1
    assert first.error is not None
    frames = []
    trace = first.error.__traceback__
    while trace is not None:
        frames.append(trace.tb_frame)
        trace = trace.tb_next
    assert frames[-1].f_code.co_name == "work"
    assert "big" not in frames[-1].f_locals


async def test_what_is_remembered_is_bounded(shop: Shop) -> None:
    """The oldest result goes first; with nothing remembered each run is a new one."""
    executor = WorkflowExecutor(shop.manager, remember=2)
    definition = WorkflowDefinition("w", [])
    first, *_ = [await executor.run(definition, execution_id=f"e{index}") for index in range(3)]
    assert executor.result("w", "e0") is None
    assert executor.result("w", "e2") is not None
    assert await executor.run(definition, execution_id="e0") is not first
    forgetful = WorkflowExecutor(shop.manager, remember=0)
    assert await forgetful.run(definition, execution_id="e") is not await forgetful.run(
        definition, execution_id="e"
    )
    with pytest.raises(ValidationFailed, match="remember"):
        WorkflowExecutor(shop.manager, remember=-1)


async def test_results_survive_json(shop: Shop) -> None:
    """A result told to another process; of a foreign error only the type goes along."""

    async def good() -> int:
        return 1

    async def bad() -> None:
        raise ValueError("password=hunter2")

    async def ours() -> None:
        raise PoolExhausted(max_size=1, waiting=2)

    for steps in ([good], [good, bad], [ours]):
        definition = WorkflowDefinition("w", [Step(step, retry=Retry(attempts=1)) for step in steps])
        result = await shop.executor.run(definition)
        value = result.to_json()
        assert "hunter2" not in str(value)
        again = WorkflowResult.from_json(value)
        assert again == result
        assert again.to_json() == value
        assert (again.error is None) == (result.error is None)


# ── cancelling ──


async def test_cancelling_an_execution_cleans_up_and_is_its_result(shop: Shop) -> None:
    """Whoever waits gets CANCELLED, the lease is rolled back, and the next run of that id gets the same."""

    async def work(ctx: ActionContext) -> None:
        await ctx.resource("db")
        await asyncio.sleep(3600)

    definition = WorkflowDefinition("w", [Step(work), Step(_never)])
    waiting = [asyncio.create_task(shop.executor.run(definition, execution_id="e")) for _ in range(2)]
    await asyncio.sleep(1)
    assert shop.executor.cancel("e", workflow="w")
    assert shop.executor.cancel("e")
    first, second = await asyncio.gather(*waiting)
    assert first is second
    assert (first.status, first.error) == (WorkflowStatus.CANCELLED, None)
    assert shop.endings == ["rollback CancelledError"]
    assert await shop.executor.run(definition, execution_id="e") is first
    assert not shop.executor.cancel("e")


async def test_a_token_cancels_as_well(shop: Shop) -> None:
    """A token that is given, or one it is a child of."""

    async def work(ctx: ActionContext) -> None:
        await ctx.cancellation

    token = CancellationToken()
    asyncio.get_running_loop().call_later(2, token.cancel)
    result = await shop.executor.run(WorkflowDefinition("w", [Step(work)]), cancellation=token)
    assert result.status is WorkflowStatus.CANCELLED
    result = await shop.executor.run(WorkflowDefinition("w", [Step(_never)]), cancellation=token)
    assert result.status is WorkflowStatus.CANCELLED


async def test_the_token_of_whoever_joins_cancels_as_well(shop: Shop) -> None:
    """It is their execution, too; afterwards the token means nothing to it."""
    endless = WorkflowDefinition("w", [Step(asyncio.sleep, (3600,))])
    running = asyncio.create_task(shop.executor.run(endless, execution_id="e1"))
    await asyncio.sleep(1)
    token = CancellationToken()
    joined = asyncio.create_task(shop.executor.run(endless, execution_id="e1", cancellation=token))
    await asyncio.sleep(1)
    token.cancel()
    assert (await running).status == "cancelled"
    assert await joined is await running
    token = CancellationToken()
    result = await shop.executor.run(WorkflowDefinition("w", []), execution_id="e2", cancellation=token)
    assert result.ok
    assert repr(token) == "<CancellationToken 0 listening>"


@pytest.mark.parametrize("deeper", [False, True])
async def test_a_step_that_waits_for_its_own_execution_is_refused(shop: Shop, deeper: bool) -> None:
    """It would wait for ever; directly, or through another workflow that it runs."""

    async def again(ctx: ActionContext) -> None:
        (await shop.executor.run(outer, execution_id="e1")).raise_for_status()

    async def other() -> None:
        inner = WorkflowDefinition("inner", [Step(again)])
        (await shop.executor.run(inner, execution_id="e1")).raise_for_status()

    outer = WorkflowDefinition("outer", [Step(other if deeper else again)])
    result = await shop.executor.run(outer, execution_id="e1")
    assert isinstance(result.error, ConfigurationError)
    assert "would never end" in str(result.error)


@pytest.mark.parametrize("next_ones", [[], [Step(_never)]])
async def test_a_step_that_swallows_its_cancellation_is_the_last(shop: Shop, next_ones: list[Step]) -> None:
    """The next one is not begun, and without a next one the execution is cancelled all the same."""

    async def stubborn() -> None:
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            shop.log.append("swallowed")

    run = asyncio.create_task(
        shop.executor.run(WorkflowDefinition("w", [Step(stubborn), *next_ones]), execution_id="e")
    )
    await asyncio.sleep(1)
    shop.executor.cancel("e")
    assert (await run).status is WorkflowStatus.CANCELLED
    assert shop.log == ["swallowed"]


async def test_a_step_that_fails_of_its_cancellation_is_not_tried_again(shop: Shop) -> None:
    """Although its error is worth another try."""
    attempts: list[int] = []

    async def breaks(ctx: ActionContext) -> None:
        attempts.append(ctx.attempt)
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            raise ConnectionError from None

    run = asyncio.create_task(
        shop.executor.run(WorkflowDefinition("w", [Step(breaks, retry=NOW)]), execution_id="e")
    )
    await asyncio.sleep(1)
    shop.executor.cancel("e")
    assert (await run).status is WorkflowStatus.CANCELLED
    assert attempts == [1]


async def test_an_error_that_giving_up_brought_about_is_forgotten(shop: Shop) -> None:
    """Nobody wanted it any more when it failed: who asks again gets a new run."""
    runs: list[int] = []

    async def breaks() -> int:
        runs.append(1)
        if len(runs) == 1:
            try:
                await asyncio.sleep(3600)
            except asyncio.CancelledError:
                raise ValueError from None
        return len(runs)

    definition = WorkflowDefinition("w", [Step(breaks)])
    caller = asyncio.create_task(shop.executor.run(definition, execution_id="e"))
    await asyncio.sleep(1)
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    assert (await shop.executor.run(definition, execution_id="e")).results == {"breaks": 2}


async def test_cancelling_between_attempts_ends_the_retries(shop: Shop) -> None:
    """A pause is not sat out."""

    async def flaky() -> None:
        raise ConnectionError

    step = Step(flaky, retry=Retry(attempts=9, base=100, max=100))
    run = asyncio.create_task(shop.executor.run(WorkflowDefinition("w", [step]), execution_id="e"))
    await asyncio.sleep(1)
    shop.executor.cancel("e")
    assert (await run).status is WorkflowStatus.CANCELLED
    assert _now() == 1


async def test_one_of_two_callers_may_leave(shop: Shop) -> None:
    """A cancelled caller leaves the other waiting."""

    async def work() -> str:
        await asyncio.sleep(5)
        return "done"

    definition = WorkflowDefinition("w", [Step(work)])
    leaves, stays = (asyncio.create_task(shop.executor.run(definition, execution_id="e")) for _ in range(2))
    await asyncio.sleep(1)
    leaves.cancel()
    assert (await stays).results == {"work": "done"}
    assert leaves.cancelled()


@pytest.mark.parametrize("cancels", [1, 3])
async def test_nobody_waiting_means_nobody_wants_it(shop: Shop, cancels: int) -> None:
    """The last caller to be cancelled takes the execution along, waits until it is cleaned up, and it is forgotten."""
    runs: list[int] = []

    async def work(ctx: ActionContext) -> int:
        runs.append(1)
        await ctx.resource("db")
        try:
            await asyncio.sleep(5)
        except asyncio.CancelledError:
            await asyncio.sleep(2)
            raise
        return len(runs)

    definition = WorkflowDefinition("w", [Step(work)])
    caller = asyncio.create_task(shop.executor.run(definition, execution_id="e"))
    await asyncio.sleep(1)
    for _ in range(cancels):
        caller.cancel()
        await asyncio.sleep(0)
    joins_a_dying_one = asyncio.create_task(shop.executor.run(definition, execution_id="e"))
    with pytest.raises(asyncio.CancelledError):
        await caller
    assert _now() == 3
    assert shop.endings == ["rollback CancelledError"]
    assert (await joins_a_dying_one).results == {"work": 2}


async def test_closing_cancels_what_runs(shop: Shop) -> None:
    """When it returns, all is cleaned up; after that nothing can be run."""

    async def work(ctx: ActionContext) -> None:
        await ctx.resource("db")
        try:
            await asyncio.sleep(3600)
        finally:
            await asyncio.sleep(2)

    definition = WorkflowDefinition("w", [Step(work)])
    run = asyncio.create_task(shop.executor.run(definition))
    await asyncio.sleep(1)
    await shop.executor.close()
    assert _now() == 3
    assert shop.endings == ["rollback CancelledError"]
    assert (await run).status is WorkflowStatus.CANCELLED
    with pytest.raises(Unavailable, match="this WorkflowExecutor was closed"):
        await shop.executor.run(definition)


async def test_a_step_may_be_a_part_of_a_function(shop: Shop) -> None:
    """``functools.partial`` of a function or an ``@action`` is called as the function, in one ACTION of that name."""

    async def plain(greeting: str, ctx: ActionContext) -> str:
        scope = current_scope()
        assert scope is not None
        return f"{greeting} from {scope.scope.action_id} {ctx.action_id}"

    @action
    async def acting(greeting: str, ctx: ActionContext) -> str:
        return await plain(greeting, ctx)

    steps = [Step(partial(plain, "hello")), Step(partial(partial(acting), greeting="goodbye"))]
    result = await shop.executor.run(WorkflowDefinition("w", steps))
    assert result.results == {"plain": "hello from plain plain", "acting": "goodbye from acting acting"}


# ── whose it is ──


async def test_an_execution_belongs_to_the_caller_s_tenant(shop: Shop) -> None:
    """Inside an open scope its tenant and user are the default, and another tenant is refused."""

    async def work() -> Scope:
        scope = current_scope()
        assert scope is not None
        return scope.scope

    definition = WorkflowDefinition("w", [Step(work)])
    async with shop.manager.scope(tenant="acme", user="u7", execution="request-1"):
        result = await shop.executor.run(definition, execution_id="e1")
        assert result.results["work"] == Scope.action(
            "work", tenant="acme", user="u7", workflow="w", execution="e1"
        )
        assert await shop.executor.run(definition, tenant="acme", execution_id="e1") is result
        with pytest.raises(InvalidScope):
            await shop.executor.run(definition, tenant="globex")
        with shop.manager.detached():
            assert (await shop.executor.run(definition, tenant="globex")).ok


async def test_a_tenant_reaches_no_execution_of_another(shop: Shop) -> None:
    """Inside its scope neither an id that it guesses nor a tenant that it names cancels, watches or reads anything."""
    started = asyncio.Event()

    async def work() -> str:
        started.set()
        await asyncio.sleep(5)
        return "a secret of globex"

    definition = WorkflowDefinition("w", [Step(work)])
    theirs = asyncio.create_task(shop.executor.run(definition, tenant="globex", execution_id="e1"))
    await started.wait()
    async with shop.manager.scope(tenant="acme", execution="request-1"):
        assert shop.executor.progress("e1") is None
        assert not shop.executor.cancel("e1")
        assert not shop.executor.cancel("e1", workflow="w")
        with pytest.raises(InvalidScope):
            shop.executor.cancel("e1", tenant="globex")
        with pytest.raises(InvalidScope):
            shop.executor.progress("e1", tenant="globex")
    result = await theirs
    assert result.ok
    async with shop.manager.scope(tenant="acme", execution="request-2"):
        assert shop.executor.result("w", "e1") is None
        with pytest.raises(InvalidScope):
            shop.executor.result("w", "e1", tenant="globex")
    async with shop.manager.scope(tenant="globex", execution="request-3"):
        assert shop.executor.result("w", "e1") is result
    assert shop.executor.result("w", "e1", tenant="globex") is result


async def test_an_id_that_several_tenants_use_is_not_guessed_at(shop: Shop) -> None:
    """Cancelling and progress ask which one is meant."""

    async def work() -> None:
        await asyncio.sleep(5)

    definition = WorkflowDefinition("w", [Step(work)])
    runs = [
        asyncio.create_task(shop.executor.run(definition, tenant=tenant, execution_id="e"))
        for tenant in ("a", "b")
    ]
    await asyncio.sleep(1)
    with pytest.raises(ConfigurationError, match="tenant="):
        shop.executor.cancel("e")
    assert shop.executor.cancel("e", tenant="a")
    first, second = await asyncio.gather(*runs)
    assert (first.status, second.status) == (WorkflowStatus.CANCELLED, WorkflowStatus.SUCCEEDED)


async def test_ids_that_cannot_be_are_refused(shop: Shop) -> None:
    """Before anything runs."""
    with pytest.raises(InvalidScope):
        await shop.executor.run(WorkflowDefinition("w", [Step(_never)]), execution_id="x" * 200)


# ── progress ──


async def test_progress_is_told_and_can_be_asked(shop: Shop) -> None:
    """Events in order, with what is done of how many; asking shows which attempt runs."""
    seen: list[tuple[str, str | None, int, int]] = []
    subscription = shop.manager.subscribe([WorkflowProgress])

    async def flaky(ctx: ActionContext) -> None:
        await asyncio.sleep(1)
        if ctx.attempt == 1:
            raise ConnectionError

    async def last() -> None: ...

    definition = WorkflowDefinition("w", [Step(flaky, retry=NOW), Step(last)])
    run = asyncio.create_task(shop.executor.run(definition, tenant="acme", execution_id="e"))
    await asyncio.sleep(0.5)
    progress = shop.executor.progress("e")
    assert progress is not None
    assert (progress.done, progress.total, dict(progress.running)) == (0, 2, {"flaky": 1})
    assert (progress.workflow_id, progress.execution_id, progress.status) == ("w", "e", "running")
    await run
    assert shop.executor.progress("e") is None
    assert repr(shop.executor) == "<WorkflowExecutor: 0 running, 1 remembered>"
    async for event in subscription:
        assert isinstance(event, WorkflowProgress)
        assert event.scope == Scope.execution("e", workflow="w", tenant="acme")
        seen.append((event.status, event.step, event.done, event.total))
        if event.status == "succeeded":
            break
    assert seen == [
        ("started", None, 0, 2),
        ("step_started", "flaky", 0, 2),
        ("step_retrying", "flaky", 0, 2),
        ("step_started", "flaky", 0, 2),
        ("step_succeeded", "flaky", 1, 2),
        ("step_started", "last", 1, 2),
        ("step_succeeded", "last", 2, 2),
        ("succeeded", None, 2, 2),
    ]
