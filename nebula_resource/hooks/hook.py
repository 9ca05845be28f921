"""ResourceHook: code of a user that stands beside an operation, may stop it before and see it after."""

from __future__ import annotations

import inspect
from collections.abc import Collection
from typing import Literal

from nebula_resource.errors import FieldViolation
from nebula_resource.hooks.filters import All, HookFilter
from nebula_resource.hooks.payload import HookEvent, HookPayload, HookResult

__all__ = ["Cancel", "ResourceHook", "violations"]


class Cancel(Exception):
    """Raised by a ``before`` of ACQUIRE or CREATE to stop the operation; the caller gets ``HookCancelled(reason)``.

    The reason is a text for the caller. Secrets of the resource's configuration and of its credentials are masked in
    it, as is what looks like a login; whatever else it says, they read.
    """

    reason: str = "it gave no reason"

    def __init__(self, reason: str = reason) -> None:
        self.reason = reason
        super().__init__(reason)


class ResourceHook:
    """Override `before`, `after` or both, as ``async def`` or, when they do not wait, as plain ``def``.

    A plain function is called in place, at next to no cost. A coroutine runs in a task of its own, so that nothing it
    does (hang, be cancelled, cancel its own task) reaches the operation; it sees the caller's context variables and
    its own changes to them stay with it.
    """

    name: str
    """Unique among the hooks of one manager."""
    priority: int = 100
    """Lower goes first; equal ones in the order in which they were added."""
    events: Collection[HookEvent] = frozenset(HookEvent)
    filter: HookFilter = All()
    on_failure: Literal["ignore", "cancel"] = "ignore"
    """What a `before` of ACQUIRE or CREATE that raises or times out does to the operation."""
    timeout: float | None = 5.0
    """Seconds for each `before` and each `after`; None: none."""

    def before(self, event: HookPayload) -> object:
        """Run before the operation; raise `Cancel` to stop it (ACQUIRE and CREATE only).

        Returns:
            A note for its own `after` of the same operation (``result.note``), or an awaitable of one.
        """
        return None

    def after(self, event: HookPayload, result: HookResult) -> object:
        """Run after the operation, if its `before` ran to its end; in reverse order.

        Whatever it raises is reported and never harms the operation. It may return an awaitable.
        """
        return None

    async def close(self) -> None:
        """End what it left running: the manager that it was added to shuts down. What it raises is logged."""

    def __repr__(self) -> str:
        return f"<{type(self).__name__} '{getattr(self, 'name', '?')}' priority {self.priority}>"


def violations(hook: ResourceHook) -> list[FieldViolation]:
    """Every rule that the hook's attributes break."""
    if not isinstance(hook, ResourceHook):
        kind = f"the class {hook.__name__}" if isinstance(hook, type) else type(hook).__name__
        return [FieldViolation("hook", "must be an object of a ResourceHook, such as AuditHook()", kind)]
    found: list[FieldViolation] = []
    name = getattr(hook, "name", None)
    if not (isinstance(name, str) and name):
        found.append(FieldViolation("name", "must be a text that is not empty", type(name).__name__))
    if not isinstance(hook.priority, int):
        found.append(FieldViolation("priority", "must be a whole number", type(hook.priority).__name__))
    try:
        events = frozenset(hook.events)
    except TypeError:
        events = frozenset()
    if not events or not all(isinstance(event, HookEvent) for event in events):
        found.append(
            FieldViolation("events", "must be a collection of HookEvent members", type(hook.events).__name__)
        )
    if isinstance(hook.filter, type) or not callable(getattr(hook.filter, "matches", None)):
        rule = "must be an object with matches(resource_id), such as ById('db')"
        found.append(FieldViolation("filter", rule, type(hook.filter).__name__))
    if hook.on_failure not in ("ignore", "cancel"):
        found.append(FieldViolation("on_failure", "must be 'ignore' or 'cancel'", repr(hook.on_failure)))
    if hook.timeout is not None and not (isinstance(hook.timeout, int | float) and hook.timeout > 0):
        found.append(FieldViolation("timeout", "must be above 0 seconds, or None", f"{hook.timeout}"))
    for half in ("before", "after"):
        # What is called and returns a generator has not begun to run: a guard that never guards.
        method = getattr(hook, half)
        if inspect.isasyncgenfunction(method) or inspect.isgeneratorfunction(method):
            found.append(FieldViolation(half, "must be a function without yield", type(hook).__name__))
    return found
