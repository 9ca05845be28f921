"""PoolState: what a pool does with callers, and which state may follow which."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from types import MappingProxyType

__all__ = ["PoolState"]


class PoolState(Enum):
    """What a pool does with callers."""

    NEW = "new"
    """Refuses: it was not opened, or is being opened."""
    OPEN = "open"
    """Serves."""
    SUSPENDED = "suspended"
    """Lets them wait, or refuses, until it resumes."""
    DRAINING = "draining"
    """Refuses; something is still out."""
    DRAINED = "drained"
    """Refuses; everything is back but what instances of other resources keep."""
    CLOSING = "closing"
    """Refuses; what it has is being cleaned up."""
    CLOSED = "closed"
    """Refuses for good."""

    def can_become(self, new: PoolState) -> bool:
        """Whether ``new`` may follow this state; a state never follows itself."""
        return new in _MOVES[self]


_MOVES: Mapping[PoolState, frozenset[PoolState]] = MappingProxyType(
    {
        PoolState.NEW: frozenset({PoolState.OPEN, PoolState.CLOSING}),
        PoolState.OPEN: frozenset({PoolState.SUSPENDED, PoolState.DRAINING, PoolState.CLOSING}),
        PoolState.SUSPENDED: frozenset({PoolState.OPEN, PoolState.DRAINING, PoolState.CLOSING}),
        PoolState.DRAINING: frozenset({PoolState.OPEN, PoolState.DRAINED, PoolState.CLOSING}),
        PoolState.DRAINED: frozenset({PoolState.OPEN, PoolState.CLOSING}),
        PoolState.CLOSING: frozenset({PoolState.CLOSED}),
        PoolState.CLOSED: frozenset(),
    }
)
