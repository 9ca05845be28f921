"""Transaction: makes a manager hold what a configuration says, all of it or nothing of it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

from nebula_resource._aio import OwnedTasks, end_of_all, error_of
from nebula_resource.errors import FieldViolation, NotRegistered, ResourceError, ValidationFailed
from nebula_resource.manager import Manager, Registration
from nebula_resource.model.why import why
from nebula_resource.service.findings import Findings, under
from nebula_resource.service.plan import Plan
from nebula_resource.service.resource_section import DeclaredResource

__all__ = ["OPENABLE", "Transaction"]

OPENABLE = "must be one that can be opened"
"""The rule that a resource has broken whose opening failed."""

log = logging.getLogger("nebula_resource.service.config")


class Transaction:
    """Applies plans to one manager, one at a time (its caller sees to that).

    In this order: what is new is registered and opened; every changed one gets its new pool opened beside the old one,
    and all are swapped in one step; what is gone is refused at once and drained in the background. Whatever fails
    before the swap, or a cancellation, takes the new ones out again, and nothing else has changed.
    """

    def __init__(self, manager: Manager) -> None:
        self._manager = manager
        self._tasks = OwnedTasks("nebula configuration")
        self._leaving: dict[tuple[str, object], asyncio.Task[None]] = {}

    async def apply(self, plan: Plan) -> None:
        """Do all of it. Raises `ValidationFailed`, which names what could not be done, with nothing changed."""
        self.check(plan)
        await self._wait_for_leavers(plan.added)
        entered: list[Registration] = []
        try:
            await self._add(plan.added, entered)
            await self._change(plan)
        except BaseException:
            for registration in reversed(entered):
                await self._undo(registration)
            raise
        for each in plan.removed:
            self._remove(each)

    def check(self, plan: Plan) -> None:
        """See whether anything stands against it that only the manager knows. Raises `ValidationFailed`."""
        findings = Findings()
        for each in plan.added:
            if self._manager.registry.at(*each.key) is not None and each.key not in self._leaving:
                findings.add(
                    under("resources", each.name), "must not be registered by the application as well", "both"
                )
        changing = {new.key for _, new in plan.changed} | {each.key for each in plan.removed}
        for each in plan.removed:
            registration = self._manager.registry.at(*each.key)
            if registration is None:
                continue
            for dependent in self._manager.dependencies.dependents(registration.public_id, depth=1):
                other = self._manager.registry.get(dependent)
                if other is not None and (other.key, other.scope) not in changing:
                    findings.add(
                        under("resources", each.name),
                        f"must stay as long as {other.key} needs it, which the application registered",
                        "removed",
                    )
        findings.raise_if_any()

    async def close(self) -> None:
        """Let nothing run on."""
        await self._tasks.cancel_all()

    # ── new ones ──────────────────────────────────────────────────────────────────────────────────────────────────

    async def _add(self, added: Sequence[DeclaredResource], entered: list[Registration]) -> None:
        """Register level by level, each level at once, so that many that do not answer cost the time of one."""
        left = list(added)
        while left:
            waiting = {str(each.resource.id) for each in left}
            level = [each for each in left if not waiting & set(each.resource.dependencies)] or left
            left = [each for each in left if each not in level]
            await self._register_all(level, entered)

    async def _register_all(self, level: Sequence[DeclaredResource], entered: list[Registration]) -> None:
        tasks = {
            self._tasks.spawn(self._register(each), name=f"register {each.name}", awaited=True): each
            for each in level
        }
        try:
            await end_of_all(tasks, self._tasks)
        finally:
            entered += [task.result() for task in tasks if task.done() and error_of(task) is None]
        violations = [
            violation
            for task, each in tasks.items()
            if (error := error_of(task)) is not None
            for violation in _failures(each.name, error)
        ]
        if violations:
            raise ValidationFailed(violations)

    async def _register(self, each: DeclaredResource) -> Registration:
        return await self._manager.register(
            each.resource,
            each.config,
            pool=each.pool,
            scope=each.scope,
            health=each.health,
            quarantine=each.quarantine,
            required=each.required,
            cross_tenant=each.cross_tenant,
        )

    async def _undo(self, registration: Registration) -> None:
        """It was new; nobody was promised that it stays."""
        try:
            await self._manager.deregister(registration.key, scope=registration.scope, cascade=True)
        except NotRegistered:
            pass

    # ── changed ones ──────────────────────────────────────────────────────────────────────────────────────────────

    async def _change(self, plan: Plan) -> None:
        if not plan.changed:
            return
        wanted = [
            self._manager.propose(
                new.resource,
                new.config,
                pool=new.pool,
                scope=new.scope,
                health=new.health,
                quarantine=new.quarantine,
                required=new.required,
                cross_tenant=new.cross_tenant,
            )
            for _, new in plan.changed
        ]
        try:
            await self._manager.replace_all(wanted)
        except (ResourceError, ExceptionGroup) as error:
            changed = [new for _, new in plan.changed]
            errors = error.exceptions if isinstance(error, ExceptionGroup) else (error,)
            raise ValidationFailed(
                [violation for each in errors for violation in _failures(_whose(each, changed), each)]
            ) from error

    # ── those that are gone ───────────────────────────────────────────────────────────────────────────────────────

    def _remove(self, each: DeclaredResource) -> None:
        task = self._tasks.spawn(self._deregister(each), name=f"take out {each.name}", awaited=True)
        self._leaving[each.key] = task
        task.add_done_callback(lambda _: self._leaving.pop(each.key, None))

    async def _deregister(self, each: DeclaredResource) -> None:
        id_, scope = each.key
        try:
            await self._manager.deregister(id_, scope=scope, cascade=True)
        except NotRegistered:
            pass  # the application, or the end, was faster
        except ResourceError as error:
            log.error(
                "a resource that was taken out of the configuration did not end well",
                extra={"resource.id": id_, "error": type(error).__name__},
            )

    async def _wait_for_leavers(self, added: Sequence[DeclaredResource]) -> None:
        """One that comes back while it still drains waits for that."""
        leaving = [self._leaving[each.key] for each in added if each.key in self._leaving]
        if leaving:
            await asyncio.wait(leaving)


def _whose(error: Exception, changed: Sequence[DeclaredResource]) -> str | None:
    """What the one is called in the file that an error speaks of; the same id may be there once for each scope."""
    id_, scope = getattr(error, "resource_id", None), getattr(error, "scope", None)
    fitting = (each.name for each in changed if each.key[0] == id_)
    exact = (each.name for each in changed if each.key == (id_, scope))
    return next(exact, None) or next(fitting, None)


def _failures(name: str | None, error: BaseException) -> list[FieldViolation]:
    """What could not be done, all of it."""
    path = "resources" if name is None else under("resources", name)
    if isinstance(error, ValidationFailed):
        return [
            FieldViolation(f"{path}.{each.field}", each.constraint, each.actual) for each in error.violations
        ]
    return [FieldViolation(path, OPENABLE, _why(error))]


def _why(error: BaseException) -> str:
    """What a driver of ours says of it; of anything else the types."""
    kind, cause = type(error).__name__, getattr(error, "cause", None)
    if cause is None:
        return kind
    told = why(cause)
    return f"{kind}: {told}" if told == type(cause).__name__ else told
