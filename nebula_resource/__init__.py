"""nebula-resource: keeps the external resources of a service: creates, pools, lends by scope, checks, cleans up."""

from __future__ import annotations

from nebula_resource import errors
from nebula_resource._aio import CancellationToken
from nebula_resource.errors import *  # noqa: F403  # the errors' own __all__ is the list
from nebula_resource.manager import Manager, current_scope
from nebula_resource.model.config import NotSecret, ResourceConfig, Secret
from nebula_resource.model.context import ResourceContext
from nebula_resource.model.factory import resource_factory
from nebula_resource.model.health import HealthCheckable, HealthPolicy, HealthState, HealthStatus
from nebula_resource.model.key import ResourceKey
from nebula_resource.model.lifecycle import Lifecycle
from nebula_resource.model.policy import OFF
from nebula_resource.model.resource import Resource, ResourceMetadata
from nebula_resource.model.scope import Scope, ScopeLevel, Strategy
from nebula_resource.pool import Pool, PoolConfig, PoolStrategy
from nebula_resource.quarantine import QuarantinePolicy

__version__ = "0.1.0"

__all__ = [
    "OFF",
    "CancellationToken",
    "HealthCheckable",
    "HealthPolicy",
    "HealthState",
    "HealthStatus",
    "Lifecycle",
    "Manager",
    "NotSecret",
    "Pool",
    "PoolConfig",
    "PoolStrategy",
    "QuarantinePolicy",
    "Resource",
    "ResourceConfig",
    "ResourceContext",
    "ResourceKey",
    "ResourceMetadata",
    "Scope",
    "ScopeLevel",
    "Secret",
    "Strategy",
    "current_scope",
    "resource_factory",
]
__all__ += errors.__all__
