"""Floors: the cheapest conceivable things that do a pool's job, or half of it."""

from __future__ import annotations

import asyncio
from collections import deque

__all__ = ["FloorA", "FloorB"]


class _UseA:
    __slots__ = ("_idle", "_item")

    def __init__(self, idle: deque[object]) -> None:
        self._idle = idle

    async def __aenter__(self) -> object:
        self._item = item = self._idle.popleft()
        return item

    async def __aexit__(self, *_: object) -> None:
        self._idle.append(self._item)


class FloorA:
    """A deque behind a slotted class: no bound, no line, no count; wrong as soon as two callers meet."""

    def __init__(self, size: int) -> None:
        self._idle: deque[object] = deque(object() for _ in range(size))

    def acquire(self) -> _UseA:
        return _UseA(self._idle)


class _UseB:
    __slots__ = ("_floor", "_item")

    def __init__(self, floor: FloorB) -> None:
        self._floor = floor

    async def __aenter__(self) -> object:
        floor = self._floor
        await floor.free.acquire()
        self._item = item = floor.idle.popleft()
        return item

    async def __aexit__(self, *_: object) -> None:
        self._floor.idle.append(self._item)
        self._floor.free.release()


class FloorB:
    """A semaphore before the deque: the cheapest thing that is right when callers have to wait."""

    def __init__(self, size: int) -> None:
        self.idle: deque[object] = deque(object() for _ in range(size))
        self.free = asyncio.Semaphore(size)

    def acquire(self) -> _UseB:
        return _UseB(self)
