"""Configuration: where a manager's resources were declared, as the API shows it and asks for it to be read again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from nebula_resource.errors import ResourceError

__all__ = ["Configuration", "ConfigurationReading", "ReloadInProgress", "ReloadReport"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigurationReading:
    """What is in force: ``values`` are JSON values with every secret masked.

    ``generation`` is 1 for what the process started with, and grows by one with each reload that changed something.
    """

    source: str | None
    generation: int
    loaded_at: datetime | None
    values: Mapping[str, Any]
    patched: tuple[str, ...] = ()
    """Dotted paths of what stands over the source until it is read again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReloadReport:
    """What a reload did, or with ``dry_run`` would do: names of resources, and settings that wait for a restart."""

    generation: int
    added: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    settings: tuple[str, ...] = ()
    """Other settings that were applied."""
    needs_restart: tuple[str, ...] = ()
    """Settings that differ and are not applied while the process runs."""
    patched: tuple[str, ...] = ()
    """Dotted paths of what the patch said."""
    dry_run: bool = False

    @property
    def is_empty(self) -> bool:
        """Whether nothing was applied."""
        return not (self.added or self.changed or self.removed or self.settings)


class ReloadInProgress(ResourceError):
    """Another reload is under way; it may be tried again when that has ended."""

    code = "reload_in_progress"
    default_retryable = True

    def __init__(self) -> None:
        super().__init__("a reload is under way")


class Configuration(Protocol):
    """A source that can be read again; the service's is a file."""

    def reading(self) -> ConfigurationReading:
        """What is in force now."""
        ...

    async def reload(self, *, dry_run: bool = False, patch: Mapping[str, Any] | None = None) -> ReloadReport:
        """Read it again and apply it as one transaction, or with ``dry_run`` only check it.

        ``patch``: settings that stand over the source's, until it is read again without them.

        Raises `ReloadInProgress`, `ConfigurationError` (it cannot be read), `ValidationFailed` with every violation,
        and what opening raised; then nothing has changed.
        """
        ...
