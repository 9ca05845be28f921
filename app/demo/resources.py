"""Resources: what the demo registers: a database for each tenant in the tenant's scope, one payment client for all."""

from __future__ import annotations

from app.demo.data import DataFolder, DataNotUsable
from app.demo.payments import payments
from app.demo.provider import PaymentProvider
from app.demo.tables import create_tables
from app.demo.tenants import TENANTS
from containers.keys import DB
from nebula_resource import (
    HealthPolicy,
    InitializationError,
    Manager,
    PoolConfig,
    ResourceContext,
    Scope,
)
from nebula_resource.drivers.sqlalchemy import SqlAlchemyResource

__all__ = ["register_all"]

CONNECTIONS = PoolConfig(min_size=1, max_size=4)
"""Connections to one tenant's file: SQLite has one writer at a time, so more would only wait for each other."""


async def register_all(manager: Manager, *, data: DataFolder, provider: PaymentProvider) -> None:
    """Register everything and make the tables. Raises `DataNotUsable` for a database that cannot be opened."""
    for tenant in TENANTS:
        scope = Scope.tenant(tenant)
        try:
            await manager.register(
                SqlAlchemyResource(DB),
                {"url": f"sqlite:///{data.database(tenant)}"},
                scope=scope,
                pool=CONNECTIONS,
                health=HealthPolicy(interval=10.0),
                required=True,
            )
            async with manager.acquire(DB, ResourceContext(scope)) as db:
                await create_tables(db)
        except InitializationError as error:
            raise DataNotUsable(f"cannot open {data.database(tenant)} as the database of {tenant}") from error
    await manager.register(
        payments,
        {"base_url": provider.url},
        pool={
            "sharing": "shared",
            "max_size": 4,
        },  # one serves, one leaves, and two may be tried out in a recovery
        health=HealthPolicy(interval=10.0),
    )
