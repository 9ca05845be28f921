"""Dependency injection: leases, scoped objects and the manager as dependency-injector providers; actions."""

from __future__ import annotations

from nebula_resource._extras import needs_extra

with needs_extra(__name__, "di"):
    from nebula_resource.di.action import action
    from nebula_resource.di.container import ResourceContainer, running
    from nebula_resource.di.leased import Leased
    from nebula_resource.di.manager_provider import ManagerProvider
    from nebula_resource.di.scoped_singleton import ScopedSingleton
    from nebula_resource.di.wired import wire, wired

__all__ = [
    "Leased",
    "ManagerProvider",
    "ResourceContainer",
    "ScopedSingleton",
    "action",
    "running",
    "wire",
    "wired",
]
