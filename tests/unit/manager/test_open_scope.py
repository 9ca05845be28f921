"""OpenScope: one lease per key, shared, given back last first with the outcome."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Iterable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import pytest

from nebula_resource import (
    AcquireCancelled,
    AcquireTimeout,
    CancellationToken,
    CleanupError,
    CreateFailed,
    InvalidScope,
    Manager,
    NoOpenScope,
    PoolConfig,
    ResourceContext,
    ResourceNotFound,
    Scope,
    ScopeLevel,
    current_scope,
)
from nebula_resource.manager import OpenScope
from nebula_resource.manager.open_scope import NOTHING, Finalizer
from tests.unit.manager.things import Instance, Leasing, Thing, assert_manager_sound

ONE = PoolConfig(min_size=0, max_size=1)
FEW = PoolConfig(min_size=0, max_size=3)


@asynccontextmanager
async def _manager(*things: Thing, pool: PoolConfig = FEW) -> AsyncGenerator[Manager]:
    """A manager that keeps these, and whose books add up in the end."""
    async with Manager() as manager:
        for thing in things:
            await manager.register(thing, {}, pool=pool)
        yield manager
        assert_manager_sound(manager)
        assert not any(manager.open_scopes.values())


def _endings(log: list[str]) -> list[str]:
    """What leases were told, without how instances came and went."""
    return [line for line in log if not line.startswith(("begin", "cleanup"))]


async def _block(
    manager: Manager, *keys: str, finalizers: Iterable[Finalizer] = (), error: BaseException | None = None
) -> None:
    """A block that leases, and ends with ``error``."""
    async with manager.scope(execution="e1") as scope:
        scope.finalizers.extend(finalizers)
        for key in keys:
            await scope.get(key)
        if error is not None:
            raise error


# ── one lease per key ──


async def test_a_scope_leases_once_per_key() -> None:
    """Asking twice gives the same lease; another open scope gets another."""
    async with _manager(Thing("a"), Thing("b")) as manager:
        async with manager.scope(execution="e1") as outer:
            first = await outer.get("a")
            assert await outer.get("a") is first
            assert await outer.get("b") is not first
            async with manager.scope(action="x") as inner:
                assert await inner.get("a") is not first
            assert_manager_sound(manager, out=2)


@pytest.mark.parametrize("thing", [Thing("a"), Leasing("a")], ids=["plain", "leased"])
async def test_concurrent_gets_share_one_acquire(thing: Thing) -> None:
    """Ten who ask at once wait for one acquire and get one value."""
    async with _manager(thing) as manager:
        async with manager.scope(execution="e1") as scope:
            values = await asyncio.gather(*(scope.get("a") for _ in range(10)))
            assert len({id(value) for value in values}) == 1
            assert_manager_sound(manager, out=1)


async def test_a_cancelled_waiter_leaves_the_shared_acquire_alone() -> None:
    """Of three who wait for a busy instance one is cancelled; the others get it."""
    async with _manager(Thing("a"), pool=ONE) as manager:
        busy = await manager.acquire("a")
        async with manager.scope(execution="e1") as scope:
            waiters = [asyncio.create_task(scope.get("a")) for _ in range(3)]
            await asyncio.sleep(1)
            waiters[0].cancel()
            await asyncio.sleep(1)
            assert [waiter.done() for waiter in waiters] == [True, False, False]
            await busy.release()
            assert await waiters[1] is await waiters[2]
            assert waiters[0].cancelled()


async def test_a_value_that_nobody_waits_for_any_more_is_still_the_scopes() -> None:
    """When the only waiter is cancelled the acquire goes on; its lease is memoised, and given back at the end."""
    async with _manager(Leasing("a"), pool=ONE) as manager:
        busy = await manager.acquire("a")
        async with manager.scope(execution="e1") as scope:
            waiter = asyncio.create_task(scope.get("a"))
            await asyncio.sleep(1)
            waiter.cancel()
            await busy.release()
            await asyncio.sleep(1)
            assert scope.holds("a")
            assert_manager_sound(manager, out=1)
            await scope.get("a")


async def test_a_failure_is_told_to_all_and_not_remembered() -> None:
    """A failed acquire is raised to everybody who waited; the next get tries again."""
    thing = Thing("a")
    async with _manager(thing) as manager:
        async with manager.scope(execution="e1") as scope:
            thing.fails = OSError("down")
            results = await asyncio.gather(*(scope.get("a") for _ in range(3)), return_exceptions=True)
            assert {type(result) for result in results} == {CreateFailed}
            assert not scope.holds("a")
            thing.fails = None
            assert (await scope.get("a")).open


async def test_an_unknown_key_is_not_remembered() -> None:
    """A key that nobody registered is `ResourceNotFound`, and may be registered a moment later."""
    async with _manager() as manager:
        async with manager.scope(execution="e1") as scope:
            with pytest.raises(ResourceNotFound):
                await scope.get("a")
            await manager.register(Thing("a"), {})
            assert (await scope.get("a")).open


async def test_a_lease_survives_a_later_quarantine() -> None:
    """What a scope holds it keeps; a new scope is refused."""
    async with _manager(Thing("a")) as manager:
        async with manager.scope(execution="e1") as scope:
            value = await scope.get("a")
            manager.quarantine("a", "maintenance")
            assert await scope.get("a") is value
        await manager.release("a", "force")


async def test_waiting_ends_with_the_token_of_the_context() -> None:
    """A scope opened with a cancelled-to-be context stops waiting with `AcquireCancelled`."""
    token = CancellationToken()
    context = ResourceContext(Scope.execution("e1"), cancellation=token)
    async with _manager(Thing("a"), pool=ONE) as manager:
        busy = await manager.acquire("a")
        async with manager.scope(context) as scope:
            asyncio.get_running_loop().call_later(5, token.cancel)
            with pytest.raises(AcquireCancelled):
                await scope.get("a")
            assert asyncio.get_running_loop().time() == 5
        await busy.release()


async def test_a_token_that_was_cancelled_ends_every_wait_at_once_and_nothing_that_is_idle() -> None:
    """What waits races its token; an open scope lends what is idle without a look (docs/concepts/pool.md)."""
    token = CancellationToken()
    context = ResourceContext(Scope.execution("e1"), cancellation=token)
    async with _manager(Thing("idle"), Thing("busy"), Leasing("leased"), pool=ONE) as manager:
        for name in ("idle", "busy", "leased"):
            async with manager.acquire(name):
                pass
        busy = await manager.acquire("busy")
        token.cancel()
        async with manager.scope(context) as scope:
            value = await scope.get("idle")
            async with scope.detach() as sibling:  # it has neither deadline nor token
                assert sibling.context.cancellation is None
            for key in ("busy", "leased"):  # a lease is entered with an await
                for _ in range(2):  # a failure is not remembered
                    with pytest.raises(AcquireCancelled):
                        await scope.get(key)
                    with pytest.raises(AcquireCancelled):
                        await manager.acquire(key)
            with pytest.raises(AcquireCancelled):
                await manager.acquire("idle", context)  # brought to an acquire, it is looked at
            assert await scope.get("idle") is value
            assert asyncio.get_running_loop().time() == 0.0
        await busy.release()
        for name in ("idle", "busy", "leased"):
            async with manager.acquire(name):
                pass


async def test_every_way_of_asking_finds_the_same_lease() -> None:
    """First or later, plain or not, by ``get`` or by ``take`` and ``wait``: one lease per key."""
    async with _manager(Thing("a"), Thing("b"), Leasing("c")) as manager:
        for name in "abc":
            async with manager.acquire(name):
                pass
        async with manager.scope(execution="e1") as scope:
            first = {name: await scope.get(name) for name in "abc"}
            for name, value in first.items():
                assert await scope.get(name) is value
                assert scope.take(name, name) is value
                assert await scope.wait(name, name) is value
                assert scope.holds(name)
        async with manager.scope(execution="e2") as scope:
            values = {name: scope.take(name, name) for name in "abc"}
            assert [name for name, value in values.items() if value is NOTHING] == ["c"]
            assert await scope.wait("c", "c") is await scope.get("c")
            assert await scope.wait("d", "a") is not await scope.get("a")


async def test_a_failed_acquire_may_be_waited_for_afterwards() -> None:
    """Nobody waited when it failed: who waits now asks again."""
    thing = Thing("a")
    async with _manager(thing) as manager:
        async with manager.scope(execution="e1") as scope:
            thing.fails = OSError("down")
            assert scope.take("a", "a") is NOTHING
            await asyncio.sleep(1)
            thing.fails = None
            assert (await scope.wait("a", "a")).open


async def test_plain_leases_are_given_back_without_a_task() -> None:
    """However many there are: what was idle is idle again when the block has ended."""
    async with _manager(Thing("a"), Thing("b"), Thing("c")) as manager:
        for name in "abc":
            async with manager.acquire(name):
                pass
        for names in ("", "a", "abc"):
            block = manager.scope(execution="e1")
            scope = await block.__aenter__()
            for name in names:
                await scope.get(name)
            with pytest.raises(StopIteration):  # it never waits
                block.__aexit__(None, None, None).send(None)
            assert_manager_sound(manager)


async def test_instances_that_want_attention_go_the_long_way_back() -> None:
    """Marked while they were out, the first lease and the second alike: they are given back all the same."""
    async with _manager(Thing("a"), Thing("b")) as manager:
        for names in ("a", "ab"):
            for name in "ab":
                async with manager.acquire(name):
                    pass
            async with manager.scope(execution="e1") as scope:
                for name in names:
                    await scope.get(name)
                for registration in manager.registry:
                    registration.pool.recycle_all()


async def test_whoever_waits_is_served_when_a_scope_ends() -> None:
    """A lease given back goes straight to the line."""
    async with _manager(Thing("a"), Thing("b"), pool=ONE) as manager:
        for name in "ab":
            async with manager.acquire(name):
                pass
        async with manager.scope(execution="e1") as scope:
            await scope.get("a")
            await scope.get("b")
            waiting = [asyncio.create_task(_once(manager, name)) for name in "ab"]
            await asyncio.sleep(1)
        assert await asyncio.gather(*waiting) == [1, 1]
        async with manager.scope(execution="e1") as scope:
            await scope.get("a")
            alone = asyncio.create_task(_once(manager, "a"))
            await asyncio.sleep(1)
        assert await alone == 2


async def _once(manager: Manager, name: str) -> float:
    """When a lease was had."""
    async with manager.acquire(name):
        return asyncio.get_running_loop().time()


# ── closing ──


async def test_leases_end_last_first_with_the_outcome() -> None:
    """What was leased last ends first, and each learns how the block ended."""
    log: list[str] = []
    first, second = Leasing("a"), Leasing("b")
    first.log = second.log = log
    async with _manager(first, second) as manager:
        with pytest.raises(ValueError, match="body"):
            await _block(manager, "a", "b", error=ValueError("body"))
        assert _endings(log) == ["rollback ValueError", "rollback ValueError"]
        log.clear()
        async with manager.scope(execution="e1") as scope:
            await scope.get("a")
            await scope.get("b")
        assert _endings(log) == ["commit", "commit"]


async def test_the_order_is_that_of_obtaining_not_of_asking() -> None:
    """A lease that was waited for ends before one that was asked for later and had at once."""
    order: list[str] = []

    class Noting(Leasing):
        @asynccontextmanager
        async def _lease(self, instance: object, context: object) -> AsyncGenerator[object]:  # type: ignore[override]  # notes its id alone
            yield instance
            order.append(self.id)

    slow, quick = Noting("slow"), Noting("quick")
    async with Manager() as manager:
        await manager.register(slow, {}, pool=ONE)
        await manager.register(quick, {}, pool=ONE)
        busy = await manager.acquire("slow")
        async with manager.scope(execution="e1") as scope:
            waiter = asyncio.create_task(scope.get("slow"))
            await asyncio.sleep(1)
            await scope.get("quick")
            await busy.release()
            await waiter
            order.clear()
        assert order == ["slow", "quick"]


async def test_a_close_error_is_raised_as_itself() -> None:
    """After a good block a failed commit reaches the caller; what is ended after it is rolled back."""
    first, second = Leasing("a"), Leasing("b")
    second.commit_fails = RuntimeError("serialisation failure")
    async with _manager(first, second) as manager:
        with pytest.raises(RuntimeError, match="serialisation failure"):
            await _block(manager, "a", "b")
        assert _endings(second.log)[-1] == "commit failed"
        assert _endings(first.log)[-1] == "rollback RuntimeError"


async def test_several_close_errors_are_one_group() -> None:
    """Every lease is tried; what failed is told together."""
    things = [Leasing(name) for name in "abc"]
    async with Manager() as manager:
        for thing in things:
            await manager.register(thing, {}, pool=FEW)
        with pytest.raises(ExceptionGroup) as caught:
            await _block(manager, "a", finalizers=map(_failing, range(3)))
        assert sorted(str(error) for error in caught.value.exceptions) == ["0", "1", "2"]
        assert _endings(things[0].log) == ["rollback RuntimeError"]
        assert_manager_sound(manager)


def _failing(index: int) -> Finalizer:
    def fail(error: BaseException | None) -> None:
        raise RuntimeError(index)

    return fail


async def test_close_errors_are_notes_on_the_error_of_the_body() -> None:
    """The body's error comes out, the rest is written on it."""
    async with _manager() as manager:
        with pytest.raises(ValueError, match="body") as caught:
            await _block(manager, finalizers=[_failing(1)], error=ValueError("body"))
        assert caught.value.__notes__ == ["closing the scope also raised RuntimeError"]


