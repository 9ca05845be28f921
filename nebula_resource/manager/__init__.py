"""Manager: the only room where the concerns meet."""

from __future__ import annotations

from nebula_resource.manager.acquisition import ManagedAcquisition
from nebula_resource.manager.block import Block
from nebula_resource.manager.current import current_scope
from nebula_resource.manager.dependencies import DependencyGraph
from nebula_resource.manager.execution import ExecutionBlock, Within, new_execution_id
from nebula_resource.manager.handle import ManagedHandle
from nebula_resource.manager.manager import Manager
from nebula_resource.manager.open_scope import OpenScope
from nebula_resource.manager.refreshing import credential_refresh
from nebula_resource.manager.registration import Registration, RegistrationState
from nebula_resource.manager.reload import ReloadOutcome, ReloadResult
from nebula_resource.manager.shutdown import ShutdownReport

__all__ = [
    "Block",
    "DependencyGraph",
    "ExecutionBlock",
    "ManagedAcquisition",
    "ManagedHandle",
    "Manager",
    "OpenScope",
    "Registration",
    "RegistrationState",
    "ReloadOutcome",
    "ReloadResult",
    "ShutdownReport",
    "Within",
    "credential_refresh",
    "current_scope",
    "new_execution_id",
]
