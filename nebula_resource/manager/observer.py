"""RegistrationObserver: tells events, hooks, health and quarantine what a pool does."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

from nebula_resource.errors import ResourceError, Unavailable
from nebula_resource.events import (
    AcquireRejected,
    CircuitClosed,
    CircuitOpened,
    CleanedUp,
    Created,
    ErrorOccurred,
    Event,
    EventBus,
    InstanceRetired,
    LeakSuspected,
    LoopBlocked,
    PoolDrained,
    PoolDraining,
    PoolResized,
    PoolResumed,
    PoolSuspended,
    RejectReason,
)
from nebula_resource.hooks import HookEvent, HookRegistry
from nebula_resource.hooks.payload import OnCleanup, OnCreate
from nebula_resource.manager.handle import end_hooks, is_leaving
from nebula_resource.manager.registration import Cause
from nebula_resource.model.ports import PoolObserver
from nebula_resource.model.reasons import CleanupReason

if TYPE_CHECKING:
    from nebula_resource.hooks import HookRun
    from nebula_resource.manager.registration import Registration
    from nebula_resource.manager.watch import Watch

__all__ = ["RegistrationObserver"]


class RegistrationObserver(PoolObserver):
    """One for each pool of a registration; it steers nothing, it passes on."""

    __slots__ = ("_bus", "_hooks", "_registration", "_watch", "hooks_cleanup", "hooks_create")

    def __init__(self, registration: Registration, bus: EventBus, hooks: HookRegistry, watch: Watch) -> None:
        self._registration = registration
        self._bus = bus
        self._hooks = hooks
        self._watch = watch
        self.hooks_create = False
        self.hooks_cleanup = False
        self.look_at_hooks()

    @property
    def _speaks(self) -> bool:
        """Whether this pool is the one that serves: what an old one, or one that never served, meets is no evidence."""
        return self._registration.pool.observer is self

    def look_at_hooks(self) -> None:
        """Which hooks there are has changed."""
        key = self._registration.key
        self.hooks_create = bool(self._hooks.for_resource(key, HookEvent.CREATE))
        self.hooks_cleanup = bool(self._hooks.for_resource(key, HookEvent.CLEANUP))

    def _publish(self, event: type[Event], **fields: Any) -> None:
        registration = self._registration
        self._bus.publish(
            event, registration.key, registration.scope, public_id=registration.public_id, **fields
        )

    @property
    def holds_back(self) -> bool:
        return self._registration.is_refused(Cause.QUARANTINED) or self._watch.is_given_up(self._registration)

    # ── spans ──

    @property
    def traces(self) -> bool:
        return self._watch.tracing is not None

    def around(self, step: str) -> AbstractContextManager[object]:
        tracing = self._watch.tracing
        assert tracing is not None, "asked where `traces` says that somebody is there"
        registration = self._registration
        return tracing.around(step, registration.key, registration.public_id, registration.scope)

    # ── hooks ──

    async def before_create(self) -> HookRun:
        registration = self._registration
        payload = OnCreate(
            resource_id=registration.key,
            public_id=registration.public_id,
            scope=registration.scope,
            generation=registration.generation,
        )
        hooks = self._hooks.for_resource(registration.key, HookEvent.CREATE)
        return await self._hooks.run_before(hooks, payload, registration.what_is_secret)

    async def after_create(self, token: object, error: BaseException | None) -> None:
        await _end(token, error)

    async def before_cleanup(self, reason: CleanupReason) -> HookRun:
        registration = self._registration
        payload = OnCleanup(
            resource_id=registration.key,
            public_id=registration.public_id,
            scope=registration.scope,
            reason=reason,
        )
        return await self._hooks.run_before(
            self._hooks.for_resource(registration.key, HookEvent.CLEANUP), payload
        )

    async def after_cleanup(self, token: object, reason: CleanupReason, error: BaseException | None) -> None:
        await _end(token, error)

    # ── evidence ──

    def created(self, seconds: float) -> None:
        self._publish(Created, duration_s=seconds)
        self._saw(None)

    def create_failed(self, error: BaseException) -> None:
        self._saw(error)
        self.failed(error)

    def validation_failed(self, error: BaseException | None) -> None:
        self._saw(error or InvalidInstance("validation said no"))

    def body_failed(self, error: BaseException) -> None:
        self._saw(error)

    def _saw(self, error: BaseException | None) -> None:
        if self._speaks:
            self._watch.saw(self._registration, error)

    # ── events ──

    def retired(self, reason: CleanupReason) -> None:
        self._publish(InstanceRetired, reason=reason)

    def cleaned_up(self, reason: CleanupReason, error: BaseException | None, seconds: float | None) -> None:
        cause = None if error is None else type(error).__name__
        self._publish(CleanedUp, reason=reason, duration_s=seconds, error=cause)

    def rejected(self, reason: str, waited_s: float) -> None:
        self._publish(AcquireRejected, reason=RejectReason(reason), waited_s=waited_s)

    def leaked(self, held_s: float, where: Sequence[str]) -> None:
        self._publish(LeakSuspected, held_s=held_s, where=tuple(where))

    def circuit_opened(self, operation: str, retry_after: float) -> None:
        self._publish(CircuitOpened, operation=operation, open_for_s=retry_after)

    def circuit_closed(self, operation: str) -> None:
        self._publish(CircuitClosed, operation=operation)

    def resized(self, min_size: int, max_size: int, *, old_min_size: int, old_max_size: int) -> None:
        self._publish(
            PoolResized,
            min_size=min_size,
            max_size=max_size,
            old_min_size=old_min_size,
            old_max_size=old_max_size,
        )
        if self._speaks:
            self._watch.resized(self._registration)

    def draining(self) -> None:
        registration = self._registration
        if self._speaks and registration.is_open:
            registration.refuse(
                Cause.DRAINING,
                lambda: Unavailable("draining", resource_id=registration.key, retryable=True),
            )
        self._publish(PoolDraining)

    def drained(self) -> None:
        self._publish(PoolDrained)

    def suspended(self) -> None:
        self._publish(PoolSuspended)

    def resumed(self) -> None:
        if self._speaks and self._registration.is_open:
            self._registration.allow(Cause.DRAINING)
        self._publish(PoolResumed)

    def loop_blocked(self, step: str, seconds: float) -> None:
        self._publish(LoopBlocked, blocked_s=seconds)

    def failed(self, error: BaseException) -> None:
        code = error.code if isinstance(error, ResourceError) else "error"
        cause = error.__cause__ or error
        self._publish(ErrorOccurred, code=code, error=type(cause).__name__)


async def _end(token: object, error: BaseException | None) -> None:
    """The hooks' other half; a step that was cut off, as by a shutdown, waits for nothing any more."""
    run: HookRun = token  # type: ignore[assignment]  # what the first half returned
    await end_hooks(run, error, leaving=error is not None and is_leaving(error))


class InvalidInstance(Exception):
    """An instance said it is not valid; the evidence has no error of its own."""
