"""Returns: where callers give instances back, and what is done about those who never do."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from nebula_resource.model.lifecycle import Lifecycle
from nebula_resource.model.printable import printable
from nebula_resource.model.reasons import CleanupReason
from nebula_resource.pool.config import Sharing
from nebula_resource.pool.entry import Entry
from nebula_resource.pool.leaks import Positions, describe

if TYPE_CHECKING:
    from nebula_resource.pool.entry import Use
    from nebula_resource.pool.parts import PoolParts
    from nebula_resource.pool.release import Release
    from nebula_resource.pool.waiters import Waiter

__all__ = ["HandleLost", "Returns"]

log = logging.getLogger("nebula_resource.pool")


class HandleLost(Exception):
    """What a lease is told whose handle was lost."""


class Returns:
    """The way out. What takes time goes on in a task of the pool; a caller only watches it."""

    __slots__ = ("_pool",)

    def __init__(self, pool: PoolParts) -> None:
        self._pool = pool

    async def give_back(self, entry: Entry, use: Use | None, error: BaseException | None) -> None:
        """Take an instance back from whoever held it; the work goes on when the caller does not wait for it.

        Raises what its lease raised while it ended, unless the caller is being cancelled.
        """
        pool = self._pool
        if isinstance(error, GeneratorExit) and not pool.is_running:
            self.report_lost(entry, use)  # a coroutine that is swept up after, or between, runs of its loop
            return
        pool.check_owner()
        work = self._start(entry, use, error)
        if work is None:
            return
        if isinstance(error, GeneratorExit):  # a coroutine that is being closed may not wait
            work.add_done_callback(self._report)
            return
        try:
            await asyncio.wait((work,))
        except BaseException:
            work.add_done_callback(self._report)
            raise
        failure = None if work.cancelled() else work.result()
        if failure is None:
            return
        if isinstance(error, asyncio.CancelledError):
            # A cancellation is never turned into another error: this one is reported and noted.
            error.add_note(f"its lease ended with {type(failure).__name__}")
            pool.observer.failed(failure)
            return
        raise failure

    def begin(self, entry: Entry, use: Use | None, error: BaseException | None) -> None:
        """Take an instance back from a caller that will not watch."""
        work = self._start(entry, use, error)
        if work is not None:
            work.add_done_callback(self._report)

    def _start(self, entry: Entry, use: Use | None, error: BaseException | None) -> Release | None:
        pool = self._pool
        pool.timed(entry)
        if entry.state is Lifecycle.IN_USE:
            return pool.releaser.begin(entry, use, error)
        # A close took the instance back by force. A lease on it learns its outcome all the same: its caller must
        # hear that a commit failed.
        return None if use is None or use.cm is None else pool.releaser.end_late(entry, use.cm, error)

    def _report(self, work: Release) -> None:
        failure = None if work.cancelled() else work.result()
        if failure is not None:
            self._pool.observer.failed(failure)

    # ── never given back ──

    def report_lost(self, entry: Entry, use: Use | None) -> None:
        """A handle was collected unreleased. Called by the garbage collector: in any thread, at any moment."""
        pool = self._pool
        try:
            pool.loop.call_soon_threadsafe(self.lost, entry, use)
        except RuntimeError:
            log.warning(
                "a handle was lost after its event loop ended", extra={"resource.id": pool.resource.id}
            )

    def report_torn(self, waiter: Waiter) -> None:
        """A wait ended with its coroutine, which is swept up after, or between, runs of the loop, or by another one's."""
        pool = self._pool
        try:
            pool.loop.call_soon_threadsafe(pool.desk.give_up, waiter)
        except RuntimeError:  # the loop has ended: what the caller was handed by then stays on its server
            if waiter.done() and not waiter.cancelled() and isinstance(left := waiter.result(), Entry):
                self.report_lost(left, None)

    def lost(self, entry: Entry, use: Use | None) -> None:
        """Nobody holds this entry any more, and nobody gave it back: it is never lent again."""
        pool = self._pool
        if entry.state is Lifecycle.IN_USE:
            self._report_loss(entry, use)
            if pool.config.sharing is Sharing.EXCLUSIVE:
                pool.ledger.doom(entry, CleanupReason.LEAKED)
        self.begin(entry, use, HandleLost("the handle was lost without a release"))

    def _report_loss(self, entry: Entry, use: Use | None) -> None:
        """Unless it was reported before as held too long: once is enough."""
        now = self._pool.loop.time()
        if entry.leak_reported == entry.uses or (use is not None and use.reported):
            return
        since = entry.held_since(now) if use is None or use.started is None else use.started
        self.report_leak(now - since, entry.frames if use is None else use.frames)

    def report_leak(self, held_s: float, frames: Positions | None) -> None:
        """Count and tell a handle that is held too long or was lost."""
        self._pool.ledger.leaks += 1
        self._pool.observer.leaked(held_s, describe(frames))

    def log_taint(self, reason: str) -> None:
        """A holder said that its instance must not be lent again."""
        log.info(
            "instance tainted", extra={"resource.id": self._pool.resource.id, "reason": printable(reason)}
        )
