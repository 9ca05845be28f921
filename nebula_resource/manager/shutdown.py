"""Shutdown: takes registrations down in phases: drain, clean up (dependents first), terminate."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nebula_resource._aio import cancel_soundly
from nebula_resource.errors import Unavailable
from nebula_resource.manager.dependencies import DependencyGraph
from nebula_resource.manager.registration import Cause, Registration, RegistrationState
from nebula_resource.pool import Pool

if TYPE_CHECKING:
    from nebula_resource._aio import OwnedTasks

__all__ = ["Shutdown", "ShutdownReport"]

AnyPool = Pool[Any, Any, Any]


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


class _Tally:
    """What a shutdown has come to so far."""

    __slots__ = ("drained", "failed", "forced", "left")

    def __init__(self) -> None:
        self.drained = self.forced = self.failed = self.left = 0


class Shutdown:
    """Takes a set of registrations down; what is not in the set is not touched.

    Args:
        graph: who goes first.
        tasks: the manager's.
        releases: the tasks that give back what instances held of their dependencies.
        beside: a registration's pools beside the one that serves.
    """

    def __init__(
        self,
        graph: DependencyGraph[str],
        tasks: OwnedTasks,
        releases: OwnedTasks,
        beside: Callable[[Registration], Iterable[AnyPool]],
    ) -> None:
        self._graph = graph
        self._tasks = tasks
        self._releases = releases
        self._beside = beside

    async def run(
        self, registrations: Iterable[Registration], *, drain: float, cleanup: float, terminate: float
    ) -> ShutdownReport:
        """Drain for up to ``drain`` seconds, clean up level by level within ``cleanup`` each, then let go.

        What does not end by itself is cancelled, and has ``terminate`` seconds for that. Always ends.
        """
        loop = asyncio.get_running_loop()
        started = loop.time()
        chosen = list(registrations)
        self.refuse(chosen)
        await self._drain(chosen, drain)
        tally = _Tally()
        for level in self._levels(chosen):
            await self._close(level, cleanup, terminate, tally)
        return ShutdownReport(
            drained=tally.drained,
            forced=tally.forced,
            failed=tally.failed,
            left=tally.left,
            duration_s=loop.time() - started,
        )

    def refuse(self, chosen: Iterable[Registration]) -> None:
        """Let nobody in from now on, and open nothing any more."""
        for registration in chosen:
            if registration.state is not RegistrationState.CLOSED:
                registration.state = RegistrationState.DRAINING
                registration.refuse(Cause.DRAINING, _refusal(registration, "draining"))

    def _pools(self, registration: Registration) -> list[AnyPool]:
        return [registration.pool, *self._beside(registration)]

    async def _drain(self, chosen: list[Registration], seconds: float) -> None:
        """Wait until the last handle is back: no longer than that, or than ``seconds``."""
        waits = [
            self._tasks.spawn(pool.drain(seconds), name=f"drain {each.public_id}")
            for each in chosen
            for pool in self._pools(each)
            if pool.can_drain
        ]
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
        self, level: list[Registration], cleanup: float, terminate: float, tally: _Tally
    ) -> None:
        pools = [pool for registration in level for pool in self._pools(registration)]
        for registration in level:
            registration.state = RegistrationState.CLOSED
            registration.refuse(Cause.CLOSED, _refusal(registration, "closed"))
        out = {pool: _handles_out(pool) for pool in pools}
        closings = {
            self._tasks.spawn(pool.close(0.0), name=f"close {pool.resource.id}"): pool for pool in pools
        }
        _, pending = await asyncio.wait(closings, timeout=cleanup)
        if pending:
            for task in pending:
                for step in (*closings[task].tasks, *closings[task].cleanups):
                    cancel_soundly(step)
            _, pending = await asyncio.wait(pending, timeout=terminate)
        for task, pool in closings.items():
            self._count(task, pool, out[pool], tally)
        await self._give_back_dependencies(cleanup)

    @staticmethod
    def _count(task: asyncio.Task[Any], pool: AnyPool, out: int, tally: _Tally) -> None:
        if not task.done():
            tally.forced += out  # taken from their callers, though nobody is left to report it
            task.cancel()  # it only watches: the pool's own end goes on, as long as its loop
            tally.left += max(1, len(pool.tasks) + len(pool.cleanups))
        elif task.cancelled() or task.exception() is not None:
            tally.left += 1  # its owner tells why: another loop's pool, for one
        else:
            report = task.result()
            tally.drained += report.drained
            tally.forced += report.forced
            tally.failed += report.failed
            tally.left += report.left

    async def _give_back_dependencies(self, seconds: float) -> None:
        """What the instances that are gone held must be back before those it came from are asked."""
        if running := list(self._releases):
            await asyncio.wait(running, timeout=seconds)


def _handles_out(pool: AnyPool) -> int:
    return sum(entry.holders or (entry.use is not None) for entry in pool.ledger.entries)


def _refusal(registration: Registration, why: str) -> Callable[[], Unavailable]:
    return lambda: Unavailable(why, resource_id=registration.key, retryable=why == "draining")
