"""TenantContainer: what one tenant has, for as long as a scope of it is open."""

from __future__ import annotations

import asyncio

from nebula_resource import ScopeLevel
from nebula_resource.di import ResourceContainer, ScopedSingleton

__all__ = ["TenantContainer"]


class TenantContainer(ResourceContainer):
    """A limit on what one tenant may do side by side inside one request or workflow."""

    side_by_side = ScopedSingleton(ScopeLevel.TENANT, asyncio.Semaphore, 8)
