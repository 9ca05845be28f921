"""The event bus: who hears what, in which order, and what no listener can do to a publisher."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import ClassVar

import pytest

from nebula_resource.events import (
    Acquired,
    CircuitClosed,
    CircuitOpened,
    Event,
    EventBus,
    PoolDrained,
    PoolDraining,
    Registered,
    Released,
)
from nebula_resource.events.bus import ECHOES
from nebula_resource.model.scope import Scope
from tests.unit.events.wording import assert_located_without_words, quoting


@dataclass(frozen=True, slots=True, kw_only=True)
class Custom(Event):
    """An event of a user, from outside the catalogue."""

    name: ClassVar[str] = "custom.happened"

    what: str


@dataclass(frozen=True, slots=True, kw_only=True)
class MoreCustom(Custom):
    """A kind of `Custom`."""

    name: ClassVar[str] = "custom.more"


def heard(bus: EventBus, *types: type[Event]) -> list[Event]:
    """A list that fills with what a listener hears."""
    events: list[Event] = []
    bus.add_listener(events.append, types=types or None)
    return events


def test_an_event_carries_what_was_published() -> None:
    """Sequence number, time, resource, scope and its own fields are on it."""
    at = datetime(2026, 1, 1, tzinfo=UTC)
    bus = EventBus(now=lambda: at)
    events = heard(bus)
    scope = Scope.tenant("acme")
    bus.publish(Acquired, "db", scope, public_id="db~x", waited_s=0.5)
    bus.publish(PoolDraining)
    assert events == [
        Acquired(seq=1, at=at, resource_id="db", scope=scope, public_id="db~x", waited_s=0.5),
        PoolDraining(seq=2, at=at),
    ]


def test_time_is_utc() -> None:
    """Without a clock of its own the bus stamps the present moment in UTC."""
    bus = EventBus()
    events = heard(bus)
    bus.publish(PoolDraining)
    assert events[0].at.utcoffset() == timedelta(0)
    assert abs(datetime.now(UTC) - events[0].at) < timedelta(minutes=1)


def test_nothing_is_built_when_nobody_wants_it() -> None:
    """An event with fields that do not fit is not even noticed, because no object is made."""
    bus = EventBus()
    heard(bus, Released)
    bus.publish(Acquired, nonsense=1)
    assert bus.seq == 0
    assert bus.stats().malformed == 0
    assert bus.stats().published == {"resource.acquired": 1}
    assert bus.stats().emitted == {}


def test_publish_never_raises(caplog: pytest.LogCaptureFixture) -> None:
    """Fields that do not fit are the publisher's bug: logged and counted, and no number is used up."""
    bus = EventBus()
    events = heard(bus)
    bus.publish(Acquired, "db")
    bus.publish(Acquired, "db", waited_s=1.0, more=2)
    bus.publish(Acquired, "db", waited=1.0)
    bus.publish(Acquired, "db", waited_s=1.0)
    assert [event.seq for event in events] == [1]
    assert bus.stats().malformed == 3
    assert [record.message for record in caplog.records] == [
        "an event could not be built: its publisher gave fields that do not fit"
    ] * 3


def test_a_failing_listener_is_logged_once_and_stays(caplog: pytest.LogCaptureFixture) -> None:
    """The publisher and the other listeners never notice."""
    bus = EventBus()

    def fail(event: Event) -> None:
        raise quoting()

    remove = bus.add_listener(fail)
    events = heard(bus)
    for _ in range(3):
        bus.publish(PoolDraining)
    assert len(events) == 3
    assert bus.stats().listener_errors == 3
    assert [record.levelno for record in caplog.records] == [logging.ERROR]
    assert_located_without_words(caplog, caplog.messages[0], "fail")
    remove()
    assert bus.stats().listener_errors == 3


class Odd(BaseException):
    """What no ``except Exception`` catches."""


@pytest.mark.parametrize("error", [asyncio.CancelledError, GeneratorExit, Odd])
async def test_a_listener_cannot_cancel_the_publisher(error: type[BaseException]) -> None:
    """A CancelledError, or whatever else a listener raises, is the listener's failure."""
    bus = EventBus()

    def cancel(event: Event) -> None:
        raise error

    bus.add_listener(cancel)
    events = heard(bus)
    bus.publish(PoolDraining)
    assert bus.stats().listener_errors == 1
    assert len(events) == 1


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_who_ends_the_program_in_a_listener_ends_it(error: type[BaseException]) -> None:
    """Ctrl-C comes wherever the program is; the bus works on for what the end still publishes."""
    bus = EventBus()

    def interrupted(event: Event) -> None:
        raise error

    remove = bus.add_listener(interrupted)
    with pytest.raises(error):
        bus.publish(PoolDraining)
    remove()
    events = heard(bus)
    bus.publish(PoolDrained)
    assert [type(event) for event in events] == [PoolDrained]


