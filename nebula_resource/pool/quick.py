"""Quick acquisitions: the shortest road through a pool, one class for each pool.

A class of its own lets the two methods hold the pool's shelf in closure cells, and an acquisition be made without
arguments: together a third of the cost of a hit. The road forks off only where something has to be looked at:
nothing idle, an entry that wants attention, somebody in line, an error.
"""

from __future__ import annotations

import sys
from asyncio import _get_running_loop as running
from bisect import bisect_left
from collections.abc import Generator
from types import TracebackType
from typing import TYPE_CHECKING, Any, ClassVar

from nebula_resource.model.lifecycle import Lifecycle
from nebula_resource.pool.config import UseTiming
from nebula_resource.pool.entry import FRESH, SPENT, Entry, marker
from nebula_resource.pool.handle import Acquire, Acquisition, Handle, entered_twice, warn_released_twice
from nebula_resource.pool.leaks import capture_six
from nebula_resource.pool.parts import CHECKS_HITS
from nebula_resource.pool.state import PoolState

if TYPE_CHECKING:
    from nebula_resource.model.context import ResourceContext
    from nebula_resource.pool.parts import PoolParts

__all__ = ["FRESH", "SPENT", "QuickAcquisition", "marker", "quick_acquire"]


IN_USE, IDLE = Lifecycle.IN_USE, Lifecycle.IDLE
OPEN = PoolState.OPEN


class QuickAcquisition:
    """What every pool's own class has in common: one slot, and what is not in a hurry."""

    __slots__ = ("_entry",)
    _entry: Entry
    of: ClassVar[PoolParts]

    def __await__(self) -> Generator[Any, Any, Handle[Any]]:
        return _as_handle(self.of, self).__await__()


def quick_acquire(pool: PoolParts) -> Acquire[Any]:
    """This pool's own ``acquire``, which makes acquisitions of this pool's own class."""
    timed = pool.config.leak_threshold is not None or pool.config.use_timing is UseTiming.ALWAYS
    quick = _timed_class(pool) if timed else _plain_class(pool)

    # `timeout` is keyword-only by the type of `Pool.acquire`. By that of this function it is not, for a function with
    # keyword-only arguments is called the slow way: a twelfth of a hit.
    def acquire(context: ResourceContext | None = None, timeout: float | None = None) -> Any:
        if context is timeout:  # type: ignore[comparison-overlap]  # that is: neither was given
            acquisition = quick()
            acquisition._entry = FRESH
            return acquisition
        return Acquisition(pool, context, timeout)

    return acquire


def _plain_class(pool: PoolParts) -> type[QuickAcquisition]:
    hot, put, line = pool.shelf.hot, pool.shelf.put_hot, pool.line.waiters

    class PlainAcquisition(QuickAcquisition):
        # Counts every use and times one in 64.
        __slots__ = ()
        of = pool

        async def __aenter__(self) -> Any:
            if self._entry is not FRESH:
                raise entered_twice(pool.resource.id)
            if hot:  # `PoolParts.take`, written out
                if CHECKS_HITS and running() is not pool.home:
                    pool.check_owner()
                self._entry = entry = hot.popleft()
                entry.state = IN_USE
                entry.uses = uses = entry.uses + 1
                if uses < entry.timed_next:
                    return entry.instance
                return pool.time_this(entry)
            # `Obtainer.plainly` and `Line.join_others`, written out: contention pays for every call
            since = pool.clock()
            if (
                pool.line.waiters
                and pool.obtainer.joins
                and pool.state is OPEN
                and not pool.line.waiters[-1][0].done()
                and not pool.line.attended
            ):
                waiter = pool.create_future()
                pool.line.behind.append((waiter, since))
            else:
                waiter = pool.obtainer.ask(since)
            try:
                result = await waiter
            except BaseException as error:
                pool.obtainer.gave_up(waiter, error)
                raise
            if type(result) is not Entry:
                raise pool.obtainer.translated(result, waiter, since)
            self._entry = result
            pool.ledger.wait_times.add(pool.clock() - since)
            return result.instance if result.uses < result.timed_next else pool.time_this(result)

        async def __aexit__(
            self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
        ) -> None:
            entry = self._entry
            self._entry = SPENT
            if kind is not None or (entry.attention and (entry.sampled_at is None or not pool.timed(entry))):
                await _long_way(pool, entry, error)
            elif line:
                pool.desk.pass_on(entry)
            else:
                entry.state = IDLE
                put(entry)

    return PlainAcquisition


def _timed_class(pool: PoolParts) -> type[QuickAcquisition]:
    hot, put, line, clock = pool.shelf.hot, pool.shelf.put_hot, pool.line.waiters, pool.clock
    times = pool.ledger.use_times
    counts, bounds = times.counts, times.bounds
    low, high, last = 0.0, 0.0, 0
    where = capture_six if pool.config.leak_threshold is not None else None

    class TimedAcquisition(QuickAcquisition):
        # Times every use; with a leak threshold the entry also remembers where its use began.
        __slots__ = ()
        of = pool

        async def __aenter__(self) -> Any:
            if self._entry is not FRESH:
                raise entered_twice(pool.resource.id)
            if hot:
                if CHECKS_HITS and running() is not pool.home:
                    pool.check_owner()
                self._entry = entry = hot.popleft()
                entry.state = IN_USE
                entry.uses += 1
            else:
                entry, _ = await pool.obtainer.plainly()
                self._entry = entry
            if where is not None:
                entry.frames = where(sys._getframe(1))
            entry.lent_at = clock()
            return entry.instance

        async def __aexit__(
            self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
        ) -> None:
            nonlocal low, high, last
            entry = self._entry
            self._entry = SPENT
            held: float = clock() - entry.lent_at  # type: ignore[operator]  # set on the way in
            if kind is not None or entry.attention:
                if entry is not SPENT:
                    times.add(held)
                await _long_way(pool, entry, error)
                return
            # `Histogram.add`, without the call; most uses last about as long as the one before.
            if not low < held <= high:
                last = bisect_left(bounds, held)
                low, high = times.edges(last)
            counts[last] += 1
            times.total_s += held
            times.shown = None
            if line:
                pool.desk.pass_on(entry)
            else:
                entry.state = IDLE
                put(entry)

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
