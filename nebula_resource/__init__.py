"""nebula-resource: keeps the external resources of a service: creates, pools, lends by scope, checks, cleans up.

Each name is imported when it is first asked for: a command line that only speaks HTTP, or a driver that only needs a
model, does not pay for pools and managers.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from nebula_resource import errors
from nebula_resource.errors import *  # noqa: F403  # the errors' own __all__ is the list

if TYPE_CHECKING:
    from nebula_resource._aio import CancellationToken
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

_PLACES = {
    "CancellationToken": "nebula_resource._aio",
    "HealthCheckable": "nebula_resource.model.health",
    "HealthPolicy": "nebula_resource.model.health",
    "HealthState": "nebula_resource.model.health",
    "HealthStatus": "nebula_resource.model.health",
    "Lifecycle": "nebula_resource.model.lifecycle",
    "Manager": "nebula_resource.manager",
    "NotSecret": "nebula_resource.model.config",
    "OFF": "nebula_resource.model.policy",
    "Pool": "nebula_resource.pool",
    "PoolConfig": "nebula_resource.pool",
    "PoolStrategy": "nebula_resource.pool",
    "QuarantinePolicy": "nebula_resource.quarantine",
    "Resource": "nebula_resource.model.resource",
    "ResourceConfig": "nebula_resource.model.config",
    "ResourceContext": "nebula_resource.model.context",
    "ResourceKey": "nebula_resource.model.key",
    "ResourceMetadata": "nebula_resource.model.resource",
    "Scope": "nebula_resource.model.scope",
    "ScopeLevel": "nebula_resource.model.scope",
    "Secret": "nebula_resource.model.config",
    "Strategy": "nebula_resource.model.scope",
    "current_scope": "nebula_resource.manager",
    "resource_factory": "nebula_resource.model.factory",
}
"""Where each name is made; tests hold it to the imports above."""


def __getattr__(name: str) -> object:
    """Import a name when it is first asked for."""
    place = _PLACES.get(name)
    if place is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(place), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