def test_answers_of_listeners_keep_the_order() -> None:
    """What a listener publishes reaches everybody after the event that it answers."""
    bus = EventBus()

    def answer(event: Event) -> None:
        if isinstance(event, CircuitOpened):
            bus.publish(CircuitClosed)

    bus.add_listener(answer)
    events = heard(bus)
    bus.publish(CircuitOpened)
    bus.publish(PoolDraining)
    assert [(event.seq, event.name) for event in events] == [
        (1, "circuit.opened"),
        (2, "circuit.closed"),
        (3, "pool.draining"),
    ]


async def test_answers_keep_the_order_for_subscriptions_too() -> None:
    """An answer of a type that only a subscription wants still comes after its question."""
    bus = EventBus()

    def answer(event: Event) -> None:
        bus.publish(CircuitClosed)

    bus.add_listener(answer, types=CircuitOpened)
    async with bus.subscribe() as events:
        bus.publish(CircuitOpened)
        got = [await anext(events), await anext(events)]
    assert [type(event) for event in got] == [CircuitOpened, CircuitClosed]


def test_a_circle_of_answers_ends(caplog: pytest.LogCaptureFixture) -> None:
    """Listeners that answer each other for ever are cut off, counted and logged once; the bus works on."""
    bus = EventBus()
    bus.add_listener(lambda _: bus.publish(CircuitClosed), types=CircuitOpened)
    bus.add_listener(lambda _: bus.publish(CircuitOpened), types=CircuitClosed)
    bus.publish(CircuitOpened)
    assert bus.seq == ECHOES + 2
    assert bus.stats().echoes_dropped == 1
    assert len([m for m in caplog.messages if "circle" in m]) == 1
    events = heard(bus, PoolDraining)
    bus.publish(PoolDraining)
    assert len(events) == 1


def test_a_flood_of_answers_is_bounded(caplog: pytest.LogCaptureFixture) -> None:
    """One listener that answers with very many events cannot fill the memory, nor the log."""
    bus = EventBus()

    def flood(event: Event) -> None:
        for _ in range(ECHOES + 5):
            bus.publish(CircuitClosed)
        assert bus.stats().echoes_dropped == 5, "dropped at once, not kept until the end"

    bus.add_listener(flood, types=CircuitOpened)
    events = heard(bus, CircuitClosed)
    bus.publish(CircuitOpened)
    assert len(events) == ECHOES
    assert bus.stats().echoes_dropped == 5
    assert bus.stats().listener_errors == 0
    assert len(caplog.messages) == 1


def test_a_listener_may_leave_while_it_is_called() -> None:
    """Removing itself takes effect with the next event."""
    bus = EventBus()
    calls: list[int] = []

    def once(event: Event) -> None:
        calls.append(event.seq)
        remove()

    remove = bus.add_listener(once)
    bus.publish(PoolDraining)
    bus.publish(PoolDraining)
    assert calls == [1]


def test_stats_count_by_name() -> None:
    """Published counts every call, emitted those that somebody wanted."""
    bus = EventBus()
    subscription = bus.subscribe(Registered)
    heard(bus, Registered)
    for _ in range(2):
        bus.publish(Registered)
    bus.publish(PoolDrained)
    assert bus.wants(Registered), "and asking changes nothing"
    stats = bus.stats()
    assert dict(stats.published) == {"pool.registered": 2, "pool.drained": 1}
    assert dict(stats.emitted) == {"pool.registered": 2}
    assert (stats.subscribers, stats.listeners) == (1, 1)
    assert not subscription.closed


async def test_closing_ends_subscriptions_after_what_they_hold() -> None:
    """Readers get everything published before, then stop; listeners hear nothing more; a later one ends at once."""
    bus = EventBus()
    events = heard(bus)
    subscription = bus.subscribe()
    bus.publish(PoolDraining)
    bus.close()
    bus.close()
    bus.publish(PoolDrained)
    assert [event.name async for event in subscription if isinstance(event, Event)] == ["pool.draining"]
    assert len(events) == 1
    assert [event async for event in bus.subscribe()] == []
    assert "closed" in repr(bus)
