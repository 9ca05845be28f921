"""A full subscription: what is kept, what is lost, and that its reader knows."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from nebula_resource.events import (
    EventBus,
    Lagged,
    Overflow,
    Overrun,
    PoolDraining,
)
from tests.unit.events.reading import drain, publish, read


async def test_drop_oldest_keeps_the_newest_and_says_what_is_missing_first() -> None:
    """The marker stands where the gap is: before what is left."""
    bus = EventBus()
    subscription = bus.subscribe(buffer=3)
    publish(bus, 5)
    assert await drain(subscription) == [Lagged(2), 3, 4, 5]
    publish(bus, 1)
    assert await drain(subscription) == [6]
    assert subscription.dropped == 2


async def test_a_subscription_holds_a_thousand_and_some_events_by_default() -> None:
    """1,024 of them; of more, the oldest go."""
    bus = EventBus()
    subscription = bus.subscribe()
    publish(bus, 1024)
    assert (subscription.pending, subscription.dropped) == (1024, 0)
    publish(bus, 1)
    assert (subscription.pending, subscription.dropped) == (1024, 1)
    assert await read(subscription, 2) == [Lagged(1), 2]


async def test_drop_newest_keeps_the_oldest_and_says_what_is_missing_after_them() -> None:
    """The marker stands between what was kept and what came when there was room again."""
    bus = EventBus()
    subscription = bus.subscribe(buffer=3, overflow=Overflow.DROP_NEWEST)
    publish(bus, 5)
    assert await read(subscription, 1) == [1]
    publish(bus, 2)
    assert await drain(subscription) == [2, 3, Lagged(2), 6, Lagged(1)]
    publish(bus, 1)
    assert await drain(subscription) == [8]
    assert subscription.dropped == 3


async def test_drop_newest_says_what_is_missing_also_before_an_event_that_finds_the_line_empty() -> None:
    """Everything was read but the marker: it stands before what comes then."""
    bus = EventBus()
    subscription = bus.subscribe(buffer=2, overflow=Overflow.DROP_NEWEST)
    publish(bus, 3)  # 3 is lost
    assert await read(subscription, 2) == [1, 2]
    publish(bus, 1)
    assert await drain(subscription) == [Lagged(1), 4]
    publish(bus, 3)
    assert await drain(subscription) == [5, 6, Lagged(1)]


async def test_a_marker_takes_no_place_in_the_buffer() -> None:
    """With a buffer of one, each event that fits is kept though markers stand beside it."""
    bus = EventBus()
    subscription = bus.subscribe(buffer=2, overflow=Overflow.DROP_NEWEST)
    publish(bus, 3)  # 3 is lost
    assert await read(subscription, 1) == [1]
    publish(bus, 2)  # a marker and 4 fit, 5 is lost
    assert subscription.pending == 2
    assert await read(subscription, 2) == [2, Lagged(1)]
    publish(bus, 1)  # a second marker and 6 fit
    assert await drain(subscription) == [4, Lagged(1), 6]


async def test_a_marker_that_was_read_leaves_no_place_behind() -> None:
    """Afterwards the buffer is as long as it was meant to be."""
    bus = EventBus()
    subscription = bus.subscribe(buffer=2, overflow=Overflow.DROP_NEWEST)
    publish(bus, 3)  # 3 is lost
    assert await read(subscription, 1) == [1]
    publish(bus, 1)
    assert await read(subscription, 3) == [2, Lagged(1), 4]
    publish(bus, 3)
    assert await drain(subscription) == [5, 6, Lagged(1)]


async def test_close_gives_what_was_buffered_and_then_raises() -> None:
    """A reader that must not miss anything learns that it did, once, and the bus is rid of it."""
    bus = EventBus()
    subscription = bus.subscribe(buffer=2, overflow=Overflow.CLOSE)
    publish(bus, 4)
    assert subscription.closed
    assert not bus.wants(PoolDraining)
    assert await read(subscription, 2) == [1, 2]
    with pytest.raises(Overrun) as caught:
        await anext(subscription)
    assert (caught.value.buffer, caught.value.code) == (2, "subscription_overrun")
    assert caught.value.retryable
    with pytest.raises(StopAsyncIteration):
        await anext(subscription)
    assert bus.stats().dropped == {"subscriber": 1}


async def test_a_reader_that_closes_after_an_overrun_is_told_of_none() -> None:
    """It has said that it wants no more, so it has missed nothing."""
    bus = EventBus()
    subscription = bus.subscribe(buffer=2, overflow=Overflow.CLOSE)
    publish(bus, 3)
    subscription.close()
    with pytest.raises(StopAsyncIteration):
        await anext(subscription)


async def test_what_has_ended_takes_nothing_more_when_its_last_marker_was_read() -> None:
    """The marker at the end gives no place back: an event on its way in the moment of the end is not kept."""
    bus = EventBus()
    subscription = bus.subscribe(buffer=1, overflow=Overflow.DROP_NEWEST)
    publish(bus, 2)
    box = subscription._box
    bus.close()
    assert await read(subscription, 2) == [1, Lagged(1)]
    box.put(PoolDraining(seq=3, at=datetime.now(UTC)))
    assert (subscription.pending, subscription.dropped) == (0, 1)
    with pytest.raises(StopAsyncIteration):
        await anext(subscription)


async def test_a_slow_reader_harms_no_other() -> None:
    """One that never reads loses its own events only."""
    bus = EventBus()
    slow, quick = bus.subscribe(buffer=1, name="slow"), bus.subscribe(buffer=100, name="quick")
    publish(bus, 50)
    assert await drain(quick) == list(range(1, 51))
    assert (slow.dropped, quick.dropped) == (49, 0)
    assert bus.stats().dropped == {"slow": 49, "quick": 0}


async def test_losses_are_remembered_when_a_subscription_is_gone() -> None:
    """The counter by name only grows."""
    bus = EventBus()
    for _ in range(2):
        async with bus.subscribe(buffer=1, name="sse"):
            publish(bus, 3)
    assert bus.stats().dropped == {"sse": 4}
