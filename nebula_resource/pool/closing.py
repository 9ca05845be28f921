"""Closing: stops a pool for a while or for good, without losing anything on the way."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nebula_resource._aio import cancel_soundly
from nebula_resource.errors import InvalidStateTransition
from nebula_resource.model.lifecycle import Lifecycle
from nebula_resource.model.reasons import CleanupReason
from nebula_resource.pool.state import PoolState

if TYPE_CHECKING:
    from nebula_resource.pool.entry import Entry
    from nebula_resource.pool.parts import PoolParts

__all__ = ["CloseReport", "Closing"]

GRACE = 0.5
"""Seconds beyond its limit in which a cancelled step may still end; after that it is left behind."""
HOOKS = 10.0
"""Seconds that hooks before and after a cleanup may take: 5 each (SPEC §10)."""
OUT = (Lifecycle.IN_USE, Lifecycle.MAINTENANCE)


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

    __slots__ = ("_closing", "_failed", "_pool", "_waiting")

    def __init__(self, pool: PoolParts) -> None:
        self._pool = pool
        self._waiting: list[tuple[asyncio.Future[bool], Callable[[], bool]]] = []
        """Those who wait, and for what; told False when that is no longer to be expected."""
        self._closing: asyncio.Task[CloseReport] | None = None
        self._failed = 0

    def become(self, state: PoolState) -> None:
        """Enter the next state. Raises `InvalidStateTransition`."""
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
            self.become(PoolState.SUSPENDED)
            pool.observer.suspended()
        pool.fails_suspended = fail
        if fail:
            pool.desk.fail(lambda: pool.desk.refusal("suspended"))

    def resume(self) -> None:
        """Hand out again."""
        pool = self._pool
        if pool.state is PoolState.OPEN:
            return
        if pool.state is PoolState.NEW:
            raise pool.desk.refusal("not_open")  # that move is the opening's own, which may be under way
        self.become(PoolState.OPEN)
        pool.fails_suspended = False
        self._tell(False)
        pool.observer.resumed()
        pool.desk.hand_out()
        pool.desk.serve()
        pool.upkeep.refill()
        pool.upkeep.wake()

    async def drain(self, timeout: float | None) -> bool:
        """Refuse new callers, retire what is idle, wait for what is out."""
        pool = self._pool
        if pool.state is PoolState.DRAINED:
            return True
        if pool.state is not PoolState.DRAINING:
            self.become(PoolState.DRAINING)
            pool.observer.draining()
            pool.desk.fail(lambda: pool.desk.refusal("draining"))
            self._retire(pool.shelf, CleanupReason.DRAINED)
            self.look()
        return await self._wait(self.is_quiet, timeout)

    # ── quiet ──

    def is_empty(self) -> bool:
        """Whether nothing is out: nothing in use, coming back or being checked. What is being made is nobody's yet."""
        return not self._pool.ledger.count(*OUT)

    def is_quiet(self) -> bool:
        """Whether nothing is out but what other resources' instances keep: that does not count for a drain (SPEC §4)."""
        ledger = self._pool.ledger
        return all(entry.state not in OUT or ledger.is_kept(entry) for entry in ledger.entries)

    async def until_empty(self) -> None:
        """Wait, once drained, for what other resources' instances keep."""
        await self._wait(self.is_empty, None)

    def look(self) -> None:
        """Something came back: tell those who wait for the last."""
        pool = self._pool
        if pool.state is PoolState.DRAINING and self.is_quiet():
            self.become(PoolState.DRAINED)
            pool.observer.drained()
        if self._waiting and pool.state in {PoolState.DRAINING, PoolState.DRAINED, PoolState.CLOSING}:
            self._tell(True)

    def _tell(self, reached: bool) -> None:
        """Tell those who have what they wait for, or (False) everybody that they will not."""
        waiting, self._waiting = self._waiting, []
        for told, has_come in waiting:
            if reached and not has_come():
                self._waiting.append((told, has_come))
            else:
                told.set_result(reached)

    async def _wait(self, has_come: Callable[[], bool], timeout: float | None) -> bool:
        if has_come():
            return True
        told: asyncio.Future[bool] = self._pool.loop.create_future()
        self._waiting.append((told, has_come))
        await asyncio.wait((told,), timeout=timeout)
        return told.done() and told.result()

    def _retire(self, entries: Iterable[Entry], reason: CleanupReason) -> None:
        """Retire these, idle or not."""
        pool = self._pool
        for entry in list(entries):
            pool.shelf.remove(entry)
            pool.retirer.retire(entry, reason)

    # ── for good ──

    async def close(self, timeout: float | None) -> CloseReport:
        """End the pool; several callers share one end, and none of them can stop it."""
        if self._closing is None and self._pool.state is PoolState.CLOSED:
            return self._report(drained=False, forced=0, left=0)  # its loop ended before it
        self.begin(timeout)
        assert self._closing is not None, "begin set it"
        await asyncio.wait((self._closing,))
        return self._closing.result()

    def begin(self, timeout: float | None) -> None:
        """Refuse everybody from now on, and start the end."""
        if self._closing is not None:
            return
        pool = self._pool
        self.become(PoolState.CLOSING)
        self._stop()
        self._retire(pool.shelf, CleanupReason.SHUTDOWN)
        self.look()
        self._closing = pool.closers.spawn(self._end(timeout), name="close", awaited=True)

    def _stop(self) -> None:
        """Nothing begins any more by itself, and nobody waits any more."""
        pool = self._pool
        pool.upkeep.stop()
        pool.maker.stop_timer()
        pool.desk.fail(lambda: pool.desk.refusal("closed"))
        pool.line.close()

    async def _end(self, timeout: float | None) -> CloseReport:
        try:
            return await self._in_order(timeout)
        except asyncio.CancelledError:  # the loop ends in the middle of it: nobody else cancels a close
            self.abandon()
            raise

    async def _in_order(self, timeout: float | None) -> CloseReport:
        """Wait, end the steps, take back what is out, clean up."""
        pool = self._pool
        drained = await self._wait(self.is_empty, timeout)
        self._tell(drained)
        self._tell(False)  # to a drain that this close overtook
        steps = list(pool.tasks)
        for step in steps:
            cancel_soundly(step)
        if steps:
            await asyncio.wait(steps, timeout=GRACE)
        out = [entry for entry in pool.ledger.entries if entry.state in OUT]
        forced = sum(entry.holders or 1 for entry in out)
        self._retire(out, CleanupReason.SHUTDOWN)
        await self._last_cleanups()
        left = sum(not task.done() for task in (*pool.tasks, *pool.cleanups))
        self.become(PoolState.CLOSED)
        pool.deadlines.stop()
        return self._report(drained=drained, forced=forced, left=left)

    async def _last_cleanups(self) -> None:
        """Wait for the cleanups, each of which has its own limit; then cancel what ignores even that."""
        pool = self._pool
        limit = pool.config.cleanup_timeout
        if limit is not None:
            limit += GRACE + (HOOKS if pool.observer.hooks_cleanup else 0.0)
        if running := list(pool.cleanups):
            await asyncio.wait(running, timeout=limit)
        stubborn = list(pool.cleanups)
        for task in stubborn:
            cancel_soundly(task)
        if stubborn:
            await asyncio.wait(stubborn, timeout=GRACE)

    def _report(self, *, drained: bool, forced: int, left: int) -> CloseReport:
        return CloseReport(drained, forced, self._failed, left)

    def count_failure(self) -> None:
        """A cleanup failed."""
        self._failed += 1

    # ── by force, ours or the loop's ──

    @property
    def is_cut_off(self) -> bool:
        """Whether the loop ends in the middle of a close."""
        return self._closing is not None and self._closing.cancelling() > 0

    def step_stopped(self, entry: Entry | None = None) -> None:
        """A step of ours, on this entry, was cancelled: a close did that, or the loop ends, perhaps under a close."""
        pool = self._pool
        if pool.state is not PoolState.CLOSING or self.is_cut_off:
            self.abandon()
        elif entry is not None and entry.state in OUT:
            pool.retirer.retire(entry, CleanupReason.SHUTDOWN)

    def abandon(self) -> None:
        """The loop ends under the pool, and nothing can be cleaned up any more: close the books (LEAKED)."""
        pool = self._pool
        if pool.state is PoolState.CLOSED:
            return
        if pool.state is not PoolState.CLOSING:
            self.become(PoolState.CLOSING)
        self.become(PoolState.CLOSED)
        self._stop()
        for entry in list(pool.ledger.entries):
            pool.shelf.remove(entry)
            pool.retirer.abandon(entry)
