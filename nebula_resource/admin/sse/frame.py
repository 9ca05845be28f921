"""Frame: one event on the wire, rendered the first time somebody reads it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from nebula_resource.admin.schemas.common import scope_id
from nebula_resource.admin.times import stamp
from nebula_resource.events import Event, Severity
from nebula_resource.model.scope import Scope

__all__ = ["Frame", "Notice", "wire"]

VERSION = 1


class Notice:
    """Something the API itself tells: an audit entry. It stands beside the library's events in the ring."""

    __slots__ = ("_data", "at", "name", "public_id", "resource_id", "scope", "severity")

    def __init__(
        self,
        name: str,
        at: datetime,
        data: Mapping[str, Any],
        *,
        resource_id: str | None = None,
        public_id: str | None = None,
        scope: Scope = Scope.GLOBAL,
        severity: Severity = Severity.INFO,
    ) -> None:
        self.name = name
        self.at = at
        self.resource_id = resource_id
        self.public_id = public_id
        self.scope = scope
        self.severity = severity
        self._data = dict(data)

    def data(self) -> dict[str, Any]:
        """Its own fields."""
        return self._data


class Frame:
    """One event with its number in a ring. The bytes are made once, by the first reader, for all."""

    __slots__ = ("_wire", "event", "seq")

    def __init__(self, seq: int, event: Event | Notice) -> None:
        self.seq = seq
        self.event = event
        self._wire: bytes | None = None

    def envelope(self) -> dict[str, Any]:
        """What stands in ``data:``, and in the history."""
        event = self.event
        data = event.data()
        found: dict[str, Any] = {
            "v": VERSION,
            "seq": self.seq,
            "ts": stamp(event.at),
            "type": event.name,
            "severity": event.severity.value,
            "resource_id": event.resource_id,
            "pool": event.public_id,
            "scope_id": scope_id(event.scope),
            "data": data,
        }
        incident = data.get("incident")
        if incident:
            found["incident_id"] = incident
        return found

    def unnumbered(self) -> dict[str, Any]:
        """The same without its number, which would tell how many others there were."""
        return {name: value for name, value in self.envelope().items() if name != "seq"}

    def wire(self, boot: str) -> bytes:
        """Its bytes."""
        if self._wire is None:
            self._wire = wire(self.event.name, self.envelope(), id=f"{boot}-{self.seq}")
        return self._wire


def wire(name: str, data: Mapping[str, Any], *, id: str | None = None) -> bytes:
    """One SSE event. Its data is one line of ASCII, whatever is in it: JSON escapes line ends and the rest."""
    line = json.dumps(data, separators=(",", ":"), default=str)
    head = "" if id is None else f"id: {id}\n"
    return f"{head}event: {name}\ndata: {line}\n\n".encode("ascii")
