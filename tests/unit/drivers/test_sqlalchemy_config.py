"""SqlAlchemyConfig: what is accepted, what is refused and how that is said, and that no text holds a secret."""

import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from nebula_resource.drivers.sqlalchemy import (
    ConnectFailed,
    LoginInUrl,
    PostgresOptions,
    SqlAlchemyConfig,
    SqlAlchemyResource,
    SqliteOptions,
    TenantIsolation,
)
from nebula_resource.drivers.sqlalchemy.address import Address, parse
from nebula_resource.drivers.sqlalchemy.backend import LoginData
from nebula_resource.drivers.sqlalchemy.faults import is_fault, why_not_connected
from nebula_resource.drivers.sqlalchemy.sqlite import in_memory_possible
from nebula_resource.drivers.sqlalchemy.tenant import bind_tenant
from nebula_resource.errors import ConfigurationError, FieldViolation, MissingCredential, ValidationFailed
from nebula_resource.model.config import Secret, redacted, validate_config
from nebula_resource.model.context import ResourceContext
from nebula_resource.model.credentials import Credential, StaticCredentials

CANARY = "kanarie-5f1c"


def config(url: str, **settings: Any) -> SqlAlchemyConfig:
    """Make a configuration from a plain URL."""
    return SqlAlchemyConfig(url=Secret(url), **settings)


def violations(url: str, **settings: Any) -> list[FieldViolation]:
    """Return what the resource says about a configuration."""
    return list(SqlAlchemyResource("db").validate_config(config(url, **settings)))


@pytest.mark.parametrize(
    "url",
    [
        "sqlite://",
        "sqlite:///:memory:",
        "sqlite+aiosqlite:///data.db",
        "sqlite:////tmp/data.db",
        "postgresql://localhost/app",
        "postgres://localhost/app",
        "postgresql+asyncpg://localhost:5433/app?sslmode=require",
        "postgresql:///app?host=/var/run/postgresql",
    ],
)
def test_the_documented_urls_are_accepted(url: str) -> None:
    """Each form of URL that the documentation names has nothing wrong with it."""
    assert violations(url) == []


@pytest.mark.parametrize(
    ("url", "says", "actual"),
    [
        ("nonsense", "must be a database URL", "another text"),
        ("postgresql://host:port/app", "must be a database URL", "another text"),
        ("mysql://host/app", "must start with one of sqlite", "another scheme or driver"),
        ("postgresql+psycopg2://host/app", "must start with one of sqlite", "another scheme or driver"),
        ("postgresql://host", "must name the database", "no database"),
        (f"postgresql://host/app?{CANARY}=1", "may have only these options", "another option"),
        (f"sqlite:///data.db?key={CANARY}", "must have nothing after '?'", "options"),
        ("sqlite://data.db", "three slashes", "a host"),
        ("sqlite:///file:data.db", "must be a path", "a file: address"),
        (f"sqlite:////nowhere/{CANARY}/data.db", "a directory that exists", "a missing directory"),
        ("sqlite:////", "must name a database file", "a directory"),
        (f"sqlite:////tmp/{'x' * 5000}/data.db", "a file that can be looked at", "a path that cannot be"),
    ],
)
def test_a_wrong_url_is_said_without_quoting_it(url: str, says: str, actual: str) -> None:
    """Every wrong URL gives one violation at `url`, which holds the rule and nothing of the URL."""
    [violation] = violations(url)
    assert violation.field == "url"
    assert says in violation.constraint
    assert violation.actual == actual
    assert CANARY not in str(violation)


def test_a_directory_is_no_database_file(tmp_path: Path) -> None:
    """A path that is a directory is refused before anything is opened."""
    [violation] = violations(f"sqlite:///{tmp_path}")
    assert violation.actual == "a directory"


@pytest.mark.parametrize(
    ("url", "user", "password"),
    [
        (f"postgresql://app:{CANARY}@db/app", "app", CANARY),
        (f"postgresql://:{CANARY}@db/app", None, CANARY),
        (f"postgresql://db/app?user=app&password={CANARY}&sslmode=require", "app", CANARY),
        (f"postgresql://app:{CANARY}%40%2F@db/app", "app", f"{CANARY}@/"),
    ],
)
def test_a_login_in_the_url_is_taken_out_with_a_warning(url: str, user: str | None, password: str) -> None:
    """User and password leave the URL for their own fields, and one warning, which quotes neither, says so."""
    with pytest.warns(LoginInUrl) as warned:
        made = config(url)
    assert len(warned) == 1
    assert CANARY not in str(warned[0].message)
    assert warned[0].filename == __file__
    assert (made.user.get_secret_value() if made.user else None) == user
    assert made.password is not None
    assert made.password.get_secret_value() == password
    assert CANARY not in made.url.get_secret_value()
    address = parse(made.url.get_secret_value())
    assert isinstance(address, Address)
    assert "@" not in address.dsn
    assert address.dsn.endswith("sslmode=require") == ("sslmode" in url)


