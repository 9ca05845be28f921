"""Virtual time: an event loop whose clock jumps to the next timer instead of waiting for it."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

__all__ = ["Stalled", "VirtualTimeLoop", "run_virtual"]

T = TypeVar("T")


class Stalled(RuntimeError):
    """Nothing is ready and no timer is set: the program would wait for ever."""


class _JumpingSelector(selectors.DefaultSelector):
    """Polls for real events without waiting, then moves the loop's clock to the next timer."""

    loop: VirtualTimeLoop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if ready or timeout == 0:
            return ready
        if timeout is None:
            raise Stalled("every task waits and no timer is set: nothing can ever happen in this loop")
        self.loop.jump(timeout)
        return ready


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """An event loop for tests: ``asyncio.sleep(60)`` returns at once, exactly 60 seconds later by ``loop.time()``.

    Time starts at 0.0 and moves only when nothing is ready to run, straight to the next timer. Timers fire exactly at
    their time. It does no real I/O beyond its own self-pipe: a wait that only the outside could end raises `Stalled`.
    """

    def __init__(self) -> None:
        self._now = 0.0
        selector = _JumpingSelector()
        super().__init__(selector)
        selector.loop = self
        # The base class runs what is due before now + resolution, so this may be tiny but not nothing.
        self._clock_resolution = 1e-9

    def time(self) -> float:
        """Virtual seconds since the loop was made."""
        return self._now

    def jump(self, seconds: float) -> None:
        """Move the clock; timers that become due run in the next turn of the loop."""
        scheduled: list[asyncio.TimerHandle] = self._scheduled  # type: ignore[attr-defined]  # base class's heap: its head is the exact time, `seconds` is capped
        self._now = max(self._now, scheduled[0].when()) if scheduled else self._now + seconds


def run_virtual(main: Coroutine[Any, Any, T]) -> T:
    """Run ``main`` to its end in virtual time and return its result."""
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        return runner.run(main)
