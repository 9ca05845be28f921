"""Corners: two things in one turn of the loop, errors that end the process, and loops that are gone."""

import asyncio
import gc
from typing import Any

import pytest

from nebula_resource._aio import CancellationToken
from nebula_resource.errors import AcquireCancelled, CreateFailed, InternalError, Unavailable
from nebula_resource.model.context import ResourceContext
from nebula_resource.pool.entry import Use
from nebula_resource.pool.leaks import describe
from nebula_resource.pool.returns import HandleLost
from nebula_resource.testing.asserts import assert_no_leaks
from nebula_resource.testing.mock import MockInstance, MockResource, Outcome
from tests.unit.pool.support import MockPool, Notes, opened, turns


class CancelsWhenMade(Notes):
    """Cancels a task in the turn in which an instance for it is there, before the task has seen it."""

    victim: asyncio.Task[Any] | None = None

    def created(self, seconds: float) -> None:
        if self.victim is not None:
            asyncio.get_running_loop().call_soon(self.victim.cancel)


@pytest.mark.parametrize("waited", [True, False])
async def test_what_is_forgone_was_no_use(waited: bool) -> None:
    """Taken and given back before anything has run: neither the use nor its wait counts, and the instance is idle."""
    async with opened(MockResource()) as pool:
        if not waited:
            await _use(pool)
        before = pool.stats()
        handle = await pool.acquire()
        assert handle.forgo()
        after = pool.stats()
        assert (after.acquisitions, after.wait, after.idle) == (before.acquisitions, before.wait, 1)
        assert_no_leaks(pool)


@pytest.mark.parametrize("sharing", ["exclusive", "shared"])
@pytest.mark.parametrize("who", ["caller", "probe"])
async def test_made_and_cancelled_in_one_turn(sharing: str, who: str) -> None:
    """What was handed over and never seen stays in the pool."""
    notes = CancelsWhenMade()
    async with opened(MockResource(create=Outcome.SLOW), observer=notes, sharing=sharing) as pool:
        notes.victim = asyncio.create_task(_use(pool) if who == "caller" else _probe(pool))
        await asyncio.wait((notes.victim,))
        assert notes.victim.cancelled()
        await turns()
        assert (pool.stats().idle, pool.stats().acquisitions) == (1, 0)
        assert_no_leaks(pool)


@pytest.mark.parametrize("earlier", [0.0, 1e-10])  # 1e-10: the cancellation comes first, in the same turn
@pytest.mark.parametrize("timeout", [None, 1.0])
async def test_timed_out_and_cancelled_in_one_turn(timeout: float | None, earlier: float) -> None:
    """The cancellation wins, with the pool's own limit and with the caller's."""
    async with opened(max_size=1, acquire_timeout=2.0) as pool:
        handle = await pool.acquire()
        task = asyncio.create_task(_use(pool, timeout=timeout))
        await turns(1)
        asyncio.get_running_loop().call_at((timeout or 2.0) - earlier, task.cancel)
        await asyncio.wait((task,))
        assert task.cancelled()
        assert pool.stats().timeouts == 0
        await handle.release()


async def test_a_failed_creation_and_a_cancelled_probe_in_one_turn() -> None:
    """The probe is cancelled; there is nothing to put back."""

    class CancelsWhenFailed(CancelsWhenMade):
        def create_failed(self, error: BaseException) -> None:
            assert self.victim is not None
            self.victim.cancel()  # it was told just now, and has not seen it

    notes = CancelsWhenFailed()
    async with opened(MockResource(create=Outcome.ERROR, turns=1), observer=notes) as pool:
        notes.victim = asyncio.create_task(_probe(pool))
        await asyncio.wait((notes.victim,))
        assert notes.victim.cancelled()
        assert pool.stats().size == 0


