"""Graph: what this room needs to know of who depends on whom."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

__all__ = ["Graph"]


class Graph(Protocol):
    """Who needs whom, by public id. The manager's dependency graph is one."""

    def dependents(self, id: str, /, *, depth: int | None = None) -> Sequence[str]:
        """Return who needs ``id``, nearest first, within ``depth`` steps (None: any number)."""
        ...

    def dependencies(self, id: str, /) -> Sequence[str]:
        """Return what ``id`` itself declared to need."""
        ...

    def depends_on(self, id: str, other: str, /) -> bool:
        """Say whether ``id`` needs ``other``, at once or through others; nothing needs itself."""
        ...
