"""RawFeed: single acquires and releases, for those who ask: sampled, without ids, never replayed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from nebula_resource.admin.sse.ring import Ring
from nebula_resource.events import Acquired, AcquireRejected, Event, EventBus, Released

__all__ = ["RAW_TYPES", "RawFeed"]

RAW_TYPES: tuple[type[Event], ...] = (Acquired, Released, AcquireRejected)
PER_SECOND = 100
"""Events of each type that pass in a second; the rest are left out."""
SIZE = 512


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
            self._stop = self._bus.add_listener(self._heard, types=RAW_TYPES)

    def leave(self) -> None:
        """One less."""
        self._listeners -= 1
        if self._listeners == 0 and self._stop is not None:
            self._stop()
            self._stop = None

    def _heard(self, event: Event) -> None:
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
