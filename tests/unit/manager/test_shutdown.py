"""Shutdown: ends the moment the last handle is back, dependents first, one end for all who ask."""

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from nebula_resource import (
    CancellationToken,
    HandleReleased,
    HealthCheckable,
    HealthPolicy,
    HealthStatus,
    Manager,
    QuarantinePolicy,
    ResourceContext,
    Scope,
    Unavailable,
)
from nebula_resource.events import ShutdownFinished, ShutdownStarted
from nebula_resource.hooks import HookEvent, HookPayload, ResourceHook
from nebula_resource.manager.registration import RegistrationState
from nebula_resource.quarantine import RecoveryBackoff
from tests.unit.manager.things import Instance, Needy, Thing, ThingConfig


async def test_it_ends_the_moment_the_last_handle_is_back() -> None:
    """Not after the drain time, and new callers are refused meanwhile."""
    loop = asyncio.get_running_loop()
    manager = Manager()
    thing = Thing()
    await manager.register(thing)
    handle = await manager.acquire("thing")
    ending = asyncio.ensure_future(manager.shutdown(drain=30))
    await asyncio.sleep(2)
    with pytest.raises(Unavailable) as caught:
        await manager.acquire("thing")
    assert caught.value.why == "draining"
    await handle.release()
    report = await ending
    assert loop.time() == pytest.approx(2.0, abs=1e-3)
    assert (report.drained, report.forced, report.failed, report.left) == (1, 0, 0, 0)
    assert report.duration_s == pytest.approx(2.0, abs=1e-3)
    assert [instance.open for instance in thing.made] == [False]
    with pytest.raises(Unavailable) as closed:
        await manager.acquire("thing")
    assert closed.value.why == "closed"
    assert not closed.value.retryable


async def test_a_handle_that_never_comes_back_is_taken() -> None:
    """After the drain time the instance is cleaned up under its holder, and the report says so."""
    loop = asyncio.get_running_loop()
    manager = Manager()
    thing = Thing()
    await manager.register(thing)
    handle = await manager.acquire("thing")
    report = await manager.shutdown(drain=3)
    assert loop.time() == pytest.approx(3.0, abs=0.6)
    assert (report.drained, report.forced) == (0, 1)
    assert not thing.made[0].open
    with pytest.raises(HandleReleased):
        _ = handle.value
    await handle.release()  # what is gone is gone: no error, no second cleanup
    assert len(thing.gone) == 1


async def test_dependents_go_before_what_they_need() -> None:
    """In a chain and in a diamond, no instance outlives one it depends on."""
    order: list[str] = []

    class Noting(Needy):
        async def cleanup(self, instance: Instance) -> None:
            order.append(self.id)

    async with Manager() as manager:
        await manager.register(Noting("top", dependencies=["left", "right"]))
        await manager.register(Noting("right", dependencies=["bottom"]))
        await manager.register(Noting("left", dependencies=["bottom"]))
        await manager.register(Noting("bottom"))
    assert order[0] == "top"
    assert set(order[1:3]) == {"left", "right"}
    assert set(order[3:]) == {"bottom"}


async def test_everybody_shares_one_end() -> None:
    """Concurrent and later calls get the same report; a cancelled caller does not stop it."""
    manager = Manager()
    await manager.register(Thing())
    handle = await manager.acquire("thing")
    first = asyncio.ensure_future(manager.shutdown(drain=10))
    second = asyncio.ensure_future(manager.shutdown(drain=99))
    await asyncio.sleep(1)
    first.cancel()
    await asyncio.wait((first,))
    assert first.cancelled()
    await handle.release()
    report = await second
    assert report is await manager.shutdown()


async def test_its_events_frame_the_end_and_streams_end() -> None:
    """ShutdownStarted first, ShutdownFinished last with the numbers; then every subscription ends."""
    manager = Manager()
    await manager.register(Thing())
    subscription = manager.subscribe()
    await manager.shutdown()
    events = [event async for event in subscription]
    assert isinstance(events[0], ShutdownStarted)
    assert isinstance(events[-1], ShutdownFinished)
    assert events[-1].drained == 1


async def test_cancelling_the_token_shuts_down() -> None:
    """A manager made with a token ends when the token is cancelled."""
    token = CancellationToken()
    manager = Manager(cancellation=token)
    thing = Thing()
    await manager.register(thing)
    token.cancel()
    report = await manager.shutdown()
    assert report.drained == 1
    assert not thing.made[0].open


