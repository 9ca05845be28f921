"""Line: callers who wait, strictly in the order they came."""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import Callable
from typing import TypeAlias

from nebula_resource.pool.entry import Entry

__all__ = ["Line", "Waiter"]


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
    """Waiters in order, and the deadlines of all who wait for this pool, in line or for an instance being made.

    Joining, leaving and being served are O(1) each. Deadlines of the pool's own ``acquire_timeout`` come due in the
    order they were set, so one timer serves them all; any other deadline has its own.
    """

    __slots__ = ("_deadlines", "_loop", "_timer", "waiters")

    def __init__(self) -> None:
        self.waiters: OrderedDict[Waiter, float] = OrderedDict()
        """Each with the time it began to wait. The hot path asks only whether this is empty. A waiter that is being cancelled may still stand in it."""
        self._deadlines: deque[tuple[float, Waiter]] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def __len__(self) -> int:
        return sum(not waiter.done() for waiter in self.waiters)

    def __bool__(self) -> bool:
        return self.first() is not None

    def join(self, waiter: Waiter, since: float, *, front: bool = False) -> None:
        """Stand in line: at its end, or at its head (a caller who was served something that proved useless)."""
        self.waiters[waiter] = since
        if front:
            self.waiters.move_to_end(waiter, last=False)

    def leave(self, waiter: Waiter) -> None:
        """Give up, wherever in line; nothing happens when it was served already."""
        self.waiters.pop(waiter, None)

    def first(self) -> Waiter | None:
        """The first who still waits, left where it is."""
        waiters = self.waiters
        while waiters:
            waiter = next(iter(waiters))
            if not waiter.done():
                return waiter
            del waiters[waiter]
        return None

    def oldest_since(self) -> float | None:
        """When the one who waits longest began to (loop time, seconds)."""
        return min((since for waiter, since in self.waiters.items() if not waiter.done()), default=None)

    def next(self) -> Waiter | None:
        """The first who still waits, out of the line now; None when nobody does."""
        waiters = self.waiters
        while waiters:
            waiter = waiters.popitem(last=False)[0]
            if not waiter.done():
                return waiter
        return None

    def fail(self, error: Callable[[], BaseException]) -> int:
        """Tell everybody in line an error of their own; returns how many there were."""
        told = 0
        while (waiter := self.next()) is not None:
            waiter.set_result(error())
            told += 1
        return told

    # ── deadlines ──

    def expire_at(self, when: float, waiter: Waiter, loop: asyncio.AbstractEventLoop) -> None:
        """End this wait at ``when``; calls come with ever later times (the pool's own timeout)."""
        deadlines = self._deadlines
        while deadlines and deadlines[0][1].done():
            deadlines.popleft()
        deadlines.append((when, waiter))
        if self._timer is None:
            self._loop = loop
            self._timer = loop.call_at(when, self._expire)

    def _expire(self) -> None:
        assert self._loop is not None, "the timer is set by expire_at, which knows the loop"
        self._timer = None
        now = self._loop.time()
        deadlines = self._deadlines
        while deadlines:
            when, waiter = deadlines[0]
            if not waiter.done():
                if when > now:
                    self._timer = self._loop.call_at(when, self._expire)
                    return
                time_out(waiter)
            deadlines.popleft()

    def close(self) -> None:
        """Let go of the timer."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._deadlines.clear()


def time_out(waiter: Waiter) -> None:
    """End one wait; the caller turns it into the error it deserves, and leaves the line."""
    if not waiter.done():
        waiter.set_result(TIMED_OUT)


def call_off(waiter: Waiter) -> None:
    """End one wait because the caller's cancellation token said so."""
    if not waiter.done():
        waiter.set_result(CALLED_OFF)
