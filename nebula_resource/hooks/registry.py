"""HookRegistry: which hooks there are, and which of them an operation meets."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import MappingProxyType

from nebula_resource._aio import OwnedTasks, cancel_soundly
from nebula_resource.errors import ConfigurationError, ValidationFailed
from nebula_resource.hooks.hook import ResourceHook, violations
from nebula_resource.hooks.payload import HookEvent, HookPayload
from nebula_resource.hooks.run import FailureReport, HookRun, HookRunner, told
from nebula_resource.model.histogram import HistogramSnapshot

__all__ = ["HookRegistry"]

_log = logging.getLogger("nebula_resource.hooks")

_REMEMBERED = 4096
"""Answers kept by `HookRegistry.for_resource`, so that ids that come and go do not fill the memory."""


class HookRegistry:
    """The hooks of one manager, in the order in which they run.

    ``on_failure_report`` is told of every hook that raised, hung or was cancelled; without it that is logged.
    """

    def __init__(self, *, on_failure_report: FailureReport | None = None) -> None:
        self._runner = HookRunner(on_failure_report)
        self._hooks: tuple[ResourceHook, ...] = ()
        self._found: dict[tuple[str, HookEvent], tuple[ResourceHook, ...]] = {}
        self._on_change: tuple[Callable[[], object], ...] = ()
        self._version = 0

    def __repr__(self) -> str:
        return f"<HookRegistry {', '.join(hook.name for hook in self._hooks) or 'empty'}>"

    def __iter__(self) -> Iterator[ResourceHook]:
        return iter(self._hooks)

    def __len__(self) -> int:
        return len(self._hooks)

    def __bool__(self) -> bool:
        return True  # a registry without hooks is a registry

    @property
    def version(self) -> int:
        """Grows with every `add` and `remove`."""
        return self._version

    def add(self, hook: ResourceHook) -> None:
        """Add a hook; operations that have begun do not meet it.

        Raises:
            ValidationFailed: its attributes break rules; all of them are listed.
            ConfigurationError: there is a hook of that name.
        """
        broken = violations(hook)
        if broken:
            raise ValidationFailed(broken)
        if any(other.name == hook.name for other in self._hooks):
            raise ConfigurationError(
                f"there is a hook named '{hook.name}'; remove it first, or choose another name"
            )
        self._set(tuple(sorted((*self._hooks, hook), key=_priority)))  # sorted is stable

    def remove(self, name: str) -> ResourceHook:
        """Take a hook out and return it; operations that have begun still end with its ``after``.

        Raises:
            ConfigurationError: there is no hook of that name.
        """
        for hook in self._hooks:
            if hook.name == name:
                self._set(tuple(other for other in self._hooks if other is not hook))
                return hook
        raise ConfigurationError(f"there is no hook named '{name}'")

    def for_resource(self, resource_id: str, event: HookEvent) -> tuple[ResourceHook, ...]:
        """Return the hooks that stand beside this operation of this resource, in order; empty: none, no cost.

        A filter that raises counts as a match: a hook that guards something must not be lost by its filter's bug.
        """
        found = self._found.get((resource_id, event))
        if found is None:
            found = tuple(
                hook for hook in self._hooks if event in hook.events and _matches(hook, resource_id)
            )
            if len(self._found) >= _REMEMBERED:
                self._found.clear()
            self._found[resource_id, event] = found
        return found

    def on_change(self, callback: Callable[[], object]) -> Callable[[], None]:
        """Call ``callback()`` after every `add` and `remove`; return what takes it off again."""
        self._on_change = (*self._on_change, callback)

        def remove() -> None:
            self._on_change = tuple(one for one in self._on_change if one is not callback)

        return remove

    @property
    def durations(self) -> Mapping[tuple[str, str, str], HistogramSnapshot]:
        """How long hooks took, by (hook, "before" | "after", "ok" | "failed" | "refused"); for the metrics."""
        return MappingProxyType({key: held.snapshot() for key, held in self._runner.durations.items()})

    async def run_before(
        self,
        hooks: Sequence[ResourceHook],
        payload: HookPayload,
        secrets: Callable[[], object] = tuple,
    ) -> HookRun:
        """Run each ``before``; call `HookRun.after` on the result when the operation has ended, however it ended.

        Args:
            hooks: those that `for_resource` gave.
            payload: what they are told.
            secrets: returns what holds the secrets that no reason of theirs may quote; asked when one stops it.

        Raises:
            HookCancelled: a hook stopped the operation (ACQUIRE and CREATE only).
        """
        return await self._runner.run_before(hooks, payload, secrets)

    async def close(self, timeout: float = 0.0) -> None:
        """Wait ``timeout`` seconds for hooks that still run, then cancel them and close each; the registry stays usable."""
        tasks = self._runner.tasks
        try:
            async with asyncio.timeout(timeout):
                await tasks.idle()
        except TimeoutError:
            pass
        _ask_to_end(tasks)
        ends = [tasks.spawn(_closed(hook), name=f"close {hook.name}") for hook in self._hooks]
        await asyncio.sleep(0)
        if ends:
            await asyncio.wait(ends, timeout=timeout)
            _ask_to_end(tasks)

    def _set(self, hooks: tuple[ResourceHook, ...]) -> None:
        self._hooks = hooks
        self._found.clear()
        self._version += 1
        for callback in self._on_change:
            try:
                callback()
            except Exception as error:
                _log.error("a callback for changed hooks failed", extra=told(error))


def _ask_to_end(tasks: OwnedTasks) -> None:
    """Not waited for: a hook that will not end must not hold up a shutdown. One that was just called is called first."""
    current = asyncio.current_task()
    for task in tasks:
        if task is not current:
            cancel_soundly(task)


async def _closed(hook: ResourceHook) -> None:
    try:
        await hook.close()
    except Exception as error:
        _log.warning("a hook could not be closed", extra={"hook": hook.name, **told(error)})


def _priority(hook: ResourceHook) -> int:
    return hook.priority


def _matches(hook: ResourceHook, resource_id: str) -> bool:
    try:
        return bool(hook.filter.matches(resource_id))
    except (Exception, asyncio.CancelledError) as error:  # nothing was waited for: it is the filter's own
        _log.error(
            "a hook's filter failed; the hook is called",
            extra={"hook": hook.name, "resource.id": resource_id, **told(error)},
        )
        return True
