"""CheckRate: how often a person may have a resource checked."""

from __future__ import annotations

import asyncio

__all__ = ["CheckRate"]

INTERVAL = 1.0
"""Seconds between two checks of one resource."""


class CheckRate:
    """Remembers when each was asked for last, oldest first, for as long as that matters."""

    def __init__(self) -> None:
        self._asked: dict[str, float] = {}

    def __len__(self) -> int:
        return len(self._asked)

    def ask(self, id: str) -> float | None:
        """None: it may be checked now. Else the seconds to wait."""
        now = asyncio.get_running_loop().time()
        while self._asked and now - next(iter(self._asked.values())) >= INTERVAL:
            del self._asked[next(iter(self._asked))]
        asked = self._asked.get(id)
        if asked is not None:
            return asked + INTERVAL - now
        self._asked[id] = now
        return None
