"""Address: a database URL taken apart: which backend, where, and what is wrong with it, never quoting it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import SQLAlchemyError

from nebula_resource.errors import FieldViolation

__all__ = ["Address", "Login", "parse", "take_out_login"]

BackendName = Literal["sqlite", "postgresql"]

_DRIVERS: dict[str, BackendName] = {
    "sqlite": "sqlite",
    "sqlite+aiosqlite": "sqlite",
    "postgres": "postgresql",
    "postgresql": "postgresql",
    "postgresql+asyncpg": "postgresql",
}
_SECRET_OPTIONS = ("user", "password")
POSTGRES_OPTIONS = (
    "host",
    "port",
    "ssl",
    "ssl_max_protocol_version",
    "ssl_min_protocol_version",
    "sslcert",
    "sslcrl",
    "sslkey",
    "sslmode",
    "sslpassword",
    "sslrootcert",
    "target_session_attrs",
)
"""What a PostgreSQL URL may have after the question mark: what asyncpg reads as libpq does. It would send any other
to the server as a setting, where a slip of the pen becomes an odd error."""


@dataclass(frozen=True, slots=True)
class Login:
    """A URL without its user and password, and those two."""

    url: str = field(repr=False)
    user: str | None = field(repr=False)
    password: str | None = field(repr=False)


@dataclass(frozen=True, slots=True)
class Address:
    """Where a database is; ``path`` is an SQLite file (None: in memory), ``dsn`` what asyncpg connects to."""

    backend: BackendName
    path: Path | None = field(default=None, repr=False)
    dsn: str = field(default="", repr=False)


def take_out_login(text: str) -> Login | None:
    """Part user and password, before the host or after the question mark, from the URL; None when it has none."""
    url = _read(text)
    if url is None or not (
        url.username or url.password or any(name in url.query for name in _SECRET_OPTIONS)
    ):
        return None
    bare = _without_login(url)
    return Login(
        bare.render_as_string(hide_password=False),
        url.username or _option(url, "user"),
        str(url.password) if url.password else _option(url, "password"),
    )


def parse(text: str) -> Address | list[FieldViolation]:
    """Return the address, or all that is wrong with it."""
    url = _read(text)
    if url is None:
        return [
            _wrong(
                "must be a database URL such as sqlite:///data.db or postgresql://host/database",
                "another text",
            )
        ]
    backend = _DRIVERS.get(url.drivername)
    if backend is None:
        known = ", ".join(_DRIVERS)
        return [_wrong(f"must start with one of {known}", "another scheme or driver")]
    found = list(_wrong_in_sqlite(url) if backend == "sqlite" else _wrong_in_postgres(url))
    if found:
        return found
    if backend == "sqlite":
        return Address("sqlite", path=_path(url))
    dsn = _without_login(url).set(drivername="postgresql").render_as_string(hide_password=False)
    return Address("postgresql", dsn=dsn)


def has_login(text: str) -> bool:
    """Say whether a user or password is still in the URL."""
    return take_out_login(text) is not None


def _read(text: str) -> URL | None:
    try:
        return make_url(text)
    except (SQLAlchemyError, ValueError):  # ValueError: a port that is no number; its text holds the URL
        return None


def _without_login(url: URL) -> URL:
    bare = URL.create(url.drivername, host=url.host, port=url.port, database=url.database, query=url.query)
    return bare.difference_update_query(_SECRET_OPTIONS)


def _option(url: URL, name: str) -> str | None:
    value = url.query.get(name)
    return value[-1] if isinstance(value, tuple) else value


def _wrong(rule: str, actual: str) -> FieldViolation:
    return FieldViolation("url", rule, actual)


# ── one backend each ──────────────────────────────────────────────────────────────────────────────────────────────


def _path(url: URL) -> Path | None:
    return None if url.database in (None, "", ":memory:") else Path(str(url.database))


def _wrong_in_sqlite(url: URL) -> Iterator[FieldViolation]:
    if url.query:
        yield _wrong("must have nothing after '?' for SQLite; use the `sqlite` settings", "options")
    if url.host:
        yield _wrong("must have three slashes before a relative path, four before an absolute one", "a host")
    elif str(url.database).startswith("file:"):
        yield _wrong("must be a path, not a file: address", "a file: address")
    elif (path := _path(url)) is not None:
        yield from wrong_with_file(path)


def wrong_with_file(path: Path) -> Iterator[FieldViolation]:
    """Yield what keeps the path from being a database file."""
    try:
        if path.is_dir():
            yield _wrong("must name a database file", "a directory")
        elif not path.parent.is_dir():
            yield _wrong("must name a file in a directory that exists", "a missing directory")
    except (OSError, ValueError):  # too long a name, a NUL, no right to look
        yield _wrong("must name a file that can be looked at", "a path that cannot be")


def _wrong_in_postgres(url: URL) -> Iterator[FieldViolation]:
    unknown = [name for name in url.query if name not in (*POSTGRES_OPTIONS, *_SECRET_OPTIONS)]
    if unknown:
        yield _wrong(
            f"may have only these options after '?': {', '.join(POSTGRES_OPTIONS)}", "another option"
        )
    if not url.database:
        yield _wrong("must name the database: postgresql://host:5432/database", "no database")
