"""EventLog: events as structured log lines, with a constant message and its fields beside it (SPEC §22)."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection
from typing import Any, Protocol

from nebula_resource.events.bus import EventBus
from nebula_resource.events.event import Event, Severity
from nebula_resource.events.types import EVENTS, Acquired, Released, WorkflowProgress
from nebula_resource.model.printable import printable
from nebula_resource.model.stats import PoolStats

__all__ = ["EventLog", "StructLogger"]

_LEVELS = {
    Severity.CRITICAL: logging.ERROR,
    Severity.WARNING: logging.WARNING,
    Severity.INFO: logging.INFO,
}
_DEBUG: tuple[type[Event], ...] = (Acquired, Released)


class StructLogger(Protocol):
    """What is used of structlog's logger: ``log(level, message, **fields)``."""

    def log(self, level: int, event: str, /, **fields: Any) -> Any:
        """Write one line."""
        ...


class EventLog:
    """Writes each event it hears of: failures as ERROR, degradation as WARNING, life cycle as INFO, use as DEBUG.

    The message is the event's dotted name. Fields: ``resource.id``, ``resource.public_id``, ``resource.scope`` (its
    level; the whole scope only for tenants in ``tenants``), ``event.seq``, the event's own under ``event.<field>``, and
    ``pool.size`` and ``pool.available`` where ``stats`` knows the pool. Control characters in texts are written as
    escapes, so that one event is one line.

    Args:
        logger: a stdlib logger, or structlog's; None: ``logging.getLogger("nebula_resource")``.
        tenants: tenant ids that may stand in the log; "all" for every one.
        stats: the numbers of the pool with this public id, if there is one; must not wait.
    """

    def __init__(
        self,
        logger: logging.Logger | StructLogger | None = None,
        *,
        tenants: Collection[str] = (),
        stats: Callable[[str], PoolStats | None] | None = None,
    ) -> None:
        self._logger = logging.getLogger("nebula_resource") if logger is None else logger
        self._all_tenants = tenants == "all"
        self._tenants = frozenset(() if self._all_tenants else tenants)
        self._stats = stats

    def attach(self, bus: EventBus) -> Callable[[], None]:
        """Listen to the bus from now on; return what takes it off again.

        Acquired and Released are asked for only when the logger writes DEBUG now: hearing of them costs the hot path.
        What the manager writes to the log by itself about one of these types (a quarantine, a degradation) it then
        leaves to this.
        """
        return bus.add_listener(self, types=self.types(), logs=True)

    def types(self) -> tuple[type[Event], ...]:
        """The types that the logger would write now."""
        if not isinstance(self._logger, logging.Logger) or self._logger.isEnabledFor(logging.DEBUG):
            return EVENTS
        return tuple(event_type for event_type in EVENTS if event_type not in _DEBUG)

    def __call__(self, event: Event) -> None:
        """Write one event."""
        is_use = event.is_routine if isinstance(event, WorkflowProgress) else isinstance(event, _DEBUG)
        level = logging.DEBUG if is_use else _LEVELS[event.severity]
        logger = self._logger
        if not isinstance(logger, logging.Logger):
            logger.log(level, event.name, **self._fields(event))
        elif logger.isEnabledFor(level):
            logger.log(level, event.name, extra=self._fields(event))

    def _fields(self, event: Event) -> dict[str, Any]:
        fields: dict[str, Any] = {"event.seq": event.seq}
        if event.resource_id is not None:
            fields["resource.id"] = printable(event.resource_id)
        if event.public_id is not None:
            fields["resource.public_id"] = printable(event.public_id)
        tenant = event.scope.tenant_id
        may_name = self._all_tenants or (tenant is not None and tenant in self._tenants)
        scope = str(event.scope) if may_name else event.scope.level.name.lower()
        fields["resource.scope"] = printable(scope)
        for name, value in event.data().items():
            fields[f"event.{name}"] = printable(value)
        if self._stats is not None and event.public_id is not None:
            stats = self._stats(event.public_id)
            if stats is not None:
                fields["pool.size"] = stats.size
                fields["pool.available"] = stats.idle
        return fields
