"""EventBus: tells whoever wants to know what happened, and costs next to nothing when nobody does."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from types import MappingProxyType
from typing import Any

from nebula_resource.events.event import Event
from nebula_resource.events.frames import frames
from nebula_resource.events.interest import Interest, Interests, Route, checked_types
from nebula_resource.events.listener import Listener
from nebula_resource.events.subscription import Mailbox, Overflow, Subscription
from nebula_resource.events.types import EVENTS
from nebula_resource.model.scope import Scope

__all__ = ["EventBus", "EventStats"]

_log = logging.getLogger("nebula_resource.events")

ECHOES = 1000
"""Events that listeners may publish in answer to one event, and to each other's answers: a circle ends here."""


@dataclass(frozen=True, slots=True)
class EventStats:
    """The bus's numbers; all counters only grow."""

    published: Mapping[str, int]
    """Calls of `publish` by event name, heard or not."""
    emitted: Mapping[str, int]
    """Events that somebody wanted, by name."""
    dropped: Mapping[str, int]
    """Events that subscriptions lost, by the name of the subscription."""
    subscribers: int
    listeners: int
    listener_errors: int
    malformed: int
    """Events that could not be built: a bug of whoever published them (also logged)."""
    echoes_dropped: int
    """Events of listeners that answer each other in a circle."""


