"""Patch: a few settings that an operator puts over the file; they hold until the file is read again without them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import fields
from typing import Any, TypeAlias

from nebula_resource.model.backoff import Backoff
from nebula_resource.model.health import HealthPolicy
from nebula_resource.pool import PoolConfig
from nebula_resource.quarantine import QuarantinePolicy
from nebula_resource.quarantine.policy import RecoveryBackoff
from nebula_resource.service.findings import Findings, under

__all__ = ["patched"]

Known: TypeAlias = "Mapping[str, Known | None]"
"""The names that may stand in a table, each with those below it; None: a value."""


def _settings(kind: type[Any], *without: str, **tables: Known) -> Known:
    return {each.name: tables.get(each.name) for each in fields(kind) if each.name not in without}


_RESOURCE: Known = {
    "pool": _settings(PoolConfig, create_backoff=_settings(Backoff)),
    "health": _settings(HealthPolicy, "stages"),
    "quarantine": _settings(QuarantinePolicy, "strategy", backoff=_settings(RecoveryBackoff)),
}
"""Numbers and words. Not ``config``: what a request says must never be a file to read or a server to connect to."""

_ADMIN: Known = {"log_level": None}
"""Of the settings that need no restart the one that is no list of names."""


def patched(
    document: Mapping[str, Any], patch: Mapping[str, Any], *, fixed: Collection[str] = ()
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Return the document with the patch in it, and the dotted paths of what the patch says.

    A JSON merge patch (RFC 7396): a table is gone into, null takes a setting out, everything else takes its place.
    ``fixed`` are settings of ``[admin]`` that something stronger than the file decides. Names that may not stand there
    are not repeated. Raises `ValidationFailed` with all that a patch may not say; whether the values are good is seen
    when the document is declared.
    """
    named = document.get("resources")
    known: Known = {
        "admin": _ADMIN,
        "resources": dict.fromkeys(named if isinstance(named, Mapping) else (), _RESOURCE),
    }
    findings = Findings()
    said: list[str] = []
    made = _over("", document, patch, known, findings, said)
    for name in fixed:
        if under("admin", name) in said:
            findings.add(under("admin", name), "must not be what a variable or an option decides", "one")
    findings.raise_if_any()
    return made, tuple(said)


def _over(
    path: str, given: object, patch: Mapping[str, Any], known: Known, findings: Findings, said: list[str]
) -> dict[str, Any]:
    made: dict[str, Any] = dict(given) if isinstance(given, Mapping) else {}
    for name, value in patch.items():
        here = under(path, name)
        if name not in known:
            names = ", ".join(known) or "nothing"
            findings.add(path or "patch", f"may hold only {names} in a patch", "an unknown key")
            continue
        below = known[name]
        if below is not None and isinstance(value, Mapping):
            made[name] = _over(here, made.get(name), value, below, findings, said)
        elif value is not None:
            made[name] = value
            said.append(here)
        elif path in {"", "resources"}:
            findings.add(here, "must be a table: a patch takes settings out, nothing else", "null")
        else:
            made.pop(name, None)
            said.append(here)
    return made
