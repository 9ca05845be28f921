"""Graphs for tests: who needs whom, as plain as can be."""

from __future__ import annotations

from collections.abc import Mapping, Sequence


class PlainGraph:
    """Edges as a mapping from a resource to what it needs; every answer is worked out from that by hand."""

    def __init__(self, needs: Mapping[str, Sequence[str]]) -> None:
        self.needs = {key: tuple(value) for key, value in needs.items()}

    def dependencies(self, id: str, /) -> Sequence[str]:
        """What it declared."""
        return self.needs.get(id, ())

    def dependents(self, id: str, /, *, depth: int | None = None) -> Sequence[str]:
        """Level by level."""
        found: dict[str, None] = {}
        level = {id}
        while level and depth != 0:
            depth = None if depth is None else depth - 1
            level = {key for key, needs in self.needs.items() if not level.isdisjoint(needs)}.difference(
                found, (id,)
            )
            found.update(dict.fromkeys(sorted(level)))
        return tuple(found)

    def depends_on(self, id: str, other: str, /) -> bool:
        """At once or through others."""
        return id in self.dependents(other)
