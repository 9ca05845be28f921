"""Propagation: what is down degrades those that need it, as a set of exact causes."""

from __future__ import annotations

from nebula_resource.health.board import HealthBoard
from nebula_resource.health.graph import Graph
from nebula_resource.model.health import Degraded

__all__ = ["PROPAGATED_IMPACT", "Propagation"]

PROPAGATED_IMPACT = 0.5
"""How much worse a resource is taken to work while one it needs is down (SPEC §11)."""


class Propagation:
    """Imposes Degraded(0.5) on the dependents of every root that is down, and takes exactly that back.

    It remembers who bears each root's cause, so that a graph that changed meanwhile leaves nothing behind, and an id
    that is the beginning of another is never taken for it.
    """

    def __init__(self, board: HealthBoard, graph: Graph) -> None:
        self._board = board
        self._graph = graph
        self._depth: dict[str, int] = {}
        self._bearers: dict[str, set[str]] = {}

    def __repr__(self) -> str:
        return f"<Propagation {len(self._depth)} roots down>"

    @property
    def roots(self) -> tuple[str, ...]:
        """What is down, in the order of falling."""
        return tuple(self._depth)

    def fell(self, root: str, *, depth: int) -> None:
        """``root`` became Unhealthy or was quarantined: degrade who needs it, ``depth`` levels up."""
        self._depth[root] = depth
        self._apply(root)

    def rose(self, root: str) -> None:
        """``root`` is neither any more, or gone: take its cause, and no other, from those who bear it."""
        if self._depth.pop(root, None) is None:
            return
        for bearer in sorted(self._bearers.pop(root)):
            self._board.lift(bearer, root)

    def refresh(self) -> None:
        """The graph or the board changed: impose what is missing, lift what no longer holds."""
        for root in self.roots:
            # A listener may raise roots while this runs.
            if root in self._depth:
                self._apply(root)

    def _apply(self, root: str) -> None:
        wanted = [
            each for each in self._graph.dependents(root, depth=self._depth[root]) if each in self._board
        ]
        gone = self._bearers.get(root, set()).difference(wanted)
        # Before anybody is told: the set is as it will be, so a listener may call back in.
        self._bearers[root] = set(wanted)
        for bearer in sorted(gone):
            self._board.lift(bearer, root)
        for bearer in wanted:
            # The board is asked, not the set: a resource that left and came back bears nothing yet.
            if bearer in self._bearers.get(root, ()) and not self._board.bears(bearer, root):
                self._board.impose(bearer, root, Degraded(f"dependency '{root}' is down", PROPAGATED_IMPACT))
