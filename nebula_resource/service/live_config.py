"""LiveConfig: the configuration file in force, read again on request and applied as one transaction."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from nebula_resource._aio import beside, within
from nebula_resource.admin.configuration import ConfigurationReading, ReloadInProgress, ReloadReport
from nebula_resource.errors import ConfigurationError, FieldViolation, ValidationFailed
from nebula_resource.events import ConfigReloaded, ConfigReloadRejected
from nebula_resource.manager import Manager
from nebula_resource.service.admin_section import ENVIRONMENT, HOT, AdminSection
from nebula_resource.service.declaration import Declaration, Source, declare
from nebula_resource.service.driver_table import load_drivers
from nebula_resource.service.patch import patched
from nebula_resource.service.plan import Plan, plan_of
from nebula_resource.service.transaction import Transaction

__all__ = ["READ_SECONDS", "LiveConfig", "read_beside"]

READ_SECONDS = 10.0
"""What does not come by then is on a disk that does not answer."""

log = logging.getLogger("nebula_resource.service.config")


class LiveConfig:
    """Holds what a manager was told by a file; implements the admin API's `Configuration`.

    Args:
        manager: gets the resources.
        declared: what is in force once `start` has returned.
        environment: where ``env:`` and ``NEBULA_*`` look.
        options: settings of the command line, which win over the file.
        read: how the file is read again.
    """

    def __init__(
        self,
        manager: Manager,
        declared: Declaration,
        *,
        environment: Mapping[str, str] = os.environ,
        options: Mapping[str, Any] | None = None,
        read: Callable[[Path], Awaitable[Source]] | None = None,
    ) -> None:
        self.declared = declared
        self.generation = 1
        self.patched: tuple[str, ...] = ()
        """What is in force although the file says something else, or nothing: paths of the last reload's patch."""
        self.on_settings: Callable[[AdminSection], object] | None = None
        """Called with the new ``[admin]`` when a setting of `HOT` has changed."""
        self._manager = manager
        self._transaction = Transaction(manager)
        self._environment = environment
        self._options = options or {}
        self._read_source = read or read_beside
        self._loaded_at = datetime.now(UTC)
        self._turn = asyncio.Lock()
        self._is_next = False  # a look at the file that nobody waits for stands in line

    def __repr__(self) -> str:
        return f"<LiveConfig '{self.declared.source}' generation {self.generation}>"

    @property
    def is_busy(self) -> bool:
        """Whether a reload is under way."""
        return self._turn.locked()

    @property
    def files(self) -> frozenset[Path]:
        """What the configuration was read from: the file, and those of its secrets."""
        source = self.declared.source
        return self.declared.files if source is None else self.declared.files | {source}

    async def start(self) -> None:
        """Register everything, or nothing. Raises `ValidationFailed`, naming what could not be opened."""
        async with self._turn:
            await self._transaction.apply(Plan(added=self.declared.resources))

    async def close(self) -> None:
        """Wait no longer for what was taken out."""
        await self._transaction.close()

    def reading(self) -> ConfigurationReading:
        """What is in force, secrets masked."""
        source = self.declared.source
        return ConfigurationReading(
            source=None if source is None else str(source),
            generation=self.generation,
            loaded_at=self._loaded_at,
            values=self.declared.shown(),
            patched=self.patched,
        )

    # ── again ─────────────────────────────────────────────────────────────────────────────────────────────────────

    async def reload(self, *, dry_run: bool = False, patch: Mapping[str, Any] | None = None) -> ReloadReport:
        """Read the file again and apply it as a whole; wrong, or what it says cannot be opened: nothing has changed.

        With ``patch`` its settings stand over the file's, see `patched`; the next reading without one ends that.
        Raises `ReloadInProgress` and `ValidationFailed` with every violation.
        """
        if self.is_busy:
            raise ReloadInProgress
        async with self._turn:
            return await self._reload_or_tell(dry_run, patch or {})

    async def reload_or_log(self, why: str) -> bool:
        """The same where nobody is there to hear what came of it: it stands in the log, and in the events.

        It waits for a reload that is under way, and reads the file after that. Returns whether the file was read; not
        so where another call waits already, which will see what this one would.
        """
        if self._is_next:
            log.info("configuration is about to be read again", extra={"because": why})
            return False
        self._is_next = True
        try:
            async with self._turn:
                self._is_next = False
                await self._reload_or_tell(False, {})
        except ValidationFailed:
            pass  # logged and told where it was found
        except Exception:
            # Whoever watches the file must live on: the next change may be the one that mends it.
            log.exception("configuration not read again", extra={"because": why})
        finally:
            self._is_next = False
        return True

    async def _reload_or_tell(self, dry_run: bool, patch: Mapping[str, Any]) -> ReloadReport:
        try:
            return await self._reload(dry_run, patch)
        except ValidationFailed as error:
            if not dry_run:
                self._refused(error)
            raise

    async def _reload(self, dry_run: bool, patch: Mapping[str, Any]) -> ReloadReport:
        source = await self._read()
        document, said = patched(source.document, patch, fixed=self._fixed())
        declared = declare(
            replace(source, document=document), environment=self._environment, options=self._options
        )
        if self.declared.resources and not declared.resources:
            # An editor, a full disk or a template that failed leave such files; somebody who wants that stops the service.
            raise ValidationFailed(
                [FieldViolation("resources", "must not be emptied while the service runs", "none")]
            )
        plan = plan_of(self.declared, declared)
        waits = _changed(self.declared.admin, declared.admin, hot=False)
        settings = _changed(self.declared.admin, declared.admin, hot=True)
        report = ReloadReport(
            generation=self.generation,
            added=tuple(each.name for each in plan.added),
            changed=tuple(new.name for _, new in plan.changed),
            removed=tuple(each.name for each in plan.removed),
            settings=settings,
            needs_restart=waits,
            patched=said,
            dry_run=dry_run,
        )
        if dry_run:
            self._transaction.check(plan)
            return report
        await self._transaction.apply(plan)
        # From here on it is in force.
        self._become(replace(declared, resources=plan.resources), report)
        return replace(report, generation=self.generation)

    def _fixed(self) -> frozenset[str]:
        """Settings of ``[admin]`` that a variable or the command line decides, whatever the file says."""
        variables = (name for variable, name in ENVIRONMENT.items() if self._environment.get(variable))
        return frozenset({*variables, *(name for name, value in self._options.items() if value is not None)})

    async def _read(self) -> Source:
        path = self.declared.source
        if path is None:
            raise ValidationFailed([FieldViolation("file", "must have been given at the start", "nothing")])
        try:
            return await self._read_source(path)
        except ValidationFailed:
            raise
        except ConfigurationError as error:
            raise ValidationFailed([FieldViolation("file", error.message, "")]) from None

    def _become(self, declared: Declaration, report: ReloadReport) -> None:
        # What waits for a restart is not in force: the settings of the start stay, but for those that are hot.
        hot = {name: getattr(declared.admin, name) for name in HOT}
        admin = self.declared.admin.model_copy(update=hot)
        self.declared = replace(declared, admin=admin)
        self._loaded_at = datetime.now(UTC)
        self.patched = report.patched
        if report.settings and self.on_settings is not None:
            self.on_settings(admin)
        if report.needs_restart:
            log.warning(
                "settings differ that need a restart; they are not applied",
                extra={"settings": list(report.needs_restart)},
            )
        if report.is_empty:
            log.info("configuration read again: nothing to apply")
            return
        self.generation += 1
        log.info(
            "configuration reloaded",
            extra={
                "generation": self.generation,
                "added": list(report.added),
                "changed": list(report.changed),
                "removed": list(report.removed),
                "settings": list(report.settings),
                "patched": list(report.patched),
            },
        )
        self._manager.events.publish(ConfigReloaded, generation=self.generation)

    def _refused(self, error: ValidationFailed) -> None:
        lines = tuple(map(str, error.violations))
        log.error("configuration refused: what was in force stays", extra={"violations": list(lines)})
        self._manager.events.publish(ConfigReloadRejected, violations=lines)


async def read_beside(path: Path) -> Source:
    """Read a file, and import the drivers that it names, while the loop goes on: a disk that does not answer stops nobody.

    Raises `ConfigurationError`.
    """

    def read() -> Source:
        source = Source.read(path)
        load_drivers(source.document)
        return source

    try:
        async with within(READ_SECONDS):
            return await beside(read, name="nebula configuration reader")
    except TimeoutError:
        rule = f"must be read within {READ_SECONDS:g} s, with the secrets and the drivers that it names"
        found = "a disk that does not answer, or an import that does not end"
        raise ValidationFailed([FieldViolation("file", rule, found)]) from None


def _changed(old: AdminSection, new: AdminSection, *, hot: bool) -> tuple[str, ...]:
    """The settings of one kind that differ."""
    return tuple(
        f"admin.{name}"
        for name in AdminSection.model_fields
        if (name in HOT) is hot and getattr(old, name) != getattr(new, name)
    )
