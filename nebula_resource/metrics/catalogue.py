"""The catalogue: every metric of the library, its labels, and the names it is known by elsewhere (SPEC §22)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

__all__ = ["CATALOGUE", "PREFIX", "Kind", "Metric"]

PREFIX = "nebula_resource_"

Kind = Literal["gauge", "counter", "histogram"]


@dataclass(frozen=True, slots=True)
class Metric:
    """One family: its name without `PREFIX` and, for a counter, without ``_total``."""

    name: str
    kind: Kind
    help: str
    labels: tuple[str, ...] = ()
    seeds: tuple[str, ...] = ()
    """What the design documents call it."""
    otel: str | None = None
    """The OpenTelemetry name of the same number."""

    @property
    def series_name(self) -> str:
        """The name its samples begin with, as Prometheus stores it."""
        return f"{PREFIX}{self.name}_total" if self.kind == "counter" else f"{PREFIX}{self.name}"


_POOL = ("pool", "driver", "scope_level")

_METRICS = (
    Metric(
        "pool_instances",
        "gauge",
        "Instances of the pool by what they do now.",
        (*_POOL, "state"),
        ("pool.size", "pool.available", "pool.in_use"),
        "db.client.connection.count",
    ),
    Metric(
        "pool_instances_max",
        "gauge",
        "Most instances the pool may have.",
        _POOL,
        (),
        "db.client.connection.max",
    ),
    Metric(
        "pool_instances_min", "gauge", "Instances the pool keeps.", _POOL, (), "db.client.connection.idle.min"
    ),
    Metric(
        "pool_pending_acquires",
        "gauge",
        "Callers that wait in line.",
        _POOL,
        ("pool.waiters",),
        "db.client.connection.pending_requests",
    ),
    Metric(
        "pool_saturation_ratio",
        "gauge",
        "Share of the maximum in use, of the fullest pool.",
        _POOL,
        ("pool.utilization",),
    ),
    Metric(
        "pool_acquires",
        "counter",
        "Acquires by how they ended.",
        (*_POOL, "outcome"),
        ("total_acquisitions", "resource.acquire.total", "exhausted_count"),
        "db.client.connection.timeouts",
    ),
    Metric(
        "pool_acquire_duration_seconds",
        "histogram",
        "Time from the call to the handle, or to what ended the wait.",
        (*_POOL, "outcome"),
        ("pool.acquire_duration_ms", "resource.acquire.wait_duration_seconds"),
        "db.client.connection.wait_time",
    ),
    Metric(
        "pool_use_duration_seconds",
        "histogram",
        "Time a handle was out, of the uses that were timed.",
        _POOL,
        ("resource.usage.duration_seconds",),
        "db.client.connection.use_time",
    ),
    Metric(
        "pool_releases",
        "counter",
        "Handles that came back.",
        _POOL,
        ("total_releases", "resource.release.total"),
    ),
    Metric(
        "pool_instances_created",
        "counter",
        "Instances made, and attempts that failed.",
        (*_POOL, "outcome"),
        ("created", "resource.create.total"),
    ),
    Metric(
        "pool_instance_create_duration_seconds",
        "histogram",
        "Time to make an instance.",
        (*_POOL, "outcome"),
        ("resource.create.duration_ms",),
        "db.client.connection.create_time",
    ),
    Metric(
        "pool_instances_destroyed",
        "counter",
        "Instances that are gone, by why they had to go.",
        (*_POOL, "reason"),
        ("resource.cleanup.count", "destroyed", "resource.cleanup.total"),
    ),
    Metric(
        "pool_instance_cleanup_duration_seconds",
        "histogram",
        "Time to clean an instance up.",
        _POOL,
    ),
    Metric("pool_leaks", "counter", "Handles out for too long, or lost unreleased.", _POOL),
    Metric("pool_draining", "gauge", "Pools that drain.", _POOL),
    Metric(
        "health_check_duration_seconds",
        "histogram",
        "Time of a health check by its stage.",
        ("resource", "driver", "stage"),
        ("resource.health_check.duration_ms",),
    ),
    Metric(
        "health_checks",
        "counter",
        "Health checks by result.",
        ("resource", "driver", "result"),
        ("resource.health_check.status",),
    ),
    Metric(
        "health_state",
        "gauge",
        "Registrations of the resource in this state.",
        ("resource", "state"),
        ("resource.health.state",),
    ),
    Metric(
        "health_score_ratio",
        "gauge",
        "Score of the resource, 1 well to 0 unhealthy, of its worst registration.",
        ("resource",),
    ),
    Metric(
        "health_last_check_timestamp_seconds",
        "gauge",
        "When the resource was last checked, of its longest unchecked registration.",
        ("resource",),
    ),
    Metric(
        "health_transitions",
        "counter",
        "Changes of effective health.",
        ("resource", "from_state", "to_state"),
        ("HealthChanged",),
    ),
    Metric("quarantine_active", "gauge", "Registrations in quarantine.", ("resource", "reason")),
    Metric(
        "quarantines",
        "counter",
        "Quarantines entered.",
        ("resource", "reason"),
        ("resource.quarantine.total",),
    ),
    Metric(
        "quarantine_releases",
        "counter",
        "Quarantines ended, by what ended them.",
        ("resource", "trigger"),
        ("resource.quarantine.released.total",),
    ),
    Metric(
        "quarantine_recovery_attempts",
        "counter",
        "Attempts at recovery by outcome; exhausted: all had failed, beside the last of them.",
        ("resource", "outcome"),
        ("recovery_attempts",),
    ),
    Metric(
        "quarantine_next_attempt_timestamp_seconds",
        "gauge",
        "When the next attempt at recovery is due.",
        ("resource",),
        ("next_recovery_at",),
    ),
    Metric(
        "breaker_state",
        "gauge",
        "Circuits in this state, once one of the resource has opened.",
        ("resource", "state"),
        ("CircuitBreakerOpen",),
    ),
    Metric("breaker_transitions", "counter", "Circuits opened and closed.", ("resource", "from", "to")),
    Metric("cascades", "counter", "Cascades by their root.", ("root",)),
    Metric(
        "dependency_group_breaker_open",
        "gauge",
        "Members held back until the root of their group is well.",
        ("group",),
    ),
    Metric(
        "autoscale_actions",
        "counter",
        "What the scaler did and what it was kept from.",
        ("pool", "scope_level", "direction", "outcome"),
    ),
    Metric("autoscale_target_instances", "gauge", "Effective maximum the scaler has set.", _POOL),
    Metric(
        "config_reloads",
        "counter",
        "Reloads of a configuration.",
        ("outcome",),
        ("resource.config.reloaded.total",),
    ),
    Metric("config_last_reload_success_timestamp_seconds", "gauge", "When a reload last succeeded."),
    Metric("scopes", "gauge", "Open scopes.", ("level",), ("scopes.active",)),
    Metric("scopes_created", "counter", "Scopes begun.", ("level",), ("scopes.created",)),
    Metric("scopes_cleaned_up", "counter", "Scopes ended.", ("level", "reason"), ("scopes.cleaned_up",)),
    Metric("quota_rejections", "counter", "Callers refused by a quota.", ("level", "quota")),
    Metric("hook_duration_seconds", "histogram", "Time of a hook.", ("hook", "phase", "outcome")),
    Metric("events_emitted", "counter", "Events that somebody wanted.", ("type",)),
    Metric("events_dropped", "counter", "Events that a slow subscriber lost.", ("subscriber",)),
    Metric("events_subscribers", "gauge", "Subscriptions to the events."),
    Metric("events_ring_oldest_age_seconds", "gauge", "Age of the oldest event that can be replayed."),
    Metric("events_replay_gaps", "counter", "Replays that had to tell of a gap."),
    Metric("admin_requests", "counter", "Requests to the admin API.", ("method", "route", "status_class")),
    Metric(
        "admin_request_duration_seconds",
        "histogram",
        "Time of a request to the admin API.",
        ("method", "route"),
    ),
    Metric("admin_auth_failures", "counter", "Requests to the admin API that were refused.", ("reason",)),
    Metric(
        "tenant_pool_instances",
        "gauge",
        "Instances of an allow-listed tenant, the rest as _other.",
        ("tenant", "pool", "state"),
    ),
    Metric(
        "tenant_acquires",
        "counter",
        "Acquires of an allow-listed tenant, the rest as _other.",
        ("tenant", "pool", "outcome"),
    ),
    Metric("metrics_series_overflow", "counter", "Label sets folded into _overflow.", ("metric",)),
    Metric("build_info", "gauge", "1, labelled with the version of the library.", ("version",)),
)

CATALOGUE: Mapping[str, Metric] = MappingProxyType({metric.name: metric for metric in _METRICS})
"""Every family by its name without prefix and suffix, in the order in which they are written out."""