async def test_an_outer_scope_learns_that_an_inner_one_could_not_end() -> None:
    """A failed commit of the action is no good end for the lease of the execution, opened by the same block."""
    thing = Leasing("a")
    async with _manager(thing) as manager:

        async def block() -> None:
            async with manager.scope(workflow="w", execution="e1") as scope:
                await scope.at("workflow").get("a")
                scope.finalizers.append(_failing(1))

        with pytest.raises(RuntimeError):
            await block()
        assert _endings(thing.log)[-1] == "rollback RuntimeError"


async def test_finalizers_run_last_first_before_the_leases() -> None:
    """Each is told the outcome; one that waits is waited for."""
    thing = Leasing("a")
    async with _manager(thing) as manager:
        async with manager.scope(execution="e1") as scope:
            await scope.get("a")
            scope.finalizers.append(lambda error: thing.log.append(f"first {error}"))

            async def second(error: BaseException | None) -> None:
                await asyncio.sleep(3)
                thing.log.append(f"second {error}")

            scope.finalizers.append(second)
        assert _endings(thing.log) == ["second None", "first None", "commit"]


async def test_a_finalizer_that_hangs_is_given_up() -> None:
    """Closing always ends: after ten seconds the finalizer is cancelled, and that is told."""
    async with _manager(Thing("a")) as manager:
        with pytest.raises(CleanupError):
            await _block(manager, "a", finalizers=[lambda error: asyncio.sleep(3600)])
        assert asyncio.get_running_loop().time() == 10


