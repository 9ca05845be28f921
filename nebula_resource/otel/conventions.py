"""Convention: the names of OpenTelemetry's semantic conventions for connection pools, pinned in one table.

They are experimental there, so they may be renamed; a test compares this table with the installed package of them.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

__all__ = ["CONVENTIONS", "POOL_NAME", "STATE", "Convention"]

POOL_NAME = "db.client.connection.pool.name"
"""Attribute of every point: the resource's id."""
STATE = "db.client.connection.state"
"""Attribute of `db.client.connection.count`: idle or used."""


class Convention(NamedTuple):
    """One metric: its name, its instrument, its unit, and what it says."""

    name: str
    instrument: Literal["updowncounter", "counter", "histogram"]
    unit: str
    description: str


COUNT = Convention(
    "db.client.connection.count", "updowncounter", "{connection}", "Instances, by state: idle or used"
)
IDLE_MAX = Convention(
    "db.client.connection.idle.max", "updowncounter", "{connection}", "Most instances that may be idle"
)
IDLE_MIN = Convention(
    "db.client.connection.idle.min", "updowncounter", "{connection}", "Instances that are kept"
)
MAX = Convention("db.client.connection.max", "updowncounter", "{connection}", "Most instances there may be")
PENDING = Convention(
    "db.client.connection.pending_requests", "updowncounter", "{request}", "Callers who wait in line"
)
TIMEOUTS = Convention(
    "db.client.connection.timeouts", "counter", "{timeout}", "Callers who waited for too long"
)
CREATE_TIME = Convention("db.client.connection.create_time", "histogram", "s", "How long creates took")
WAIT_TIME = Convention("db.client.connection.wait_time", "histogram", "s", "How long callers waited")
USE_TIME = Convention("db.client.connection.use_time", "histogram", "s", "How long instances were out")

CONVENTIONS = (COUNT, IDLE_MAX, IDLE_MIN, MAX, PENDING, TIMEOUTS, CREATE_TIME, WAIT_TIME, USE_TIME)
"""Every metric of the bridge."""