async def test_given_back_to_a_line_that_has_just_left() -> None:
    """Everybody in line is cancelled in the turn of the release: the instance lies idle, and is lent from there."""
    async with opened(max_size=1) as pool:
        quick = pool.acquire()
        await quick.__aenter__()
        gone = [asyncio.create_task(_use(pool)) for _ in range(3)]
        await turns(1)
        for task in gone:
            task.cancel()
        await quick.__aexit__(None, None, None)
        assert (pool.stats().idle, pool.stats().waiting) == (1, 0)
        await asyncio.wait(gone)
        assert_no_leaks(pool)


async def test_a_refused_dependency_does_not_speak_against_the_server() -> None:
    """A create that fails because something it needs is refused fails its caller, and opens no circuit."""
    needs = Unavailable("quarantined", resource_id="another", retryable=True)
    async with opened(MockResource(create=needs), circuit_threshold=1) as pool:
        for _ in range(3):
            with pytest.raises(CreateFailed) as caught:
                await _use(pool)
            assert caught.value.retryable


async def test_served_and_called_off_in_one_turn() -> None:
    """A token that comes too late takes nothing back."""
    async with opened(max_size=1) as pool:
        handle = await pool.acquire()
        token = CancellationToken()
        task = asyncio.create_task(_use(pool, context=ResourceContext(cancellation=token)))
        await turns(1)
        await handle.release()
        token.cancel()
        await task
        with pytest.raises(AcquireCancelled):
            await _use(pool, context=ResourceContext(cancellation=token))


@pytest.mark.parametrize("timing", ["always", "sampled"])
async def test_both_kinds_of_quick_acquisition_keep_the_rules(timing: str) -> None:
    """Entered twice, left twice, handed over in line: the same for timed and for plain ones."""
    async with opened(max_size=1, use_timing=timing) as pool:
        quick = pool.acquire()
        await quick.__aenter__()
        waiting = [asyncio.create_task(_use(pool)) for _ in range(3)]
        await turns(1)
        with pytest.raises(InternalError):
            await quick.__aenter__()
        await quick.__aexit__(None, None, None)
        with pytest.warns(RuntimeWarning, match="second time"):
            await quick.__aexit__(None, None, None)
        await asyncio.gather(*waiting)
        assert pool.stats().acquisitions == 4
        assert_no_leaks(pool)


async def test_a_slow_acquisition_left_twice_warns() -> None:
    """One with a timeout of its own, too."""
    async with opened() as pool:
        slow = pool.acquire(timeout=1.0)
        await slow.__aenter__()
        await slow.__aexit__(None, None, None)
        with pytest.warns(RuntimeWarning, match="second time"):
            await slow.__aexit__(None, None, None)


async def test_an_entry_may_be_obtained_without_a_handle() -> None:
    """As a manager's shortest road does: the entry is given back by itself."""
    async with opened(max_size=1) as pool:
        first, _ = await pool.obtain(None, None)
        asking = asyncio.create_task(pool.obtain(None, 5.0))
        await turns(1)
        await pool.give_back(first, None, None)
        second, _ = await asking
        assert second is first
        await pool.give_back(second, Use(), None)
        assert_no_leaks(pool)


async def test_an_expired_one_is_noticed_on_its_way_back_before_any_tick() -> None:
    """The long way back reads the clock itself."""
    quiet: dict[str, Any] = {"validation_interval": None, "idle_timeout": None, "maintenance_interval": None}
    async with opened(max_lifetime=100.0, **quiet) as pool:
        handle = await pool.acquire()
        await asyncio.sleep(99.9999)
        await handle.release(ValueError("its body failed: that takes the long way"))
        await turns()
        assert pool.stats().destroyed == {"expired": 1}


async def test_a_judgement_spares_what_it_does_not_mean() -> None:
    """A predicate that says no of the one being made keeps it."""
    async with opened(MockResource(create=Outcome.SLOW)) as pool:
        asking = asyncio.create_task(_use(pool))
        await turns()
        assert pool.retire_where(lambda instance: instance.number == 99) == 0
        await asking
        assert pool.stats().idle == 1


