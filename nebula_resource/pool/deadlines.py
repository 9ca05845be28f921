"""Deadlines: when the steps that run now must have ended; one timer for all of them.

A timer for each step would be simpler, and stay in the loop's heap, cancelled, until its time has come: a quarter of a
KiB for half a minute for every instance that is made.
"""

from __future__ import annotations

import asyncio
from contextvars import Context

__all__ = ["Deadlines"]


class Deadlines:
    """The time limits of one pool's steps. Beginning and ending a step is O(1); the timer is set only to come sooner."""

    __slots__ = ("_rings_at", "_running", "_timer")

    def __init__(self) -> None:
        self._running: dict[asyncio.Timeout, float] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._rings_at = 0.0

    def begin(self, watch: asyncio.Timeout, limit: float) -> None:
        """``watch``, which was entered, is to expire in ``limit`` seconds, unless `end` comes first."""
        loop = asyncio.get_running_loop()
        self._running[watch] = deadline = loop.time() + limit
        if self._timer is not None:
            if self._rings_at <= deadline:
                return
            self._timer.cancel()
        self._ring_at(deadline, loop)

    def end(self, watch: asyncio.Timeout) -> None:
        """The step has ended. The timer stays: it will find nothing, and most pools begin another step before."""
        self._running.pop(watch, None)
        if not self._running:
            self._running.clear()  # the table of a dict outlives its content

    def stop(self) -> None:
        """Let go of the timer, when nothing runs any more."""
        if self._timer is not None and not self._running:
            self._timer.cancel()
            self._timer = None

    def _ring_at(self, moment: float, loop: asyncio.AbstractEventLoop) -> None:
        self._rings_at = moment
        self._timer = loop.call_at(moment, self._ring, loop, context=Context())

    def _ring(self, loop: asyncio.AbstractEventLoop) -> None:
        """Expire what is due, and wait for the next."""
        self._timer = None
        # What is due when this timer rings is due, whatever the loop's clock rounds to.
        now = max(loop.time(), self._rings_at)
        for watch, deadline in tuple(self._running.items()):
            if deadline <= now:
                del self._running[watch]
                watch.reschedule(deadline)  # in the past: it expires in the next turn of the loop
        if self._running:
            self._ring_at(min(self._running.values()), loop)
