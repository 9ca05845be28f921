"""Policy tables: ``pool``, ``health`` and ``quarantine`` of a resource, read from a file and shown to people."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any, TypeVar

from pydantic import BaseModel, RootModel

from nebula_resource.errors import ValidationFailed
from nebula_resource.model.config import redacted
from nebula_resource.model.health import HealthPolicy
from nebula_resource.model.policy import OFF, Off
from nebula_resource.pool import PoolConfig
from nebula_resource.quarantine import QuarantinePolicy
from nebula_resource.quarantine.policy import RecoveryBackoff
from nebula_resource.service.findings import Findings, under

__all__ = ["config_shown", "plain", "policy_of", "policy_shown", "pool_of"]

P = TypeVar("P", HealthPolicy, QuarantinePolicy)


def pool_of(
    path: str, defaults: Mapping[str, Any], table: dict[str, Any], findings: Findings
) -> PoolConfig | None:
    """The settings of ``pool``, over the driver's own; "off" stands for none where a setting may be None."""
    here = under(path, "pool")
    given = findings.table(here, table.get("pool", {}))
    if given is None:
        return None
    optional = {each.name for each in fields(PoolConfig) if "None" in str(each.type)}
    # TOML has no null.
    settings = {key: None if key in optional and value == "off" else value for key, value in given.items()}
    names = [each.name for each in fields(PoolConfig)]
    findings.unknown(here, settings, names, "a pool")
    try:
        return PoolConfig.of({**defaults, **{key: value for key, value in settings.items() if key in names}})
    except ValidationFailed as error:
        findings.take(here, error)
    except TypeError:  # a text or a table where a number belongs, inside of a table
        findings.add(under(here, "create_backoff"), "must hold numbers: base, factor, max, jitter")
    return None


def policy_of(
    kind: type[P], path: str, name: str, table: dict[str, Any], findings: Findings, *, without: str
) -> P | Off | None:
    """The policy; "off"; None where the table does not say."""
    given = table.get(name)
    if given is None:
        return None
    if given == "off":
        return OFF
    here = under(path, name)
    if not isinstance(given, dict):
        findings.add(here, 'must be a table, or "off"', type(given).__name__)
        return None
    settings: dict[str, Any] = dict(given)
    known = [each.name for each in fields(kind) if each.name != without]
    findings.unknown(here, settings, known, f"the {name} policy")
    settings = {key: value for key, value in settings.items() if key in known}
    if "backoff" in settings and kind is QuarantinePolicy:
        backoff = _recovery(under(here, "backoff"), settings.pop("backoff"), findings)
        settings |= {} if backoff is None else {"backoff": backoff}
    try:
        return kind(**settings)
    except ValidationFailed as error:
        findings.take(here, error)
        return None


def _recovery(path: str, value: object, findings: Findings) -> RecoveryBackoff | None:
    table = findings.table(path, value)
    if table is None:
        return None
    known = [each.name for each in fields(RecoveryBackoff)]
    findings.unknown(path, table, known, "a backoff")
    for key in known:
        if key in table and (isinstance(table[key], bool) or not isinstance(table[key], int | float)):
            findings.add(under(path, key), "must be a number", type(table.pop(key)).__name__)
    try:
        return RecoveryBackoff(**{key: item for key, item in table.items() if key in known})
    except ValidationFailed as error:
        findings.take(path, error)
        return None


# ── showing ───────────────────────────────────────────────────────────────────────────────────────────────────────


def config_shown(config: Any) -> Any:
    """A resource's configuration with its secrets masked."""
    if isinstance(config, BaseModel):
        return redacted(config)
    return redacted(RootModel[dict[str, Any]](dict(config or {})))["root"]


def policy_shown(policy: HealthPolicy | QuarantinePolicy | Off | None) -> Any:
    """A policy's values, "off", or "inherited"."""
    if policy is None:
        return "inherited"
    if isinstance(policy, Off):
        return "off"
    hidden = {"stages", "strategy"}  # code
    return {
        each.name: plain(getattr(policy, each.name)) for each in fields(policy) if each.name not in hidden
    }


def plain(value: Any) -> Any:
    """The value as JSON has it: dataclasses as objects."""
    if is_dataclass(value) and not isinstance(value, type):
        return {each.name: plain(getattr(value, each.name)) for each in fields(value)}
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    return value
