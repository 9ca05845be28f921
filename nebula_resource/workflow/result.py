"""WorkflowResult: how one execution of a workflow ended."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from nebula_resource.errors import ResourceError

__all__ = ["Progress", "StepFailed", "WorkflowResult", "WorkflowStatus"]


class WorkflowStatus(StrEnum):
    """Where an execution stands."""

    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


class StepFailed(ResourceError):
    """A step failed in another process: what is known of its error."""

    code = "step_failed"

    def __init__(self, error_type: str, message: str | None, *, retryable: bool = False) -> None:
        self.error_type = error_type
        self.told = message
        super().__init__(message or f"the step failed with {error_type}", retryable=retryable)


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkflowResult:
    """How one execution ended; the same execution asked for again gives this again.

    ``results`` maps each step that succeeded to what it returned; ``error`` is what ended the execution and ``step``
    where; times are UTC.
    """

    status: WorkflowStatus
    results: Mapping[str, Any]
    error: BaseException | None = field(default=None, compare=False)
    step: str | None = None
    started_at: datetime
    finished_at: datetime

    @property
    def ok(self) -> bool:
        """Whether every step succeeded."""
        return self.status is WorkflowStatus.SUCCEEDED

    @property
    def duration_s(self) -> float:
        """Seconds from start to end."""
        return (self.finished_at - self.started_at).total_seconds()

    def raise_for_status(self) -> WorkflowResult:
        """Raise the error of an execution that failed; else return self."""
        if self.error is not None:
            raise self.error
        return self

    def to_json(self) -> dict[str, Any]:
        """Return the JSON value, provided the steps' results are JSON values.

        Of a foreign error only the type is told: its text may hold anything.
        """
        error = self.error
        return {
            "status": self.status.value,
            "results": dict(self.results),
            "error": None
            if error is None
            else {
                "type": error.error_type if isinstance(error, StepFailed) else type(error).__name__,
                "message": _message(error),
                "retryable": getattr(error, "retryable", False) is True,
            },
            "step": self.step,
            "started_at": self.started_at.isoformat(),
            "finished_at": self.finished_at.isoformat(),
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> WorkflowResult:
        """Return the result that ``to_json`` gave; its error is a `StepFailed`."""
        error = value["error"]
        return cls(
            status=WorkflowStatus(value["status"]),
            results=dict(value["results"]),
            error=None
            if error is None
            else StepFailed(error["type"], error["message"], retryable=error["retryable"]),
            step=value["step"],
            started_at=datetime.fromisoformat(value["started_at"]),
            finished_at=datetime.fromisoformat(value["finished_at"]),
        )


def _message(error: BaseException) -> str | None:
    if isinstance(error, StepFailed):
        return error.told
    return error.message if isinstance(error, ResourceError) else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far an execution has come: ``done`` of ``total`` steps; ``running`` maps a step to its attempt."""

    workflow_id: str
    execution_id: str
    status: WorkflowStatus
    done: int
    total: int
    running: Mapping[str, int]
