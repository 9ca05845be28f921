"""CheckRate: how often a person may have a resource checked."""

from __future__ import annotations

import asyncio

__all__ = ["CheckRate"]

INTERVAL = 1.0
"""Seconds between two checks of one resource."""
KEPT = 4096


class CheckRate:
    """Remembers when each was asked for last."""

    def __init__(self) -> None:
        self._asked: dict[str, float] = {}

    def ask(self, id: str) -> float | None:
        """None: it may be checked now. Else the seconds to wait."""
        now = asyncio.get_running_loop().time()
        wait = self._asked.get(id, -INTERVAL) + INTERVAL - now
        if wait > 0:
            return wait
        if len(self._asked) >= KEPT:
            self._asked = {each: at for each, at in self._asked.items() if now - at < INTERVAL}
        self._asked[id] = now
        return None
