"""HealthChecker: looks at every watched resource in its interval, and at once when somebody asks."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Protocol

from nebula_resource._aio import OwnedTasks
from nebula_resource.errors import NotRegistered
from nebula_resource.health.flight import Flight
from nebula_resource.health.schedule import Schedule
from nebula_resource.model.health import HealthPolicy, HealthStatus

__all__ = ["CheckListener", "HealthChecker"]

STUCK_INTERVALS = 3
"""A check that has not returned after so many intervals makes the state Unknown (SPEC §11)."""
CLOSE_GRACE = 5.0
"""Seconds that `close` waits for checks to heed their cancellation."""


class CheckListener(Protocol):
    """Who is told what checks find. Called in the loop, in the order of landing; must not raise."""

    def checked(self, id: str, status: HealthStatus, *, is_counted: bool = False) -> None:
        """A check of ``id`` ended, or was given up; ``is_counted``: a create failed, which the pool has told."""

    def postponed(self, id: str, status: HealthStatus) -> None:
        """A check found nothing to check with: it says nothing about health."""


class _Watch:
    """One watched resource."""

    __slots__ = ("due", "excused", "failures", "flight", "id", "probe", "rests", "schedule", "stuck", "task")

    def __init__(
        self,
        id: str,
        probe: Callable[[], Awaitable[HealthStatus]],
        schedule: Schedule,
        rests: Callable[[], bool],
    ) -> None:
        self.id = id
        self.probe = probe
        self.rests = rests
        self.schedule = schedule
        self.due: float  # loop time of the next turn, set by the checker, at once
        self.failures = 0
        self.excused = False  # the last check failed while the loop stood still; the next one counts
        self.flight: Flight | None = None
        self.stuck: asyncio.TimerHandle | None = None
        self.task: asyncio.Task[None]  # set by the checker, at once


class HealthChecker:
    """One named task per watched resource; never two checks of one resource at a time.

    Args:
        listener: is told each result; it feeds the board.
        rng: where jitter comes from.
        on_error: told when a task of the checker fails, which none should.
    """

    def __init__(
        self,
        listener: CheckListener,
        *,
        rng: random.Random | None = None,
        on_error: Callable[[BaseException, str], object] | None = None,
    ) -> None:
        self._listener = listener
        self._rng = rng or random.Random()
        self._tasks = OwnedTasks("nebula health", on_error=on_error)
        self._watches: dict[str, _Watch] = {}
        self._intervals: Counter[float] = Counter()
        """How many are watched at each interval: ten thousand registrations have a few."""
        self._closed = False

    def __repr__(self) -> str:
        flying = sum(1 for watch in self._watches.values() if watch.flight and not watch.flight.has_landed)
        return f"<HealthChecker {len(self._watches)} watched, {flying} being checked>"

    # ── who is watched ────────────────────────────────────────────────────────────────────────────────────────────

    def watch(
        self,
        id: str,
        probe: Callable[[], Awaitable[HealthStatus]],
        policy: HealthPolicy,
        *,
        resource: object = None,
        backs_off: bool = False,
        rests: Callable[[], bool] = lambda: False,
    ) -> None:
        """Check ``id`` from now on, first after one interval; watched already, it gets the new probe and times.

        Args:
            id: the public id.
            probe: one check; raises `Postponed` when there is nothing to check with.
            policy: its times.
            resource: a HealthCheckable's own times win over the policy's.
            backs_off: failures stretch the interval (where quarantine is off).
            rests: whether there is nothing to check now; the turn is left out. Who asks for a check gets one all the same.
        """
        if self._closed:
            return
        schedule = Schedule.of(policy, resource, backs_off=backs_off)
        watch = self._watches.get(id)
        if watch is None:
            watch = self._watches[id] = _Watch(id, probe, schedule, rests)
        else:
            self._forget_interval(watch)
            watch.probe, watch.schedule, watch.rests = probe, schedule, rests
            watch.task.cancel()
        self._intervals[schedule.interval] += 1
        watch.due = asyncio.get_running_loop().time() + schedule.delay(0, self._rng)
        watch.task = self._tasks.spawn(self._keep_checking(watch), name=f"watch {id}")

    def unwatch(self, id: str) -> None:
        """Check ``id`` no more; who waits for a check of it is told Unknown."""
        watch = self._watches.pop(id, None)
        if watch is None:
            return
        self._forget_interval(watch)
        watch.task.cancel()
        if watch.stuck is not None:
            watch.stuck.cancel()
        if watch.flight is not None:
            watch.flight.abandon(HealthStatus.unknown(metadata={"unwatched": True}))

    def __contains__(self, id: object) -> bool:
        return id in self._watches

    @property
    def longest_interval(self) -> float | None:
        """The longest time between two checks of one resource, in seconds; None when nothing is watched."""
        return max(self._intervals, default=None)

    def retry_after(self, id: str) -> float | None:
        """Seconds until a check may say something else: to the next one's turn, or the end of the one under way.

        None when it is not watched.
        """
        watch = self._watches.get(id)
        if watch is None:
            return None
        flight, due = watch.flight, watch.due
        if flight is not None and not flight.has_landed:
            due = flight.started_at + watch.schedule.timeout
        return max(0.0, due - asyncio.get_running_loop().time())

    def _forget_interval(self, watch: _Watch) -> None:
        interval = watch.schedule.interval
        self._intervals[interval] -= 1
        if not self._intervals[interval]:
            del self._intervals[interval]

    # ── checks ────────────────────────────────────────────────────────────────────────────────────────────────────

    async def check(self, id: str) -> HealthStatus:
        """Check now, or wait for the check that is under way.

        Returns:
            What was found. Unknown with ``metadata["postponed"]`` when there was nothing to check with. While an
            earlier check never returns, its last result.

        Raises:
            NotRegistered: ``id`` is not watched.
        """
        watch = self._watches.get(id)
        if watch is None:
            raise NotRegistered(id)
        return await self._fly(watch).wait()

    def _fly(self, watch: _Watch) -> Flight:
        """The flight that is under way (one that is stuck counts), else a new one."""
        flight = watch.flight
        if flight is not None and (not flight.has_landed or flight.is_stuck):
            return flight
        flight = watch.flight = Flight(
            watch.id, watch.probe, self._tasks, watch.schedule.timeout, must_count=watch.excused
        )
        flight.on_landing(lambda status: self._landed(watch, flight, status))
        return flight

    def _landed(self, watch: _Watch, flight: Flight, status: HealthStatus) -> None:
        if self._watches.get(watch.id) is not watch:
            return
        if flight.is_stuck:
            # It was cancelled a moment ago and may still heed that; the timer will see.
            told_at = flight.started_at + STUCK_INTERVALS * watch.schedule.interval
            watch.stuck = asyncio.get_running_loop().call_at(told_at, self._tell_if_stuck, watch, flight)
        watch.excused = flight.is_excused
        if flight.is_postponed:
            self._listener.postponed(watch.id, status)
            return
        watch.failures = 0 if status.is_usable() else watch.failures + 1
        self._listener.checked(watch.id, status, is_counted=flight.is_counted)

    async def _keep_checking(self, watch: _Watch) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(max(0.0, watch.due - loop.time()))
            started = loop.time()
            if not watch.rests():
                await self._fly(watch).wait()
            watch.due = started + watch.schedule.delay(watch.failures, self._rng)

    def _tell_if_stuck(self, watch: _Watch, flight: Flight) -> None:
        if watch.flight is flight and flight.is_stuck:
            taken = asyncio.get_running_loop().time() - flight.started_at
            never = {"stuck": "the check never returned"}
            self._listener.checked(watch.id, HealthStatus.unknown(latency_s=taken, metadata=never))

    # ── the end ───────────────────────────────────────────────────────────────────────────────────────────────────

    def stop(self) -> None:
        """Watch nothing any more, and ask every task to end."""
        self._closed = True
        for id_ in tuple(self._watches):
            self.unwatch(id_)
        self._tasks.cancel()

    async def close(self) -> None:
        """Stop, and wait for the end of every task; one that ignores its cancellation is left after 5 s."""
        self.stop()
        current = asyncio.current_task()
        left = [task for task in self._tasks if task is not current]
        if left:
            await asyncio.wait(left, timeout=CLOSE_GRACE)