async def test_one_scope_goes_and_nothing_else_is_touched() -> None:
    """shutdown_scope takes what the scope contains, deeper ones too, and leaves siblings and GLOBAL alone."""
    async with Manager() as manager:
        scopes = [
            Scope.GLOBAL,
            Scope.tenant("acme"),
            Scope.workflow("w", tenant="acme"),
            Scope.tenant("globex"),
            Scope.tenant("acme2"),
        ]
        for scope in scopes:
            await manager.register(Thing(), scope=scope)
        await manager.shutdown_scope(Scope.tenant("acme"))
        assert [each.scope for each in manager.pools()] == [scopes[0], scopes[3], scopes[4]]
        async with manager.scope(tenant="globex"), manager.acquire("thing"):
            pass


@pytest.mark.alone
async def test_a_hundred_idle_pools_end_at_once() -> None:
    """100 idle pooled resources are gone in under half a second of real time (SPEC §7)."""
    manager = Manager()
    for number in range(100):
        await manager.register(Thing(f"thing-{number}"))
    started = time.perf_counter()
    report = await manager.shutdown()
    assert time.perf_counter() - started < 0.5
    assert report.drained == 100


async def test_an_opening_that_is_under_way_ends_with_the_manager() -> None:
    """Shut down while a create hangs: the create is cancelled, and the registration does not open afterwards."""

    class Hanging(Thing):
        async def create(self, config: ThingConfig, context: ResourceContext) -> Instance:
            await asyncio.Event().wait()
            raise AssertionError("nobody sets it")

    manager = Manager()
    opening = asyncio.ensure_future(manager.register(Hanging()))
    await asyncio.sleep(1)
    report = await manager.shutdown(drain=1)
    await asyncio.wait((opening,))
    assert report.left == 0
    assert not any(each.is_open for each in manager.pools())


# ── whatever hangs ──


class Hanging(Thing):
    """Its cleanup never ends; ``deaf``, not even when it is cancelled."""

    def __init__(self, id: str = "thing", *, deaf: bool = False) -> None:
        super().__init__(id)
        self.deaf = deaf
        self.may_end = asyncio.Event()

    async def cleanup(self, instance: Instance) -> None:
        while not self.may_end.is_set():
            try:
                await self.may_end.wait()
            except asyncio.CancelledError:
                if not self.deaf:
                    raise
        await super().cleanup(instance)


@pytest.mark.parametrize("own_limit", [10.0, None])
async def test_a_cleanup_that_hangs_is_cancelled_and_counted(own_limit: float | None) -> None:
    """Within cleanup and terminate, also when its pool set no limit of its own: failed, not left."""
    loop = asyncio.get_running_loop()
    manager = Manager()
    await manager.register(Hanging(), pool={"cleanup_timeout": own_limit, "min_size": 2})
    other = Thing("other")
    await manager.register(other)
    report = await manager.shutdown(drain=1, cleanup=3, terminate=2)
    assert loop.time() <= 3.5
    assert (report.failed, report.left, report.forced) == (2, 0, 0)
    assert report.drained == 2
    assert not other.made[0].open
    assert len(manager._tasks) == 0
    assert str(report).startswith("2 drained, 0 handles forced, 2 cleanups failed, 0 left behind, ")


class Dawdling(ResourceHook):
    """Stands before every cleanup, for as long as it is let."""

    name = "dawdling"
    events = frozenset({HookEvent.CLEANUP})

    async def before(self, event: HookPayload) -> None:
        await asyncio.sleep(4)


@pytest.mark.parametrize("hangs", [False, True])
async def test_a_hook_that_takes_all_the_time_does_not_cost_an_instance_its_cleanup(hangs: bool) -> None:
    """The hook is cut off, and the instance has what time is left; one that hangs as well is left, and told."""
    loop = asyncio.get_running_loop()
    manager = Manager()
    thing = Hanging() if hangs else Thing()
    await manager.register(thing, pool={"min_size": 2, "cleanup_timeout": 5.0})
    manager.hooks.add(Dawdling())
    report = await manager.shutdown(drain=1, cleanup=3, terminate=2)
    assert loop.time() <= 3 + 2 + 2
    assert (report.failed, report.left) == (0, 2 if hangs else 0)
    if not hangs:
        assert loop.time() == 3.0
        assert not any(instance.open for instance in thing.made)
    await asyncio.sleep(5)
    assert manager.stats() == {} or manager.stats()["thing"].size == 0


async def test_a_cleanup_that_ignores_even_that_is_left_behind() -> None:
    """The shutdown ends all the same, says how many steps it left, and goes on to what that one needs."""
    loop = asyncio.get_running_loop()
    manager = Manager()
    below = Thing("below")
    await manager.register(below)
    deaf = Hanging(deaf=True)
    deaf.dependencies = ["below"]
    await manager.register(deaf, pool={"cleanup_timeout": None, "min_size": 2})
    report = await manager.shutdown(drain=1, cleanup=3, terminate=2)
    assert loop.time() <= 3 + 2 + 2 + 2
    assert report.left == 2
    assert not below.made[0].open
    assert len(manager._tasks) == 0
    deaf.may_end.set()
    await asyncio.sleep(1)
    assert not any(instance.open for instance in deaf.made)


