"""RawFeed: single acquires, releases and steps of workflows, for those who ask: sampled, without ids, never replayed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from nebula_resource.admin.sse.ring import Ring
from nebula_resource.events import (
    Acquired,
    AcquireRejected,
    Event,
    EventBus,
    Released,
    WorkflowProgress,
)

__all__ = ["RAW_TYPES", "RawFeed", "is_raw"]

RAW_TYPES: tuple[type[Event], ...] = (Acquired, Released, AcquireRejected)
"""Types that are always raw; of `WorkflowProgress` only what goes as planned is."""
PER_SECOND = 100
"""Events of each type that pass in a second; the rest are left out."""
SIZE = 512


def is_raw(event: Event) -> bool:
    """Whether an event is one of the many of normal use, which would crowd changes of state out of a history."""
    return event.is_routine if isinstance(event, WorkflowProgress) else isinstance(event, RAW_TYPES)


class RawFeed:
    """Listens while somebody wants it, since listening makes every acquire of the process build an event."""

    def __init__(self, bus: EventBus, told: Callable[[], None]) -> None:
        self._bus = bus
        self._told = told
        self.ring = Ring(size=SIZE)
        self._listeners = 0
        self._stop: Callable[[], None] | None = None
        self._window = 0.0
        self._passed: dict[type[Event], int] = {}

    def join(self) -> None:
        """One more reader."""
        self._listeners += 1
        if self._stop is None:
            self._stop = self._bus.add_listener(self._heard, types=(*RAW_TYPES, WorkflowProgress))

    def leave(self) -> None:
        """One less."""
        self._listeners -= 1
        if self._listeners == 0 and self._stop is not None:
            self._stop()
            self._stop = None

    def _heard(self, event: Event) -> None:
        if not is_raw(event):
            return
        now = asyncio.get_running_loop().time()
        if now - self._window >= 1.0:
            self._window = now
            self._passed.clear()
        passed = self._passed.get(type(event), 0)
        if passed >= PER_SECOND:
            return
        self._passed[type(event)] = passed + 1
        self.ring.put(event)
        self._told()
