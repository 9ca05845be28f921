"""OperationView: how far an operation is."""

from __future__ import annotations

from typing import Any

from typing_extensions import TypedDict

from nebula_resource.admin.operations import Operation
from nebula_resource.admin.times import stamp, stamp_or_none

__all__ = ["OperationView", "operation_view"]


class OperationView(TypedDict):
    """One piece of work that takes long; ``state`` is running, done, failed or cancelled."""

    id: str
    kind: str
    pool: str
    by: str
    state: str
    started_at: str
    ended_at: str | None
    result: dict[str, Any] | None
    error: str | None


def operation_view(operation: Operation) -> OperationView:
    """As an answer shows it."""
    return {
        "id": operation.id,
        "kind": operation.kind,
        "pool": operation.pool,
        "by": operation.by,
        "state": operation.state,
        "started_at": stamp(operation.started_at),
        "ended_at": stamp_or_none(operation.ended_at),
        "result": operation.result,
        "error": operation.error,
    }
