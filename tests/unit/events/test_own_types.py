"""A user's own events: whatever their classes do when they are made, they do; nothing is built around them."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime
from typing import Any, ClassVar, Self

import pytest

from nebula_resource.events import Acquired, Event, EventBus
from nebula_resource.model.scope import Scope
from tests.unit.events.wording import assert_located_without_words, quoting

AT = datetime(2026, 1, 2, tzinfo=UTC)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Plain(Event):
    """One like ours."""

    shelf: str


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Longer(Acquired):
    """One that adds to one of ours."""

    waited_s: float = 0.5
    shelf: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Loose(Event):
    """One whose objects have a dict."""

    shelf: str


class Shelved:
    """What a user's events have in common."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Mixed(Shelved, Event):
    """One with another base beside ours, which gives its objects a dict."""

    shelf: str


class Undecorated(Plain):
    """One that forgot to be a dataclass itself."""

    name: ClassVar[str] = "undecorated"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Checked(Event):
    """One that looks at what it is made of."""

    shelf: str

    def __post_init__(self) -> None:
        if not self.shelf:
            raise quoting()


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True, init=False)
class OwnInit(Event):
    """One that is made in its own way."""

    shelf: str

    def __init__(self, *, shelf: str, **common: Any) -> None:
        if not shelf:
            raise quoting()
        for name, value in (common | {"shelf": shelf}).items():
            object.__setattr__(self, name, value)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class OwnNew(Event):
    """One that looks before it is made."""

    shelf: str

    def __new__(cls, *, shelf: str, **common: Any) -> Self:
        if not shelf:
            raise quoting()
        return object.__new__(cls)


@pytest.mark.parametrize(
    "event_type",
    [Plain, Longer, Loose, Mixed, Undecorated, Checked, OwnInit, OwnNew],
    ids=lambda each: each.__name__,
)
def test_a_user_s_event_is_what_its_constructor_makes(event_type: Any) -> None:
    """Slots or a dict, one base or two, with a constructor of its own or ours."""
    bus = EventBus(now=lambda: AT)
    heard: list[Event] = []
    bus.add_listener(heard.append)
    scope = Scope.tenant("acme")
    bus.publish(event_type, "db", scope, public_id="db~x", shelf="top")
    common: dict[str, Any] = {"seq": 1, "at": AT, "resource_id": "db", "scope": scope, "public_id": "db~x"}
    (event,) = heard
    assert (type(event), event.to_json()) == (event_type, event_type(**common, shelf="top").to_json())
    assert event.data()["shelf"] == "top"


@pytest.mark.parametrize(
    ("event_type", "where"), [(Checked, "__post_init__"), (OwnInit, "__init__"), (OwnNew, "__new__")]
)
def test_a_user_s_event_may_refuse_to_be_made(
    event_type: Any, where: str, caplog: pytest.LogCaptureFixture
) -> None:
    """That is the publisher's fault, told in the log by the place and the names of the fields, never by the words."""
    bus = EventBus()
    heard: list[Event] = []
    bus.add_listener(heard.append)
    bus.publish(event_type, "db", shelf="")
    assert heard == []
    assert (bus.seq, bus.stats().malformed) == (0, 1)
    (message,) = caplog.messages
    assert_located_without_words(caplog, message, where)
    assert caplog.records[0].__dict__["event.fields"] == ["shelf"]
    assert caplog.records[0].exc_info is None
