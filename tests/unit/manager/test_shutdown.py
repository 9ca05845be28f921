"""Shutdown: ends the moment the last handle is back, dependents first, one end for all who ask."""

import asyncio
import time

import pytest

from nebula_resource import CancellationToken, HandleReleased, Manager, ResourceContext, Scope, Unavailable
from nebula_resource.events import ShutdownFinished, ShutdownStarted
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
