"""Keys: the resources of this application, each with the type of its lease."""

from __future__ import annotations

from httpx import AsyncClient
from sqlalchemy.ext.asyncio import AsyncSession

from nebula_resource import ResourceKey

__all__ = ["DB", "PAYMENTS"]

DB = ResourceKey("db", AsyncSession)
"""The tenant's database, as a session that commits when its block ends well."""

PAYMENTS = ResourceKey("payments", AsyncClient)
"""The payment provider, as a client that knows its address."""