async def test_a_lease_that_hangs_at_its_end_holds_up_nothing() -> None:
    """A commit that never ends: the drain's time, the lease's limit or the force of the close, then it is over."""
    loop = asyncio.get_running_loop()

    class Committing(Thing):
        @asynccontextmanager
        async def _lease(self, instance: Instance) -> AsyncGenerator[Instance]:
            yield instance
            await asyncio.Event().wait()

        def lease(self, instance: Instance, context: ResourceContext) -> Any:
            return self._lease(instance)

    manager = Manager()
    thing = Committing()
    await manager.register(thing, pool={"lease_timeout": None})
    handle = await manager.acquire("thing")
    releasing = asyncio.ensure_future(handle.release())
    await asyncio.sleep(1)
    report = await manager.shutdown(drain=3, cleanup=3, terminate=2)
    assert loop.time() <= 1 + 3 + 3 + 2
    assert report.left == 0
    assert not thing.made[0].open
    await asyncio.wait((releasing,))
    assert len(manager._tasks) == 0


async def test_a_recycle_that_hangs_holds_up_nothing() -> None:
    """An instance that is being reset when the shutdown comes is taken and cleaned up."""
    loop = asyncio.get_running_loop()

    class Resetting(Thing):
        async def recycle(self, instance: Instance) -> None:
            await asyncio.Event().wait()

    manager = Manager()
    thing = Resetting()
    await manager.register(thing, pool={"recycle_timeout": None})
    handle = await manager.acquire("thing")
    releasing = asyncio.ensure_future(handle.release())
    await asyncio.sleep(1)
    report = await manager.shutdown(drain=2, cleanup=3, terminate=2)
    assert loop.time() <= 1 + 2 + 3 + 2
    assert report.left == 0
    assert not thing.made[0].open
    await asyncio.wait((releasing,))


async def test_a_probe_that_hangs_does_not_keep_callers_coming() -> None:
    """Callers are refused from the first moment, whatever checks are under way, and the end still comes."""
    loop = asyncio.get_running_loop()

    class Probed(Thing):
        asked = False

        async def is_valid(self, instance: Instance) -> bool:
            self.asked = True
            await asyncio.Event().wait()
            return True

    manager = Manager()
    thing = Probed()
    await manager.register(thing)
    checking = asyncio.ensure_future(manager.check("thing"))
    await asyncio.sleep(0.1)
    assert thing.asked
    ending = asyncio.ensure_future(manager.shutdown())
    await asyncio.sleep(0)
    with pytest.raises(Unavailable) as caught:
        await manager.acquire("thing")
    assert caught.value.why == "draining"
    report = await ending
    assert loop.time() <= 35
    assert report.left == 0
    await asyncio.wait((checking,))


async def test_what_a_forced_instance_held_is_not_forced_too() -> None:
    """One handle never comes back: it is the only one that counts, not what its instance held of a dependency."""
    manager = Manager()
    await manager.register(Thing("bottom"))
    await manager.register(Needy("middle", dependencies=["bottom"]))
    await manager.register(Needy("top", dependencies=["middle"]))
    handle = await manager.acquire("top")
    report = await manager.shutdown(drain=2)
    assert (report.forced, report.drained, report.failed) == (1, 2, 0)
    await handle.release()


async def test_what_still_runs_is_cancelled_in_the_end() -> None:
    """A task of the manager that never ends, whatever it is, does not outlive it."""
    loop = asyncio.get_running_loop()
    manager = Manager()
    await manager.register(Thing())
    manager._tasks.start(asyncio.Event().wait(), name="never ends")
    await manager.shutdown(terminate=2)
    assert loop.time() == pytest.approx(2.0, abs=0.1)
    assert len(manager._tasks) == 0


async def test_a_scope_that_ends_waits_for_no_other() -> None:
    """A handle out elsewhere holds up nothing; the same scope may be shut down again."""
    loop = asyncio.get_running_loop()
    async with Manager() as manager:
        acme = Scope.tenant("acme")
        await manager.register(Thing())
        await manager.register(Thing(), scope=acme)
        handle = await manager.acquire("thing")
        assert (await manager.shutdown_scope(acme)).drained == 1
        assert (await manager.shutdown_scope(acme)).drained == 0
        assert loop.time() < 1
        async with manager.acquire("thing", ResourceContext(acme)):
            pass
        await handle.release()


async def test_a_cancelled_shutdown_of_a_scope_goes_on() -> None:
    """The caller leaves at once; what was begun ends."""
    async with Manager() as manager:
        await manager.register(Thing())
        handle = await manager.acquire("thing")
        ending = asyncio.ensure_future(manager.shutdown_scope(Scope.GLOBAL))
        await asyncio.sleep(1)
        ending.cancel()
        await asyncio.wait((ending,))
        await handle.release()
        await asyncio.sleep(1)
        assert manager.pools() == ()


