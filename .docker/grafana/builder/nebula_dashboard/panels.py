"""Panels: what the dashboard shows, row by row: from what a glance must tell to what explains it."""

from __future__ import annotations

from nebula_dashboard.parts import PanelBuilder, Query, graph, heat, listing, number, timeline
from nebula_dashboard.queries import HERE, grown, here, of_pool, of_resource, quantile, rate, since, spread

__all__ = ["ROWS"]

Row = tuple[str, tuple[PanelBuilder, ...]]

GREEN, YELLOW, ORANGE, RED, GREY = "green", "yellow", "orange", "red", "#808080"
ANY_IS_BAD = ((None, GREEN), (1, RED))
FAILED = 'outcome="failed"'  # `exhausted` stands beside the last of them

HEALTH = {0: ("healthy", GREEN), 1: ("unknown", GREY), 2: ("degraded", YELLOW), 3: ("unhealthy", RED)}
CIRCUIT = {0: ("closed", GREEN), 1: ("half open", YELLOW), 2: ("open", RED)}


def _worst(name: str, codes: dict[str, int]) -> str:
    """The highest code among the states that some registration of a resource is in."""
    selected = {state: of_resource(name, f'state="{state}"') for state in codes}
    each = (f"({selected[state]} > bool 0) * {code}" for state, code in codes.items())
    return f"max by (resource) ({' or '.join(each)})"


CIRCUITS_NOT_CLOSED = of_resource("breaker_state", 'state!="closed"')
USED_BY_TENANTS = here("tenant_pool_instances", 'pool=~"$pool", state="used"')


OVERVIEW: Row = (
    "Overview",
    (
        number(
            "Resources by health",
            "Registrations by their effective health.",
            Query(f"sum by (state) ({of_resource('health_state')})", "{{state}}"),
        ),
        number(
            "Quarantined",
            "Registrations whose callers are refused until they recover.",
            Query(f"sum({of_resource('quarantine_active')})"),
            steps=ANY_IS_BAD,
        ),
        number(
            "Circuits not closed",
            "Operations that failed too often and are not tried for a while.",
            Query(f"sum({CIRCUITS_NOT_CLOSED})"),
            steps=ANY_IS_BAD,
        ),
        number(
            "Cascades, 24 h",
            "Roots that took most of their dependents along.",
            Query(grown(here("cascades_total"), window="24h")),
            steps=ANY_IS_BAD,
        ),
        number("Scraped", "0: a process is not reached.", Query(f"min(up{{{HERE}}})"), steps=((None, RED), (1, GREEN))),
        number("Version", "Of the library.", Query(f"count by (version) ({here('build_info')})", "{{version}}"), names=True),
    ),
)  # fmt: skip  # a line for each short one

