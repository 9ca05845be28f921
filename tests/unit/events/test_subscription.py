"""Subscriptions: filters, overflow, what a reader knows it lost, one reader, cancellation, forgetting."""

from __future__ import annotations

import asyncio
import gc

import pytest

from nebula_resource.errors import ConfigurationError
from nebula_resource.events import (
    Acquired,
    Event,
    EventBus,
    Lagged,
    Overflow,
    PoolDrained,
    PoolDraining,
    Released,
    Subscription,
)
from nebula_resource.model.scope import Scope
from tests.unit.events.reading import drain, publish, read


async def test_a_reader_that_waits_is_woken() -> None:
    """An event reaches a reader that came before it."""
    bus = EventBus()
    subscription = bus.subscribe()
    task = asyncio.create_task(read(subscription, 2))
    await asyncio.sleep(1)
    publish(bus, 1)
    await asyncio.sleep(1)
    assert not task.done()
    publish(bus, 1)
    assert await task == [1, 2]


async def test_a_subscription_holds_events_from_its_making() -> None:
    """Nothing published between subscribe and the first read is missed, nothing from before is seen."""
    bus = EventBus()
    heard = bus.subscribe(PoolDraining)
    publish(bus, 1)
    late = bus.subscribe()
    publish(bus, 1)
    assert await drain(heard) == [1, 2]
    assert await drain(late) == [2]


async def test_types_filter() -> None:
    """Only the types that were asked for arrive."""
    bus = EventBus()
    subscription = bus.subscribe([Acquired, Released])
    bus.publish(PoolDrained)
    bus.publish(Released, held_s=None)
    bus.publish(Acquired, waited_s=0.0)
    assert [type(await anext(subscription)).__name__ for _ in range(2)] == ["Released", "Acquired"]
    assert subscription.pending == 0


async def test_resource_filter_takes_an_id_or_a_public_id() -> None:
    """A resource id means all its registrations, a public id one of them."""
    bus = EventBus()
    by_id, by_public = bus.subscribe(resource="db"), bus.subscribe(resource="db~aaa")
    bus.publish(PoolDraining, "db", public_id="db~aaa")
    bus.publish(PoolDraining, "db", public_id="db~bbb")
    bus.publish(PoolDraining, "cache", public_id="cache")
    bus.publish(PoolDraining)
    assert await drain(by_id) == [1, 2]
    assert await drain(by_public) == [1]


async def test_scope_filter_is_what_the_scope_contains() -> None:
    """A tenant's subscription gets its own and nested scopes' events, never another's or those of no tenant."""
    bus = EventBus()
    mine = bus.subscribe(scope=Scope.tenant("a"))
    everything = bus.subscribe(scope=Scope.GLOBAL)
    for scope in (
        Scope.tenant("a"),
        Scope.workflow("w", tenant="a"),
        Scope.tenant("b"),
        Scope.tenant("aa"),
        Scope.workflow("w"),
        Scope.GLOBAL,
    ):
        bus.publish(PoolDraining, "db", scope, public_id="db~x")
    assert await drain(mine) == [1, 2]
    assert await drain(everything) == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize("buffer", [0, -1])
def test_a_buffer_holds_at_least_one(buffer: int) -> None:
    """Nothing could ever be read from a smaller one."""
    with pytest.raises(ConfigurationError, match="at least 1"):
        EventBus().subscribe(buffer=buffer)


async def test_closing_ends_a_reader_that_waits() -> None:
    """The loop around it ends as if there were no more events."""
    bus = EventBus()
    subscription = bus.subscribe()

    async def count() -> int:
        return len([event async for event in subscription])

    task = asyncio.create_task(count())
    await asyncio.sleep(1)
    subscription.close()
    subscription.close()
    assert await task == 0


async def test_closing_forgets_what_is_unread() -> None:
    """A reader that closes has said that it wants no more."""
    bus = EventBus()
    async with bus.subscribe() as subscription:
        publish(bus, 3)
    assert [event async for event in subscription] == []
    assert bus.stats().subscribers == 0


@pytest.mark.parametrize("overflow", Overflow)
async def test_closing_forgets_what_was_lost(overflow: Overflow) -> None:
    """Not even a marker is left to be read, wherever in the line it stood."""
    bus = EventBus()
    subscription = bus.subscribe(buffer=2, overflow=overflow)
    publish(bus, 3)
    assert isinstance(await anext(subscription), Event | Lagged)
    publish(bus, 2)
    subscription.close()
    assert [item async for item in subscription] == []
    assert (subscription.pending, subscription._box.markers) == (0, 0)


async def test_one_reader_at_a_time() -> None:
    """A second one that would wait beside the first is told so; the first is not disturbed."""
    bus = EventBus()
    subscription = bus.subscribe()
    first = asyncio.create_task(read(subscription, 1))
    await asyncio.sleep(1)
    with pytest.raises(ConfigurationError, match="one reader"):
        await anext(subscription)
    publish(bus, 1)
    assert await first == [1]