async def test_an_error_that_became_an_answer_is_the_outcome() -> None:
    """``scope.outcome`` tells leases what an outer layer turned into a response; the block itself ends well."""
    thing = Leasing("a")
    async with _manager(thing) as manager:
        async with manager.scope(execution="e1") as scope:
            await scope.get("a")
            scope.outcome = LookupError("404")
        assert _endings(thing.log)[-1] == "rollback LookupError"


# ── cancellation ──


async def test_pending_acquires_are_cancelled_when_the_block_ends() -> None:
    """A get that still waits when its scope closes is told so, and takes nothing."""
    async with _manager(Thing("a"), pool=ONE) as manager:
        busy = await manager.acquire("a")
        async with manager.scope(execution="e1") as scope:
            waiter = asyncio.create_task(scope.get("a"))
            await asyncio.sleep(1)
        with pytest.raises(NoOpenScope, match="detach"):
            await waiter
        await busy.release()
        assert manager.stats()["a"].waiting == 0


async def test_get_after_the_end_says_what_to_do() -> None:
    """A background task that outlives the block is pointed to ``detach``."""
    async with _manager(Thing("a")) as manager:
        async with manager.scope(execution="e1") as scope:
            pass
        assert scope.is_closed
        with pytest.raises(NoOpenScope, match=r"scope\.detach\(\)"):
            await scope.get("a")
        with pytest.raises(NoOpenScope):
            await scope.keep("x", _noting([]))
        with pytest.raises(NoOpenScope):
            scope.put("x", 1, _noting([]))


