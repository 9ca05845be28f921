"""Interests: who wants to hear of which types, kept so that asking costs one look-up."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from nebula_resource.errors import ConfigurationError
from nebula_resource.events.event import Build, Event, builder, constructor
from nebula_resource.events.frames import frames
from nebula_resource.events.listener import Listener
from nebula_resource.events.subscription import Mailbox

__all__ = ["Interest", "Interests", "Route", "checked_types"]

_log = logging.getLogger("nebula_resource.events")


class Route:
    """Where events of one type go. ``targets`` is empty while nobody wants them."""

    __slots__ = ("build", "emitted", "hears", "logged", "published", "targets")

    def __init__(self, build: Build) -> None:
        self.build = build
        self.targets: tuple[Callable[[Event], None], ...] = ()
        self.hears = False  # a listener is among the targets: code that may publish
        self.logged = False  # one of them writes a log line for each
        self.published = 0
        self.emitted = 0


@dataclass(frozen=True, slots=True)
class Interest:
    """Who wants which types; ``types`` None: all."""

    types: tuple[type[Event], ...] | None
    target: Callable[[Event], None]
    owner: Mailbox | Listener
    name: str
    logs: bool = False
    """Whether it writes a log line for each event it hears of."""

    def covers(self, event_type: type[Event]) -> bool:
        """Say whether events of this type are wanted."""
        return self.types is None or issubclass(event_type, self.types)


class Interests:
    """Every interest, and the routes that follow from them. Routes change in place, so a bus may keep one."""

    __slots__ = ("_held", "_on_change", "_wanted", "routes")

    def __init__(self, types: Iterable[type[Event]]) -> None:
        self.routes = {event_type: Route(builder(event_type)) for event_type in types}
        self._held: tuple[Interest, ...] = ()
        self._on_change: tuple[Callable[[], object], ...] = ()
        self._wanted: frozenset[type[Event]] = frozenset()

    def __iter__(self) -> Iterator[Interest]:
        return iter(self._held)

    def __len__(self) -> int:
        return len(self._held)

    def add(self, interest: Interest) -> None:
        """Route what it wants to it."""
        self._set((*self._held, interest))

    def remove(self, owner: Mailbox | Listener) -> Interest | None:
        """Forget the interest of this owner; return it, None if there was none."""
        for interest in self._held:
            if interest.owner is owner:
                self._set(tuple(other for other in self._held if other is not interest))
                return interest
        return None

    def on_change(self, callback: Callable[[], object]) -> Callable[[], None]:
        """Call ``callback()`` when another set of types is wanted; return what takes it off again."""
        self._on_change = (*self._on_change, callback)

        def remove() -> None:
            self._on_change = tuple(one for one in self._on_change if one is not callback)

        return remove

    def add_route(self, event_type: type[Event]) -> Route:
        """Return the route of a type from outside the catalogue, which is known from its first use.

        Raises:
            TypeError: it is no event type.
        """
        if not is_event_type(event_type):
            raise TypeError("no event type")
        route = self.routes[event_type] = Route(constructor(event_type))
        self._aim(event_type, route)
        if route.targets:
            self._wanted |= {event_type}
        return route

    def _aim(self, event_type: type[Event], route: Route) -> None:
        found = [interest for interest in self._held if interest.covers(event_type)]
        route.targets = tuple(interest.target for interest in found)
        route.hears = any(isinstance(interest.owner, Listener) for interest in found)
        route.logged = any(interest.logs for interest in found)

    def _set(self, held: tuple[Interest, ...]) -> None:
        self._held = held
        for event_type, route in self.routes.items():
            self._aim(event_type, route)
        wanted = frozenset(event_type for event_type, route in self.routes.items() if route.targets)
        if wanted == self._wanted:
            return
        self._wanted = wanted
        for callback in self._on_change:
            try:
                callback()
            except Exception as error:
                _log.error(
                    "a callback for changed interest failed",
                    extra={"error": type(error).__name__, "where": frames(error)},
                )


def checked_types(types: type[Event] | Iterable[type[Event]] | None) -> tuple[type[Event], ...] | None:
    """Return the types as a tuple; None: all.

    Raises:
        ConfigurationError: one is no event type, or there is none; such a filter would hear nothing for ever.
    """
    if types is None:
        return None
    found = tuple(types) if isinstance(types, Iterable) else (types,)
    if not found or not all(is_event_type(one) for one in found):
        raise ConfigurationError("types are event classes of nebula_resource.events, or None for all")
    return found


def is_event_type(value: object) -> bool:
    """Say whether it is a class of events."""
    return isinstance(value, type) and issubclass(value, Event)
