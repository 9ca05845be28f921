"""Line: callers who wait, strictly in the order they came."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from typing import TypeAlias

from nebula_resource.pool.entry import Entry

__all__ = ["CALLED_OFF", "TIMED_OUT", "Line", "Waiter", "call_off", "time_out"]


class TimedOut(Exception):
    """What a waiter is told when its deadline passed; never leaves the pool."""


class CalledOff(Exception):
    """What a waiter is told when its token was cancelled; never leaves the pool."""


Waiter: TypeAlias = "asyncio.Future[Entry | BaseException]"
"""A caller who waits: its future is resolved with an entry, or with the error it is to raise.

An error is a *result*, so that one which nobody is left to hear needs no "never retrieved" ceremony.
"""

TIMED_OUT = TimedOut()
CALLED_OFF = CalledOff()


class Line:
    """Everybody who waits, in the order they came, and their deadlines.

    Some are *attended*: an instance is being made or checked for them. They keep their place, because whatever comes
    back first goes to whoever came first; they are not counted as waiting in line, for nobody has to do anything for
    them. Joining, leaving and being served are O(1) each.

    Args:
        limit: the pool's ``acquire_timeout`` (seconds). Its deadlines come due in the order of the line, so one timer
            serves them all; a shorter one of a caller's own has a timer of its own.
    """

    __slots__ = ("_attended", "_limit", "_loop", "_timer", "waiters")

    def __init__(self, limit: float) -> None:
        self._limit = limit
        self.waiters: OrderedDict[Waiter, float] = OrderedDict()
        """Each with the time it began to wait. The hot path asks only whether this is empty.

        One that is being cancelled or has just timed out stands in it until its own task has run.
        """
        self._attended: dict[Waiter, None] = {}  # an empty set is thrice its size
        self._timer: asyncio.TimerHandle | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def __len__(self) -> int:
        """How many wait unattended."""
        return sum(not waiter.done() and waiter not in self._attended for waiter in self.waiters)

    def __bool__(self) -> bool:
        return self.first() is not None

    def join(self, waiter: Waiter, since: float) -> None:
        """Stand at the end of the line; one who stands in it already keeps its place."""
        self.waiters[waiter] = since
        if self._timer is None:
            self._watch_the_clock(since)

    def attend(self, waiter: Waiter, since: float) -> None:
        """Something is being done for this one."""
        self.join(waiter, since)
        self._attended[waiter] = None

    def neglect(self, waiter: Waiter) -> None:
        """What was done for this one came to nothing: it waits unattended again, where it stood."""
        self._attended.pop(waiter, None)

    def leave(self, waiter: Waiter) -> None:
        """Go, wherever in line; nothing happens when it was served already."""
        self.waiters.pop(waiter, None)
        self._attended.pop(waiter, None)

    def tell(self, waiter: Waiter, result: Entry | BaseException) -> None:
        """End one wait, which takes the waiter out of the line; one that ended already hears nothing."""
        self.leave(waiter)
        if not waiter.done():
            waiter.set_result(result)

    def first(self) -> Waiter | None:
        """The first who waits unattended, left where it is."""
        if not self.waiters:
            return None
        waiter = next(iter(self.waiters))
        if not waiter.done() and waiter not in self._attended:
            return waiter  # as nearly always
        gone: list[Waiter] = []
        found = None
        for waiter in self.waiters:
            if waiter.done():
                gone.append(waiter)
            elif waiter not in self._attended:
                found = waiter
                break
        for waiter in gone:
            self.leave(waiter)
        return found

    def next(self) -> Waiter | None:
        """The first of all who wait, out of the line now; None when nobody does."""
        waiters = self.waiters
        while waiters:
            waiter = waiters.popitem(last=False)[0]
            self._attended.pop(waiter, None)
            if not waiter.done():
                return waiter
        return None

    def is_longer_than(self, limit: int) -> bool:
        """Whether more than ``limit`` wait unattended; counted only where that is in doubt."""
        return len(self.waiters) - len(self._attended) > limit and len(self) > limit

    def oldest_since(self) -> float | None:
        """When the one who waits longest unattended began to (loop time, seconds)."""
        first = self.first()
        return None if first is None else self.waiters[first]

    def fail(self, error: Callable[[], BaseException]) -> int:
        """Tell everybody who waits, attended or not, an error of their own; returns how many there were."""
        told = 0
        while (waiter := self.next()) is not None:
            waiter.set_result(error())
            told += 1
        return told

    # ── deadlines ──

    def settle_in(self, loop: asyncio.AbstractEventLoop) -> None:
        """From now on callers may wait, in this loop."""
        self._loop = loop

    def _watch_the_clock(self, since: float) -> None:
        assert self._loop is not None, "nobody waits before the pool is opened"
        self._timer = self._loop.call_at(since + self._limit, self._expire)

    def _expire(self) -> None:
        """End the waits whose time is over; the line is in the order in which that comes."""
        assert self._loop is not None, "the timer knows its loop"
        self._timer = None
        now = self._loop.time()
        for waiter, since in tuple(self.waiters.items()):
            if waiter.done():
                continue
            if since + self._limit > now:
                self._watch_the_clock(since)
                return
            time_out(waiter)

    def close(self) -> None:
        """Let go of the timer."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def time_out(waiter: Waiter) -> None:
    """End one wait; the caller turns it into the error it deserves, and leaves the line."""
    if not waiter.done():
        waiter.set_result(TIMED_OUT)


def call_off(waiter: Waiter) -> None:
    """End one wait because the caller's cancellation token said so."""
    if not waiter.done():
        waiter.set_result(CALLED_OFF)
