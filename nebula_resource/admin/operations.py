"""Operations: what takes long and is asked about later: drains and recycles."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Coroutine
from datetime import UTC, datetime
from typing import Any, Literal

from nebula_resource._aio import OwnedTasks, cancel_soundly
from nebula_resource.admin.auth.principal import Principal
from nebula_resource.manager import Registration
from nebula_resource.model.scope import Scope

__all__ = ["Operation", "Operations"]

KEPT = 256
"""Operations that are remembered; the oldest that have ended are forgotten."""

State = Literal["running", "done", "failed", "cancelled"]


class Operation:
    """One piece of work: what it does, how far it is, what came of it."""

    __slots__ = (
        "by",
        "ended_at",
        "error",
        "id",
        "kind",
        "pool",
        "result",
        "scope",
        "started_at",
        "state",
        "task",
    )

    def __init__(self, kind: str, registration: Registration, by: str) -> None:
        self.id = f"op_{secrets.token_hex(8)}"
        self.kind = kind
        self.pool = registration.public_id
        self.scope: Scope = registration.scope
        self.by = by
        self.state: State = "running"
        self.started_at = datetime.now(UTC)
        self.ended_at: datetime | None = None
        self.result: dict[str, Any] | None = None
        self.error: str | None = None
        self.task: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        return f"<Operation {self.id} {self.kind} '{self.pool}' {self.state}>"


class Operations:
    """Runs them in tasks of its own; a caller that goes away does not stop one."""

    def __init__(self) -> None:
        self._tasks = OwnedTasks("nebula admin operations")
        self._known: dict[str, Operation] = {}

    def start(
        self, kind: str, registration: Registration, by: str, work: Coroutine[Any, Any, dict[str, Any]]
    ) -> Operation:
        """Begin one; its result is what the work returns."""
        operation = Operation(kind, registration, by)
        self._known[operation.id] = operation
        operation.task = self._tasks.spawn(self._run(operation, work), name=f"{kind} {operation.pool}")
        ended = [each for each in self._known.values() if each.state != "running"]
        for each in ended[: max(0, len(self._known) - KEPT)]:
            del self._known[each.id]
        return operation

    def get(self, id: str, who: Principal) -> Operation | None:
        """The one with this id, if it exists for this caller."""
        operation = self._known.get(id)
        return operation if operation is not None and who.sees(operation.scope) else None

    def cancel(self, operation: Operation) -> None:
        """Ask a running one to end."""
        if operation.task is not None:
            cancel_soundly(operation.task)

    async def _run(self, operation: Operation, work: Coroutine[Any, Any, dict[str, Any]]) -> None:
        try:
            operation.result = await work
            operation.state = "done"
        except asyncio.CancelledError:
            operation.state = "cancelled"
            raise
        except Exception as error:
            operation.state = "failed"
            operation.error = getattr(error, "code", None) or type(error).__name__
        finally:
            operation.ended_at = datetime.now(UTC)
