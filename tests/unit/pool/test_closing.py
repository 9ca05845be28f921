"""Suspend, resume, drain and close: who is served, who is refused, and that nothing is left."""

import asyncio
from typing import Any

import pytest

from nebula_resource.errors import HandleReleased, Unavailable
from nebula_resource.pool import Pool, PoolConfig
from nebula_resource.pool.closing import GRACE, HOOKS
from nebula_resource.pool.entry import Entry
from nebula_resource.testing.asserts import assert_no_leaks, assert_sound
from nebula_resource.testing.clock import VirtualTimeLoop
from nebula_resource.testing.mock import MockResource, Outcome
from tests.unit.pool.support import Hooked, MockPool, Stubborn, now, opened, turns


async def test_close_waits_for_handles() -> None:
    """As long as they come back in time everything ends in order."""
    resource = MockResource(recycle=Outcome.SLOW)
    async with opened(resource, min_size=3) as pool:
        held = await pool.acquire()
        closing = asyncio.create_task(pool.close(5.0))
        await asyncio.sleep(2)
        await held.release()
        report = await closing
        assert (report.drained, report.forced, report.failed, report.left) == (True, 0, 0, 0)
        assert now() == 2.0
        assert pool.stats().destroyed == {"shutdown": 3}


async def test_close_takes_back_by_force() -> None:
    """After its timeout instances are cleaned up under their holders, who learn it from their handles."""
    async with opened(max_size=3) as pool:
        handle = await pool.acquire()
        entered = pool.acquire()
        await entered.__aenter__()
        report = await pool.close(2.0)
        assert (report.drained, report.forced, now()) == (False, 2, 2.0)
        with pytest.raises(HandleReleased):
            _ = handle.value
        await handle.release()
        await entered.__aexit__(None, None, None)
        assert_no_leaks(pool)


async def test_close_counts_the_holders_of_a_shared_instance() -> None:
    """forced is a number of handles."""
    async with opened(sharing="shared") as pool:
        handles = [await pool.acquire() for _ in range(3)]
        assert (await pool.close(0.0)).forced == 3
        for handle in handles:
            await handle.release()


async def test_close_tells_everybody_who_waits() -> None:
    """In line, for a creation, for a check: Unavailable(closed), at once."""
    resource = MockResource(create=[Outcome.OK, Outcome.NEVER])
    async with opened(resource, max_size=2, max_concurrent_creates=1) as pool:
        held = await pool.acquire()
        waiting = [asyncio.create_task(_use(pool)) for _ in range(3)]
        await turns()
        closing = asyncio.create_task(pool.close(10.0))
        results = await asyncio.gather(*waiting, return_exceptions=True)
        assert [result.why for result in results if isinstance(result, Unavailable)] == ["closed"] * 3
        assert now() == 0.0
        await held.release()
        assert (await closing).drained


async def test_close_stops_running_steps() -> None:
    """Creations and checks are cancelled as soon as nothing is out; what they held is cleaned up."""
    resource = MockResource(create=[Outcome.OK, Outcome.NEVER], is_valid=Outcome.NEVER)
    async with opened(resource, validation_interval=0, validate_timeout=None, create_timeout=None) as pool:
        await _use(pool)
        waiting = [asyncio.create_task(_use(pool)) for _ in range(2)]
        await turns()
        assert (pool.stats().checking, pool.stats().creating) == (1, 1)
        report = await pool.close(3.0)
        assert now() == 3.0  # a check is out
        assert (report.forced, report.left) == (0, 0)
        await asyncio.gather(*waiting, return_exceptions=True)
        assert not resource.alive


@pytest.mark.parametrize("step", ["recycle", "lease_exit"])
async def test_close_stops_releases_that_take_too_long(step: str) -> None:
    """The releaser is freed, the instance cleaned up."""
    scripts: dict[str, Any] = {step: Outcome.NEVER}
    resource = MockResource(**scripts)
    async with opened(resource, recycle_timeout=None, lease_timeout=None) as pool:
        releasing = asyncio.create_task(_use(pool))
        await turns()
        report = await pool.close(2.0)
        assert (report.drained, now()) == (False, 2.0)
        await releasing
        assert pool.stats().destroyed == {"shutdown": 1}


