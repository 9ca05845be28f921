"""Suspicion: when nearly everything fails at once, the checker doubts itself before it cuts everything off."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Protocol

from nebula_resource.health.graph import Graph

__all__ = ["Suspicion", "SuspicionListener"]

LEAST_UNRELATED = 5
"""So many resources that have nothing to do with each other must fail (SPEC §11)."""
FAILING_SHARE = (4, 5)
"""This share of everything probed within the interval must fail."""
WELL_SHARE = (1, 2)
"""When this share of everything known is well again, the checker trusts itself."""


class SuspicionListener(Protocol):
    """Who is told; called at once, must not raise."""

    def suspected(self, failing: int, probed: int) -> None:
        """The checker suspects itself: ``failing`` of ``probed`` resources failed within one interval."""

    def cleared(self, well: int, known: int) -> None:
        """It trusts itself again: ``well`` of ``known`` resources are well."""


def _before_digest(id: str) -> str:
    """The resource id of a public id: registrations of one resource in many scopes are one thing here."""
    return id.partition("~")[0]


def _is_less(part: int, share: tuple[int, int], whole: int) -> bool:
    """Whether ``part`` is less than ``share`` (numerator, denominator) of ``whole``, without rounding."""
    return part * share[1] < share[0] * whole


class Suspicion:
    """Looks at the last result of every resource within one interval.

    Two resources are related when one needs the other, when both need the same, or when ``group`` puts them
    together (by default: one resource registered in several scopes). Related ones count once: a server that is down
    is no reason to doubt the checker, however many tenants it serves.
    """

    def __init__(
        self,
        graph: Graph,
        listener: SuspicionListener,
        *,
        interval: float = 30.0,
        group: Callable[[str], Hashable] = _before_digest,
    ) -> None:
        self._graph = graph
        self._listener = listener
        self.interval = interval
        """Seconds; may be set anew when what is watched changes."""
        self._group = group
        self._last: dict[str, tuple[float, bool]] = {}
        self.is_suspected = False

    def __repr__(self) -> str:
        failing = sum(1 for _, failed in self._last.values() if failed)
        return (
            f"<Suspicion {failing} of {len(self._last)} failing{', suspected' if self.is_suspected else ''}>"
        )

    def probed(self, id: str, *, failed: bool, now: float) -> None:
        """Take in one check's result; ``now`` is the loop's time in seconds."""
        self._last[id] = (now, failed)
        if self.is_suspected:
            self._clear_if_half_well()
        elif failed:
            self._suspect_if_everything_fails(now)

    def forget(self, id: str) -> None:
        """``id`` is not checked any more."""
        if self._last.pop(id, None) is not None and self.is_suspected:
            self._clear_if_half_well()

    def _suspect_if_everything_fails(self, now: float) -> None:
        recent = {key: failed for key, (at, failed) in self._last.items() if now - at <= self.interval}
        failing = [key for key, failed in recent.items() if failed]
        if len(failing) < LEAST_UNRELATED or _is_less(len(failing), FAILING_SHARE, len(recent)):
            return
        if self._unrelated(failing) >= LEAST_UNRELATED:
            self.is_suspected = True
            self._listener.suspected(len(failing), len(recent))

    def _clear_if_half_well(self) -> None:
        well = sum(1 for _, failed in self._last.values() if not failed)
        if not _is_less(well, WELL_SHARE, len(self._last)):
            self.is_suspected = False
            self._listener.cleared(well, len(self._last))

    def _unrelated(self, failing: list[str]) -> int:
        """How many groups of related resources the failing ones form (union-find over what they share)."""
        parent: dict[Hashable, Hashable] = {}

        def find(node: Hashable) -> Hashable:
            while parent.setdefault(node, node) != node:
                parent[node] = parent[parent[node]]
                node = parent[node]
            return node

        for member in failing:
            parent[find(("group", self._group(member)))] = find(member)
            stack, seen = [member], {member}
            while stack:
                for below in self._graph.dependencies(stack.pop()):
                    if below not in seen:
                        seen.add(below)
                        stack.append(below)
                        parent[find(below)] = find(member)
        return len({find(member) for member in failing})