class EventBus:
    """Hands each event to every subscription and listener that wants its type.

    `publish` is synchronous, never waits and never raises; the event object is built only when somebody wants it.
    Events reach everybody in the order in which they were published, also those that a listener publishes. A bus
    belongs to one event loop's thread. ``now`` is the wall clock (UTC).
    """

    def __init__(self, *, now: Callable[[], datetime] | None = None) -> None:
        self._now = now or partial(datetime.now, UTC)
        self._interests = Interests(EVENTS)
        self._routes = self._interests.routes
        self._seq = 0
        self._running = False  # a listener is being called
        self._backlog: deque[tuple[Event, Route]] = deque()
        self._lost: dict[str, int] = {}  # by subscriptions that ended
        self._listener_errors = 0  # of listeners that were removed
        self._malformed = 0
        self._echoes_dropped = 0
        self._closed = False

    def __repr__(self) -> str:
        state = "closed" if self._closed else "open"
        return f"<EventBus {state}: {self._seq} events, {len(self._interests)} interested>"

    @property
    def seq(self) -> int:
        """The number of the latest event."""
        return self._seq

    # ── publishing ────────────────────────────────────────────────────────────────────────────────────────────────

    def publish(
        self,
        event_type: type[Event],
        resource_id: str | None = None,
        scope: Scope = Scope.GLOBAL,
        *,
        public_id: str | None = None,
        **fields: Any,
    ) -> None:
        """Tell that something happened; ``fields`` are the event's own.

        What is no event type, no scope, or a field that does not fit is a bug of the caller: logged and counted, since
        this never raises.
        """
        try:
            route = self._routes.get(event_type) or self._interests.add_route(event_type)
        except Exception as error:
            self._note_malformed(event_type, error, fields)
            return
        route.published += 1
        targets = route.targets
        if not targets:
            return
        try:
            seq = self._seq + 1
            event = route.build(seq, self._now(), resource_id, scope, public_id, fields)
        except Exception as error:
            self._note_malformed(event_type, error, fields)
            return
        self._seq = seq
        route.emitted += 1
        if route.hears or self._running:
            self._tell_listeners(event, route)
            return
        for target in targets:
            target(event)

    def _tell_listeners(self, event: Event, route: Route) -> None:
        """Deliver an event to code that may publish in its turn: answers wait until all have heard the question."""
        if self._running:
            if len(self._backlog) < ECHOES:
                self._backlog.append((event, route))
            else:
                self._drop_echo(event)
            return
        self._running = True
        try:
            for target in route.targets:
                target(event)
            for _ in range(ECHOES):
                if not self._backlog:
                    return
                event, route = self._backlog.popleft()
                for target in route.targets:
                    target(event)
            while self._backlog:
                self._drop_echo(self._backlog.popleft()[0])
        finally:
            self._running = False

    def _drop_echo(self, event: Event) -> None:
        self._echoes_dropped += 1
        if self._echoes_dropped == 1:
            _log.error(
                "event listeners answer each other in a circle; their further answers to this event are dropped",
                extra={"event.name": event.name},
            )

    def _note_malformed(self, event_type: object, error: Exception, given: Iterable[str]) -> None:
        self._malformed += 1
        _log.error(
            "an event could not be built: its publisher gave fields that do not fit",
            extra={
                "event.name": getattr(event_type, "name", None),
                "event.fields": sorted(given),
                "error": type(error).__name__,
                "where": frames(error),
            },
        )

    # ── interest ──────────────────────────────────────────────────────────────────────────────────────────────────

    def wants(self, event_type: type[Event]) -> bool:
        """Say whether anybody would hear of an event of this type."""
        route = self._routes.get(event_type)
        if route is None:
            route = self._interests.add_route(event_type)
        return bool(route.targets)

    def is_logged(self, event_type: type[Event]) -> bool:
        """Say whether a listener writes events of this type to the log; who would write the same itself need not."""
        route = self._routes.get(event_type)
        return route is not None and route.logged

    def on_interest(self, callback: Callable[[], object]) -> Callable[[], None]:
        """Call ``callback()`` whenever `wants` answers differently for any type; return what takes it off again.

        It runs inside `subscribe`, `close` and their like, and must not raise: what it raises is logged.
        """
        return self._interests.on_change(callback)

    def subscribe(
        self,
        types: type[Event] | Iterable[type[Event]] | None = None,
        resource: str | None = None,
        scope: Scope | None = None,
        buffer: int = 1024,
        overflow: Overflow = Overflow.DROP_OLDEST,
        *,
        name: str = "subscriber",
    ) -> Subscription:
        """Return a subscription that holds events from now on.

        Args:
            types: the types wanted, subclasses included; None: all.
            resource: a resource id or a public id; events about others, or about none, are left out.
            scope: only events whose scope it contains.
            buffer: how many unread events it holds, at least 1.
            overflow: what happens when it is full.
            name: under which its losses are counted (`EventStats.dropped`); a constant of the program.

        Raises:
            ConfigurationError: ``buffer`` is below 1, ``types`` holds what is no event type or nothing at all, or
                another argument is not of its kind.
        """
        box = Mailbox(
            buffer=buffer,
            overflow=Overflow.parse(overflow),
            resource=resource,
            scope=scope,
            on_end=self._forget,
        )
        unfiltered = resource is None and (scope is None or scope == Scope.GLOBAL)
        interest = Interest(checked_types(types), box.put if unfiltered else box.offer, box, name)
        subscription = Subscription(box, name)
        if self._closed:
            box.finish()
        else:
            self._interests.add(interest)
        return subscription

    def add_listener(
        self,
        callback: Callable[[Event], object],
        types: type[Event] | Iterable[type[Event]] | None = None,
        *,
        logs: bool = False,
    ) -> Callable[[], None]:
        """Call ``callback(event)`` inside `publish`; return what takes it off again.

        For in-process readers that do next to nothing (a history, a log). One that raises is counted, logged once and
        stays. What it publishes itself reaches everybody after the event it was called with. ``logs``: it writes each
        event to the log (see `is_logged`).
        """
        listener = Listener(callback)
        interest = Interest(checked_types(types), listener.put, listener, "listener", logs)
        self._interests.add(interest)
        return lambda: self._forget(listener)

    def stats(self) -> EventStats:
        """Return the numbers so far."""
        dropped = dict(self._lost)
        subscribers = 0
        errors = self._listener_errors
        for interest in self._interests:
            if isinstance(interest.owner, Listener):
                errors += interest.owner.errors
            else:
                subscribers += 1
                dropped[interest.name] = dropped.get(interest.name, 0) + interest.owner.dropped
        return EventStats(
            published=_by_name({kind: route.published for kind, route in self._routes.items()}),
            emitted=_by_name({kind: route.emitted for kind, route in self._routes.items()}),
            dropped=MappingProxyType(dropped),
            subscribers=subscribers,
            listeners=len(self._interests) - subscribers,
            listener_errors=errors,
            malformed=self._malformed,
            echoes_dropped=self._echoes_dropped,
        )

    def close(self) -> None:
        """End every subscription after what it has buffered, and forget the listeners. Idempotent."""
        self._closed = True
        for interest in self._interests:
            if isinstance(interest.owner, Mailbox):
                interest.owner.finish()
            else:
                self._forget(interest.owner)

    def _forget(self, owner: Mailbox | Listener) -> None:
        """Keep the counters of one that is gone."""
        interest = self._interests.remove(owner)
        if interest is None:
            return
        if isinstance(owner, Listener):
            self._listener_errors += owner.errors
        elif owner.dropped:
            self._lost[interest.name] = self._lost.get(interest.name, 0) + owner.dropped


def _by_name(counts: Mapping[type[Event], int]) -> Mapping[str, int]:
    """Counts that are not zero, by the names of their types (two types may share one)."""
    named: dict[str, int] = {}
    for event_type, count in counts.items():
        if count:
            named[event_type.name] = named.get(event_type.name, 0) + count
    return MappingProxyType(named)
