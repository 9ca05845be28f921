"""Workflows: an action's context and its resources, and the reference runner."""

from __future__ import annotations

from nebula_resource.workflow.bridge import Resources
from nebula_resource.workflow.context import ActionContext
from nebula_resource.workflow.definition import Parallel, Retry, Step, WorkflowDefinition, is_retryable
from nebula_resource.workflow.executor import WorkflowExecutor
from nebula_resource.workflow.port import ResourceProvider
from nebula_resource.workflow.result import Progress, StepFailed, WorkflowResult, WorkflowStatus

__all__ = [
    "ActionContext",
    "Parallel",
    "Progress",
    "ResourceProvider",
    "Resources",
    "Retry",
    "Step",
    "StepFailed",
    "WorkflowDefinition",
    "WorkflowExecutor",
    "WorkflowResult",
    "WorkflowStatus",
    "is_retryable",
]
