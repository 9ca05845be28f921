"""AdminSection: ``[admin]``: where the service listens, who may use its API, how it logs."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_validator

from nebula_resource.admin import AdminSettings, KeyFile
from nebula_resource.admin.sse import MAX_STREAMS
from nebula_resource.errors import ConfigurationError, ValidationFailed
from nebula_resource.model.config import ResourceConfig, validate_config
from nebula_resource.service.findings import Findings

__all__ = ["ENVIRONMENT", "HOT", "AdminSection", "is_loopback", "read_admin"]

ENVIRONMENT: Mapping[str, str] = {
    "NEBULA_HOST": "host",
    "NEBULA_PORT": "port",
    "NEBULA_KEYS_FILE": "keys_file",
    "NEBULA_AUDIT_FILE": "audit_file",
    "NEBULA_HOSTS": "hosts",
    "NEBULA_PAGE": "page",
    "NEBULA_TENANT_METRICS": "tenant_metrics",
    "NEBULA_MAX_STREAMS": "max_streams",
    "NEBULA_PATH": "path",
    "NEBULA_LOG_LEVEL": "log_level",
    "NEBULA_LOG_FORMAT": "log_format",
}
"""Which variable stands for which setting; it wins over the file, and the command line over both."""

_LISTS = frozenset({"hosts", "tenant_metrics"})
"""Settings whose variable holds names with commas between them."""

HOT = frozenset({"groups", "log_level"})
"""Settings that a reload applies. The others decide who gets in and where, and need a restart."""


class AdminSection(ResourceConfig):
    """The settings of ``[admin]``."""

    host: str = Field(default="127.0.0.1", min_length=1)
    """The address to listen on; anything but loopback needs ``keys_file``."""
    port: int = Field(default=8000, ge=0, le=65535)
    """The port; 0: any free one."""
    keys_file: Path | None = None
    """The keys and their roles; without it only this machine is served, and everything is open to it."""
    audit_file: Path | None = None
    """Where what people do is written, a line before and one after; where that cannot be written, nothing is done."""
    hosts: tuple[str, ...] = ()
    """Names, beside localhost, that a Host header may have."""
    groups: Mapping[str, tuple[str, ...]] = Field(default_factory=dict)
    """Resources by the name under which ``/health/groups/{name}`` tells of them together."""
    page: bool = True
    """Whether the live page is served."""
    tenant_metrics: tuple[str, ...] = ()
    """At most 50 tenants that ``/metrics`` tells of by name, all others as ``_other``."""
    max_streams: int = Field(default=MAX_STREAMS, ge=1)
    """How many readers ``/events`` has at once."""
    path: str = "/"
    """Where the admin API is mounted."""
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    log_format: Literal["console", "json"] = "console"

    @field_validator("path")
    @classmethod
    def _is_a_path(cls, path: str) -> str:
        if not path.startswith("/") or "//" in path or any(each in path for each in "?#{} "):
            raise ValueError("must begin with / and have neither // nor a space, ?, #, { or }")
        return path.rstrip("/") or "/"

    @property
    def is_local(self) -> bool:
        """Whether only this machine can reach it."""
        return is_loopback(self.host)

    def for_admin(self) -> AdminSettings:
        """What of it the admin application decides. Raises `ValidationFailed`."""
        return AdminSettings(
            hosts=self.hosts,
            page=self.page,
            groups=self.groups,
            tenant_metrics=self.tenant_metrics,
            max_streams=self.max_streams,
            audit_file=self.audit_file,
        )


def read_admin(
    table: Mapping[str, Any],
    base: Path,
    environment: Mapping[str, str],
    options: Mapping[str, Any],
    findings: Findings,
) -> AdminSection:
    """Put file, environment and command line together, the last winning; what is wrong is noted where it stands."""
    places = {name: f"admin.{name}" for name in AdminSection.model_fields}
    given = dict(table)
    for variable, name in ENVIRONMENT.items():
        if environment.get(variable):
            text = environment[variable]
            given[name] = (
                [each.strip() for each in text.split(",") if each.strip()] if name in _LISTS else text
            )
            places[name] = variable
    for name, value in options.items():
        if value is not None:
            given[name] = value
            places[name] = f"--{name}"
    findings.unknown("admin", dict.fromkeys(given), AdminSection.model_fields, "[admin]")
    known = {key: value for key, value in given.items() if key in AdminSection.model_fields}
    section = _valid_part(known, places, findings)
    try:
        section.for_admin()
    except ValidationFailed as error:
        findings.take("", error, renamed=_renamed(error, places))
    if not section.is_local and known.get("keys_file") is None:
        rule = "must be a loopback address unless admin.keys_file names keys"
        findings.add(places["host"], rule)
    return _with_files(section, base, places, findings)


def _valid_part(known: dict[str, Any], places: Mapping[str, str], findings: Findings) -> AdminSection:
    """The section; where some settings are wrong, with their defaults, so that what the others are is still looked at."""
    try:
        return validate_config(AdminSection, known)
    except ValidationFailed as error:
        findings.take("", error, renamed=_renamed(error, places))
        return validate_config(AdminSection, _without({each.field for each in error.violations}, known))


def _without(wrong: set[str], known: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that are right; of the groups each that is."""
    names = {each.partition(".")[0] for each in wrong}
    left = {name: value for name, value in known.items() if name not in names}
    if "groups" in names and "groups" not in wrong:
        right = {
            name: members
            for name, members in known["groups"].items()
            if not any(f"{each}.".startswith(f"groups.{name}.") for each in wrong)
        }
        left["groups"] = right
    return left


def _renamed(error: ValidationFailed, places: Mapping[str, str]) -> dict[str, str]:
    return {each.field: _placed(each.field, places) for each in error.violations}


def _with_files(
    section: AdminSection, base: Path, places: Mapping[str, str], findings: Findings
) -> AdminSection:
    """Its files where they are: from the configuration file's folder on, those of a variable from the current one."""
    if section.keys_file is not None:
        here = Path() if places["keys_file"] == "NEBULA_KEYS_FILE" else base
        section = section.model_copy(update={"keys_file": here / section.keys_file})
        try:
            KeyFile(section.keys_file or "")
        except (ConfigurationError, ValueError) as error:
            why = error.message if isinstance(error, ConfigurationError) else "must be the path of a file"
            findings.add(places["keys_file"], why)
    if section.audit_file is not None:
        here = Path() if places["audit_file"] == "NEBULA_AUDIT_FILE" else base
        file = here / section.audit_file
        section = section.model_copy(update={"audit_file": file})
        if (file.exists() and not file.is_file()) or not file.parent.is_dir():
            rule = "must be a regular file in a folder that exists"
            findings.add(places["audit_file"], rule)
    return section


def _placed(field: str, places: Mapping[str, str]) -> str:
    """Where a setting was given."""
    name, _, rest = field.partition(".")
    place = places.get(name, f"admin.{name}")
    return f"{place}.{rest}" if rest and place.startswith("admin.") else place


def is_loopback(host: str) -> bool:
    """Whether an address is this machine's own; any name but localhost may be resolved to another."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
