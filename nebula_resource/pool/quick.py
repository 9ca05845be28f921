"""Quick acquisitions: the shortest road through a pool, one class for each pool.

A class of its own lets the two methods hold the pool's shelf in closure cells, and an acquisition be made without
arguments: together a third of the cost of a hit. The road forks off only where something has to be looked at:
nothing idle, an entry that wants attention, somebody in line, an error.
"""

from __future__ import annotations

import sys
from collections.abc import Generator
from types import TracebackType
from typing import TYPE_CHECKING, Any

from nebula_resource.model.lifecycle import Lifecycle
from nebula_resource.pool.config import UseTiming
from nebula_resource.pool.entry import FRESH, SPENT, Entry, marker
from nebula_resource.pool.handle import Handle, entered_twice, warn_released_twice
from nebula_resource.pool.leaks import capture_six

if TYPE_CHECKING:
    from nebula_resource.pool.parts import PoolParts

__all__ = ["FRESH", "SPENT", "QuickAcquisition", "marker", "quick_class"]


class QuickAcquisition:
    """What every pool's own class has in common: one slot."""

    __slots__ = ("_entry",)
    _entry: Entry


def quick_class(pool: PoolParts) -> type[QuickAcquisition]:
    """The acquisition class of this pool."""
    if pool.config.leak_threshold is not None or pool.config.use_timing is UseTiming.ALWAYS:
        return _timed_class(pool)
    return _plain_class(pool)


def _plain_class(pool: PoolParts) -> type[QuickAcquisition]:
    take = pool.shelf.take_hot
    put = pool.shelf.hot.append
    line = pool.line.waiters
    in_use, idle = Lifecycle.IN_USE, Lifecycle.IDLE
    fresh, spent = FRESH, SPENT
    mask = pool.sample_mask

    class PlainAcquisition(QuickAcquisition):
        """Counts every use and times one in 64."""

        __slots__ = ()

        async def __aenter__(self) -> Any:
            if self._entry is not fresh:
                raise entered_twice(pool.resource.id)
            try:
                self._entry = entry = take()
            except IndexError:
                self._entry = entry = await pool.obtain(None, None)
                return entry.value if entry.uses & mask else pool.time_this(entry)
            entry.state = in_use
            entry.uses = uses = entry.uses + 1
            if uses & mask:
                return entry.value
            return pool.time_this(entry)

        async def __aexit__(
            self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
        ) -> None:
            entry = self._entry
            self._entry = spent
            if kind is None and not entry.attention and not line:
                entry.state = idle
                put(entry)
            else:
                await _long_way(pool, entry, error)

        def __await__(self) -> Generator[Any, Any, Handle[Any]]:
            return _as_handle(pool, self).__await__()

    return PlainAcquisition


def _timed_class(pool: PoolParts) -> type[QuickAcquisition]:
    take = pool.shelf.take_hot
    put = pool.shelf.hot.append
    line = pool.line.waiters
    in_use, idle = Lifecycle.IN_USE, Lifecycle.IDLE
    fresh, spent = FRESH, SPENT
    times = pool.ledger.use_times
    clock = pool.clock
    where = capture_six if pool.config.leak_threshold is not None else None

    class TimedAcquisition(QuickAcquisition):
        """Times every use; with a leak threshold the entry also remembers where its use began."""

        __slots__ = ()

        async def __aenter__(self) -> Any:
            if self._entry is not fresh:
                raise entered_twice(pool.resource.id)
            try:
                self._entry = entry = take()
            except IndexError:
                self._entry = entry = await pool.obtain(None, None)
            else:
                entry.state = in_use
                entry.uses += 1
            if where is not None:
                entry.frames = where(sys._getframe(1))
            entry.lent_at = clock()
            return entry.value

        async def __aexit__(
            self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
        ) -> None:
            entry = self._entry
            self._entry = spent
            if entry is not spent:
                times.add(clock() - entry.lent_at)  # type: ignore[operator]  # set on the way in
            if kind is None and not entry.attention and not line:
                entry.state = idle
                put(entry)
            else:
                await _long_way(pool, entry, error)

        def __await__(self) -> Generator[Any, Any, Handle[Any]]:
            return _as_handle(pool, self).__await__()

    return TimedAcquisition


async def _long_way(pool: PoolParts, entry: Entry, error: BaseException | None) -> None:
    """Give back an entry that must be looked at."""
    if entry is SPENT:
        warn_released_twice(pool.resource.id)
        return
    await pool.give_back(entry, entry.use, error)


async def _as_handle(pool: PoolParts, acquisition: QuickAcquisition) -> Handle[Any]:
    """Awaited instead of entered: the caller wants a handle."""
    if acquisition._entry is not FRESH:
        raise entered_twice(pool.resource.id)
    acquisition._entry = SPENT
    return await pool.obtain_handle(None, None)
