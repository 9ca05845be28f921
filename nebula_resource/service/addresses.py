"""Addresses: the short forms in which a file says where a database is, so that only what is secret is a reference."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeAlias
from urllib.parse import quote

from nebula_resource.errors import FieldViolation
from nebula_resource.model.config import Secret

__all__ = ["NOT_HERE", "Translated", "Translation", "postgres_address", "sqlite_address"]

Translated: TypeAlias = tuple[dict[str, Any], list[FieldViolation], dict[str, str]]
"""The configuration that the driver takes, what is wrong with the short form, and what its fields are called there."""
Translation: TypeAlias = Callable[[Mapping[str, Any], Path], Translated]

NOT_HERE = "is no place of a secret: write the value itself"
_EITHER = "must not be given beside {}: one of them says where the database is"


def sqlite_address(config: Mapping[str, Any], base: Path) -> Translated:
    """``path = "shop.db"``, from the configuration file's folder; ``":memory:"`` is a database in memory."""
    rest = {name: value for name, value in config.items() if name != "path"}
    if "path" not in config:
        return rest, _wrong_scheme(config, "sqlite"), {}
    path = config["path"]
    found: list[FieldViolation] = []
    if not isinstance(path, str) or not path or any(each in path for each in "?#\0"):
        found.append(_wrong("path", path, "must be the path of a file, without ? and #"))
        path = ":memory:"
    if "url" in config:
        found.append(FieldViolation("path", _EITHER.format("url"), "both"))
    url = "sqlite://" if path == ":memory:" else f"sqlite:///{(base / path).absolute()}"
    return {**rest, "url": Secret(url)}, found, {"url": "path"}


def postgres_address(config: Mapping[str, Any], base: Path) -> Translated:
    """``host``, ``port`` (5432) and ``database``, with ``user`` and ``password`` as references of their own."""
    names = ("host", "port", "database")
    rest = {name: value for name, value in config.items() if name not in names}
    if not any(name in config for name in names):
        return rest, _wrong_scheme(config, "postgres"), {}
    found: list[FieldViolation] = []
    host, port, database = config.get("host"), config.get("port", 5432), config.get("database")
    if not isinstance(host, str) or not host or any(each in host for each in "/@?# \0"):
        found.append(_wrong("host", host, "must be the name or address of a server"))
    if not isinstance(port, int) or isinstance(port, bool) or not 1 <= port <= 65535:
        found.append(_wrong("port", port, "must be a whole number from 1 to 65535"))
    if not isinstance(database, str) or not database:
        found.append(_wrong("database", database, "must be the name of a database"))
    if "url" in config:
        found.append(FieldViolation("host", _EITHER.format("url"), "both"))
    where = f"[{host}]" if ":" in str(host) else host
    url = (
        "postgresql://localhost/x"
        if found
        else f"postgresql://{where}:{port}/{quote(str(database), safe='')}"
    )
    return {**rest, "url": Secret(url)}, found, {"url": "host"}


def _wrong_scheme(config: Mapping[str, Any], scheme: str) -> list[FieldViolation]:
    """A URL of another database under this driver's name is a slip."""
    url = config.get("url")
    if not isinstance(url, Secret) or not url.get_secret_value():
        return []
    if url.get_secret_value().startswith(scheme):
        return []
    return [FieldViolation("url", f"must be a {scheme} URL with this driver", "")]


def _wrong(name: str, value: object, rule: str) -> FieldViolation:
    """What is wrong with a part; a reference was resolved before anybody knew that none belongs there."""
    if isinstance(value, Secret):
        return FieldViolation(name, NOT_HERE, "a reference")
    return FieldViolation(name, rule, "nothing" if value is None else type(value).__name__)
