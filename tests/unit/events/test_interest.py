"""Interest in events: what is wanted, and who is told when that changes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import pytest

from nebula_resource.errors import ConfigurationError
from nebula_resource.events import (
    Acquired,
    Event,
    EventBus,
    PoolDrained,
    Released,
)
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


def test_wants_follows_interest() -> None:
    """A type is wanted exactly while somebody is interested in it."""
    bus = EventBus()
    assert not bus.wants(Acquired)
    subscription = bus.subscribe(Acquired)
    remove = bus.add_listener(print, types=[Acquired, Released])
    assert (bus.wants(Acquired), bus.wants(Released), bus.wants(PoolDrained)) == (True, True, False)
    subscription.close()
    assert bus.wants(Acquired)
    remove()
    remove()
    assert not bus.wants(Acquired)
    assert not bus.wants(Released)


def test_a_change_of_interest_is_told_once_and_only_when_it_is_one() -> None:
    """The callback runs when the set of wanted types changed, and finds it changed."""
    bus = EventBus()
    seen: list[bool] = []
    remove = bus.on_interest(lambda: seen.append(bus.wants(Acquired)))
    first = bus.subscribe(Acquired)
    second = bus.subscribe(Acquired)
    assert seen == [True]
    first.close()
    assert seen == [True]
    second.close()
    assert seen == [True, False]
    remove()
    bus.subscribe()
    assert seen == [True, False]


def test_a_failing_interest_callback_harms_nobody(caplog: pytest.LogCaptureFixture) -> None:
    """It is logged, and the others are called."""
    bus = EventBus()
    called: list[int] = []

    def fail() -> None:
        raise quoting()

    take_off = bus.on_interest(fail)
    bus.on_interest(lambda: called.append(1))
    subscription = bus.subscribe(Acquired)
    assert called == [1]
    take_off()
    subscription.close()
    assert_located_without_words(caplog, "a callback for changed interest failed", "fail")


def test_types_cover_their_subclasses_and_types_from_outside() -> None:
    """A user's own event is delivered to who asked for it, for a base of it, or for all."""
    bus = EventBus()
    exact, base, everything, other = (
        heard(bus, MoreCustom),
        heard(bus, Custom),
        heard(bus),
        heard(bus, Acquired),
    )
    assert bus.wants(MoreCustom)
    bus.publish(MoreCustom, what="x")
    bus.publish(Custom, what="y")
    assert [len(exact), len(base), len(everything), len(other)] == [1, 2, 2, 0]


def test_what_is_no_event_type_is_refused() -> None:
    """A wrong filter would hear nothing for ever, so it raises."""
    bus = EventBus()
    with pytest.raises(ConfigurationError, match="event classes"):
        bus.subscribe([str])  # type: ignore[list-item]  # that is the point
    with pytest.raises(ConfigurationError, match="event classes"):
        bus.add_listener(print, types=["pool.resized"])  # type: ignore[list-item]  # that is the point


def test_a_type_from_outside_that_nobody_wants_is_no_interest() -> None:
    """Asking for it, or publishing it, changes nothing."""
    bus = EventBus()
    assert not bus.wants(Custom)
    bus.publish(Custom, what="x")
    assert bus.stats().published == {"custom.happened": 1}


def test_a_type_is_logged_while_a_listener_writes_it() -> None:
    """Not by one that only hears it, and not after the writer is gone."""
    bus = EventBus()
    heard(bus, Acquired)
    assert not bus.is_logged(Acquired)
    remove = bus.add_listener(lambda _: None, Acquired, logs=True)
    assert (bus.is_logged(Acquired), bus.is_logged(Released), bus.is_logged(Custom)) == (True, False, False)
    remove()
    assert not bus.is_logged(Acquired)
