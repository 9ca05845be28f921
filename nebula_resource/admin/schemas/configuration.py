"""Configuration: what is in force, and what a reload did."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field
from typing_extensions import TypedDict

from nebula_resource.admin.configuration import ConfigurationReading, ReloadReport
from nebula_resource.admin.schemas.common import ProcessView, Reason
from nebula_resource.admin.times import stamp_or_none

__all__ = ["ConfigurationView", "Reload", "ReloadView", "configuration_view", "reload_view"]


class Reload(Reason):
    """What to read, and what to put over it. Never a path: which file that is was decided at the start."""

    source: Literal["file"] = "file"
    patch: dict[str, Any] | None = Field(
        default=None,
        description=(
            "A JSON merge patch over what the file says: admin.log_level, and of a resource of the file pool, health "
            "and quarantine. It holds until the file is read again without it."
        ),
    )


class ConfigurationView(TypedDict):
    """The effective configuration; secrets are masked."""

    source: str | None
    generation: int
    loaded_at: str | None
    values: dict[str, Any]
    patched: list[str]
    process: ProcessView
    as_of: str


class ReloadView(TypedDict):
    """What a reload did, or would do."""

    generation: int
    added: list[str]
    changed: list[str]
    removed: list[str]
    settings: list[str]
    needs_restart: list[str]
    patched: list[str]
    dry_run: bool


def configuration_view(reading: ConfigurationReading, process: ProcessView, as_of: str) -> ConfigurationView:
    """As an answer shows it."""
    return {
        "source": reading.source,
        "generation": reading.generation,
        "loaded_at": stamp_or_none(reading.loaded_at),
        "values": dict(reading.values),
        "patched": list(reading.patched),
        "process": process,
        "as_of": as_of,
    }


def reload_view(report: ReloadReport) -> ReloadView:
    """As an answer shows it."""
    return {
        "generation": report.generation,
        "added": list(report.added),
        "changed": list(report.changed),
        "removed": list(report.removed),
        "settings": list(report.settings),
        "needs_restart": list(report.needs_restart),
        "patched": list(report.patched),
        "dry_run": report.dry_run,
    }
