"""The owner of a pool: one event loop, in one thread of one process."""

import asyncio
import gc
import os
import sys
import threading
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from nebula_resource import Manager, ResourceContext, Scope
from nebula_resource.errors import WrongEventLoop
from nebula_resource.pool import Pool, PoolConfig, parts
from nebula_resource.testing.asserts import assert_sound
from nebula_resource.testing.mock import MockResource, Outcome
from tests.unit.pool.support import MockPool, opened, turns


def in_another_loop(work: Callable[[], Awaitable[Any]]) -> BaseException | None:
    """Run work in a loop of another thread; what it raised."""
    raised: list[BaseException] = []

    async def main() -> None:
        await work()

    def run() -> None:
        try:
            asyncio.run(main())
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    return raised[0] if raised else None


async def test_every_rare_verb_is_refused_elsewhere() -> None:
    """With a hint; nothing happens to the pool."""
    async with opened(MockResource(is_valid=Outcome.OK), min_size=1, validation_interval=0) as pool:

        async def call(verb: Callable[[], Any]) -> None:
            result = verb()
            if result is not None:
                await result

        verbs: list[Callable[[], Any]] = [
            lambda: pool.acquire(timeout=1.0).__aenter__(),
            lambda: pool.acquire().__aenter__(),
            pool.try_acquire,
            pool.suspend,
            pool.resume,
            pool.drain,
            pool.close,
            lambda: pool.scale_up(1),
            lambda: pool.scale_down(1),
            lambda: pool.resize(max_size=2),
            lambda: pool.retain(lambda instance: False),
            lambda: pool.retire_where(lambda instance: True),
            pool.recycle_all,
            lambda: pool.borrow().__aenter__(),
        ]
        for verb in verbs:
            error = in_another_loop(lambda verb=verb: call(verb))  # type: ignore[misc]  # bound now
            assert isinstance(error, WrongEventLoop), verb
            assert "one event loop owns a pool" in str(error)
            assert not error.forked
        assert (pool.stats().state, pool.stats().idle) == ("open", 1)


@pytest.mark.parametrize("timing", ["sampled", "always"])
async def test_a_hit_from_elsewhere_is_refused_where_that_is_cheap_to_see(
    monkeypatch: pytest.MonkeyPatch, timing: Any
) -> None:
    """Since 3.12 a hit looks which loop runs, on the short road too; nothing was taken."""
    monkeypatch.setattr("nebula_resource.pool.quick.CHECKS_HITS", True)
    async with opened(min_size=1, use_timing=timing) as pool:
        assert isinstance(in_another_loop(lambda: pool.acquire().__aenter__()), WrongEventLoop)
        assert pool.stats().acquisitions == 0
        async with pool.acquire():
            pass
        assert (pool.stats().idle, pool.stats().acquisitions) == (1, 1)


