"""SqlAlchemyConfig: which database, how to log in, and how each caller's work is kept apart."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, SecretStr, model_validator

from nebula_resource.drivers.sqlalchemy.address import take_out_login
from nebula_resource.model.config import NotSecret, ResourceConfig, Secret

__all__ = ["LoginInUrl", "PostgresOptions", "SqlAlchemyConfig", "SqliteOptions", "TenantIsolation"]

IsolationLevel = Literal["READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE"]


class LoginInUrl(UserWarning):
    """A URL holds a user or a password; it was taken out of it."""


class TenantIsolation(ResourceConfig):
    """What every transaction of a lease is bound to: the tenant of the caller's context (PostgreSQL).

    Both are set with ``set_config(name, value, true)`` as parameters, when a transaction begins, and end with it. A
    caller without a tenant is refused.
    """

    tenant_setting: str | None = None
    """Row-level security: the custom setting that gets the tenant's id, for ``current_setting('app.tenant')``."""
    tenant_schema: str | None = None
    """Schema per tenant: the schema's name with ``{tenant}`` in it, such as ``tenant_{tenant}``; it becomes the
    ``search_path``. A tenant without that schema is refused."""
    shared_schemas: tuple[str, ...] = ()
    """Schemas that are searched after the tenant's own, for common tables and extensions."""


class SqliteOptions(ResourceConfig):
    """Settings of an SQLite database; times are seconds."""

    busy_timeout: float = Field(default=5.0, ge=0, le=3600)
    """How long a statement waits for another connection's lock before "database is locked"."""
    journal_mode: Literal["wal", "delete"] = "wal"
    """``wal``: readers and the writer do not block each other. It is kept in the file; not on network drives."""
    synchronous: Literal["normal", "full"] = "normal"
    """``normal`` never corrupts in WAL mode, but the last commits may be lost when the machine loses power."""
    foreign_keys: bool = True
    """Whether foreign keys are enforced; SQLite's own default is no."""
    transactions: Literal["immediate", "deferred"] = "immediate"
    """``immediate`` takes the write lock when a transaction begins, so that it waits its turn; ``deferred`` may fail
    at once with "database is locked" when a transaction that has read wants to write. Readonly ones are deferred."""


class PostgresOptions(ResourceConfig):
    """Settings of a PostgreSQL connection."""

    application_name: str = Field(default="nebula-resource", max_length=63)
    """How the connection shows in ``pg_stat_activity``; the server keeps 63 bytes."""
    isolation_level: IsolationLevel | None = None
    """Isolation of every transaction; None: the server's default."""


class SqlAlchemyConfig(ResourceConfig):
    """Where the database is and how to use it.

    ``url`` is ``sqlite:///relative/path.db``, ``sqlite:////absolute/path.db``, ``sqlite://`` (in memory) or
    ``postgresql://host:5432/database`` (with ``+aiosqlite`` and ``+asyncpg`` or without). A user or password in it is
    accepted with a warning and moved to ``user`` and ``password``.
    """

    url: Secret
    user: Secret | None = None
    password: Secret | None = None
    user_credential_key: Annotated[str | None, NotSecret("the name under which the provider has it")] = None
    """Ask the context's CredentialProvider for the user, under this name, whenever a connection is opened."""
    credential_key: Annotated[str | None, NotSecret("the name under which the provider has it")] = None
    """The same for the password."""
    connect_timeout: float = Field(default=10.0, gt=0, le=600)
    """Seconds to open a connection (PostgreSQL)."""
    statement_cache_size: int = Field(default=100, ge=0, le=10_000)
    """Prepared statements kept per connection; 0: none."""
    lease: Literal["session", "connection"] = "session"
    """What callers get: an ``AsyncSession``, or the ``AsyncConnection`` itself."""
    readonly: bool = False
    """Whether the database refuses writes; SQLite files must exist then."""
    isolation: TenantIsolation | None = None
    sqlite: SqliteOptions = SqliteOptions()
    postgres: PostgresOptions = PostgresOptions()

    @model_validator(mode="before")
    @classmethod
    def _take_out_login(cls, values: Any) -> Any:
        """Move user and password of the URL into their own fields, unless those are given too (checked later)."""
        if not isinstance(values, Mapping) or values.get("user") or values.get("password"):
            return values
        url: object = values.get("url")
        text = url.get_secret_value() if isinstance(url, SecretStr) else url
        login = take_out_login(text) if isinstance(text, str) else None
        if login is None:
            return values
        warnings.warn(
            "the database URL holds a user or a password; give them as `user` and `password`, or by the name under"
            " which a credential provider has them",
            LoginInUrl,
            stacklevel=3,
        )
        return {
            **values,
            "url": Secret(login.url),
            "user": Secret(login.user) if login.user else None,
            "password": Secret(login.password) if login.password else None,
        }

    @property
    def credential_keys(self) -> tuple[str, ...]:
        """The names this configuration asks a credential provider for."""
        return tuple(key for key in (self.user_credential_key, self.credential_key) if key is not None)
