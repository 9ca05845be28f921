"""DependencyGraph: who needs whom, in which order they open, and that nobody needs himself."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator
from heapq import heapify, heappop, heappush
from typing import Generic, TypeVar

from nebula_resource.errors import CircularDependency

__all__ = ["DependencyGraph"]

N = TypeVar("N", bound=Hashable)


class DependencyGraph(Generic[N]):
    """Nodes in the order of their adding, and the edges each declared.

    A node may need one that is not there (yet, or any more): the edge waits for it, and counts for circles at once.
    So edges into a node survive its removal and its return. ``label`` names a node in an error.
    """

    def __init__(self, *, label: Callable[[N], str] = str) -> None:
        self._label = label
        self._needs: dict[N, tuple[N, ...]] = {}  # in order of insertion; only what was added is a key
        self._needed_by: dict[N, dict[N, None]] = {}  # a dict as an ordered set; also of nodes not added
        self._place: dict[N, int] = {}
        self._next_place = 0

    # ── changing it ───────────────────────────────────────────────────────────────────────────────────────────────

    def add(self, resource: N, depends_on: Iterable[N] = ()) -> None:
        """Add a node with what it needs; added again it keeps its place and gets the new edges.

        Raises:
            CircularDependency: it would need itself, at once or through others; nothing was changed.
        """
        needs = tuple(dict.fromkeys(depends_on))
        path = self._path_back(resource, needs)
        if path is not None:
            raise CircularDependency([self._label(node) for node in path])
        if resource in self._needs:
            self._unlink(resource)
        else:
            self._place[resource] = self._next_place
            self._next_place += 1
        self._needs[resource] = needs
        for node in needs:
            self._needed_by.setdefault(node, {})[resource] = None

    def remove(self, resource: N) -> None:
        """Take a node out with the edges it declared; edges into it wait for its return. KeyError: it is not there."""
        self._unlink(resource)
        del self._needs[resource]
        del self._place[resource]

    def _unlink(self, resource: N) -> None:
        for node in self._needs[resource]:
            needed_by = self._needed_by[node]
            del needed_by[resource]
            if not needed_by:
                del self._needed_by[node]

    def _path_back(self, start: N, needs: tuple[N, ...]) -> list[N] | None:
        """Return the way from ``start`` through ``needs`` back to ``start``, if there is one."""
        came_from: dict[N, N] = {}
        stack: list[N] = []
        for node in reversed(needs):
            came_from[node] = start
            stack.append(node)
        while stack:
            node = stack.pop()
            if node == start:
                path = [start]
                at = came_from[node]
                while at != start:
                    path.append(at)
                    at = came_from[at]
                path.append(start)
                return path[::-1]
            for further in reversed(self._needs.get(node, ())):
                if further not in came_from:
                    came_from[further] = node
                    stack.append(further)
        return None

    # ── asking it ─────────────────────────────────────────────────────────────────────────────────────────────────

    def order(self) -> tuple[N, ...]:
        """Return every node, dependencies first; of those free to go, the one added first goes first."""
        return self._sorted(self._needs)

    def init_order(self, resource: N) -> tuple[N, ...]:
        """Return what must be opened for ``resource``, dependencies first, itself last.

        Nodes that were never added are left out (see `missing`). Raises KeyError: ``resource`` is not there.
        """
        if resource not in self._needs:
            raise KeyError(resource)
        return self._sorted(self._reach([resource], self._dependencies_of))

    def missing(self, resource: N) -> tuple[N, ...]:
        """Return what ``resource`` needs, at once or through others, and is not there."""
        return tuple(
            node for node in self._reach([resource], self._dependencies_of) if node not in self._needs
        )

    def depends_on(self, resource: N, other: N) -> bool:
        """Say whether ``resource`` needs ``other``, at once or through others; nothing needs itself."""
        return resource != other and other in self._reach([resource], self._dependencies_of)

    def dependencies(self, resource: N) -> tuple[N, ...]:
        """Return what ``resource`` declared, in its order; empty when it is not there."""
        return self._needs.get(resource, ())

    def dependents(self, resource: N, *, depth: int | None = None) -> tuple[N, ...]:
        """Return who needs ``resource``, nearest first, within ``depth`` steps (None: any number)."""
        found: dict[N, None] = {resource: None}
        level = [resource]
        while level and depth != 0:
            depth = None if depth is None else depth - 1
            above = dict.fromkeys(node for below in level for node in self._needed_by.get(below, ()))
            level = sorted((node for node in above if node not in found), key=self._place.__getitem__)
            found.update(dict.fromkeys(level))
        del found[resource]
        return tuple(found)

    def __contains__(self, resource: object) -> bool:
        return resource in self._needs

    def __iter__(self) -> Iterator[N]:
        return iter(tuple(self._needs))

    def __len__(self) -> int:
        return len(self._needs)

    def __repr__(self) -> str:
        edges = sum(len(needs) for needs in self._needs.values())
        return f"<DependencyGraph {len(self)} resources, {edges} dependencies>"

    # ── how ───────────────────────────────────────────────────────────────────────────────────────────────────────

    def _dependencies_of(self, node: N) -> Iterable[N]:
        return self._needs.get(node, ())

    @staticmethod
    def _reach(start: Iterable[N], step: Callable[[N], Iterable[N]]) -> dict[N, None]:
        """Return all that can be reached, the start included, as an ordered set."""
        found = dict.fromkeys(start)
        stack = list(found)
        while stack:
            for node in step(stack.pop()):
                if node not in found:
                    found[node] = None
                    stack.append(node)
        return found

    def _sorted(self, among: Iterable[N]) -> tuple[N, ...]:
        """Sort the nodes that are there topologically; the place of adding breaks ties."""
        nodes = {node for node in among if node in self._needs}
        waits_for = {node: sum(1 for need in self._needs[node] if need in nodes) for node in nodes}
        free = [(self._place[node], node) for node in nodes if waits_for[node] == 0]
        heapify(free)  # places are unique, so nodes themselves are never compared
        done: list[N] = []
        while free:
            _, node = heappop(free)
            done.append(node)
            for dependent in self._needed_by.get(node, ()):
                if dependent in nodes:
                    waits_for[dependent] -= 1
                    if waits_for[dependent] == 0:
                        heappush(free, (self._place[dependent], dependent))
        assert len(done) == len(nodes), "add refuses circles, so every node comes free"
        return tuple(done)