POOLS: Row = (
    "Pools",
    (
        graph(
            "Utilisation",
            "Share of the maximum in use; of the fullest pool where a resource has many.",
            Query(f"max by (pool) ({of_pool('pool_saturation_ratio')})", "{{pool}}"),
            unit="percentunit",
            top=1.0,
            steps=((None, GREEN), (0.8, ORANGE), (1.0, RED)),
        ),
        graph(
            "Instances",
            "What the instances do, against the bounds.",
            Query(f"sum by (state) ({of_pool('pool_instances')})", "{{state}}"),
            Query(f"sum({of_pool('pool_instances_max')})", "max"),
            Query(f"sum({of_pool('pool_instances_min')})", "min"),
        ),
        graph(
            "Callers in line",
            "Who waits because every instance is out.",
            Query(f"sum by (pool) ({of_pool('pool_pending_acquires')})", "{{pool}}"),
        ),
        graph(
            "Acquires by outcome",
            "What became of the callers.",
            Query(rate(of_pool("pool_acquires_total"), "outcome"), "{{outcome}}"),
            unit="ops",
            stacked=True,
        ),
        graph(
            "Time to acquire",
            "From the call to the handle, or to the refusal after a wait.",
            *(
                Query(quantile(share, of_pool("pool_acquire_duration_seconds_bucket")), name)
                for name, share in (("p50", 0.5), ("p95", 0.95), ("p99", 0.99))
            ),
            unit="s",
        ),
        heat(
            "Time to acquire, spread",
            "How many took how long.",
            Query(spread(of_pool("pool_acquire_duration_seconds_bucket")), "{{le}}"),
            unit="s",
        ),
        graph(
            "Time in use, p95",
            "How long handles are out, of the uses that were timed.",
            Query(quantile(0.95, of_pool("pool_use_duration_seconds_bucket"), "pool"), "{{pool}}"),
            unit="s",
        ),
        graph(
            "Handles that come back",
            "Lower than the acquires for long: somebody keeps them.",
            Query(rate(of_pool("pool_releases_total"), "pool"), "{{pool}}"),
            unit="ops",
        ),
        graph(
            "Leaks and drains",
            "Handles out for too long or lost in an hour; pools that drain.",
            Query(grown(of_pool("pool_leaks_total"), "pool", "1h"), "leaks of {{pool}}"),
            Query(f"sum by (pool) ({of_pool('pool_draining')})", "{{pool}} drains"),
        ),
        graph(
            "Instances made",
            "And the attempts that failed.",
            Query(rate(of_pool("pool_instances_created_total"), "outcome"), "{{outcome}}"),
            unit="ops",
        ),
        graph(
            "Time to make and to clean up, p95",
            "Of instances.",
            Query(quantile(0.95, of_pool("pool_instance_create_duration_seconds_bucket")), "create"),
            Query(quantile(0.95, of_pool("pool_instance_cleanup_duration_seconds_bucket")), "clean up"),
            unit="s",
        ),
        graph(
            "Instances gone, by reason",
            "Why they had to go.",
            Query(rate(of_pool("pool_instances_destroyed_total"), "reason"), "{{reason}}"),
            unit="ops",
            stacked=True,
        ),
    ),
)

HEALTH_ROW: Row = (
    "Health and quarantine",
    (
        timeline(
            "Health",
            "The worst state of each resource's registrations.",
            Query(
                _worst("health_state", {"unhealthy": 3, "degraded": 2, "unknown": 1, "healthy": 0}),
                "{{resource}}",
            ),
            HEALTH,
            width=16,
        ),
        graph(
            "Score",
            "1 well, 0 unhealthy; of the worst registration.",
            Query(f"min by (resource) ({of_resource('health_score_ratio')})", "{{resource}}"),
            unit="percentunit",
            top=1.0,
        ),
        graph(
            "Time of a check by stage, p95",
            "Where the checks spend their time.",
            Query(quantile(0.95, of_resource("health_check_duration_seconds_bucket"), "stage"), "{{stage}}"),
            unit="s",
        ),
        graph(
            "Checks by result",
            "And how often the health changed.",
            Query(rate(of_resource("health_checks_total"), "result"), "{{result}}"),
            Query(
                rate(of_resource("health_transitions_total"), "from_state, to_state"),
                "{{from_state}} → {{to_state}}",
            ),
            unit="ops",
        ),
        graph(
            "Since the last check",
            "Of the registration unchecked for longest.",
            Query(since(of_resource("health_last_check_timestamp_seconds"), "resource"), "{{resource}}"),
            unit="s",
        ),
        listing(
            "Quarantined now",
            "Why, how many registrations, how often recovery was tried in a day, seconds to the next try.",
            {
                "registrations": Query(f"sum by (resource, reason) ({of_resource('quarantine_active')})"),
                "tries": Query(
                    grown(of_resource("quarantine_recovery_attempts_total", FAILED), "resource", "24h")
                ),
                "next try in (s)": Query(
                    f"min by (resource) ({of_resource('quarantine_next_attempt_timestamp_seconds')}) - time()"
                ),
            },
            width=16,
        ),
        graph(
            "Into quarantine and out of it",
            "By reason, and by what ended it.",
            Query(grown(of_resource("quarantines_total"), "reason"), "in: {{reason}}"),
            Query(grown(of_resource("quarantine_releases_total"), "trigger"), "out: {{trigger}}"),
        ),
        timeline(
            "Circuits",
            "The worst circuit of each resource; one that never opened has no bar.",
            Query(_worst("breaker_state", {"open": 2, "half_open": 1, "closed": 0}), "{{resource}}"),
            CIRCUIT,
        ),
        graph(
            "Circuits opened and closed",
            "How often each way.",
            Query(grown(of_resource("breaker_transitions_total"), "from, to"), "{{from}} → {{to}}"),
        ),
        graph(
            "Cascades",
            "Roots that took others along, and members held back until their root is well.",
            Query(grown(here("cascades_total"), "root"), "cascade of {{root}}"),
            Query(f"sum by (group) ({here('dependency_group_breaker_open')})", "held back by {{group}}"),
        ),
    ),
)

