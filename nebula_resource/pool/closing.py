"""Closing: stops a pool for a while or for good, without losing anything on the way."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nebula_resource._aio import cancel_soundly
from nebula_resource.errors import InvalidStateTransition
from nebula_resource.model.lifecycle import Lifecycle
from nebula_resource.model.reasons import CleanupReason
from nebula_resource.pool.ledger import PoolState

if TYPE_CHECKING:
    from nebula_resource.pool.pool import Pool

__all__ = ["CloseReport", "Closing"]

GRACE = 0.5
"""Seconds beyond ``cleanup_timeout`` in which a cancelled step may still end; after that it is left behind."""


@dataclass(frozen=True, slots=True)
class CloseReport:
    """How a pool ended: ``drained`` when every handle came back in time, ``forced`` handles that did not,
    ``failed`` cleanups, ``left`` steps that did not even end when cancelled.
    """

    drained: bool
    forced: int
    failed: int
    left: int


class Closing:
    """Suspend, resume, drain, close."""

    __slots__ = ("_closing", "_failed", "_pool", "_quiet")

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._quiet: list[asyncio.Future[None]] = []
        self._closing: asyncio.Task[CloseReport] | None = None
        self._failed = 0

    def _become(self, state: PoolState) -> None:
        pool = self._pool
        if not pool.state.can_become(state):
            raise InvalidStateTransition(pool.state, state, resource_id=pool.resource.id)
        pool.state = state
        pool.refresh()

    # ── for a while ──

    def suspend(self, *, fail: bool) -> None:
        """Hand out nothing; callers wait, or are refused when ``fail``."""
        pool = self._pool
        if pool.state is not PoolState.SUSPENDED:
            self._become(PoolState.SUSPENDED)
            pool.observer.suspended()
        pool.fails_suspended = fail
        if fail:
            pool.line.fail(lambda: pool.desk.refusal("suspended"))

    def resume(self) -> None:
        """Hand out again."""
        pool = self._pool
        if pool.state is PoolState.OPEN:
            return
        self._become(PoolState.OPEN)
        pool.fails_suspended = False
        pool.observer.resumed()
        pool.desk.serve()
        pool.upkeep.refill()
        pool.upkeep.wake()

    async def drain(self, timeout: float | None) -> bool:
        """Refuse new callers, retire what is idle, wait for what is out."""
        pool = self._pool
        if pool.state is PoolState.DRAINED:
            return True
        if pool.state is not PoolState.DRAINING:
            self._become(PoolState.DRAINING)
            pool.observer.draining()
            pool.line.fail(lambda: pool.desk.refusal("draining"))
            self._retire_idle(CleanupReason.DRAINED)
        self.look()
        return await self._wait_until_quiet(timeout)

    # ── quiet ──

    @property
    def is_quiet(self) -> bool:
        """Whether nothing is out, nothing being made and nothing being checked."""
        ledger = self._pool.ledger
        return ledger.creating == 0 and not ledger.count(Lifecycle.IN_USE, Lifecycle.MAINTENANCE)

    def look(self) -> None:
        """Something came back: tell those who wait for the last."""
        pool = self._pool
        if pool.state not in {PoolState.DRAINING, PoolState.CLOSING} or not self.is_quiet:
            return
        if pool.state is PoolState.DRAINING:
            self._become(PoolState.DRAINED)
            pool.observer.drained()
        for waiting in self._quiet:
            if not waiting.done():
                waiting.set_result(None)
        self._quiet.clear()

    async def _wait_until_quiet(self, timeout: float | None) -> bool:
        if self.is_quiet:
            return True
        quiet = self._pool.loop.create_future()
        self._quiet.append(quiet)
        try:
            async with asyncio.timeout(timeout):
                await quiet
        except TimeoutError:
            return False
        return True

    def _retire_idle(self, reason: CleanupReason) -> None:
        pool = self._pool
        for entry in pool.shelf:
            pool.take_off(entry)
            pool.retirer.retire(entry, reason)

    # ── for good ──

    async def close(self, timeout: float | None) -> CloseReport:
        """End the pool; several callers share one end, and none of them can stop it."""
        if self._closing is None:
            self._become(PoolState.CLOSING)
            self._closing = self._pool.closers.spawn(self._close(timeout), name="close", awaited=True)
        await asyncio.wait((self._closing,))
        return self._closing.result()

    async def _close(self, timeout: float | None) -> CloseReport:
        pool = self._pool
        pool.upkeep.stop()
        pool.maker.stop_timer()
        pool.line.fail(lambda: pool.desk.refusal("closed"))
        self._retire_idle(CleanupReason.SHUTDOWN)
        self.look()
        drained = await self._wait_until_quiet(timeout)
        forced = 0
        if not drained:
            forced = await self._force()
        left = await self._last_cleanups()
        self._become(PoolState.CLOSED)
        pool.line.close()
        return CloseReport(drained, forced, self._failed, left)

    async def _force(self) -> int:
        """Cancel what still runs, and clean up instances under those who hold them."""
        pool = self._pool
        running = [task for task in pool.tasks if not task.get_name().endswith("cleanup")]
        for task in running:
            cancel_soundly(task)
        if running:
            await asyncio.wait(running, timeout=GRACE)
        held = [entry for entry in pool.ledger.entries if entry.state is Lifecycle.IN_USE]
        for entry in held:
            pool.retirer.retire(entry, CleanupReason.SHUTDOWN)
        return sum(entry.holders or 1 for entry in held)

    async def _last_cleanups(self) -> int:
        """Wait for the cleanups, each of which has its own limit; then leave behind what ignores even that."""
        pool = self._pool
        limit = pool.config.cleanup_timeout
        tasks = list(pool.tasks)
        if not tasks:
            return 0
        await asyncio.wait(tasks, timeout=None if limit is None else limit + GRACE)
        stubborn = [task for task in pool.tasks if not task.done()]
        for task in stubborn:
            cancel_soundly(task)
        if stubborn:
            await asyncio.wait(stubborn, timeout=GRACE)
        return sum(not task.done() for task in stubborn)

    def count_failure(self) -> None:
        """A cleanup failed."""
        self._failed += 1
