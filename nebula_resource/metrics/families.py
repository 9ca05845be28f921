"""Families of a scrape that are not the pools': health, quarantine, scopes, hooks, events."""

from __future__ import annotations

from collections.abc import Iterable

from nebula_resource.metrics.family import Family, merged
from nebula_resource.metrics.readout import HealthReading, QuarantineReading, Readings
from nebula_resource.model.histogram import HistogramSnapshot

__all__ = ["families_of"]

HEALTH_STATES = ("healthy", "degraded", "unhealthy", "unknown")


def families_of(readings: Readings) -> list[Family]:
    """Return every family but the pools'; those without samples are left out when they are written."""
    found = [
        *_health(readings.health),
        *_quarantine(readings.quarantine),
        Family.of("scopes", {(level,): count for level, count in readings.scopes.items()}),
        Family.of("hook_duration_seconds", dict(readings.hooks.items())),
        Family.of("events_emitted", {(name,): count for name, count in readings.events_emitted.items()}),
        Family.of("events_dropped", {(name,): count for name, count in readings.events_dropped.items()}),
    ]
    if readings.scopes_max is not None:
        found.append(Family.of("scopes_max", {(): readings.scopes_max}))
    if readings.events_subscribers is not None:
        found.append(Family.of("events_subscribers", {(): readings.events_subscribers}))
    if readings.version is not None:
        found.append(Family.of("build_info", {(readings.version,): 1}))
    found += readings.families
    return found


def _health(readings: Iterable[HealthReading]) -> list[Family]:
    """Registrations of one resource are one: counted by state, the worst score, the oldest check."""
    states: dict[tuple[str, ...], int] = {}
    scores: dict[str, float] = {}
    checked: dict[str, float] = {}
    checks: dict[tuple[str, ...], int] = {}
    durations: dict[tuple[str, ...], list[HistogramSnapshot]] = {}
    for one in readings:
        resource = one.resource_id
        for state in HEALTH_STATES:
            states[resource, state] = states.get((resource, state), 0) + (state == one.state)
        scores[resource] = min(one.score, scores.get(resource, one.score))
        if one.last_check_at is not None:
            checked[resource] = min(one.last_check_at, checked.get(resource, one.last_check_at))
        for result, count in one.checks.items():
            key = (resource, one.driver, result)
            checks[key] = checks.get(key, 0) + count
        for stage, snapshot in one.durations.items():
            durations.setdefault((resource, one.driver, stage), []).append(snapshot)
    return [
        Family.of("health_state", dict(states)),
        Family.of("health_score_ratio", {(name,): score for name, score in scores.items()}),
        Family.of("health_last_check_timestamp_seconds", {(name,): at for name, at in checked.items()}),
        Family.of("health_checks", dict(checks)),
        Family.of("health_check_duration_seconds", {key: merged(held) for key, held in durations.items()}),
    ]


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