def test_taking_out_happens_once() -> None:
    """A configuration validated again, as `register` does, is the same and warns no second time."""
    with pytest.warns(LoginInUrl):
        made = config(f"postgresql://app:{CANARY}@db/app")
    assert validate_config(SqlAlchemyConfig, made) == made


def test_a_configuration_shows_no_secret() -> None:
    """Neither repr, nor the redacted form, nor JSON holds what stood in userinfo, options or keywords."""
    with pytest.warns(LoginInUrl):
        first = config(f"postgresql://app-{CANARY}:{CANARY}@db/app")
    second = config("postgresql://db/app", user=Secret(f"u{CANARY}"), password=Secret(CANARY))
    for made in (first, second):
        for text in (repr(made), str(made), str(redacted(made)), made.model_dump_json()):
            assert CANARY not in text


@pytest.mark.parametrize(
    ("settings", "field"),
    [
        ({"user": "u", "user_credential_key": "db.user"}, "user"),
        ({"password": "p", "credential_key": "db.password"}, "password"),
        ({"sqlite": SqliteOptions(busy_timeout=1)}, "sqlite"),
        ({"isolation": TenantIsolation()}, "isolation"),
        ({"isolation": TenantIsolation(tenant_setting="tenant")}, "isolation.tenant_setting"),
        ({"isolation": TenantIsolation(tenant_setting="app.tenant'; --")}, "isolation.tenant_setting"),
        ({"isolation": TenantIsolation(tenant_schema="tenant")}, "isolation.tenant_schema"),
        ({"isolation": TenantIsolation(tenant_schema="{tenant}{tenant}")}, "isolation.tenant_schema"),
        (
            {"isolation": TenantIsolation(tenant_setting="app.t", shared_schemas=("public",))},
            "isolation.shared_schemas",
        ),
        (
            {"isolation": TenantIsolation(tenant_schema="t_{tenant}", shared_schemas=("x" * 64,))},
            "isolation.shared_schemas",
        ),
    ],
)
def test_settings_that_do_not_go_together_on_postgresql(settings: dict[str, Any], field: str) -> None:
    """Each contradiction is one violation at the field that is too much."""
    assert [each.field for each in violations("postgresql://db/app", **settings)] == [field]


@pytest.mark.parametrize(
    ("settings", "field"),
    [
        ({"user": "u"}, "user"),
        ({"credential_key": "db.password"}, "password"),
        ({"postgres": PostgresOptions(application_name="x")}, "postgres"),
        ({"isolation": TenantIsolation(tenant_setting="app.tenant")}, "isolation"),
        ({"readonly": True}, "readonly"),
    ],
)
def test_settings_that_do_not_go_together_on_sqlite(settings: dict[str, Any], field: str) -> None:
    """What only PostgreSQL has is refused for SQLite, and a readonly database that is not there."""
    assert [each.field for each in violations("sqlite://", **settings)] == [field]


def test_a_login_in_the_url_beside_one_in_fields_is_refused() -> None:
    """Two logins are a violation, not a silent choice."""
    [violation] = violations(f"postgresql://app:{CANARY}@db/app", user="app")
    assert violation.field == "url"
    assert CANARY not in str(violation)


def test_what_is_missing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """A URL whose library is not installed names the extra that brings it; an SQLite before 3.36 has no shared memory."""
    monkeypatch.setitem(sys.modules, "asyncpg", None)
    [violation] = violations("postgresql://db/app")
    assert "nebula-resource[postgres]" in violation.constraint
    monkeypatch.setitem(sys.modules, "aiosqlite", None)
    [violation] = violations("sqlite://")
    assert "nebula-resource[sqlalchemy]" in violation.constraint
    assert not in_memory_possible((3, 35, 5))
    assert in_memory_possible((3, 36, 0))


@pytest.mark.parametrize(
    "setting", [{"connect_timeout": 0}, {"statement_cache_size": -1}, {"lease": "cursor"}]
)
def test_values_out_of_range_are_refused(setting: dict[str, Any]) -> None:
    """A mapping with a bad value is refused with the field's name."""
    with pytest.raises(ValidationFailed) as caught:
        validate_config(SqlAlchemyConfig, {"url": f"postgresql://db/{CANARY}", **setting})
    assert [each.field for each in caught.value.violations] == list(setting)
    assert CANARY not in str(caught.value)


