"""SeriesBudget: how many series a process may write beyond those that its pools and resources fix."""

from __future__ import annotations

__all__ = ["MAX_SERIES", "SeriesBudget"]

MAX_SERIES = 10_000
"""Series beyond the fixed families (SPEC §22)."""


class SeriesBudget:
    """One for all that make up labels as they go, so that they share what there is."""

    __slots__ = ("left",)

    def __init__(self, most: int = MAX_SERIES) -> None:
        self.left = most
        """Series that may still be begun."""

    def take(self, series: int) -> bool:
        """Begin so many series; False: there is no room for them, and none is taken."""
        if series > self.left:
            return False
        self.left -= series
        return True

    def give_back(self, series: int) -> None:
        """So many are written no longer."""
        self.left += series