async def test_an_acquire_in_line_is_told_that_it_ends() -> None:
    """Whoever waits when the shutdown begins is refused at once, not after its timeout."""
    loop = asyncio.get_running_loop()
    manager = Manager()
    await manager.register(Thing(), pool={"max_size": 1})
    handle = await manager.acquire("thing")
    waiting = asyncio.ensure_future(_acquire(manager))
    await asyncio.sleep(1)
    ending = asyncio.ensure_future(manager.shutdown())
    with pytest.raises(Unavailable) as caught:
        await waiting
    assert caught.value.why == "draining"
    assert loop.time() == 1.0
    await handle.release()
    await ending


async def _acquire(manager: Manager) -> None:
    async with manager.acquire("thing"):
        pass


class Stubborn(Thing, HealthCheckable):
    """Its check takes no notice of cancellations for a hundred seconds."""

    async def health_check(self, instance: Instance, context: ResourceContext) -> HealthStatus:
        loop = asyncio.get_running_loop()
        end = loop.time() + 100
        while loop.time() < end:
            try:
                await asyncio.sleep(end - loop.time())
            except asyncio.CancelledError:
                self.log.append("asked to end")
        return HealthStatus.healthy()


class Lost(Thing):
    """Cannot be made, and counts how often that was tried."""

    tries = 0

    async def create(self, config: ThingConfig, context: ResourceContext) -> Instance:
        self.tries += 1
        raise ConnectionRefusedError("down")


async def test_a_check_that_will_not_end_holds_up_nothing_and_no_attempt_begins_meanwhile() -> None:
    """It is asked, given the time to terminate, and left; recovery ends at once."""
    loop = asyncio.get_running_loop()
    manager = Manager(
        health=HealthPolicy(interval=10, jitter=0),
        quarantine=QuarantinePolicy(backoff=RecoveryBackoff(base=0.5, factor=1, max=0.5, jitter=0)),
    )
    thing, lost = Stubborn(), Lost("lost")
    await manager.register(thing, pool={"min_size": 1})
    await manager.register(lost, pool={"min_size": 1})
    await asyncio.sleep(10.2)  # the check runs
    began, tries = loop.time(), lost.tries
    assert tries > 10
    await manager.shutdown(drain=0, cleanup=0.5, terminate=1)
    assert loop.time() - began <= 2.5
    assert thing.log.count("asked to end") >= 1
    assert lost.tries == tries
    await asyncio.sleep(200)
    assert lost.tries == tries


class Committing(Thing):
    """Its lease takes a second to end."""

    @asynccontextmanager
    async def _lease(self, instance: Instance) -> AsyncGenerator[Instance]:
        yield instance
        await asyncio.sleep(1)
        self.log.append("commit")

    def lease(self, instance: Instance, context: ResourceContext) -> Any:
        return self._lease(instance)


async def test_what_an_instance_held_is_back_before_the_place_it_came_from_is_asked() -> None:
    """A lease that an instance above kept ends in its own time; that is no force."""
    manager = Manager()
    below = Committing("below")
    await manager.register(below)
    await manager.register(Needy("above", dependencies=["below"]), pool={"min_size": 1})
    report = await manager.shutdown()
    assert (report.drained, report.forced, report.left) == (2, 0, 0)
    assert below.log == ["commit", "cleanup"]
    assert asyncio.get_running_loop().time() == pytest.approx(1.0, abs=1e-3)


async def test_what_a_pool_leaves_behind_by_itself_is_counted() -> None:
    """A cleanup that ignores its own limit: the pool gives up before the shutdown does."""
    manager = Manager()
    deaf = Hanging(deaf=True)
    await manager.register(deaf, pool={"cleanup_timeout": 1.0, "min_size": 2})
    report = await manager.shutdown(drain=1, cleanup=30, terminate=30)
    assert asyncio.get_running_loop().time() < 5
    assert (report.left, report.drained) == (2, 1)
    deaf.may_end.set()
    await asyncio.sleep(1)


async def test_whoever_keeps_a_registration_sees_its_end() -> None:
    """Draining while handles are out, closed after; its callers are told the same."""
    async with Manager() as manager:
        registration = await manager.register(Thing())
        handle = await manager.acquire("thing")
        ending = asyncio.ensure_future(manager.deregister("thing"))
        await asyncio.sleep(1)
        states = [registration.state]
        await handle.release()
        await ending
        states.append(registration.state)
        assert states == [RegistrationState.DRAINING, RegistrationState.CLOSED]
        assert registration.refusal is not None
        told = registration.refusal()
        assert (str(told.code), told.retryable) == ("unavailable", False)