async def test_close_leaves_behind_what_ignores_its_cancellation() -> None:
    """A cleanup that will not end holds up the close for its limit and a little; it is counted, once."""
    stubborn = Stubborn()
    resource = MockResource(cleanup=stubborn)
    async with opened(resource, min_size=1, cleanup_timeout=2.0) as pool:
        report = await pool.close(0.0)
        assert report.left == 1
        assert now() == 2.0 + 2 * GRACE
        assert pool.state.value == "closed"
        assert pool.stats().retiring == 1
        stubborn.let_go.set()
        await turns()
        assert pool.stats().size == 0


@pytest.mark.parametrize("error", [None, ValueError("late")])
@pytest.mark.parametrize("step", ["create", "is_valid", "recycle"])
async def test_a_step_that_ends_after_the_close_finds_the_books_closed(
    step: str, error: ValueError | None
) -> None:
    """It ignored its cancellation; whatever it comes to then, nothing is lent and nothing is left."""
    stubborn = Stubborn(error)
    resource = MockResource(is_valid=Outcome.OK, recycle=Outcome.OK)
    async with opened(resource, validation_interval=0, circuit_threshold=1) as pool:
        if step != "create":
            await _use(pool)
        resource.script(step, stubborn)
        working = asyncio.create_task(_use(pool))
        await turns()
        report = await pool.close(0.0)
        assert report.left == 1
        stubborn.let_go.set()
        await turns(8)
        await asyncio.gather(working, return_exceptions=True)
        assert pool.stats().size == 0
        assert not resource.alive


async def test_a_late_lease_exit_finds_the_books_closed() -> None:
    """A lease whose exit ignored its cancellation ends after the close took its instance."""
    stubborn = Stubborn()
    resource = MockResource(lease_exit=stubborn)
    async with opened(resource) as pool:
        working = asyncio.create_task(_use(pool))
        await turns()
        assert (await pool.close(0.0)).left == 1
        stubborn.let_go.set()
        await working
        assert pool.stats().size == 0


async def test_a_hung_cleanup_ends_at_its_limit() -> None:
    """The others are not held up; it is counted as failed."""
    resource = MockResource(cleanup=[Outcome.NEVER, Outcome.OK])
    async with opened(resource, min_size=3, cleanup_timeout=4.0) as pool:
        report = await pool.close()
        assert (report.failed, report.left, now()) == (1, 0, 4.0)


async def test_hooks_have_their_time_in_a_close() -> None:
    """A slow hook before a cleanup does not cost the instance its cleanup."""

    class Slow(Hooked):
        async def before_cleanup(self, reason: Any) -> object:
            await asyncio.sleep(5)
            return "token"

    resource = MockResource(cleanup=Outcome.SLOW)
    async with opened(resource, min_size=1, cleanup_timeout=2.0, observer=Slow()) as pool:
        report = await pool.close()
        assert (report.left, now()) == (0, 6.0)
        assert HOOKS >= 5.0
        assert not resource.alive


async def test_without_a_cleanup_limit_a_close_waits() -> None:
    """None: none."""
    resource = MockResource(cleanup=Outcome.SLOW, slow=1000.0)
    async with opened(resource, min_size=1, cleanup_timeout=None) as pool:
        await pool.close()
        assert now() == 1000.0


async def test_closing_is_shared_and_cannot_be_stopped() -> None:
    """Concurrent calls get one report; a cancelled caller stops watching, not the close."""
    async with opened(MockResource(cleanup=Outcome.SLOW), min_size=1) as pool:
        first, second = (asyncio.create_task(pool.close()) for _ in range(2))
        await turns()
        first.cancel()
        report = await second
        assert first.cancelled()
        assert await pool.close() is report
        assert pool.stats().state == "closed"


async def test_a_drain_that_waits_is_told_by_a_close() -> None:
    """True when the last handle came back, False when the close took it by force."""
    for comes_back in (True, False):
        async with opened() as pool:
            held = await pool.acquire()
            draining = asyncio.create_task(pool.drain())
            await turns()
            closing = asyncio.create_task(pool.close(1.0))
            await turns()
            if comes_back:
                await held.release()
            await closing
            assert await draining is comes_back
            if not comes_back:
                await held.release()


async def test_a_pool_that_was_never_opened_may_be_closed() -> None:
    """There is nothing to do, and it stays closed."""
    pool: MockPool = Pool(MockResource(), None, PoolConfig())
    assert (await pool.close()).drained
    assert pool.stats().state == "closed"
    pool.resize(max_size=3)
    assert_sound(pool)


