"""Built-in hooks: audit, metrics, slow acquires, credentials that are about to expire."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Mapping
from datetime import UTC, datetime
from functools import partial
from types import MappingProxyType
from typing import Any

from nebula_resource._aio import OwnedTasks, within
from nebula_resource.hooks.hook import ResourceHook
from nebula_resource.hooks.payload import (
    HookEvent,
    HookPayload,
    HookResult,
    OnCleanup,
    OnHealthChange,
    Outcome,
)
from nebula_resource.model.histogram import Histogram, HistogramSnapshot

__all__ = ["AuditHook", "CredentialRefreshHook", "MetricsHook", "SlowAcquireHook"]


def _fields(event: HookPayload, *, full_scope: bool) -> dict[str, Any]:
    """The fields every log line here has."""
    return {
        "resource.id": event.resource_id,
        "resource.public_id": event.public_id,
        "resource.scope": str(event.scope) if full_scope else event.scope.level.name.lower(),
        "hook.event": event.kind.value,
    }


class AuditHook(ResourceHook):
    """One structured log line for every operation, when it has ended: what, on what, how it went, how long it took.

    ``full_scope`` writes the whole scope, tenant ids included; by default the line names its level only.
    """

    name = "audit"
    priority = 10

    def __init__(self, logger: logging.Logger | None = None, *, full_scope: bool = False) -> None:
        self._log = logger or logging.getLogger("nebula_resource.audit")
        self._full_scope = full_scope

    def after(self, event: HookPayload, result: HookResult) -> None:
        """Write the line."""
        if not self._log.isEnabledFor(logging.INFO):
            return
        extra = _fields(event, full_scope=self._full_scope)
        extra |= {"outcome": result.outcome.value, "duration_s": result.elapsed_s}
        if result.error is not None:
            extra["error"] = result.error
        if isinstance(event, OnCleanup):
            extra["reason"] = event.reason.value
        elif isinstance(event, OnHealthChange):
            extra |= {"old": event.old, "new": event.new}
        self._log.info("resource audit", extra=extra)


class MetricsHook(ResourceHook):
    """Counts operations by kind and outcome, with how long they took; read it by `counts` and `durations`."""

    name = "metrics"

    def __init__(self) -> None:
        self._counts: dict[tuple[HookEvent, Outcome], int] = {}
        self._durations: dict[HookEvent, Histogram] = {}

    def after(self, event: HookPayload, result: HookResult) -> None:
        """Count one."""
        key = (event.kind, result.outcome)
        self._counts[key] = self._counts.get(key, 0) + 1
        durations = self._durations.get(event.kind)
        if durations is None:
            durations = self._durations[event.kind] = Histogram()
        durations.add(result.elapsed_s)

    @property
    def counts(self) -> Mapping[tuple[HookEvent, Outcome], int]:
        """How many operations ended how."""
        return MappingProxyType(dict(self._counts))

    @property
    def durations(self) -> Mapping[HookEvent, HistogramSnapshot]:
        """How long they took, seconds, by kind."""
        return MappingProxyType({kind: held.snapshot() for kind, held in self._durations.items()})


class SlowAcquireHook(ResourceHook):
    """Warns of acquires that took longer than ``threshold`` seconds, whether they succeeded or not.

    The time is the operation's own and travels with it, so concurrent acquires of one execution do not mix.
    """

    name = "slow-acquire"
    priority = 90
    events: Collection[HookEvent] = frozenset({HookEvent.ACQUIRE})

    def __init__(
        self, threshold: float = 1.0, *, logger: logging.Logger | None = None, full_scope: bool = False
    ) -> None:
        self.threshold = threshold
        self.seen = 0
        """How many there were."""
        self._log = logger or logging.getLogger("nebula_resource.slow")
        self._full_scope = full_scope

    def after(self, event: HookPayload, result: HookResult) -> None:
        """Warn if it was slow."""
        if result.elapsed_s <= self.threshold:
            return
        self.seen += 1
        extra = _fields(event, full_scope=self._full_scope)
        extra |= {
            "outcome": result.outcome.value,
            "duration_s": result.elapsed_s,
            "threshold_s": self.threshold,
        }
        self._log.warning("slow acquire", extra=extra)


class CredentialRefreshHook(ResourceHook):
    """Refreshes a resource's credential when an acquire finds it within ``ahead`` seconds of its expiry.

    One refresh at a time for each registration. Until the expiry acquires do not wait for it; after it they do.

    Args:
        expires_at: says when the registration's credential expires (aware datetime; None: never, or unknown); must
            not wait.
        refresh: fetches a new one, after which ``expires_at`` says another time. What it raises is logged, and a
            later acquire tries again.
        ahead: seconds before the expiry.
        timeout: seconds for one refresh, at the end of which it counts as failed; None: none.
        retry_after: seconds after a failed refresh before the next one.
        now: the wall clock (UTC).
    """

    name = "credential-refresh"
    events: Collection[HookEvent] = frozenset({HookEvent.ACQUIRE})

    def __init__(
        self,
        expires_at: Callable[[HookPayload], datetime | None],
        refresh: Callable[[HookPayload], Awaitable[object]],
        *,
        ahead: float = 60.0,
        timeout: float | None = 30.0,
        retry_after: float = 1.0,
        now: Callable[[], datetime] | None = None,
    ) -> None:
        self._expires_at = expires_at
        self._refresh = refresh
        self._ahead = ahead
        self._refresh_timeout = timeout
        self._retry_after = retry_after
        self._now = now or partial(datetime.now, UTC)
        self._tasks = OwnedTasks("credential refresh")
        self._running: dict[str, asyncio.Task[None]] = {}
        self._not_before: dict[str, float] = {}  # loop time; only registrations whose last refresh failed
        self._log = logging.getLogger("nebula_resource.credentials")

    def before(self, event: HookPayload) -> object:
        """Look at the clock; start a refresh if it is time, and wait for it only if the credential has expired."""
        expires_at = self._expires_at(event)
        if expires_at is None:
            return None
        left = (expires_at - self._now()).total_seconds()
        if left > self._ahead:
            return None
        task = self._running.get(event.public_id)
        if task is None:
            if asyncio.get_running_loop().time() < self._not_before.get(event.public_id, 0.0):
                return None
            task = self._tasks.spawn(self._run(event), name=event.public_id)
            self._running[event.public_id] = task
            task.add_done_callback(lambda _: self._running.pop(event.public_id, None))
        return None if left > 0 else _ended(task)

    async def close(self) -> None:
        """Cancel the refreshes that run, and wait for their end."""
        await self._tasks.cancel_all()

    async def _run(self, event: HookPayload) -> None:
        try:
            async with within(self._refresh_timeout):
                await self._refresh(event)
            self._not_before.pop(event.public_id, None)
        except Exception as error:
            self._not_before[event.public_id] = asyncio.get_running_loop().time() + self._retry_after
            self._log.error(
                "a credential could not be refreshed",
                extra={"resource.id": event.resource_id, "error": type(error).__name__},
            )


async def _ended(task: asyncio.Task[None]) -> None:
    """Wait until the refresh has ended; others wait for it too, so our own cancellation leaves it alone."""
    await asyncio.wait((task,))
