"""Quick acquisitions: the shortest road through a pool, one class for each pool.

A class of its own lets the two methods hold the pool's shelf in closure cells, and an acquisition be made without
arguments: together a third of the cost of a hit. The road forks off only where something has to be looked at:
nothing idle, an entry that wants attention, somebody in line, an error.
"""

from __future__ import annotations

import sys
from bisect import bisect_left
from collections.abc import Callable, Coroutine, Generator
from types import TracebackType
from typing import TYPE_CHECKING, Any

from nebula_resource.model.lifecycle import Lifecycle
from nebula_resource.pool.config import Backpressure, UseTiming
from nebula_resource.pool.entry import FRESH, SPENT, Entry, marker
from nebula_resource.pool.handle import Acquire, Acquisition, Handle, entered_twice, warn_released_twice
from nebula_resource.pool.leaks import capture_six
from nebula_resource.pool.state import PoolState

if TYPE_CHECKING:
    from nebula_resource.model.context import ResourceContext
    from nebula_resource.pool.parts import PoolParts
    from nebula_resource.pool.waiters import Waiter

__all__ = ["FRESH", "SPENT", "QuickAcquisition", "marker", "quick_acquire"]


class QuickAcquisition:
    """What every pool's own class has in common: one slot."""

    __slots__ = ("_entry",)
    _entry: Entry


def quick_acquire(pool: PoolParts) -> Acquire[Any]:
    """This pool's own ``acquire``, which makes acquisitions of this pool's own class."""
    pool.wait = _wait_of(pool)
    timed = pool.config.leak_threshold is not None or pool.config.use_timing is UseTiming.ALWAYS
    quick = _timed_class(pool) if timed else _plain_class(pool)
    fresh = FRESH

    def acquire(context: ResourceContext | None = None, *, timeout: float | None = None) -> Any:
        if context is timeout:  # type: ignore[comparison-overlap]  # that is: neither was given
            acquisition = quick()
            acquisition._entry = fresh
            return acquisition
        return Acquisition(pool, context, timeout)

    return acquire


def _plain_class(pool: PoolParts) -> type[QuickAcquisition]:
    take = pool.shelf.take_hot
    put = pool.shelf.hot.append
    line, pass_on, wait = pool.line.waiters, pool.desk.pass_on, pool.wait
    in_use, idle = Lifecycle.IN_USE, Lifecycle.IDLE
    fresh, spent = FRESH, SPENT
    timed = pool.timed
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
                self._entry = entry = await wait()
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
            if kind is not None or (entry.attention and (entry.sampled_at is None or not timed(entry))):
                await _long_way(pool, entry, error)
            elif line:
                pass_on(entry)
            else:
                entry.state = idle
                put(entry)

        def __await__(self) -> Generator[Any, Any, Handle[Any]]:
            return _as_handle(pool, self).__await__()

    return PlainAcquisition


def _timed_class(pool: PoolParts) -> type[QuickAcquisition]:
    take = pool.shelf.take_hot
    put = pool.shelf.hot.append
    line, pass_on, wait = pool.line.waiters, pool.desk.pass_on, pool.wait
    in_use, idle = Lifecycle.IN_USE, Lifecycle.IDLE
    fresh, spent = FRESH, SPENT
    times, clock = pool.ledger.use_times, pool.clock
    counts, bounds = times.counts, times.bounds
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
                self._entry = entry = await wait()
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
                # `Histogram.add`, without the call
                held: float = clock() - entry.lent_at  # type: ignore[operator]  # set on the way in
                counts[bisect_left(bounds, held)] += 1
                times.total_s += held
            if kind is not None or entry.attention:
                await _long_way(pool, entry, error)
            elif line:
                pass_on(entry)
            else:
                entry.state = idle
                put(entry)

        def __await__(self) -> Generator[Any, Any, Handle[Any]]:
            return _as_handle(pool, self).__await__()

    return TimedAcquisition


def _wait_of(pool: PoolParts) -> Callable[[], Coroutine[Any, Any, Entry]]:
    """How a caller with neither a context nor a limit waits: `Obtainer.entry`, written out, for contention pays it."""
    desk, line, ledger = pool.desk, pool.line, pool.ledger
    first, join, clock, create_future = line.first, line.join, pool.clock, pool.loop.create_future
    times = ledger.wait_times
    counts, bounds = times.counts, times.bounds
    config = pool.config
    # Then a line in which somebody waits unattended is simply joined: there is nothing that `Desk.seek` could find, or
    # refuse. (One with attended callers alone is not: there may be room for another creation.)
    joins = config.max_waiting is None and config.backpressure is Backpressure.WAIT and not pool.is_budgeted

    async def wait() -> Entry:
        since = clock()
        if joins and pool.state is PoolState.OPEN and first() is not None:
            waiter: Waiter = create_future()
            join(waiter, since)
        else:
            pool.check_owner()
            waiter = create_future()
            desk.seek(waiter, since)
        try:
            result = await waiter
        except BaseException as error:
            ledger.cancelled += 1
            desk.give_up(waiter)
            if isinstance(error, RuntimeError):
                pool.check_owner()  # another loop's task cannot wait here: say so in our words
            raise
        if type(result) is Entry:
            waited = clock() - since
            counts[bisect_left(bounds, waited)] += 1
            times.total_s += waited
            return result
        raise pool.obtainer.translated(result, waiter, since)

    return wait


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