async def test_a_reader_looks_once_more_before_it_waits() -> None:
    """What comes in each turn of the loop is read without a future; after a turn without an event one is waited for."""
    bus = EventBus()
    subscription = bus.subscribe()
    task = asyncio.create_task(read(subscription, 6))
    for _ in range(5):
        publish(bus, 1)
        await asyncio.sleep(0)
        assert subscription._box.waiter is None
    assert not task.done()
    for _ in range(2):
        await asyncio.sleep(0)
    assert subscription._box.waiter is not None
    publish(bus, 1)
    assert await task == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize("turns", range(4))
async def test_closing_ends_a_reader_in_whichever_turn(turns: int) -> None:
    """Before it looked, between its two looks, and while it waits."""
    subscription = EventBus().subscribe()

    async def read_all() -> list[Event | Lagged]:
        return [item async for item in subscription]

    task = asyncio.create_task(read_all())
    for _ in range(turns):
        await asyncio.sleep(0)
    subscription.close()
    assert await asyncio.wait_for(task, 1) == []


@pytest.mark.parametrize("turns", range(4))
async def test_a_cancelled_reader_loses_nothing(turns: int) -> None:
    """However many loop turns after the event the cancellation comes, the event was read or can be read again."""
    bus = EventBus()
    subscription = bus.subscribe()
    got: list[int] = []

    async def reader() -> None:
        async for item in subscription:
            assert isinstance(item, Event)
            got.append(item.seq)

    task = asyncio.create_task(reader())
    await asyncio.sleep(1)
    publish(bus, 1)
    for _ in range(turns):
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert got + await drain(subscription) == [1]
    publish(bus, 1)
    assert await read(subscription, 1) == [2]


async def test_a_reader_cancelled_just_before_an_event_loses_nothing() -> None:
    """The event comes while the reader's wait is cancelled and the reader does not know it yet."""
    bus = EventBus()
    subscription = bus.subscribe()
    task = asyncio.create_task(read(subscription, 1))
    await asyncio.sleep(1)
    task.cancel()
    publish(bus, 1)
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await drain(subscription) == [1]


async def test_an_end_just_after_a_reader_was_cancelled_ends_it_as_a_cancellation() -> None:
    """The bus closes while the reader's wait is cancelled and the reader does not know it yet: nobody is woken twice."""
    bus = EventBus()
    subscription = bus.subscribe()
    task = asyncio.create_task(read(subscription, 1))
    await asyncio.sleep(1)
    task.cancel()
    bus.close()
    with pytest.raises(asyncio.CancelledError):
        await task
    with pytest.raises(StopAsyncIteration):
        await anext(subscription)


async def test_an_event_of_the_very_moment_of_the_end_is_not_kept() -> None:
    """A listener that ends a subscription while an event is on its way to it leaves nothing behind."""
    bus = EventBus()
    subscription: Subscription

    def end(event: Event) -> None:
        subscription.close()

    bus.add_listener(end)
    subscription = bus.subscribe()
    publish(bus, 1)
    assert (subscription.pending, subscription.dropped) == (0, 0)


async def test_a_forgotten_subscription_ends_by_itself() -> None:
    """Breaking out of a loop over an unnamed subscription leaves nothing behind on the bus."""
    bus = EventBus()
    publish_later = asyncio.get_running_loop().call_later(1, publish, bus, 1)
    async for _ in bus.subscribe():
        break
    gc.collect()
    assert publish_later.when() == 1
    assert not bus.wants(PoolDraining)


@pytest.mark.parametrize("what", ["publish", "close the bus", "close the subscription"])
def test_a_reader_whose_loop_is_gone_stops_nobody(what: str) -> None:
    """An event for a future of a closed loop, or the end of it all, ends the subscription and nothing else."""
    bus = EventBus()
    subscription, other = bus.subscribe(), bus.subscribe()
    loop = asyncio.new_event_loop()
    task = loop.create_task(read(subscription, 1))
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()
    assert subscription._box.waiter is not None, "it waits"
    if what == "publish":
        publish(bus, 1)
        assert other.pending == 1
    elif what == "close the bus":
        bus.close()
        assert other.closed
    else:
        subscription.close()
    assert (subscription.closed, subscription.pending) == (True, 0)
    task._log_destroy_pending = False  # type: ignore[attr-defined]  # the loop was torn away from it on purpose
    del task


async def test_repr_says_how_it_stands() -> None:
    """The night-time question: is it open, is it behind, has it lost anything."""
    bus = EventBus()
    subscription = bus.subscribe(buffer=2, name="sse")
    publish(bus, 3)
    assert repr(subscription) == "<Subscription 'sse' open: 2 unread, 1 lost>"
    subscription.close()
    assert repr(subscription) == "<Subscription 'sse' closed: 0 unread, 1 lost>"