async def test_a_stray_task_stays_who_it_was() -> None:
    """Its scope gives it nothing any more. What it takes and opens itself ends by itself, and is never another's or everybody's."""
    leasing, over = Leasing("a"), asyncio.Event()
    told: list[str] = []

    async def stray(scope: OpenScope) -> None:
        await over.wait()
        assert current_scope() is scope
        async with manager.acquire("a"):
            told.append(leasing.log[-1])
        async with manager.scope(action="x") as own:
            await own.get("a")
            told.append(leasing.log[-1])
        async with scope.detach() as beside:
            await beside.get("a")
            told.append(leasing.log[-1])
        with pytest.raises(ResourceNotFound):
            await manager.acquire("a", ResourceContext(Scope.tenant("globex")))
        with pytest.raises(InvalidScope):
            manager.scope(tenant="globex")
        with pytest.raises(NoOpenScope):
            await scope.get("a")

    async with _manager(leasing) as manager:
        async with manager.scope(tenant="acme", execution="e1") as scope:
            task = asyncio.create_task(stray(scope))
        over.set()
        await task
        assert not any(manager.open_scopes.values())
    execution = "begin tenant:acme/execution:e1"
    assert told == [execution, f"{execution}/action:x", execution]


@pytest.mark.parametrize("cancels", [1, 2, 5])
async def test_closing_goes_on_through_cancellations(cancels: int) -> None:
    """However often the closer is cancelled, everything is given back before CancelledError comes out."""
    done: list[str] = []

    async def slow(error: BaseException | None) -> None:
        await asyncio.sleep(5)
        done.append("finalized")

    thing = Leasing("a")
    async with _manager(thing) as manager:

        async def block() -> None:
            async with manager.scope(execution="e1") as scope:
                await scope.get("a")
                scope.finalizers.append(slow)

        task = asyncio.create_task(block())
        for _ in range(cancels):
            await asyncio.sleep(0.5)
            task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert done == ["finalized"]
        assert _endings(thing.log)[-1] == "commit"
        assert asyncio.get_running_loop().time() == 5


