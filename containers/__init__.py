"""Containers: the composition root, an example to copy: one container per level, and the application's."""

from __future__ import annotations

from containers.action import ActionContainer
from containers.application import ApplicationContainer
from containers.execution import ExecutionContainer
from containers.keys import DB, PAYMENTS
from containers.tenant import TenantContainer
from containers.workflow import WorkflowContainer

__all__ = [
    "DB",
    "PAYMENTS",
    "ActionContainer",
    "ApplicationContainer",
    "ExecutionContainer",
    "TenantContainer",
    "WorkflowContainer",
]
