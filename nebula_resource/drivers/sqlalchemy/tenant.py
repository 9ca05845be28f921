"""TenantBinding: the statement that binds a transaction to the tenant of a caller's context."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from nebula_resource.drivers.sqlalchemy.config import TenantIsolation
from nebula_resource.errors import ConfigurationError, FieldViolation

__all__ = ["TenantBinding", "bind_tenant", "wrong_with_isolation"]

PLACE = "{tenant}"
MAX_NAME_BYTES = 63
"""Bytes of a PostgreSQL name; it cuts longer ones, so that two tenants could share a schema."""

_SETTING = re.compile(r"[a-z_][a-z0-9_]*(\.[a-z_][a-z0-9_]*)+")
_SYSTEM = ("public", "information_schema")


@dataclass(frozen=True, slots=True)
class TenantBinding:
    """One SELECT and its parameters, in asyncpg's style; its last column says whether the schema is there."""

    statement: str
    parameters: tuple[str, ...] = field(repr=False)


def bind_tenant(isolation: TenantIsolation, tenant: str | None) -> TenantBinding:
    """Return the binding for one tenant.

    Nothing of the tenant's id is ever part of the statement: it travels as a parameter.

    Raises:
        ConfigurationError: the caller has no tenant, or one whose schema name PostgreSQL would cut or keeps itself.
    """
    if tenant is None:
        raise ConfigurationError(
            "this database keeps tenants apart, and the caller has none: acquire it in a tenant's scope"
        )
    columns: list[str] = []
    parameters: list[str] = []
    if isolation.tenant_setting is not None:
        columns.append("pg_catalog.set_config($1, $2, true)")
        parameters += [isolation.tenant_setting, tenant]
    if isolation.tenant_schema is None:
        return TenantBinding(f"SELECT {', '.join(columns)}, true", tuple(parameters))
    name = _schema_name(isolation, tenant)
    path = ", ".join(_quoted(each) for each in (name, *isolation.shared_schemas))
    at = len(parameters)
    columns.append(f"pg_catalog.set_config('search_path', ${at + 1}, true)")
    columns.append(f"EXISTS (SELECT FROM pg_catalog.pg_namespace WHERE nspname = ${at + 2}::text)")
    return TenantBinding(f"SELECT {', '.join(columns)}", (*parameters, path, name))


def _schema_name(isolation: TenantIsolation, tenant: str) -> str:
    name = str(isolation.tenant_schema).replace(PLACE, tenant)
    if len(name.encode()) > MAX_NAME_BYTES:
        raise ConfigurationError(f"the schema of this tenant has a name of more than {MAX_NAME_BYTES} bytes")
    if name in _SYSTEM or name.startswith("pg_") or name in isolation.shared_schemas:
        raise ConfigurationError("the schema of this tenant has a name that is not a tenant's")
    return name


def _quoted(name: str) -> str:
    """Quote for ``search_path``, whose value PostgreSQL reads as a list of names."""
    return '"' + name.replace('"', '""') + '"'


def wrong_with_isolation(isolation: TenantIsolation) -> Iterator[FieldViolation]:
    """Yield what is wrong with the settings."""
    setting, schema = isolation.tenant_setting, isolation.tenant_schema
    if setting is None and schema is None:
        yield FieldViolation("isolation", "must have a tenant_setting, a tenant_schema, or both", "neither")
    if setting is not None and not _SETTING.fullmatch(setting):
        yield FieldViolation(
            "isolation.tenant_setting", "must be a setting with a dot in it, such as app.tenant", "another"
        )
    if schema is not None and (schema.count(PLACE) != 1 or "\x00" in schema):
        yield FieldViolation(
            "isolation.tenant_schema", "must have {tenant} in it once, such as tenant_{tenant}", "another"
        )
    if isolation.shared_schemas and schema is None:
        yield FieldViolation("isolation.shared_schemas", "is for use with tenant_schema", "alone")
    if any(
        not name or "\x00" in name or len(name.encode()) > MAX_NAME_BYTES for name in isolation.shared_schemas
    ):
        yield FieldViolation(
            "isolation.shared_schemas", f"must be names of 1 to {MAX_NAME_BYTES} bytes", "another"
        )