async def test_a_check_in_place_is_single_flight() -> None:
    """While one is slow, the next sweep begins none; a failing one is told."""
    notes = Notes()
    resource = MockResource(is_valid=[Outcome.SLOW, Outcome.ERROR], slow=25.0)
    times: dict[str, Any] = {
        "validation_interval": 10.0,
        "maintenance_interval": 10.0,
        "validate_timeout": None,
    }
    async with opened(resource, sharing="shared", observer=notes, **times) as pool:
        handle = await pool.acquire()
        await asyncio.sleep(34)
        assert resource.calls["is_valid"] == 1
        await asyncio.sleep(20)
        assert resource.calls["is_valid"] == 2
        assert len(notes.of("validation_failed")) == 1
        await handle.release()


async def test_a_close_stops_a_check_in_place() -> None:
    """It is a running step like any other."""
    resource = MockResource(is_valid=Outcome.NEVER)
    times: dict[str, Any] = {
        "validation_interval": 10.0,
        "maintenance_interval": 10.0,
        "validate_timeout": None,
    }
    async with opened(resource, sharing="shared", **times) as pool:
        handle = await pool.acquire()
        await asyncio.sleep(11)
        closing = asyncio.create_task(pool.close())
        await handle.release()
        assert (await closing).left == 0


async def test_a_recycle_may_return_any_awaitable() -> None:
    """A plain function that gives a future is waited for."""
    resource = MockResource(recycle=Outcome.OK)
    ends: list[asyncio.Future[None]] = []

    def recycle(instance: MockInstance) -> asyncio.Future[None]:
        ends.append(asyncio.get_running_loop().create_future())
        return ends[-1]

    resource.recycle = recycle  # type: ignore[method-assign]  # another form of it
    async with opened(resource) as pool:
        handle = await pool.acquire()
        releasing = asyncio.create_task(handle.release())
        await turns()
        assert not releasing.done()
        ends[0].set_result(None)
        await releasing
        assert pool.stats().idle == 1


async def test_a_lease_that_raises_the_body_s_error_itself_adds_none() -> None:
    """A plain context manager that re-raises what it is told has not failed."""

    class Manager:
        async def __aenter__(self) -> str:
            return "value"

        async def __aexit__(self, kind: object, error: BaseException | None, trace: object) -> None:
            if error is not None:
                raise error

    resource = MockResource(recycle=Outcome.OK)
    resource.lease = lambda instance, context: Manager()  # type: ignore[method-assign]  # another form of it
    async with opened(resource) as pool:
        handle = await pool.acquire()
        assert handle.value == "value"
        await handle.release(ZeroDivisionError())
        assert pool.stats().created == 1


async def test_a_handle_lost_after_a_forced_close_rolls_its_lease_back() -> None:
    """The instance is gone already; the lease is told all the same, and nothing is counted twice."""
    resource = MockResource(lease_entry=Outcome.OK)
    async with opened(resource) as pool:
        handle = await pool.acquire()
        await pool.close(0.0)
        del handle
        gc.collect()
        await turns()
        assert [type(outcome) for outcome in resource.outcomes] == [HandleLost]
        assert pool.stats().leaks == 0


async def test_a_drain_does_not_disturb_what_is_out() -> None:
    """Ticks and sweeps go on while it waits, and change nothing."""
    resource = MockResource(is_valid=Outcome.OK)
    async with opened(resource, min_size=2, keepalive_interval=10.0) as pool:
        handle = await pool.acquire()
        draining = asyncio.create_task(pool.drain())
        await asyncio.sleep(200)
        assert (pool.stats().in_use, resource.calls["is_valid"]) == (1, 0)
        await handle.release()
        assert await draining


def test_a_position_without_a_line_is_that_of_the_function() -> None:
    """An instruction that belongs to no line is described by where its function begins."""
    code = _probe.__code__
    assert describe((code, 10**6))[0].startswith(f"{__file__}:{code.co_firstlineno} in _probe")


async def _use(pool: MockPool, **limits: Any) -> None:
    async with pool.acquire(limits.get("context"), timeout=limits.get("timeout")):
        pass


async def _probe(pool: MockPool) -> None:
    async with pool.borrow(fresh=True):
        pass
