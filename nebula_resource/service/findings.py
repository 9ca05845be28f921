"""Findings: everything that is wrong with a configuration file, each at its dotted path."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from typing import Any

from nebula_resource.errors import FieldViolation, ValidationFailed

__all__ = ["Findings", "near", "under"]

_BARE = re.compile(r"[A-Za-z0-9_-]+")


def under(path: str, key: object) -> str:
    """The dotted path of a key below a path, as TOML writes it: a name with dots is quoted."""
    name = str(key)
    if not _BARE.fullmatch(name):
        escaped = name.replace("\\", "\\\\").replace('"', '\\"')
        name = f'"{"".join(each if each.isprintable() else "?" for each in escaped)}"'
    return f"{path}.{name}" if path else name


def near(name: object, known: Iterable[str]) -> str:
    """``; did you mean 'x'?`` for the known name closest to one; "" when none is close. The name is not repeated."""
    found = difflib.get_close_matches(str(name), list(known), n=1, cutoff=0.6)
    return f"; did you mean '{found[0]}'?" if found else ""


class Findings:
    """Collects violations, so that a person fixes all of them in one go. Values are never in them."""

    __slots__ = ("violations",)

    def __init__(self) -> None:
        self.violations: list[FieldViolation] = []

    def __len__(self) -> int:
        return len(self.violations)

    def add(self, path: str, constraint: str, actual: object = "") -> None:
        """Note one; ``actual`` is a word for what was found, by default none: a value is not shown."""
        self.violations.append(FieldViolation(path, constraint, str(actual)))

    def take(self, path: str, error: ValidationFailed, *, renamed: Mapping[str, str] | None = None) -> None:
        """Note all of an error's, below a path; ``renamed`` says what its fields are called in the file."""
        for each in error.violations:
            field = (renamed or {}).get(each.field, each.field)
            whole = ".".join(part for part in (path, field) if part)
            self.violations.append(FieldViolation(whole, each.constraint, each.actual))

    def table(self, path: str, value: object) -> dict[str, Any] | None:
        """The value if it is a table; else None, and it is noted."""
        if isinstance(value, Mapping):
            return dict(value)
        self.add(path, "must be a table", type(value).__name__)
        return None

    def unknown(self, path: str, table: Mapping[str, Any], known: Iterable[str], what: str) -> None:
        """Note every key that is not known there, with the known one that is closest."""
        names = sorted(known)
        for key in table:
            if key not in names:
                self.add(under(path, key), f"is no setting of {what}{near(key, names)}", "an unknown key")

    def raise_if_any(self) -> None:
        """Raise `ValidationFailed` with everything noted."""
        if self.violations:
            raise ValidationFailed(list(dict.fromkeys(self.violations)))
