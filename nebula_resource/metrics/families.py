"""Families of a scrape that have no rows: quarantine, scopes, hooks, events, and what others have counted."""

from __future__ import annotations

from collections.abc import Iterable

from nebula_resource.metrics.family import Family
from nebula_resource.metrics.readout import QuarantineReading, Readings

__all__ = ["families_of"]


def families_of(readings: Readings) -> list[Family]:
    """Return every family but those of pools and health; those without samples are left out when they are written."""
    found = [
        *_quarantine(readings.quarantine),
        Family.of("scopes", {(level,): count for level, count in readings.scopes.items()}),
        Family.of("hook_duration_seconds", dict(readings.hooks.items())),
        Family.of("events_emitted", {(name,): count for name, count in readings.events_emitted.items()}),
        Family.of("events_dropped", {(name,): count for name, count in readings.events_dropped.items()}),
    ]
    if readings.events_subscribers is not None:
        found.append(Family.of("events_subscribers", {(): readings.events_subscribers}))
    if readings.version is not None:
        found.append(Family.of("build_info", {(readings.version,): 1}))
    found += readings.families
    return found


def _quarantine(readings: Iterable[QuarantineReading]) -> list[Family]:
    active: dict[tuple[str, ...], int] = {}
    due: dict[tuple[str, ...], float] = {}
    for one in readings:
        key = (one.resource_id, one.reason)
        active[key] = active.get(key, 0) + 1
        if one.next_attempt_at is not None:
            name = (one.resource_id,)
            due[name] = min(one.next_attempt_at, due.get(name, one.next_attempt_at))
    return [
        Family.of("quarantine_active", dict(active)),
        Family.of("quarantine_next_attempt_timestamp_seconds", dict(due)),
    ]
