"""Flight: one check under way, shared by all who want its result, and bounded even if it never returns."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace

from nebula_resource._aio import OwnedTasks, watch_steps
from nebula_resource.errors import CreateFailed
from nebula_resource.model.health import HealthState, HealthStatus, Postponed, Unhealthy
from nebula_resource.model.why import why

__all__ = ["Flight"]

BEATS = 10
"""How often in its time a flight looks whether the loop runs; a check that is quick ends before the first."""
STILL_SHARE = 0.5
"""A loop that stood still for this share of a check's time took away what the check was to be done in."""
STEP_SECONDS = 0.01
"""A step of the probe that is shorter holds the loop for nobody."""


class Flight:
    """Runs ``probe`` in an owned task and lands with a HealthStatus, whatever the probe does.

    A probe that is still running after ``timeout`` seconds is cancelled and counts as failed at once; the task is
    kept until it really ended, since one that swallows its cancellation must not be started a second time.

    A failure says nothing of the resource when somebody else held the loop for half of that time, whoever timed out
    first: the answer may lie in the socket, unread. It is postponed then. What the probe's own steps hold is its own
    fault, and ``must_count`` lets no failure pass.
    """

    __slots__ = (
        "_due", "_landed", "_late", "_loop", "_must_count", "_own", "_probe", "_timeout", "_timer", "is_counted",
        "is_excused", "is_postponed", "started_at", "status",
    )  # fmt: skip  # a word a slot, not a line

    def __init__(
        self,
        id: str,
        probe: Callable[[], Awaitable[HealthStatus]],
        tasks: OwnedTasks,
        timeout: float,
        *,
        must_count: bool = False,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self.started_at = self._loop.time()
        self.status: HealthStatus | None = None
        self.is_postponed = False
        self.is_excused = False
        """Whether it is postponed because the loop stood still."""
        self.is_counted = False
        """Whether the pool has told of this failure: no instance could be made to look at."""
        self._must_count = must_count
        self._timeout = timeout
        self._late = 0.0  # seconds by which beats came too late, together
        self._own = 0.0  # seconds that steps of the probe held the loop
        self._landed: asyncio.Future[HealthStatus] = self._loop.create_future()
        self._probe = tasks.spawn(self._run(probe), name=f"check {id}", awaited=True)
        self._due = self.started_at + timeout / BEATS
        self._timer = self._loop.call_at(self._due, self._beat)
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

    async def _run(self, probe: Callable[[], Awaitable[HealthStatus]]) -> object:
        return await watch_steps(_call(probe), STEP_SECONDS, self._hold)

    def _hold(self, seconds: float) -> None:
        self._own += seconds

    def _beat(self) -> None:
        now, end = self._loop.time(), self.started_at + self._timeout
        self._late += now - self._due
        if now >= end:
            self._probe.cancel()
            self._land(self._failed(f"the check took longer than {self._timeout:g} s"))
        else:
            # Counted from the start, so that the last one is exactly the end.
            passed = int((now - self.started_at) / self._timeout * BEATS + 0.5)
            self._due = end if passed + 1 >= BEATS else self.started_at + self._timeout * (passed + 1) / BEATS
            self._timer = self._loop.call_at(self._due, self._beat)

    def _probe_ended(self, task: asyncio.Task[object]) -> None:
        self._timer.cancel()
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
            self.is_counted = isinstance(error, CreateFailed)
            cause = error.cause if isinstance(error, CreateFailed) else None
            # Only the type of what is foreign: its wording may hold a secret.
            raised = f"the check raised {type(error).__name__}"
            self._land(self._failed(raised if cause is None else f"no instance could be made: {why(cause)}"))

    def _read(self, found: object) -> HealthStatus:
        if isinstance(found, HealthState):
            found = HealthStatus(found)
        if not isinstance(found, HealthStatus):
            return self._failed(f"the check returned {type(found).__name__}, not a HealthStatus")
        return found if found.latency_s else replace(found, latency_s=self._loop.time() - self.started_at)

    def _failed(self, reason: str) -> HealthStatus:
        return HealthStatus(Unhealthy(reason), self._loop.time() - self.started_at)

    def _land(self, status: HealthStatus) -> None:
        if self.status is not None:
            return
        if not status.is_usable() and not self._must_count:
            stood_still = self._late - self._own
            if stood_still >= STILL_SHARE * self._timeout:
                self.is_postponed = self.is_excused = True
                why = f"the loop stood still for {stood_still:.1f} s"
                status = HealthStatus.unknown(latency_s=status.latency_s, metadata={"postponed": why})
        self.status = status
        self._landed.set_result(status)


async def _call(probe: Callable[[], Awaitable[HealthStatus]]) -> object:
    """Make a coroutine of whatever awaitable the probe gives; an error while making it counts as the probe's."""
    return await probe()
