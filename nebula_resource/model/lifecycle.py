"""Lifecycle: the ten states of a pooled instance, and which may follow which."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType

from nebula_resource.errors import InvalidStateTransition

__all__ = ["Lifecycle"]


class Lifecycle(StrEnum):
    """Where an instance stands between its creation and its end (SPEC §6)."""

    CREATED = "created"
    INITIALIZING = "initializing"
    READY = "ready"
    IN_USE = "in_use"
    IDLE = "idle"
    MAINTENANCE = "maintenance"
    DRAINING = "draining"
    CLEANUP = "cleanup"
    TERMINATED = "terminated"
    FAILED = "failed"

    @property
    def is_available(self) -> bool:
        """Whether an instance in this state may be handed out."""
        return self is Lifecycle.READY or self is Lifecycle.IDLE

    @property
    def is_terminal(self) -> bool:
        """Whether nothing follows."""
        return self is Lifecycle.TERMINATED

    def can_transition_to(self, new: Lifecycle) -> bool:
        """Say whether ``new`` may follow this state; a state never follows itself."""
        return new in _NEXT[self]

    def advance(self, new: Lifecycle) -> Lifecycle:
        """Return ``new``: ``entry.state = entry.state.advance(Lifecycle.IDLE)``.

        Raises:
            InvalidStateTransition: the table has no such move.
        """
        if new not in _NEXT[self]:
            raise InvalidStateTransition(self, new)
        return new


_NEXT: Mapping[Lifecycle, frozenset[Lifecycle]] = MappingProxyType(
    {
        Lifecycle.CREATED: frozenset({Lifecycle.INITIALIZING, Lifecycle.FAILED, Lifecycle.TERMINATED}),
        Lifecycle.INITIALIZING: frozenset({Lifecycle.READY, Lifecycle.FAILED}),
        Lifecycle.READY: frozenset(
            {
                Lifecycle.IN_USE,
                Lifecycle.IDLE,
                Lifecycle.MAINTENANCE,
                Lifecycle.DRAINING,
                Lifecycle.CLEANUP,
                Lifecycle.FAILED,
            }
        ),
        Lifecycle.IN_USE: frozenset({Lifecycle.READY, Lifecycle.IDLE, Lifecycle.CLEANUP, Lifecycle.FAILED}),
        Lifecycle.IDLE: frozenset(
            {
                Lifecycle.READY,
                Lifecycle.IN_USE,
                Lifecycle.MAINTENANCE,
                Lifecycle.DRAINING,
                Lifecycle.CLEANUP,
                Lifecycle.FAILED,
            }
        ),
        Lifecycle.MAINTENANCE: frozenset({Lifecycle.READY, Lifecycle.CLEANUP, Lifecycle.FAILED}),
        Lifecycle.DRAINING: frozenset({Lifecycle.CLEANUP, Lifecycle.FAILED}),
        Lifecycle.CLEANUP: frozenset({Lifecycle.TERMINATED, Lifecycle.FAILED}),
        Lifecycle.FAILED: frozenset({Lifecycle.CLEANUP, Lifecycle.TERMINATED}),
        Lifecycle.TERMINATED: frozenset(),
    }
)
