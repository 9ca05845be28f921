"""Inspector: asks instances whether they still work: before they are lent, in upkeep, and to keep them alive."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import TYPE_CHECKING, Any

from nebula_resource.model.lifecycle import Lifecycle
from nebula_resource.model.reasons import CleanupReason
from nebula_resource.model.resource import overrides
from nebula_resource.pool.steps import is_stopped, must_pass, run_step

if TYPE_CHECKING:
    from nebula_resource.pool.entry import Entry
    from nebula_resource.pool.parts import PoolParts
    from nebula_resource.pool.waiters import Waiter

__all__ = ["Inspector"]


class Inspector:
    """Runs ``Resource.is_valid`` in tasks of the pool, the entry reserved (MAINTENANCE) meanwhile.

    A caller for whom an instance is checked only watches its future; when the instance proves useless, the caller
    looks again before everybody who came later.
    """

    __slots__ = ("_pool", "asks", "interval")

    def __init__(self, pool: PoolParts) -> None:
        self._pool = pool
        self.asks = overrides(pool.resource, "is_valid")
        """Whether there is anything to ask: left at its default, the answer is always yes."""
        self.interval = pool.config.validation_interval if self.asks else None
        """Seconds after which an instance is due; None: never."""

    def check(self, entry: Entry, waiter: Waiter | None = None) -> None:
        """Reserve an entry that was just taken off the shelf, and check it."""
        entry.move(Lifecycle.MAINTENANCE)
        self._pool.start(self._check(entry, waiter), "validate")

    def check_in_place(self, entry: Entry) -> None:
        """Check a shared instance while others use it; it goes when the last of them has left, if it must."""
        if not entry.probed:
            entry.probed = True
            self._pool.start(self._check_in_place(entry), "validate")

    async def _check(self, entry: Entry, waiter: Waiter | None) -> None:
        pool = self._pool
        valid = False
        error: BaseException | None = None
        try:
            valid = await self.ask(entry.instance)
        except GeneratorExit:  # the loop is gone, and everything with it
            raise
        except BaseException as raised:
            error = raised
        if entry.state is not Lifecycle.MAINTENANCE:
            pass  # a close took it meanwhile
        elif error is not None and is_stopped(error):
            pool.closing.step_stopped(entry)
        elif valid:
            self._passed(entry, waiter)
        else:
            pool.observer.validation_failed(error)
            pool.retirer.retire(entry, CleanupReason.HEALTH_CHECK_FAILED)
            pool.desk.again(waiter)
        if error is not None and must_pass(error):
            raise error

    async def _check_in_place(self, entry: Entry) -> None:
        pool = self._pool
        valid = False
        error: BaseException | None = None
        try:
            valid = await self.ask(entry.instance)
        except BaseException as raised:
            if must_pass(raised):
                raise
            error = raised
        entry.probed = False
        if valid:
            entry.checked_at = pool.loop.time()
        elif entry.state in {Lifecycle.IN_USE, Lifecycle.IDLE}:
            pool.observer.validation_failed(error)
            pool.sizing.dismiss(entry, CleanupReason.HEALTH_CHECK_FAILED)

    async def ask(self, instance: Any) -> bool:
        """The resource's answer, within ``validate_timeout``; a plain ``def`` has it at once.

        An error counts as no (SPEC §2): it may have come in the middle of an answer.
        """
        pool = self._pool
        given: object = pool.resource.is_valid(instance)
        if isinstance(given, Awaitable):
            given = await run_step(pool, "validate", given, pool.config.validate_timeout)
        return bool(given)

    def _passed(self, entry: Entry, waiter: Waiter | None) -> None:
        pool = self._pool
        entry.checked_at = pool.loop.time()
        entry.move(Lifecycle.READY)
        pool.desk.deliver(entry, waiter)
