"""ManagedHandle: a pool's handle that also leaves gates, runs hooks and tells who listens."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Generic

from typing_extensions import TypeVar

from nebula_resource.errors import AcquireCancelled, HandleReleased
from nebula_resource.events import ErrorOccurred, EventBus, Released
from nebula_resource.hooks import HookRun
from nebula_resource.hooks.payload import OnRelease
from nebula_resource.model.ports import Ticket
from nebula_resource.model.scope import Scope
from nebula_resource.pool.handle import Handle, warn_released_twice
from nebula_resource.pool.returns import HandleLost

if TYPE_CHECKING:
    from nebula_resource.manager.checkout import Checkout
    from nebula_resource.manager.registration import Registration
    from nebula_resource.pool import Pool

__all__ = ["ManagedHandle", "end_hooks", "is_leaving", "leave_all"]

log = logging.getLogger("nebula_resource.manager")

T = TypeVar("T")


def leave_all(tickets: Sequence[Ticket], error: BaseException | None, bus: EventBus) -> None:
    """Give back what the gates gave, the last first. A gate that fails in this is reported and keeps back no other."""
    for ticket in reversed(tickets):
        try:
            ticket.leave(error)
        except Exception as failure:
            log.error("a gate failed when it was left", exc_info=failure)
            bus.publish(ErrorOccurred, code="gate", error=type(failure).__name__)


async def end_hooks(run: HookRun, error: BaseException | None, *, leaving: bool) -> None:
    """Run the hooks' other half; ``leaving``: a caller who is cancelled, or closed, does not wait for it."""
    if leaving:
        run.leave_behind(error)
    else:
        await run.after(error)


def is_leaving(error: BaseException) -> bool:
    """Whether an error says that its caller waits for nothing any more."""
    return isinstance(error, asyncio.CancelledError | AcquireCancelled | GeneratorExit)


class ManagedHandle(Handle[T], Generic[T]):
    """One lent instance of a manager's resource."""

    __slots__ = ("_checkout", "_is_leaving", "_is_withheld", "_registration", "_scope", "_tickets")

    def __init__(
        self,
        handle: Handle[T],
        checkout: Checkout,
        registration: Registration,
        scope: Scope,
        tickets: Sequence[Ticket] = (),
    ) -> None:
        entry = handle._entry
        assert entry is not None, "a handle that was obtained a moment ago holds its entry"
        super().__init__(handle._pool, entry, handle._use, handle._value)
        handle._entry = None  # this one holds it now
        self._checkout = checkout
        self._registration = registration
        self._scope = scope
        self._tickets = tickets
        self._is_leaving = False
        """Its release has begun: hooks may take their time, and nobody else may release it meanwhile."""
        self._is_withheld = False

    def lose(self) -> None:
        super().lose()
        self._is_withheld = True  # nobody released it
        tickets, self._tickets = self._tickets, ()
        if not tickets:
            return
        lost = HandleLost("the handle was lost")
        try:
            self._pool.loop.call_soon_threadsafe(leave_all, tickets, lost, self._checkout.bus)
        except RuntimeError:
            log.warning(
                "gates were not left: their loop ended", extra={"resource.id": self._registration.key}
            )

    async def release(self, error: BaseException | None = None) -> None:
        """Give it back, with hooks and events; see `Handle.release`."""
        if self._entry is None or self._is_leaving:
            warn_released_twice(self._registration.key)
            return
        if isinstance(error, GeneratorExit) and not self._pool.is_running:
            self.lose()
            return
        self._pool.check_owner()
        self._is_leaving = True
        observer = self._pool.observer
        if observer.traces:
            with observer.around("release"):
                await self._go_back(error)
        else:
            await self._go_back(error)

    async def _go_back(self, error: BaseException | None) -> None:
        run: HookRun | None = None
        outcome = error
        leaving = False
        try:
            if self._registration.release_hooks and not isinstance(error, GeneratorExit):
                run = await self._before_hooks(error)
        except GeneratorExit as closed:
            # The coroutine is being closed: nothing may be awaited any more.
            outcome = error or closed
            if self._pool.is_running:
                self._let_go(outcome)
            else:
                self.lose()
            raise
        except asyncio.CancelledError:
            self._let_go(error)
            raise
        finally:
            # Also when the hooks' caller was cancelled: giving back always ends.
            try:
                if self._entry is not None:
                    await super().release(error)
            except BaseException as raised:
                leaving = is_leaving(raised)
                if not isinstance(raised, asyncio.CancelledError):
                    outcome = outcome or raised
                raise
            finally:
                self._leave_gates(outcome)
                self._tell()
                if run is not None:
                    await end_hooks(run, outcome, leaving=leaving)

    def _leave_gates(self, error: BaseException | None) -> None:
        tickets, self._tickets = self._tickets, ()
        leave_all(tickets, error, self._checkout.bus)

    async def _before_hooks(self, error: BaseException | None) -> HookRun:
        registration = self._registration
        payload = OnRelease(
            resource_id=registration.key,
            public_id=registration.public_id,
            scope=self._scope,
            held_s=self.usage.held_s,
            error=None if error is None else type(error).__name__,
        )
        return await self._checkout.hooks.run_before(registration.release_hooks, payload)

    def _tell(self) -> None:
        registration = self._registration
        bus = self._checkout.bus
        if bus.wants(Released) and not self._is_withheld:
            bus.publish(
                Released,
                registration.key,
                registration.scope,
                public_id=registration.public_id,
                held_s=self.usage.held_s,
            )

    def withhold(self) -> None:
        """Its caller does not get it after all: nobody was told that it was acquired, so nobody is that it is released."""
        self._is_withheld = True

    def detach(self) -> Any:
        """Take the instance out of the pool; the gates are left as after a good use."""
        if self._is_leaving:
            raise HandleReleased(resource_id=self._registration.key)
        instance = super().detach()
        self._leave_gates(None)
        return instance

    # ── held by an instance, as its dependency ──

    def expect_long_use(self) -> None:
        """It is held as long as another instance lives: that is no leak, and no drain waits for it."""
        entry = self._held_entry()
        entry.leak_reported = entry.uses
        self._use.reported = self._use.is_kept = True
        self._pool.closing.look()

    def is_from(self, pool: Pool[Any, Any, Any]) -> bool:
        """Whether this pool lent it."""
        return self._pool is pool
