"""ProcessMeter: how much of the processor and the memory that this process may have it uses."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from pathlib import Path

__all__ = ["ProcessMeter"]

STATM = Path("/proc/self/statm")
CGROUP_LIMIT = Path("/sys/fs/cgroup/memory.max")


def _loop_time() -> float:
    return asyncio.get_running_loop().time()


class ProcessMeter:
    """Measures shares, 0…1: ``cpu`` since the last call, of all processors it may run on; ``memory`` now, of its limit.

    The limit is the container's (cgroup v2) where there is one, else the machine's memory. What cannot be told is
    None: the processor at the first call, the memory where the system has no ``/proc``.

    Args:
        cpu_seconds: the processor time used so far.
        now: the wall clock, in seconds; the loop's by default.
        memory: bytes in use, and the limit in bytes; None: ask the system.
    """

    def __init__(
        self,
        *,
        cpu_seconds: Callable[[], float] = time.process_time,
        now: Callable[[], float] = _loop_time,
        memory: Callable[[], tuple[int, int] | None] | None = None,
    ) -> None:
        self._cpu_seconds = cpu_seconds
        self._now = now
        self._memory = memory or _memory
        self._last: tuple[float, float] | None = None
        self._share: float | None = None

    def __call__(self) -> dict[str, float | None]:
        """Measure."""
        memory = self._memory()
        return {"cpu": self._cpu(), "memory": None if memory is None else memory[0] / memory[1]}

    def _cpu(self) -> float | None:
        now, used = self._now(), self._cpu_seconds()
        last, self._last = self._last, (now, used)
        if last is not None and now > last[0]:
            self._share = (used - last[1]) / (now - last[0]) / _processors()
        return self._share


def _processors() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _memory() -> tuple[int, int] | None:
    """Bytes in use and the limit, from the system; None where it does not say."""
    try:
        page = os.sysconf("SC_PAGE_SIZE")
        used = int(STATM.read_text().split()[1]) * page
        limit = os.sysconf("SC_PHYS_PAGES") * page
    except (OSError, ValueError, AttributeError):
        return None
    try:
        limit = min(limit, int(CGROUP_LIMIT.read_text()))
    except (OSError, ValueError):  # no cgroup, or its limit is the word "max"
        pass
    return (used, limit) if limit > 0 else None
