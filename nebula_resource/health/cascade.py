"""CascadeWatch: sees that most of what needs one resource fails, and tells it as one incident."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol, final

from nebula_resource.health.graph import Graph

__all__ = ["CascadeListener", "CascadeWatch", "Incident"]

LEAST_MEMBERS = 2
"""Fewer failing dependents are no cascade: with one dependent one failure would be 100 % (SPEC §11)."""


@final
@dataclass(frozen=True, slots=True)
class Incident:
    """One cascade: ``id`` counts up per watch (``cascade-1``), ``root`` is what its ``members`` need, ``since`` is UTC."""

    id: str
    root: str
    members: tuple[str, ...]
    since: datetime


class CascadeListener(Protocol):
    """Who is told of cascades. Called at once; must not raise; may call back into the watch."""

    def detected(self, incident: Incident) -> None:
        """More than half of the root's dependents, and at least two, fail by their own evidence."""

    def joined(self, incident: Incident, member: str) -> None:
        """One more dependent of the root began to fail while the incident is open."""

    def resolved(self, incident: Incident) -> None:
        """The root was released and every member is well by its own evidence, or gone."""


class _Open:
    """An incident that goes on: who belongs to it, and what has become well."""

    __slots__ = ("id", "members", "root", "root_is_back", "since")

    def __init__(self, id: str, root: str, members: dict[str, bool], since: datetime) -> None:
        self.id = id
        self.root = root
        self.members = members  # member → whether it passed, in the order of joining
        self.since = since
        self.root_is_back = False

    def value(self) -> Incident:
        return Incident(self.id, self.root, tuple(self.members), self.since)


class CascadeWatch:
    """Told who fails and who passes by **own** evidence; what is merely propagated never reaches it.

    One failure is counted in one incident: a member of an open one neither counts towards another nor becomes a root of
    its own, and nothing that stands above an open incident's root becomes a root (it fails because of what is below).
    Of several possible roots the one that fails itself is taken first, then the deepest, then the first by id.
    """

    def __init__(
        self,
        graph: Graph,
        listener: CascadeListener,
        *,
        name: Callable[[int], str] = "cascade-{}".format,
        utc: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._graph = graph
        self._listener = listener
        self._name = name
        self._utc = utc
        self._count = 0
        self._failing: set[str] = set()
        self._open: dict[str, _Open] = {}  # by root
        self._member_of: dict[str, str] = {}  # member → root

    def __repr__(self) -> str:
        return f"<CascadeWatch {len(self._failing)} failing, {len(self._open)} incidents open>"

    def incidents(self) -> tuple[Incident, ...]:
        """Those that are open, oldest first."""
        return tuple(each.value() for each in self._open.values())

    def incident_of(self, id: str) -> Incident | None:
        """The open incident that ``id`` is the root or a member of."""
        found = self._open.get(self._member_of.get(id, id))
        return None if found is None else found.value()

    def is_failing(self, id: str) -> bool:
        """Whether ``id`` fails by its own evidence."""
        return id in self._failing

    # ── evidence ──────────────────────────────────────────────────────────────────────────────────────────────────

    def fails(self, id: str) -> None:
        """``id`` became Unhealthy by its own evidence."""
        self._failing.add(id)
        joined = self._member_of.get(id)
        if joined is not None:
            self._open[joined].members[id] = False
            return
        if not self._join(id):
            self._look_above(id)

    def passes(self, id: str) -> None:
        """``id`` is well by its own evidence: a check of its own passed."""
        self._failing.discard(id)
        root = self._member_of.get(id)
        if root is not None:
            self._open[root].members[id] = True
            self._close_if_over(root)

    def unsettled(self, id: str) -> None:
        """What was known of ``id`` no longer counts (it was released or reset): neither failing nor passed."""
        self._failing.discard(id)

    def root_released(self, root: str) -> None:
        """A root left quarantine: its incident ends when the members have passed too."""
        found = self._open.get(root)
        if found is not None:
            found.root_is_back = True
            self._close_if_over(root)

    def root_fell(self, root: str) -> None:
        """A root is quarantined again before its incident was over."""
        found = self._open.get(root)
        if found is not None:
            found.root_is_back = False

    def forget(self, id: str) -> None:
        """``id`` is gone: a member leaves its incident, a root ends its own."""
        self._failing.discard(id)
        root = self._member_of.pop(id, None)
        if root is not None:
            del self._open[root].members[id]
            self._close_if_over(root)
        if id in self._open:
            self._close(id)

    # ── how ───────────────────────────────────────────────────────────────────────────────────────────────────────

    def _join(self, id: str) -> bool:
        """Let a new failure join an open incident of something it needs."""
        if id in self._open:
            return False
        for root in self._graph.dependencies(id):
            found = self._open.get(root)
            if found is not None:
                found.members[id] = False
                self._member_of[id] = root
                self._listener.joined(found.value(), id)
                return True
        return False

    def _look_above(self, id: str) -> None:
        """See whether this failure makes something that ``id`` needs the root of a cascade."""
        candidates = [root for root in self._graph.dependencies(id) if self._may_be_root(root)]
        candidates.sort(key=lambda root: (root not in self._failing, self._height(root), root))
        for root in candidates:
            members = self._members_for(root)
            if members:
                self._open_incident(root, members)
                return

    def _may_be_root(self, root: str) -> bool:
        # A member of an open incident needs that incident's root, so this covers members too.
        return root not in self._open and not any(self._graph.depends_on(root, below) for below in self._open)

    def _members_for(self, root: str) -> list[str]:
        """The failing dependents of ``root``, when they are more than half of all and at least two."""
        dependents = self._graph.dependents(root, depth=1)
        failing = [each for each in dependents if each in self._failing and each not in self._member_of]
        enough = len(failing) >= LEAST_MEMBERS and 2 * len(failing) > len(dependents)
        return failing if enough else []

    def _height(self, root: str) -> int:
        """How long the longest way down from ``root`` is; 0: it needs nothing."""
        heights: dict[str, int] = {}
        stack = [root]
        while stack:
            at = stack[-1]
            missing = [below for below in self._graph.dependencies(at) if below not in heights]
            if missing:
                stack.extend(missing)
                continue
            stack.pop()
            heights[at] = max((heights[below] + 1 for below in self._graph.dependencies(at)), default=0)
        return heights[root]

    def _open_incident(self, root: str, members: list[str]) -> None:
        self._count += 1
        found = _Open(self._name(self._count), root, dict.fromkeys(members, False), self._utc())
        self._open[root] = found
        self._member_of.update(dict.fromkeys(members, root))
        self._listener.detected(found.value())

    def _close_if_over(self, root: str) -> None:
        found = self._open[root]
        if found.root_is_back and all(found.members.values()):
            self._close(root)

    def _close(self, root: str) -> None:
        found = self._open.pop(root)
        for member in found.members:
            del self._member_of[member]
        self._listener.resolved(found.value())
