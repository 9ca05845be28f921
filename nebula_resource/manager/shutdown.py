"""Shutdown: takes registrations down in phases: drain, clean up (dependents first), terminate."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nebula_resource.errors import Unavailable
from nebula_resource.manager.dependencies import DependencyGraph
from nebula_resource.manager.registration import Cause, Registration, RegistrationState
from nebula_resource.pool.closing import CloseReport

if TYPE_CHECKING:
    from nebula_resource._aio import OwnedTasks
    from nebula_resource.manager.watch import Watch

__all__ = ["Shutdown", "ShutdownReport"]


@dataclass(frozen=True, slots=True)
class ShutdownReport:
    """How a shutdown went: ``drained`` pools whose every handle came back in time, ``forced`` handles that did not,
    ``failed`` cleanups, ``left`` steps that did not even end when cancelled; ``duration_s`` seconds.
    """

    drained: int
    forced: int
    failed: int
    left: int
    duration_s: float

    def __str__(self) -> str:
        return (
            f"{self.drained} drained, {self.forced} handles forced, {self.failed} cleanups failed, "
            f"{self.left} left behind, {self.duration_s:.2f} s"
        )


class Shutdown:
    """Takes a set of registrations down; what is not in the set is not touched."""

    def __init__(self, graph: DependencyGraph[str], watch: Watch, tasks: OwnedTasks) -> None:
        self._graph = graph
        self._watch = watch
        self._tasks = tasks

    async def run(
        self, registrations: Iterable[Registration], *, drain: float, cleanup: float, terminate: float
    ) -> ShutdownReport:
        """Drain for up to ``drain`` seconds, clean up level by level within ``cleanup`` each, then let go."""
        loop = asyncio.get_running_loop()
        started = loop.time()
        chosen = list(registrations)
        await self._drain(chosen, drain)
        reports: list[CloseReport] = []
        left = 0
        for level in self._levels(chosen):
            done, behind = await self._close(level, cleanup, terminate)
            reports += done
            left += behind
        return ShutdownReport(
            drained=sum(report.drained for report in reports),
            forced=sum(report.forced for report in reports),
            failed=sum(report.failed for report in reports),
            left=left + sum(report.left for report in reports),
            duration_s=loop.time() - started,
        )

    async def _drain(self, chosen: list[Registration], seconds: float) -> None:
        """Refuse new callers, and wait until the last handle is back: no longer than that, or than ``seconds``."""
        for registration in chosen:
            registration.refuse(Cause.DRAINING, _refusal(registration, "draining"))
        waits = [
            self._tasks.spawn(each.pool.drain(seconds), name=f"drain {each.public_id}")
            for each in chosen
            if each.state is RegistrationState.READY and each.pool.can_drain
        ]
        for registration in chosen:
            if registration.state is RegistrationState.READY:
                registration.state = RegistrationState.DRAINING
        if waits:
            await asyncio.wait(waits)

    def _levels(self, chosen: list[Registration]) -> list[list[Registration]]:
        """Dependents before what they need; those that do not need each other together."""
        by_id = {registration.public_id: registration for registration in chosen}
        height: dict[str, int] = {}
        for node in self._graph.order():
            if node in by_id:
                below = [height[each] for each in self._graph.dependencies(node) if each in height]
                height[node] = 1 + max(below, default=-1)
        levels: dict[int, list[Registration]] = {}
        for node, registration in by_id.items():
            levels.setdefault(height.get(node, 0), []).append(registration)
        return [levels[each] for each in sorted(levels, reverse=True)]

    async def _close(
        self, level: list[Registration], cleanup: float, terminate: float
    ) -> tuple[list[CloseReport], int]:
        for registration in level:
            registration.state = RegistrationState.CLOSED
            registration.refuse(Cause.CLOSED, _refusal(registration, "closed"))
        closings = [self._tasks.spawn(each.pool.close(0.0), name=f"close {each.public_id}") for each in level]
        if not closings:
            return [], 0
        _, pending = await asyncio.wait(closings, timeout=cleanup)
        if pending:
            _, pending = await asyncio.wait(pending, timeout=terminate)
        for task in pending:
            task.cancel()
        return [task.result() for task in closings if task not in pending], len(pending)


def _refusal(registration: Registration, why: str) -> Callable[[], Unavailable]:
    return lambda: Unavailable(why, resource_id=registration.key, retryable=why == "draining")
