"""EventFilter: which events one reader wants."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import translate
from types import MappingProxyType
from typing import Any

from nebula_resource.admin.problems import AdminProblem
from nebula_resource.admin.schemas.common import scope_id
from nebula_resource.admin.sse.frame import Notice
from nebula_resource.events import Event, Severity

__all__ = ["EventFilter"]

_GLOBS = re.compile(r"[a-z_.*]{1,64}(,[a-z_.*]{1,64}){0,31}")
_SEVERITIES: Mapping[Severity, int] = MappingProxyType(
    {Severity.INFO: 0, Severity.WARNING: 1, Severity.CRITICAL: 2}
)


@dataclass(frozen=True, slots=True)
class EventFilter:
    """``types`` are globs over event names, ``pool`` a public id, ``scope`` a scope's id; None: any."""

    types: tuple[str, ...] | None = None
    pool: str | None = None
    scope: str | None = None
    min_severity: Severity = Severity.INFO
    pattern: re.Pattern[str] | None = None

    @classmethod
    def of(cls, *, types: str | None, pool: str | None, scope: str | None, min_severity: str) -> EventFilter:
        """Read the query's texts. Raises `AdminProblem` (400) for globs that are none."""
        globs = None
        pattern = None
        if types is not None:
            if not _GLOBS.fullmatch(types):
                raise AdminProblem(
                    400, "bad_types", "types lists globs over event names, such as health.*,pool.stats"
                )
            globs = tuple(types.split(","))
            # Runs of stars match what one matches, and would cost a backtracking matcher dearly.
            pattern = re.compile("|".join(translate(re.sub(r"\*+", "*", glob)) for glob in globs))
        return cls(globs, pool, scope, Severity(min_severity), pattern)

    @property
    def is_all(self) -> bool:
        """Whether nothing is filtered out."""
        return (
            self.pattern is None
            and self.pool is None
            and self.scope is None
            and self.min_severity is Severity.INFO
        )

    def wants(self, event: Event | Notice) -> bool:
        """Whether this event passes."""
        if not self.wants_name(event.name) or _SEVERITIES[event.severity] < _SEVERITIES[self.min_severity]:
            return False
        if self.pool is not None and event.public_id != self.pool:
            return False
        return self.scope is None or scope_id(event.scope) == self.scope

    def wants_name(self, name: str) -> bool:
        """Whether events of this name can pass."""
        return self.pattern is None or self.pattern.match(name) is not None

    def view(self) -> dict[str, Any]:
        """As ``hello`` tells it."""
        return {
            "types": None if self.types is None else list(self.types),
            "pool": self.pool,
            "scope": self.scope,
            "min_severity": self.min_severity.value,
        }
