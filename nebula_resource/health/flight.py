"""Flight: one check under way, shared by all who want its result, and bounded even if it never returns."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace

from nebula_resource._aio import OwnedTasks
from nebula_resource.model.health import HealthState, HealthStatus, Postponed, Unhealthy

__all__ = ["Flight"]


class Flight:
    """Runs ``probe`` in an owned task and lands with a HealthStatus, whatever the probe does.

    A probe that is still running after ``timeout`` seconds is cancelled and counts as failed at once; the task is
    kept until it really ended, since one that swallows its cancellation must not be started a second time.
    """

    __slots__ = ("_landed", "_loop", "_probe", "is_postponed", "started_at", "status")

    def __init__(
        self, id: str, probe: Callable[[], Awaitable[HealthStatus]], tasks: OwnedTasks, timeout: float
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self.started_at = self._loop.time()
        self.status: HealthStatus | None = None
        self.is_postponed = False
        self._landed: asyncio.Future[HealthStatus] = self._loop.create_future()
        self._probe = tasks.spawn(_call(probe), name=f"check {id}", awaited=True)
        timer = self._loop.call_later(timeout, self._time_out, timeout)
        self._probe.add_done_callback(lambda _: timer.cancel())
        self._probe.add_done_callback(self._probe_ended)

    @property
    def has_landed(self) -> bool:
        """Whether there is a result."""
        return self.status is not None

    @property
    def is_stuck(self) -> bool:
        """Whether there is a result although the probe still runs: it took no notice of its cancellation."""
        return self.has_landed and not self._probe.done()

    async def wait(self) -> HealthStatus:
        """Return the result when there is one; a cancelled caller leaves the flight to the others."""
        return await asyncio.shield(self._landed)

    def on_landing(self, callback: Callable[[HealthStatus], object]) -> None:
        """Call ``callback`` with the result, in the turn of the loop in which it is there."""
        self._landed.add_done_callback(lambda landed: callback(landed.result()))

    def abandon(self, status: HealthStatus) -> None:
        """End it for good with this result, unless it has landed; the probe is cancelled."""
        self._probe.cancel()
        self._land(status)

    def _time_out(self, timeout: float) -> None:
        self._probe.cancel()
        self._land(self._failed(f"the check took longer than {timeout:g} s"))

    def _probe_ended(self, task: asyncio.Task[object]) -> None:
        if task.cancelled():
            self._land(self._failed("the check was cancelled"))
            return
        error = task.exception()
        if error is None:
            self._land(self._read(task.result()))
        elif isinstance(error, Postponed):
            self.is_postponed = not self.has_landed
            self._land(HealthStatus.unknown(metadata={"postponed": str(error) or "nothing to check with"}))
        else:
            # Only the type: the wording of a foreign error may hold a secret.
            self._land(self._failed(f"the check raised {type(error).__name__}"))

    def _read(self, found: object) -> HealthStatus:
        if isinstance(found, HealthState):
            found = HealthStatus(found)
        if not isinstance(found, HealthStatus):
            return self._failed(f"the check returned {type(found).__name__}, not a HealthStatus")
        return found if found.latency_s else replace(found, latency_s=self._loop.time() - self.started_at)

    def _failed(self, reason: str) -> HealthStatus:
        return HealthStatus(Unhealthy(reason), self._loop.time() - self.started_at)

    def _land(self, status: HealthStatus) -> None:
        if self.status is None:
            self.status = status
            self._landed.set_result(status)


async def _call(probe: Callable[[], Awaitable[HealthStatus]]) -> object:
    """Make a coroutine of whatever awaitable the probe gives; an error while making it counts as the probe's."""
    return await probe()
