"""Line: callers who wait, strictly in the order they came."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
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


Place: TypeAlias = "tuple[Waiter, float]"
"""One in the line, and when its wait began (loop time, seconds)."""


class Line:
    """Everybody who waits, in the order they came, and their deadlines.

    Some are *attended*: an instance is being made or checked for them. They keep their place, because whatever comes
    back first goes to whoever came first; they are not counted as waiting in line, for nobody has to do anything for
    them. Joining, leaving and being served are O(1) each, over any number of them.

    Who leaves, leaves a gap: a waiter that is done. The gaps are closed as soon as they are half of the line.

    Args:
        limit: the pool's ``acquire_timeout`` (seconds). Its deadlines come due in the order of the line, so one timer
            serves them all; a shorter one of a caller's own has a timer of its own.
    """

    __slots__ = ("_gaps", "_limit", "_loop", "_timer", "attended", "behind", "waiters")

    def __init__(self, limit: float) -> None:
        self._limit = limit
        # Two stacks are a queue: people join `behind`, and are turned over when nobody is left before them. (A deque
        # holds half a KiB while it is empty, an ordered dict takes thrice the time.)
        self.waiters: list[Place] = []
        """The front of the line, the first in it last; not empty while anybody waits. The hot path asks that alone.

        One that is being cancelled or has just timed out stands in it until its own task has run.
        """
        self.behind: list[Place] = []
        """Those who came later, in the order they came. Like the front and the attended one list for the line's life."""
        self._gaps = 0
        """How many left since the gaps were closed; more than there are gaps, for some had been served by then."""
        self.attended: dict[Waiter, None] = {}  # an empty set is thrice its size
        """For whom something is being done."""
        self._timer: asyncio.TimerHandle | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def __iter__(self) -> Iterator[Place]:
        """The places, the first in line first, gaps included."""
        yield from reversed(self.waiters)
        yield from self.behind

    def __len__(self) -> int:
        """How many wait unattended."""
        if not self.waiters:  # as nearly always; a scrape asks thousands of lines
            return 0
        attended = self.attended
        places = self.waiters + self.behind
        return sum([not waiter.done() and waiter not in attended for waiter, _ in places])

    def __bool__(self) -> bool:
        return self.first() is not None

    def join(self, waiter: Waiter, since: float) -> None:
        """Stand at the end of the line."""
        (self.behind if self.waiters else self.waiters).append((waiter, since))
        if self._timer is None:
            self._watch_the_clock(since)

    def join_others(self, waiter: Waiter, since: float) -> bool:
        """`join`, if somebody waits unattended at the front, as nearly always in a long line; else False."""
        waiters = self.waiters
        if not waiters or self.attended or waiters[-1][0].done():
            return False
        self.behind.append((waiter, since))  # whoever waits before it has set the timer
        return True

    def attend(self, waiter: Waiter) -> None:
        """Something is being done for this one, who stands in the line."""
        self.attended[waiter] = None

    def neglect(self, waiter: Waiter) -> None:
        """What was done for this one came to nothing: it waits unattended again, where it stood."""
        self.attended.pop(waiter, None)

    def leave(self, waiter: Waiter) -> None:
        """One whose wait has ended goes, wherever in line; nothing happens when it was served already."""
        self.attended.pop(waiter, None)
        self._gaps += 1
        if self._gaps * 2 >= len(self.waiters) + len(self.behind):
            self._close_gaps()

    def tell(self, waiter: Waiter, result: Entry | BaseException) -> None:
        """End one wait, which takes the waiter out of the line; one that ended already hears nothing."""
        if not waiter.done():
            waiter.set_result(result)
        self.leave(waiter)

    def first(self) -> Place | None:
        """The first who waits unattended, left where it is."""
        while self.waiters:
            place = self.waiters[-1]
            if place[0].done():
                self.waiters.pop()
                if not self.waiters and self.behind:
                    self._turn_over()
            elif place[0] in self.attended:
                return self._first_behind_attended()
            else:
                return place  # as nearly always
        return None

    def next(self) -> Waiter | None:
        """The first of all who wait, out of the line now; None when nobody does."""
        waiters = self.waiters
        while waiters:
            waiter = waiters.pop()[0]
            if not waiters and self.behind:
                self._turn_over()
            if not waiter.done():
                if self.attended:
                    self.attended.pop(waiter, None)
                return waiter
        return None

    def is_longer_than(self, limit: int) -> bool:
        """Whether more than ``limit`` wait unattended; counted only where that is in doubt."""
        standing = len(self.waiters) + len(self.behind) - len(self.attended)
        return standing > limit and len(self) > limit

    def oldest_since(self) -> float | None:
        """When the one who waits longest unattended began to (loop time, seconds)."""
        first = self.first()
        return None if first is None else first[1]

    def fail(self, error: Callable[[], BaseException]) -> int:
        """Tell everybody who waits, attended or not, an error of their own; returns how many there were."""
        told = 0
        while (waiter := self.next()) is not None:
            waiter.set_result(error())
            told += 1
        return told

    # ── places ──

    def _turn_over(self) -> None:
        """Nobody is left before them: those who came later are the front now."""
        self.behind.reverse()
        self.waiters += self.behind
        self.behind.clear()

    def _first_behind_attended(self) -> Place | None:
        for place in self:
            if not place[0].done() and place[0] not in self.attended:
                return place
        return None

    def _close_gaps(self) -> None:
        standing = [place for place in self if not place[0].done()]
        standing.reverse()
        self.waiters[:] = standing
        self.behind.clear()
        self._gaps = 0

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
        for waiter, since in self:
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