SERVICE: Row = (
    "Service",
    (
        graph("Open scopes", "By level.", Query(f"sum by (level) ({here('scopes')})", "{{level}}"), stacked=True),
        graph(
            "Time of hooks, p95",
            "What hooks add to the way of a caller.",
            Query(quantile(0.95, here("hook_duration_seconds_bucket"), "hook, phase"), "{{hook}} {{phase}}"),
            unit="s",
        ),
        graph(
            "Reloads of the configuration",
            "By how they ended.",
            Query(grown(here("config_reloads_total"), "outcome"), "{{outcome}}"),
            Query(since(here("config_last_reload_success_timestamp_seconds"), "instance"), "s since success, {{instance}}"),
        ),
        graph(
            "Events",
            "That somebody wanted, by type; and those that a slow subscriber lost.",
            Query(rate(here("events_emitted_total"), "type"), "{{type}}"),
            Query(rate(here("events_dropped_total"), "subscriber"), "lost by {{subscriber}}"),
            unit="ops",
        ),
        graph(
            "Event streams",
            "Subscriptions, and replays that had to tell of a gap.",
            Query(f"sum({here('events_subscribers')})", "subscriptions"),
            Query(grown(here("events_replay_gaps_total")), "gaps"),
        ),
        graph(
            "How far events can be replayed",
            "Age of the oldest.",
            Query(f"max by (instance) ({here('events_ring_oldest_age_seconds')})", "{{instance}}"),
            unit="s",
        ),
        graph(
            "Requests to the admin API",
            "By class of status; and those refused for whom they came from.",
            Query(rate(here("admin_requests_total"), "status_class"), "{{status_class}}"),
            Query(rate(here("admin_auth_failures_total"), "reason"), "refused: {{reason}}"),
            unit="reqps",
        ),
        graph(
            "Time of a request by route, p95",
            "Of the admin API, streams left out.",
            Query(quantile(0.95, here("admin_request_duration_seconds_bucket"), "route"), "{{route}}"),
            unit="s",
        ),
        graph(
            "Labels folded away",
            "Sets of labels beyond the budget of series, which went to _overflow.",
            Query(f"sum by (metric) ({here('metrics_series_overflow_total')})", "{{metric}}"),
        ),
        graph(
            "Processor",
            "Cores in use.",
            Query(f"sum by (instance) (rate(process_cpu_seconds_total{{{HERE}}}[$__rate_interval]))", "{{instance}}"),
        ),
        graph(
            "Memory",
            "Resident.",
            Query(f"sum by (instance) (process_resident_memory_bytes{{{HERE}}})", "{{instance}}"),
            unit="bytes",
        ),
        graph(
            "File descriptors",
            "Open, against the limit.",
            Query(f"sum by (instance) (process_open_fds{{{HERE}}})", "{{instance}}"),
            Query(f"min(process_max_fds{{{HERE}}})", "limit"),
        ),
    ),
)  # fmt: skip  # a line for each short one

TENANTS: Row = (
    "Tenants that are allow-listed",
    (
        graph(
            "Instances in use by tenant",
            "All others as _other; empty where no tenant is allow-listed.",
            Query(f"sum by (tenant) ({USED_BY_TENANTS})", "{{tenant}}"),
            stacked=True,
        ),
        graph(
            "Acquires by tenant",
            "All others as _other; empty where no tenant is allow-listed.",
            Query(rate(here("tenant_acquires_total", 'pool=~"$pool"'), "tenant, outcome"), "{{tenant}} {{outcome}}"),
            unit="ops",
            stacked=True,
        ),
    ),
)  # fmt: skip  # a line for each short one

ROWS: tuple[Row, ...] = (OVERVIEW, POOLS, HEALTH_ROW, SERVICE, TENANTS)
