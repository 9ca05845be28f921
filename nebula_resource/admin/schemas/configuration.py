"""Configuration: what is in force, and what a reload did."""

from __future__ import annotations

from typing import Any

from typing_extensions import TypedDict

from nebula_resource.admin.configuration import ConfigurationReading, ReloadReport
from nebula_resource.admin.schemas.common import ProcessView
from nebula_resource.admin.times import stamp_or_none

__all__ = ["ConfigurationView", "ReloadView", "configuration_view", "reload_view"]


class ConfigurationView(TypedDict):
    """The effective configuration; secrets are masked."""

    source: str | None
    generation: int
    loaded_at: str | None
    values: dict[str, Any]
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
    dry_run: bool


def configuration_view(reading: ConfigurationReading, process: ProcessView, as_of: str) -> ConfigurationView:
    """As an answer shows it."""
    return {
        "source": reading.source,
        "generation": reading.generation,
        "loaded_at": stamp_or_none(reading.loaded_at),
        "values": dict(reading.values),
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
        "dry_run": report.dry_run,
    }
