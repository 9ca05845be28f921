"""Subscription: one reader's own line of events, bounded, that knows what it lost."""

from __future__ import annotations

import asyncio
import weakref
from collections import deque
from collections.abc import Callable, Generator
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from types import TracebackType, coroutine
from typing import Self

from nebula_resource.errors import ConfigurationError, ResourceError
from nebula_resource.events.event import Event
from nebula_resource.model.scope import Scope

__all__ = ["Lagged", "Mailbox", "Overflow", "Overrun", "Subscription"]


class Overflow(Enum):
    """What happens to a subscription whose buffer is full when one more event comes."""

    DROP_OLDEST = "drop_oldest"
    """The oldest unread event is lost."""
    DROP_NEWEST = "drop_newest"
    """The event that comes is lost."""
    CLOSE = "close"
    """The subscription ends: its reader gets what was buffered, then `Overrun`."""

    @classmethod
    def parse(cls, value: Overflow | str) -> Overflow:
        """Return the member that is meant, also by its name in lower case. Raises `ConfigurationError` for another."""
        try:
            return cls(value)
        except ValueError:
            known = ", ".join(f"'{each.value}'" for each in cls)
            raise ConfigurationError(
                f"overflow is an Overflow member or one of {known} (got {value!r})"
            ) from None


@dataclass(frozen=True, slots=True)
class Lagged:
    """Stands in a subscription's line where ``lost`` events are missing."""

    lost: int


class Overrun(ResourceError):
    """A subscription with ``Overflow.CLOSE`` was too slow; ``buffer`` is how many events it could hold."""

    code = "subscription_overrun"
    default_retryable = True

    def __init__(self, buffer: int) -> None:
        self.buffer = buffer
        super().__init__(
            f"the subscription held {buffer} unread events and was closed by one more; read faster or buffer more"
        )


def _check(buffer: int, resource: str | None, scope: Scope | None) -> None:
    """Refuse what would fail at the next event, inside whoever publishes it, or hear nothing for ever."""
    if not isinstance(buffer, int) or buffer < 1:
        raise ConfigurationError(f"a subscription buffers at least 1 event, a whole number (got {buffer!r})")
    if not (resource is None or isinstance(resource, str)):
        raise ConfigurationError("resource is a resource id or a public id, or None for all")
    if not (scope is None or isinstance(scope, Scope)):
        raise ConfigurationError("scope is a Scope, such as Scope.tenant('acme'), or None for all")


