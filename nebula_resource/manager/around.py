"""Around: the hooks of one acquire, within the time and the patience of its caller."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Any

from nebula_resource._aio import TokenGuard, until
from nebula_resource.errors import AcquireCancelled
from nebula_resource.hooks import HookRegistry, HookRun
from nebula_resource.hooks.payload import OnAcquire
from nebula_resource.model.context import ResourceContext
from nebula_resource.model.scope import Scope

if TYPE_CHECKING:
    from nebula_resource.manager.handle import ManagedHandle
    from nebula_resource.manager.registration import Registration

__all__ = ["Around"]


class Around:
    """Runs what stands around an acquire. Hooks take time, and that is the caller's: one deadline holds for all of it.

    Args:
        hooks: runs them.
        registration: whose acquire it is.
        scope: who asks.
        context: bounds it, if there is one.
        timeout: seconds for the whole of it; the pool's ``acquire_timeout`` where that is shorter, or None.
    """

    __slots__ = ("_context", "_deadline", "_hooks", "_payload", "_pool", "_secrets", "_since", "_these")

    def __init__(
        self,
        hooks: HookRegistry,
        registration: Registration,
        scope: Scope,
        context: ResourceContext | None,
        timeout: float | None,
    ) -> None:
        self._hooks = hooks
        self._these = registration.acquire_hooks
        self._secrets = registration.what_is_secret
        self._pool = registration.pool
        self._context = context
        self._since = self._pool.clock()
        self._deadline = self._pool.obtainer.deadline(self._since, context, timeout)
        self._payload = OnAcquire(
            resource_id=registration.key, public_id=registration.public_id, scope=scope, timeout_s=timeout
        )

    @property
    def time_left(self) -> float:
        """Seconds that the caller would still wait."""
        return self._deadline - self._pool.clock()

    async def before(self) -> HookRun:
        """Run each ``before``. Raises `HookCancelled`, `AcquireTimeout` and `AcquireCancelled`."""
        try:
            async with self._guard(), until(self._deadline):
                return await self._hooks.run_before(self._these, self._payload, self._secrets)
        except TimeoutError as error:
            raise self._pool.obtainer.timed_out("before-hooks", self._since) from error
        except (asyncio.CancelledError, AcquireCancelled):
            self._pool.ledger.cancelled += 1  # the pool has not been asked yet
            raise

    async def after(self, run: HookRun, managed: ManagedHandle[Any]) -> None:
        """Run each ``after``, for a caller who has the handle only when this returns: cancelled, it is given back.

        An after fails nobody: when the caller's time is over, they go on by themselves.
        """
        try:
            async with self._guard(), until(self._deadline):
                await run.after(None)
        except TimeoutError:
            pass
        except BaseException as error:
            managed.withhold()
            await managed.release(error)
            raise

    def _guard(self) -> TokenGuard:
        token = self._context.cancellation if self._context is not None else None
        return TokenGuard(token, error=partial(AcquireCancelled, **self._pool.names))