async def test_a_managers_hit_from_elsewhere_is_refused_where_that_is_cheap_to_see(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The manager's short roads begin with the pool's own."""
    monkeypatch.setattr("nebula_resource.pool.parts.CHECKS_HITS", True)
    async with Manager() as manager:
        await manager.register(MockResource("db"), None, pool={"min_size": 1})
        assert isinstance(in_another_loop(lambda: manager.acquire("db").__aenter__()), WrongEventLoop)
        context = ResourceContext(Scope.tenant("acme"))
        assert isinstance(
            in_another_loop(lambda: manager.acquire("db", context).__aenter__()), WrongEventLoop
        )
        async with manager.acquire("db") as instance:
            assert instance.is_open


def test_the_interpreter_decides_whether_hits_are_checked() -> None:
    """3.11 asks for the process id each time it is asked for its loop; later ones do not."""
    assert (sys.version_info >= (3, 12)) == parts.CHECKS_HITS


async def test_where_it_is_dear_a_hit_is_the_shelf_s_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing stands between a caller and what lies idle."""
    monkeypatch.setattr("nebula_resource.pool.parts.CHECKS_HITS", False)
    async with opened() as pool:
        assert pool.take == pool.shelf.hot.popleft


async def test_nobody_from_elsewhere_stands_in_line() -> None:
    """Behind others who wait, too, a caller from another loop is refused, and leaves the line as it was."""
    async with opened(max_size=1) as pool:
        handle = await pool.acquire()
        waiting = asyncio.create_task(pool.acquire().__aenter__())
        await turns(1)
        assert isinstance(in_another_loop(lambda: pool.acquire().__aenter__()), WrongEventLoop)
        assert len(pool.line.waiters) == 1
        waiting.cancel()
        await handle.release()


async def test_a_handle_comes_back_where_it_was_taken() -> None:
    """A release or a detach elsewhere is refused, and the handle still holds."""
    async with opened(MockResource(recycle=Outcome.OK)) as pool:
        handle = await pool.acquire()

        async def detach() -> None:
            handle.detach()

        for elsewhere in (handle.release, detach):
            assert isinstance(in_another_loop(elsewhere), WrongEventLoop)
        assert not handle.is_released
        await handle.release()
        assert pool.stats().idle == 1


async def test_a_quick_use_that_ends_elsewhere_is_found_at_the_next_tick() -> None:
    """The other loop hears the error; the instance is not lent again."""
    async with opened(MockResource(recycle=Outcome.OK), validation_interval=10.0) as pool:
        quick = pool.acquire()
        await quick.__aenter__()
        assert isinstance(in_another_loop(lambda: quick.__aexit__(None, None, None)), WrongEventLoop)
        gc.collect()  # the error's own frames hold it till then
        await asyncio.sleep(6)
        assert pool.stats().destroyed == {"leaked": 1}


async def test_a_handle_lost_in_another_thread_comes_home() -> None:
    """The garbage collector may run anywhere; the owner's loop does the work."""
    async with opened() as pool:
        handles = [await pool.acquire()]
        thread = threading.Thread(target=handles.clear)
        thread.start()
        thread.join()
        await turns()
        assert pool.stats().leaks == 1
        assert pool.stats().destroyed == {"leaked": 1}


def test_a_forked_process_is_refused() -> None:
    """The child has the pool's memory and not its loop: the error says so."""
    pool: MockPool = Pool(MockResource(), None, PoolConfig())

    async def main() -> None:
        await pool.open()
        child = os.fork()
        if child == 0:
            os._exit(_exit_code_of_a_child(pool))
        _, status = await asyncio.to_thread(os.waitpid, child, 0)
        assert os.waitstatus_to_exitcode(status) == 42
        await pool.close()

    asyncio.run(main())
    assert_sound(pool)


def _exit_code_of_a_child(pool: MockPool) -> int:
    """42 when the acquire is refused as it should be; runs in the child, where no exception may escape."""
    try:
        pool.try_acquire()
    except WrongEventLoop as error:
        return 42 if error.forked and "forked" in str(error) else 1
    except BaseException:
        return 2
    return 3


async def test_a_debug_loop_checks_every_hit() -> None:
    """Under asyncio's debug mode even a hit asks which loop it runs in."""
    loop = asyncio.get_running_loop()
    loop.set_debug(True)
    try:
        async with opened(min_size=1) as pool:
            error = in_another_loop(lambda: pool.acquire().__aenter__())
            assert isinstance(error, WrongEventLoop)
            async with pool.acquire():
                pass
    finally:
        loop.set_debug(False)


def test_a_handle_lost_after_its_loop_ended_is_only_logged(caplog: pytest.LogCaptureFixture) -> None:
    """Nobody is there to clean up; nothing is raised either."""
    pool: MockPool = Pool(MockResource(), None, PoolConfig())

    async def main() -> Any:
        await pool.open()
        return await pool.acquire()

    handle = asyncio.run(main())
    with caplog.at_level("WARNING", "nebula_resource.pool"):
        del handle
    assert [record.getMessage() for record in caplog.records] == [
        "a handle was lost after its event loop ended"
    ]


@pytest.mark.parametrize("handle", [False, True])
def test_a_body_swept_up_between_two_runs_of_its_loop_gives_back_in_the_next(handle: bool) -> None:
    """A coroutine that is closed while its loop stands still cannot start tasks: the pool hears of it later."""
    resource = MockResource(recycle=Outcome.OK)
    pool: MockPool = Pool(resource, None, PoolConfig())
    bodies: list[Any] = []

    async def body() -> None:
        async with await pool.acquire() if handle else pool.acquire():
            await asyncio.get_running_loop().create_future()

    async def begin() -> None:
        await pool.open()
        bodies.append(body())
        bodies[0].send(None)

    async def end() -> None:
        await turns()
        assert pool.stats().destroyed == {"leaked": 1}
        await pool.close()

    with asyncio.Runner() as runner:
        runner.run(begin())
        bodies.pop().close()
        runner.run(end())
    assert_sound(pool)


def test_a_waiter_swept_up_after_its_loop_ended_is_logged_if_it_was_served(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """What it was handed stays on its server, since nobody is left to clean it up."""
    pool: MockPool = Pool(MockResource(), None, PoolConfig(max_size=1))
    waiting: list[Any] = []

    async def begin() -> None:
        await pool.open()
        handle = await pool.acquire()
        for _ in range(2):  # the second is not served any more
            waiting.append(pool.acquire(timeout=5.0)._take())
            waiting[-1].send(None)
        await handle.release()

    asyncio.run(begin())
    with caplog.at_level("WARNING", "nebula_resource.pool"):
        for each in waiting:
            each.close()
    assert [record.getMessage() for record in caplog.records] == [
        "a handle was lost after its event loop ended"
    ]


def test_a_waiter_swept_up_between_two_runs_leaves_nothing() -> None:
    """The same for one that waits in line and was served before it was closed."""
    pool: MockPool = Pool(MockResource(), None, PoolConfig(max_size=1))
    waiting: list[Any] = []

    async def begin() -> None:
        await pool.open()
        handle = await pool.acquire()
        waiting.append(pool.acquire(timeout=5.0)._take())
        waiting[0].send(None)
        await handle.release()

    async def end() -> None:
        await turns()
        assert not pool.line.waiters
        assert pool.stats().in_use == 0
        await pool.close()

    with asyncio.Runner() as runner:
        runner.run(begin())
        waiting.pop().close()
        runner.run(end())
    assert_sound(pool)