def test_a_loop_that_ends_under_a_pool_closes_its_books() -> None:
    """A step that the end of the loop cancels abandons what the pool has: LEAKED, and nothing is started anew."""
    for step in ("create", "is_valid", "recycle", "lease_exit", "cleanup"):
        scripts: dict[str, Any] = {"is_valid": Outcome.OK, "recycle": Outcome.OK, step: Outcome.OK}
        resource = MockResource(**scripts)
        pool: MockPool = Pool(resource, None, PoolConfig(min_size=1, validation_interval=0))

        entries: list[Entry] = []

        async def main(
            resource: MockResource = resource,
            pool: MockPool = pool,
            step: str = step,
            entries: list[Entry] = entries,
        ) -> None:
            await pool.open()
            resource.script(step, Outcome.NEVER)
            if step in {"cleanup", "create"}:
                pool.recycle_all()
            else:
                asyncio.get_running_loop().call_soon(asyncio.ensure_future, _use(pool))
            await turns(8)
            assert pool.tasks or pool.cleanups
            entries.extend(pool.ledger.entries)

        with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
            runner.run(main())
        assert pool.stats().state == "closed", step
        assert pool.stats().size == 0, step
        assert all(entry.state.is_terminal for entry in entries), step
        assert set(pool.stats().destroyed) <= {"leaked", "evicted"}, step
        assert pool.stats().destroyed.get("leaked", 0) >= (step != "create"), step
        pool.check()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("step", ["create", "is_valid", "recycle", "lease_exit", "cleanup", None])
def test_a_loop_that_ends_in_the_middle_of_a_close_closes_the_books_too(step: str | None) -> None:
    """Ctrl-C while it waits for a handle or a step: what is there is abandoned, and nothing is begun any more."""
    scripts: dict[str, Any] = {"is_valid": Outcome.OK, "recycle": Outcome.OK, "lease_exit": Outcome.OK}
    resource = MockResource(**scripts)
    pool: MockPool = Pool(resource, None, PoolConfig(min_size=2, validation_interval=0))
    held: list[Any] = []

    async def main() -> None:
        await pool.open()
        held.append(await pool.acquire())
        if step is not None:
            # The lease that is held is ended by asyncio itself, which waits for it: that one goes well.
            resource.script(step, [Outcome.NEVER, Outcome.OK] if step == "lease_exit" else Outcome.NEVER)
        if step == "create":
            pool.resize(min_size=3)
        elif step == "cleanup":
            pool.recycle_all()
        else:
            asyncio.get_running_loop().call_soon(asyncio.ensure_future, _use(pool))
        await turns(8)
        asyncio.get_running_loop().call_soon(asyncio.ensure_future, pool.close(60.0))
        await turns(3)
        assert pool.stats().state == "closing"

    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        runner.run(main())
    calls = resource.calls.copy()
    assert (pool.stats().state, pool.stats().size) == ("closed", 0)
    assert pool.stats().destroyed["leaked"] >= 1
    assert calls["cleanup"] <= (2 if step == "cleanup" else 1)
    pool.check()
    with pytest.raises(HandleReleased):
        held[0].value  # noqa: B018  # asking is the point
    held[0]._entry = None  # nobody is there any more to take it back


def test_a_loop_that_ends_in_a_hook_before_a_cleanup_closes_the_books_too() -> None:
    """Of a pool that nobody closes nothing is begun any more, not even the cleanup that the hook stood before."""

    class Hangs(Hooked):
        async def before_cleanup(self, reason: Any) -> object:
            await asyncio.get_running_loop().create_future()
            return "token"

    resource = MockResource()
    pool: MockPool = Pool(resource, None, PoolConfig(min_size=1), observer=Hangs())

    async def main() -> None:
        await pool.open()
        pool.recycle_all()
        await turns()

    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        runner.run(main())
    assert pool.stats().state == "closed"
    assert "leaked" in pool.stats().destroyed
    assert resource.calls["cleanup"] == 0
    pool.check()


async def test_an_abandoned_pool_reports_its_end() -> None:
    """close() after the end of the loop's own making has nothing left to do."""
    async with opened(min_size=1) as pool:
        pool.closing.abandon()
        pool.closing.abandon()
        report = await pool.close()
        assert (report.drained, report.left) == (False, 0)
        for instance in pool.resource.alive:  # type: ignore[attr-defined]  # a MockResource
            instance.is_open = False


async def _use(pool: MockPool, hold: float = 0.0) -> None:
    async with pool.acquire():
        if hold:
            await asyncio.sleep(hold)