async def test_a_cancellation_while_closing_keeps_the_errors_as_notes() -> None:
    """What went wrong while closing is written on the CancelledError that comes out."""

    async def slow(error: BaseException | None) -> None:
        await asyncio.sleep(5)
        raise RuntimeError

    async with _manager() as manager:

        async def block() -> None:
            async with manager.scope(execution="e1") as scope:
                scope.finalizers.append(slow)

        task = asyncio.create_task(block())
        await asyncio.sleep(1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError) as caught:
            await task
        assert caught.value.__notes__ == ["closing the scope also raised RuntimeError"]


async def test_a_cancelled_body_is_the_outcome() -> None:
    """A cancelled block rolls back, and is cancelled."""
    thing = Leasing("a")
    async with _manager(thing) as manager:

        async def block() -> None:
            async with manager.scope(execution="e1") as scope:
                await scope.get("a")
                await asyncio.sleep(3600)

        task = asyncio.create_task(block())
        await asyncio.sleep(1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert _endings(thing.log)[-1] == "rollback CancelledError"


async def test_a_timeout_of_the_acquire_comes_out_of_get() -> None:
    """A get waits no longer than the pool lets it."""
    pool = PoolConfig(min_size=0, max_size=1, acquire_timeout=2.0)
    async with _manager(Thing("a"), pool=pool) as manager:
        async with manager.acquire("a"):
            async with manager.scope(execution="e1") as scope:
                with pytest.raises(AcquireTimeout):
                    await scope.get("a")


# ── context variable, detaching ──


async def test_the_innermost_scope_is_that_of_the_call_chain() -> None:
    """Tasks inherit it, siblings do not see each other's, and it is gone after the block."""
    async with _manager() as manager:
        assert current_scope() is None
        async with manager.scope(execution="e1") as outer:
            assert current_scope() is outer

            async def sibling(name: str) -> object:
                async with manager.scope(action=name) as mine:
                    await asyncio.sleep(1)
                    assert current_scope() is mine
                    return mine.parent

            assert list(await asyncio.gather(sibling("a"), sibling("b"))) == [outer, outer]
            assert current_scope() is outer
        assert current_scope() is None


async def test_acquire_without_context_uses_the_innermost_scope() -> None:
    """``manager.acquire`` is served as the open scope is, and is never memoised."""
    async with Manager() as manager:
        await manager.register(Thing("a"), {}, pool=FEW, scope=Scope.tenant("acme"))
        with pytest.raises(ResourceNotFound):
            await manager.acquire("a")
        async with manager.scope(tenant="acme", execution="e1"):
            async with manager.acquire("a") as one, manager.acquire("a") as two:
                assert one is not two


async def test_a_lease_acquired_in_a_scope_sees_the_scope_s_context() -> None:
    """What a request brings along (metadata, credentials) goes with ``manager.acquire`` as it does with ``get``."""
    seen: list[ResourceContext] = []

    class Looking(Leasing):
        def lease(
            self, instance: Instance, context: ResourceContext
        ) -> AbstractAsyncContextManager[Instance]:
            seen.append(context)
            return self._lease(instance, context)

    async with Manager() as manager:
        await manager.register(Looking("a"), {}, pool=FEW)
        context = ResourceContext(Scope.execution("e1"), metadata={"request": 7})
        async with manager.scope(context) as scope:
            await scope.get("a")
            async with manager.acquire("a"):
                pass
            await (await manager.acquire("a")).release()
        assert [(each.scope, each.metadata["request"]) for each in seen] == [(context.scope, 7)] * 3


async def test_what_is_asked_for_outside_a_scope_says_what_to_wrap() -> None:
    """Of what a tenant has and of what nobody has in the same words; inside a scope, or with a context, nothing is added."""
    async with Manager() as manager:
        await manager.register(Thing("a"), {}, pool=FEW, scope=Scope.tenant("acme"))
        told = []
        for key in ("a", "b"):
            with pytest.raises(ResourceNotFound) as caught:
                await manager.acquire(key)
            told.append(str(caught.value).replace(f"'{key}'", "it"))
        assert told[0] == told[1]
        assert "wrap the call: async with manager.scope(tenant=...)" in told[0]
        with pytest.raises(ResourceNotFound, match=r"for this scope$"):
            await manager.acquire("a", ResourceContext(Scope.GLOBAL))
        async with manager.scope(tenant="globex"):
            with pytest.raises(ResourceNotFound, match=r"for this scope$"):
                await manager.acquire("a")


async def test_an_explicit_context_must_be_equal_or_deeper() -> None:
    """Inside one tenant's scope another's cannot be named; ``manager.detached()`` is the way out."""
    async with Manager() as manager:
        for tenant in ("acme", "globex"):
            await manager.register(Thing("a"), {}, pool=FEW, scope=Scope.tenant(tenant))
        async with manager.scope(tenant="acme"):
            async with manager.acquire("a", ResourceContext(Scope.execution("e1", tenant="acme"))):
                pass
            for foreign in (Scope.tenant("globex"), Scope.GLOBAL, Scope.user("u")):
                with pytest.raises(ResourceNotFound):
                    await manager.acquire("a", ResourceContext(foreign))
            with manager.detached():
                assert current_scope() is None
                async with manager.acquire("a", ResourceContext(Scope.tenant("globex"))):
                    pass
            assert current_scope() is not None


async def test_a_detached_sibling_may_outlive_its_scope() -> None:
    """Background work has the same scope and leases of its own, and neither deadline nor token of the request."""
    thing = Leasing("a")
    token = CancellationToken()
    async with _manager(thing) as manager:
        done = asyncio.Event()

        async def background(block: object) -> None:
            async with block as scope:  # type: ignore[attr-defined]  # a ScopeBlock
                await asyncio.sleep(60)
                assert (scope.context.cancellation, scope.context.deadline) == (None, None)
                await scope.get("a")
                done.set()

        context = ResourceContext(Scope.execution("e1", tenant="acme"), cancellation=token, deadline=30)
        async with manager.scope(context) as scope:
            mine = await scope.get("a")
            task = asyncio.create_task(background(scope.detach()))
        token.cancel()
        assert thing.log == [f"begin {context.scope}", "commit"]
        await task
        assert done.is_set()
        assert thing.log[2:] == [f"begin {context.scope}", "commit"]
        assert mine is not None


async def test_run_makes_the_scope_current_for_one_coroutine() -> None:
    """``scope.run(work)`` is for work that was made outside the block."""
    async with _manager() as manager:

        async def work() -> object:
            return current_scope()

        async with manager.scope(execution="e1") as scope:
            with manager.detached():
                assert await scope.run(work()) is scope
                assert current_scope() is None


# ── keep ──


def _noting(log: list[str], value: object = "value") -> AbstractAsyncContextManager[object]:
    @asynccontextmanager
    async def noting() -> AsyncGenerator[object]:
        log.append("enter")
        try:
            yield value
        except BaseException as error:
            log.append(f"failed {type(error).__name__}")
            raise
        log.append("left")

    return noting()


async def test_keep_enters_once_and_leaves_with_the_leases() -> None:
    """A context manager kept in a scope is entered once for all who ask, and ends before what it was made from."""
    thing = Leasing("a")
    async with _manager(thing) as manager:
        async with manager.scope(execution="e1") as scope:
            await scope.get("a")
            values = await asyncio.gather(
                *(scope.keep("slot", _noting(thing.log, index)) for index in range(3))
            )
            assert values == [0, 0, 0]
            kept = scope.kept("slot")
            assert kept is not None
            assert kept.value == 0
            assert scope.kept("other") is None
        assert _endings(thing.log) == ["enter", "left", "commit"]


async def test_an_error_that_comes_back_is_no_second_one() -> None:
    """What is kept may raise the block's own error again; that is told once."""

    class Insistent(AbstractAsyncContextManager[str]):
        async def __aenter__(self) -> str:
            return "value"

        async def __aexit__(self, kind: object, error: BaseException | None, trace: object) -> None:
            if error is not None:
                raise error

    async with _manager() as manager:

        async def block() -> None:
            async with manager.scope(execution="e1") as scope:
                await scope.keep("slot", Insistent())
                raise ValueError("body")

        with pytest.raises(ValueError, match="body") as caught:
            await block()
        assert not hasattr(caught.value, "__notes__")


async def test_something_kept_may_fail_to_begin_or_never_begin() -> None:
    """The error is raised to who asked; closed meanwhile, it is not waited for."""

    @asynccontextmanager
    async def fails() -> AsyncGenerator[str]:
        raise OSError("down")
        yield "never"

    @asynccontextmanager
    async def hangs() -> AsyncGenerator[str]:
        await asyncio.sleep(3600)
        yield "never"

    async with _manager() as manager:
        async with manager.scope(execution="e1") as scope:
            with pytest.raises(OSError, match="down"):
                await scope.keep("slot", fails())
            assert scope.kept("slot") is None
            waiting = asyncio.create_task(_waits(scope, hangs()))
            await asyncio.sleep(1)
        with pytest.raises(NoOpenScope):
            await waiting


async def test_an_error_that_came_before_anybody_waited_is_not_lost() -> None:
    """Who kept it waits later, as everybody does whom dependency-injector gives it: the error is that of the beginning."""

    @asynccontextmanager
    async def fails() -> AsyncGenerator[str]:
        raise OSError("down")
        yield "never"

    async with _manager() as manager, manager.scope(execution="e1") as scope:
        waits = scope.keep("slot", fails())
        await asyncio.sleep(1)
        with pytest.raises(OSError, match="down"):
            await waits


@pytest.mark.parametrize("begins", [True, False])
async def test_closing_ends_although_something_does_not_stop_beginning(begins: bool) -> None:
    """Ten seconds after it was cancelled it is given up, and that is told; when it has begun at last, it is left again."""
    log: list[str] = []
    may_begin = asyncio.Event()

    @asynccontextmanager
    async def stubborn() -> AsyncGenerator[str]:
        while not may_begin.is_set():
            with contextlib.suppress(asyncio.CancelledError):
                await may_begin.wait()
        if not begins:
            raise OSError("down")
        log.append("begun")
        try:
            yield "value"
        except NoOpenScope:
            log.append("left")
            raise

    async with _manager(thing := Leasing("a")) as manager:

        async def block() -> None:
            async with manager.scope(execution="e1") as scope:
                await scope.get("a")
                waiting.append(asyncio.create_task(_waits(scope, stubborn())))
                await asyncio.sleep(1)

        waiting: list[asyncio.Task[str]] = []
        with pytest.raises(CleanupError) as caught:
            await block()
        assert "keep hangs: it did not stop within 10 s" in str(caught.value.cause)
        assert _endings(thing.log) == ["rollback CleanupError"]
        may_begin.set()
        with pytest.raises(NoOpenScope if begins else OSError):
            await waiting[0]
        assert log == (["begun", "left"] if begins else [])


async def _waits(scope: OpenScope, manager: AbstractAsyncContextManager[str]) -> str:
    return await scope.keep("hangs", manager)


async def test_keep_is_told_the_outcome() -> None:
    """It sees the error of the block."""
    log: list[str] = []
    async with _manager() as manager:

        async def block() -> None:
            async with manager.scope(execution="e1") as scope:
                await scope.keep("slot", _noting(log))
                raise ValueError("body")

        with pytest.raises(ValueError, match="body"):
            await block()
    assert log == ["enter", "failed ValueError"]


# ── reading it ──


async def test_repr_and_levels() -> None:
    """A scope says what it is; ``at`` finds the enclosing one of a level or says how to open one."""
    async with _manager(Thing("a")) as manager:
        async with manager.scope(tenant="acme", execution="e1") as scope:
            await scope.get("a")
            assert repr(scope) == "<OpenScope EXECUTION open: 1 leases>"
            assert scope.at(ScopeLevel.TENANT).scope == Scope.tenant("acme")
            assert scope.at("execution") is scope
            assert scope.level is ScopeLevel.EXECUTION
            assert scope.manager is manager
            with pytest.raises(NoOpenScope, match=r"manager\.scope\(workflow=\.\.\.\)"):
                scope.at("workflow")
        assert repr(scope) == "<OpenScope EXECUTION closed: 0 leases>"
        block = manager.scope(execution="e1")
        assert repr(block) == "<OpenScope EXECUTION not entered: 0 leases>"
        with pytest.raises(NoOpenScope, match="before its block began"):
            await block.get("a")