class Mailbox:
    """The bus's end of a subscription. `put` never waits and never raises.

    Invariants: while ``waiter`` is set there is nothing to read; what is lost ahead is ahead of something. ``room`` is how long the queue may be: the buffer,
    and one more for each `Lagged` in it, so that saying what was lost costs no place; 0 or less when the next event
    needs more than an append.
    """

    __slots__ = ("buffer", "dropped", "ended", "lost_ahead", "lost_behind", "markers", "on_end", "overflow",
                 "overran", "queue", "resource", "room", "scope", "waiter")  # fmt: skip  # a word a slot, not a line

    def __init__(
        self,
        *,
        buffer: int,
        overflow: Overflow,
        resource: str | None,
        scope: Scope | None,
        on_end: Callable[[Mailbox], None],
    ) -> None:
        _check(buffer, resource, scope)
        self.queue: deque[Event | Lagged] = deque()
        self.buffer = buffer
        self.room = buffer
        self.overflow = overflow
        self.resource = resource
        self.scope = scope
        self.on_end = on_end
        self.waiter: asyncio.Future[None] | None = None
        self.markers = 0
        self.lost_ahead = 0  # before what is in the queue
        self.lost_behind = 0  # after it
        self.dropped = 0
        self.ended = False
        self.overran = False

    def put(self, event: Event) -> None:
        """Take an event."""
        queue = self.queue
        if len(queue) >= self.room:
            self._overflow(event)
            return
        queue.append(event)
        waiter = self.waiter
        if waiter is not None:  # `_wake`, without a call: the reader that keeps up waits at every event
            self.waiter = None
            if not waiter.done():
                try:
                    waiter.set_result(None)
                except RuntimeError:
                    self.discard()

    def offer(self, event: Event) -> None:
        """Take an event if it is about the resource and the scope that are wanted."""
        wanted = self.resource
        if wanted is not None and event.resource_id != wanted and event.public_id != wanted:
            return
        if self.scope is None or self.scope.contains(event.scope):
            self.put(event)

    def _overflow(self, event: Event) -> None:
        if self.ended:
            return
        queue = self.queue
        if len(queue) - self.markers < self.buffer:
            # Only after a loss of DROP_NEWEST, and there is room again: first say what is missing here.
            queue.append(Lagged(self.lost_behind))
            self.lost_behind = 0
            self.markers += 1
            self.room = self.buffer + self.markers
            queue.append(event)
            return
        self.dropped += 1
        if self.overflow is Overflow.DROP_OLDEST:
            queue.popleft()
            self.lost_ahead += 1
            queue.append(event)
        elif self.overflow is Overflow.DROP_NEWEST:
            self.lost_behind += 1
            self.room = 0
        else:
            self.overran = True
            self.finish()

    def take(self) -> Event | Lagged:
        """Return what the reader gets next; called only when there is something."""
        if self.lost_ahead:
            lost, self.lost_ahead = self.lost_ahead, 0
            return Lagged(lost)
        if self.queue:
            item = self.queue.popleft()
            if isinstance(item, Lagged):
                self.markers -= 1
                self.room -= 1
            return item
        lost, self.lost_behind = self.lost_behind, 0
        self.room = 0 if self.ended else self.buffer
        return Lagged(lost)

    def finish(self) -> None:
        """Take no more; what is here may still be read."""
        if not self.ended:
            self.ended = True
            self.room = 0
            self.on_end(self)
            self._wake()

    def discard(self) -> None:
        """Take no more and forget what is here."""
        self.overran = False
        self.lost_ahead = self.lost_behind = self.markers = 0
        self.queue.clear()
        self.finish()

    def _wake(self) -> None:
        waiter, self.waiter = self.waiter, None
        if waiter is None or waiter.done():
            return
        with suppress(RuntimeError):  # its loop is closed: nobody reads here any more
            waiter.set_result(None)


@coroutine
def _turn() -> Generator[None, None, None]:
    """One turn of the loop, without a future."""
    yield


class Subscription:
    """An async iterator over events and `Lagged` markers, from the moment it is made, for one reader at a time.

    ``async with`` or `close` ends it; one that is forgotten ends when it is collected. Iteration stops after
    `close`, and after the last buffered event when the bus is closed; with ``Overflow.CLOSE`` a reader that was too
    slow gets what was buffered and then `Overrun`.
    """

    __slots__ = ("__weakref__", "_box", "name")

    def __init__(self, box: Mailbox, name: str) -> None:
        self._box = box
        self.name = name
        # `finish` and not `discard`: a bound method of the box, which does not keep this object alive.
        weakref.finalize(self, box.discard).atexit = False

    def __repr__(self) -> str:
        state = "closed" if self.closed else "open"
        return f"<Subscription '{self.name}' {state}: {self.pending} unread, {self.dropped} lost>"

    @property
    def closed(self) -> bool:
        """Whether no more events come; what is buffered may still be read."""
        return self._box.ended

    @property
    def pending(self) -> int:
        """Events that wait to be read."""
        return len(self._box.queue) - self._box.markers

    @property
    def dropped(self) -> int:
        """Events lost so far."""
        return self._box.dropped

    def close(self) -> None:
        """End it: a reader that waits stops iterating, what is unread is forgotten. Idempotent."""
        self._box.discard()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event | Lagged:
        box = self._box
        if not (box.queue or box.lost_behind or box.ended):
            # Where events come thick and fast the next is there by then, and no future has to be made and woken.
            await _turn()
        while True:
            if box.queue and not box.markers and not box.lost_ahead:
                return box.queue.popleft()  # nothing was lost: the common case, without a call
            if box.queue or box.lost_behind:
                return box.take()
            if box.ended:
                break
            if box.waiter is not None:
                raise ConfigurationError("a subscription has one reader at a time; subscribe once for each")
            # What `create_future` of asyncio's loops and of uvloop's makes, without the way there.
            waiter = box.waiter = asyncio.Future()
            try:
                await waiter
            finally:
                # Cancelled before it was woken: the next reader sets its own.
                if box.waiter is waiter:
                    box.waiter = None
        if box.overran:
            box.overran = False
            raise Overrun(box.buffer)
        raise StopAsyncIteration

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