# ── tenants ───────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("tenant", ["'; DROP TABLE t; --", '"', 'a"b', "$1", "ünï", "a, public", "\\"])
def test_a_tenant_is_a_parameter(tenant: str) -> None:
    """Whatever a tenant's id is, the statement is the same and the id a parameter; in the path it is one quoted name."""
    isolation = TenantIsolation(
        tenant_setting="app.tenant", tenant_schema="tenant_{tenant}", shared_schemas=("common",)
    )
    binding = bind_tenant(isolation, tenant)
    assert binding.statement == bind_tenant(isolation, "plain").statement
    quoted = tenant.replace('"', '""')
    assert binding.parameters == (
        "app.tenant",
        tenant,
        f'"tenant_{quoted}", "common"',
        f"tenant_{tenant}",
    )
    assert "parameters" not in repr(binding)


@pytest.mark.parametrize(
    "tenant", ["x" * 57, "ü" * 29, "public", "information_schema", "pg_catalog", "common"]
)
def test_a_tenant_whose_schema_would_be_anothers_is_refused(tenant: str) -> None:
    """Names that PostgreSQL would cut, keeps for itself or shares are refused, and the id is not quoted."""
    pattern = "tenant_{tenant}" if tenant[0] in "xü" else "{tenant}"
    isolation = TenantIsolation(tenant_schema=pattern, shared_schemas=("common",))
    with pytest.raises(ConfigurationError) as caught:
        bind_tenant(isolation, tenant)
    assert tenant not in str(caught.value)


def test_a_caller_without_a_tenant_is_refused() -> None:
    """Where tenants are kept apart there is no use without one."""
    with pytest.raises(ConfigurationError, match="the caller has none"):
        bind_tenant(TenantIsolation(tenant_setting="app.tenant"), None)


# ── credentials and errors ────────────────────────────────────────────────────────────────────────────────────────


async def test_the_login_comes_from_the_provider() -> None:
    """User and password are asked for by name at each create; the earlier end of the two is the connection's."""
    resource = SqlAlchemyResource("db")
    made = config("postgresql://db/app", user_credential_key="db.user", credential_key="db.password")
    soon = datetime.now(UTC) + timedelta(hours=1)
    provider = StaticCredentials(
        {
            "db.user": Credential(Secret("app"), "1", soon + timedelta(hours=1)),
            "db.password": Credential(Secret(CANARY), "1", soon),
        }
    )
    login = await resource._login(made, ResourceContext(credentials=provider))
    assert login == LoginData(Secret("app"), Secret(CANARY), soon)
    assert CANARY not in repr(login)


async def test_a_missing_credential_is_named() -> None:
    """Without a provider, or with one that lacks it, the error names the credential."""
    resource = SqlAlchemyResource("db")
    made = config("postgresql://db/app", credential_key="db.password")
    for context in (ResourceContext(), ResourceContext(credentials=StaticCredentials())):
        with pytest.raises(MissingCredential, match=r"'db\.password'"):
            _ = await resource.create(made, context)
    assert resource.credential_keys == ("db.password",)


async def test_create_refuses_what_register_would_have() -> None:
    """A pool used without a manager validates too, before it connects."""
    with pytest.raises(ValidationFailed, match="must start with one of"):
        _ = await SqlAlchemyResource("db").create(config("mysql://db/app"), ResourceContext())


@pytest.mark.parametrize(
    ("error", "reason", "retryable"),
    [
        (TimeoutError(CANARY), "no answer in time", True),
        (ConnectionRefusedError(CANARY), "the server was not reached", True),
        (RuntimeError(CANARY), "the driver failed", False),
    ],
)
def test_why_there_is_no_connection(error: Exception, reason: str, retryable: bool) -> None:
    """The error says what kind of failure it was, whether to try again, and quotes nothing."""
    failure = why_not_connected(error, "db")
    assert isinstance(failure, ConnectFailed)
    assert reason in str(failure)
    assert type(error).__name__ == failure.kind
    assert failure.retryable is retryable
    assert CANARY not in str(failure)


def test_errors_of_other_things_are_no_faults() -> None:
    """A body's own files, connections and bugs do not speak against the database; its driver's lost connection does."""
    for error in (FileNotFoundError(), ConnectionResetError(), ValueError(), KeyboardInterrupt()):
        assert not is_fault(error)
    assert is_fault(why_not_connected(OSError(), "db"))
    assert is_fault(ExceptionGroup("two", [ValueError(), why_not_connected(OSError(), "db")]))
