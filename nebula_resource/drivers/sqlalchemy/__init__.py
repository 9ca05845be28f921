"""SQLAlchemy driver: SQLite and PostgreSQL connections, lent as sessions that commit or roll back."""

from nebula_resource._extras import needs_extra

with needs_extra(__name__, "sqlalchemy"):
    from nebula_resource.drivers.sqlalchemy.config import (
        LoginInUrl,
        PostgresOptions,
        SqlAlchemyConfig,
        SqliteOptions,
        TenantIsolation,
    )
    from nebula_resource.drivers.sqlalchemy.connection import PooledConnection
    from nebula_resource.drivers.sqlalchemy.errors import ConnectFailed, ConnectionLost, NotClean
    from nebula_resource.drivers.sqlalchemy.resource import SqlAlchemyResource

__all__ = [
    "ConnectFailed",
    "ConnectionLost",
    "LoginInUrl",
    "NotClean",
    "PooledConnection",
    "PostgresOptions",
    "SqlAlchemyConfig",
    "SqlAlchemyResource",
    "SqliteOptions",
    "TenantIsolation",
]
