"""Alert rules: each fires when it should and is silent when it should not; each has its page; all that they ask for exists."""

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from nebula_resource.metrics.catalogue import CATALOGUE
from tests.architecture.tree import ROOT
from tests.servers.programs import ensure_program

RULES = ROOT / ".docker/prometheus/rules.yml"
GROUPS: list[dict[str, Any]] = yaml.safe_load(RULES.read_text())["groups"]
ALERTS = {rule["alert"]: rule for group in GROUPS for rule in group["rules"] if "alert" in rule}
N = "nebula_resource_"
P = 'job="nebula", instance="a", pool="db", driver="x", scope_level="global"'
R = 'job="nebula", instance="a", resource="db"'

Series = dict[str, str]

CASES: dict[str, tuple[Series, Series]] = {
    "NebulaExporterDown": (
        {'up{job="nebula"}': "0x60"},
        {'up{job="nebula"}': "1x60", 'up{job="other"}': "0x60"},
    ),
    "NebulaPoolExhausted": (
        {f"{N}pool_saturation_ratio{{{P}}}": "1x60", f"{N}pool_pending_acquires{{{P}}}": "3x60"},
        # Full, and nobody waits: that is a pool of the right size.
        {f"{N}pool_saturation_ratio{{{P}}}": "1x60", f"{N}pool_pending_acquires{{{P}}}": "0x60"},
    ),
    "NebulaPoolSaturationHigh": (
        {f"{N}pool_saturation_ratio{{{P}}}": "0.9x60"},
        {f"{N}pool_saturation_ratio{{{P}}}": "0.9x5 0.3 0.9x5 0.3 0.9x5 0.3x43"},
    ),
    "NebulaAcquireErrorRateHigh": (
        {
            f'{N}pool_acquires_total{{{P}, outcome="ok"}}': "0+90x60",
            f'{N}pool_acquires_total{{{P}, outcome="timeout"}}': "0+10x60",
        },
        # Whoever gives up by himself was not turned away.
        {
            f'{N}pool_acquires_total{{{P}, outcome="ok"}}': "0+90x60",
            f'{N}pool_acquires_total{{{P}, outcome="cancelled"}}': "0+50x60",
        },
    ),
    "NebulaAcquireLatencyHigh": (
        {
            f'{N}pool_acquire_duration_seconds_bucket{{{P}, outcome="ok", le="0.5"}}': "0+90x60",
            f'{N}pool_acquire_duration_seconds_bucket{{{P}, outcome="ok", le="1"}}': "0+100x60",
            f'{N}pool_acquire_duration_seconds_bucket{{{P}, outcome="ok", le="+Inf"}}': "0+100x60",
        },
        {
            f'{N}pool_acquire_duration_seconds_bucket{{{P}, outcome="ok", le="0.01"}}': "0+100x60",
            f'{N}pool_acquire_duration_seconds_bucket{{{P}, outcome="ok", le="+Inf"}}': "0+100x60",
        },
    ),
    "NebulaInstanceLeak": (
        {f"{N}pool_leaks_total{{{P}}}": "_x29 1x30"},
        {f"{N}pool_leaks_total{{{P}}}": "4x60"},
    ),
    "NebulaResourceUnhealthy": (
        {f'{N}health_state{{{R}, state="unhealthy"}}': "1x60"},
        {
            f'{N}health_state{{{R}, state="unhealthy"}}': "0x60",
            f'{N}health_state{{{R}, state="degraded"}}': "1x60",
        },
    ),
    "NebulaHealthCheckStale": (
        {
            f"{N}health_last_check_timestamp_seconds{{{R}}}": "60x60",
            f'{N}pool_instances{{{P}, state="idle"}}': "0x60",
            f'{N}pool_instances{{{P}, state="used"}}': "1x60",
        },
        # Checked; resting, because it has no instance; isolated.
        {
            f"{N}health_last_check_timestamp_seconds{{{R}}}": "0+60x60",
            f'{N}pool_instances{{{P}, state="idle"}}': "1x60",
            f"{N}health_last_check_timestamp_seconds{{{R.replace('db', 'rests')}}}": "60x60",
            f'{N}pool_instances{{{P.replace("db", "rests")}, state="idle"}}': "0x60",
            f"{N}health_last_check_timestamp_seconds{{{R.replace('db', 'ill')}}}": "60x60",
            f'{N}pool_instances{{{P.replace("db", "ill")}, state="used"}}': "1x60",
            f'{N}quarantine_active{{{R.replace("db", "ill")}, reason="manual"}}': "1x60",
        },
    ),
    "NebulaResourceFlapping": (
        {f'{N}health_transitions_total{{{R}, from_state="healthy", to_state="unhealthy"}}': "0+1x60"},
        {f'{N}health_transitions_total{{{R}, from_state="healthy", to_state="unhealthy"}}': "0x25 1x5 2x30"},
    ),
    "NebulaQuarantineLong": (
        {f'{N}quarantine_active{{{R}, reason="manual"}}': "1x60"},
        {f'{N}quarantine_active{{{R}, reason="manual"}}': "1x8 0 1x8 0 1x8 0x34"},
    ),
    "NebulaQuarantineExhausted": (
        {f'{N}quarantine_recovery_attempts_total{{{R}, outcome="exhausted"}}': "0x29 1x30"},
        {f'{N}quarantine_recovery_attempts_total{{{R}, outcome="failed"}}': "0+1x60"},
    ),
    "NebulaCascadeDetected": (
        {f'{N}cascades_total{{job="nebula", instance="a", root="db"}}': "_x29 1x30"},
        {f'{N}cascades_total{{job="nebula", instance="a", root="db"}}': "2x60"},
    ),
    "NebulaConfigReloadFailed": (
        {f'{N}config_reloads_total{{job="nebula", instance="a", outcome="rejected"}}': "0x29 1x30"},
        {f'{N}config_reloads_total{{job="nebula", instance="a", outcome="ok"}}': "0+1x60"},
    ),
    "NebulaAdminAuthFailures": (
        {f'{N}admin_auth_failures_total{{job="nebula", instance="a", reason="unknown"}}': "0+60x60"},
        {f'{N}admin_auth_failures_total{{job="nebula", instance="a", reason="unknown"}}': "0+2x60"},
    ),
    "NebulaEventsDropped": (
        {f'{N}events_dropped_total{{job="nebula", instance="a", subscriber="log"}}': "0x29 5x30"},
        {f'{N}events_dropped_total{{job="nebula", instance="a", subscriber="log"}}': "5x60"},
    ),
}
"""(what fires it, what does not), one sample a minute; looked at after 30 minutes."""


def _waits(*, under_half: int, until: int = 60) -> Series:
    """Of ten thousand waits a minute so many are under half a second, the others under one; from a minute on all are."""
    bucket = f'{N}pool_acquire_duration_seconds_bucket{{{P}, outcome="ok", le='
    late = f" {under_half * until + 10_000}+10000x{60 - until}" if until < 60 else ""
    return {
        f'{bucket}"0.5"}}': f"0+{under_half}x{until}{late}",
        f'{bucket}"1"}}': f"0+10000x{until}"
        + (f" {10_000 * (until + 1)}+10000x{60 - until}" if late else ""),
        f'{bucket}"+Inf"}}': f"0+10000x{until}"
        + (f" {10_000 * (until + 1)}+10000x{60 - until}" if late else ""),
    }


def _grown(counter: str) -> list[tuple[Series, dict[int, int]]]:
    """One growth in minute 30 is told for a quarter of an hour, whether or not the counter was there before."""
    moments = {29: 0, 30: 1, 44: 1, 46: 0}
    return [
        ({counter: "0x29 1x60"}, moments),
        ({counter: "_x30 1x60"}, moments),
        ({counter: "0x60"}, {5: 0, 20: 0}),  # a service that has just been started
    ]


def _flaps(values: str, towards: str = "unhealthy") -> Series:
    return {f'{N}health_transitions_total{{{R}, from_state="unknown", to_state="{towards}"}}': values}


def _refused(values: str) -> Series:
    return {f'{N}admin_auth_failures_total{{job="nebula", instance="a", reason="unauthenticated"}}': values}


def test_prometheus_takes_the_rules() -> None:
    """As the real checker reads them."""
    done = _promtool("check", "rules", str(RULES))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "18 rules found" in done.stdout


def test_every_alert_fires_and_is_silent(tmp_path: Path) -> None:
    """Both cases of each alert, played by promtool; a rule without cases fails."""
    assert set(CASES) == set(ALERTS)
    done = _played(tmp_path, CASES)
    assert done.returncode == 0, done.stdout + done.stderr


def _counters() -> Series:
    """Every counter of which one growth is enough for an alert, by the alert."""
    pool, root = f"{N}pool_leaks_total{{{P}}}", 'job="nebula", instance="a"'
    return {
        "NebulaInstanceLeak": pool,
        "NebulaQuarantineExhausted": f'{N}quarantine_recovery_attempts_total{{{R}, outcome="exhausted"}}',
        "NebulaCascadeDetected": f'{N}cascades_total{{{root}, root="db"}}',
        "NebulaConfigReloadFailed": f'{N}config_reloads_total{{{root}, outcome="rejected"}}',
        "NebulaEventsDropped": f'{N}events_dropped_total{{{root}, subscriber="log"}}',
    }


@pytest.mark.parametrize(
    ("grows", "rests"),
    [
        pytest.param("0x29 1x30", "0x60", id="from nought"),
        pytest.param("_x29 1x30", "_x5 1x54", id="a first sample of one"),
        pytest.param("3x29 4x30", "4x60", id="from more"),
    ],
)
def test_one_growth_is_seen_wherever_a_counter_begins(tmp_path: Path, grows: str, rests: str) -> None:
    """`increase` misses a first sample of 1: the rules do not, and fall silent a quarter of an hour after it."""
    counters = _counters()
    assert set(counters) == {
        name for name, rule in ALERTS.items() if "increase(" in rule["expr"] and " 6" not in rule["expr"]
    }
    cases = {alert: ({series: grows}, {series: rests}) for alert, series in counters.items()}
    done = _played(tmp_path, cases)
    assert done.returncode == 0, done.stdout + done.stderr


EDGES: dict[str, list[tuple[Series, dict[int, int]]]] = {
    "NebulaExporterDown": [({'up{job="nebula"}': "1x9 0x50"}, {10: 0, 11: 1})],
    "NebulaPoolExhausted": [
        (
            {f"{N}pool_saturation_ratio{{{P}}}": "1x60", f"{N}pool_pending_acquires{{{P}}}": "0x9 1x50"},
            {10: 0, 11: 1},
        ),
        (
            {f"{N}pool_saturation_ratio{{{P}}}": "0.99x60", f"{N}pool_pending_acquires{{{P}}}": "3x60"},
            {30: 0},
        ),
    ],
    "NebulaPoolSaturationHigh": [
        ({f"{N}pool_saturation_ratio{{{P}}}": "0.5x9 0.81x50"}, {19: 0, 20: 1}),
        ({f"{N}pool_saturation_ratio{{{P}}}": "0.8x60"}, {30: 0}),
    ],
    "NebulaAcquireErrorRateHigh": [
        # More than one in twenty, for five minutes, counting the last five; those who gave up count on neither side.
        (
            {
                f'{N}pool_acquires_total{{{P}, outcome="ok"}}': "0+949x60",
                f'{N}pool_acquires_total{{{P}, outcome="timeout"}}': "0+51x20 1020x40",
                f'{N}pool_acquires_total{{{P}, outcome="cancelled"}}': "0+9000x60",
            },
            {5: 0, 6: 1, 20: 1},
        ),
        (
            {
                f'{N}pool_acquires_total{{{P}, outcome="ok"}}': "0+951x60",
                f'{N}pool_acquires_total{{{P}, outcome="timeout"}}': "0+49x60",
            },
            {30: 0},
        ),
        (
            {
                f'{N}pool_acquires_total{{{P}, outcome="ok"}}': "0+500x60",
                f'{N}pool_acquires_total{{{P}, outcome="timeout"}}': "0+500x20 10000x40",
            },
            {24: 1, 26: 0},
        ),
    ],
    "NebulaAcquireLatencyHigh": [
        (_waits(under_half=9890), {10: 0, 11: 1}),
        (_waits(under_half=9910), {30: 0}),
        (_waits(under_half=5000, until=20), {24: 1, 26: 0}),
    ],
    "NebulaInstanceLeak": _grown(f"{N}pool_leaks_total{{{P}}}"),
    "NebulaResourceUnhealthy": [({f'{N}health_state{{{R}, state="unhealthy"}}': "0x9 1x50"}, {10: 0, 11: 1})],
    "NebulaHealthCheckStale": [
        (
            {
                f"{N}health_last_check_timestamp_seconds{{{R}}}": "60x60",
                f'{N}pool_instances{{{P}, state="used"}}': "1x60",
            },
            {12: 0, 13: 1},
        ),
        # It was isolated, and is out again.
        (
            {
                f"{N}health_last_check_timestamp_seconds{{{R}}}": "60x60",
                f'{N}pool_instances{{{P}, state="used"}}': "1x60",
                f'{N}quarantine_active{{{R}, reason="manual"}}': "1x5 0x55",
            },
            {13: 1},
        ),
    ],
    "NebulaResourceFlapping": [
        (_flaps("0x20 1 2 3 4 5 6x40"), {30: 0}),
        (_flaps("0x20 1 2 3 4 5 6 7x40"), {30: 1, 44: 0}),
        # Whichever ways it went.
        (_flaps("0x20 1 2 3 4x40") | _flaps("0x20 1 2 3x40", "healthy"), {30: 1}),
    ],
    "NebulaQuarantineLong": [({f'{N}quarantine_active{{{R}, reason="manual"}}': "0x9 1x60"}, {24: 0, 25: 1})],
    "NebulaQuarantineExhausted": _grown(f'{N}quarantine_recovery_attempts_total{{{R}, outcome="exhausted"}}'),
    "NebulaCascadeDetected": _grown(f'{N}cascades_total{{job="nebula", instance="a", root="db"}}'),
    "NebulaConfigReloadFailed": _grown(
        f'{N}config_reloads_total{{job="nebula", instance="a", outcome="rejected"}}'
    ),
    "NebulaAdminAuthFailures": [
        (_refused("0+100x60"), {5: 0, 6: 1}),
        (_refused("0+13x60"), {30: 1}),
        (_refused("0+11x60"), {30: 0}),
        (_refused("0+100x20 2000x40"), {24: 1, 26: 0}),
    ],
    "NebulaEventsDropped": _grown(f'{N}events_dropped_total{{job="nebula", instance="a", subscriber="log"}}'),
}
"""What happens, and whether it fires at these minutes: a little over and under its threshold, its time and its window."""


def test_every_alert_keeps_to_its_threshold_and_its_time(tmp_path: Path) -> None:
    """It neither cries a minute too early nor a minute too late, and a little less than enough is not enough."""
    assert set(EDGES) == set(ALERTS)
    played = [
        (alert, series, minute, firing)
        for alert, edges in EDGES.items()
        for series, moments in edges
        for minute, firing in moments.items()
    ]
    done = _played_at(tmp_path, played)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_case_that_is_wrong_is_caught(tmp_path: Path) -> None:
    """The cases of one alert the wrong way round: promtool says so."""
    fires, silent = CASES["NebulaResourceUnhealthy"]
    done = _played(tmp_path, {"NebulaResourceUnhealthy": (silent, fires)})
    assert done.returncode != 0


def test_every_alert_has_a_page_and_asks_for_what_exists() -> None:
    """Its runbook is a section of the guide; each metric is in the catalogue, or a recording of ours."""
    guide = (ROOT / "docs/guides/alerts.md").read_text()
    known = {metric.series_name for metric in CATALOGUE.values()}
    for group in GROUPS:
        for rule in group["rules"]:
            for name in re.findall(rf"\b{N}[a-z_0-9]+", rule["expr"]):
                assert name.removesuffix("_bucket") in known, name
    for name, rule in ALERTS.items():
        path, _, anchor = rule["annotations"]["runbook"].partition("#")
        assert path == "docs/guides/alerts.md"
        assert anchor == name.removeprefix("Nebula").lower()
        assert f"\n## {name.removeprefix('Nebula')}\n" in guide, name


def _played(folder: Path, cases: dict[str, tuple[Series, Series]]) -> "subprocess.CompletedProcess[str]":
    """What fires it and what does not, each looked at after half an hour."""
    return _played_at(
        folder,
        [
            (alert, series, 30, firing)
            for alert, both in cases.items()
            for series, firing in zip(both, (1, 0), strict=True)
        ],
    )


def _played_at(folder: Path, cases: list[tuple[str, Series, int, int]]) -> "subprocess.CompletedProcess[str]":
    """Alert, what happens, the minute in which it is looked at, and how many fire then."""
    tests = [
        {
            "name": f"{alert} {'fires' if firing else 'is silent'} at {minute}",
            "interval": "1m",
            "input_series": [{"series": name, "values": values} for name, values in series.items()],
            "promql_expr_test": [
                {
                    "expr": f'count(ALERTS{{alertname="{alert}", alertstate="firing"}}) or vector(0)',
                    "eval_time": f"{minute}m",
                    "exp_samples": [{"labels": "{}", "value": firing}],
                }
            ],
        }
        for alert, series, minute, firing in cases
    ]
    file = folder / "tests.yml"
    played = {
        "rule_files": [str(RULES)],
        "evaluation_interval": "1m",
        # In another order an alert sees what was recorded a minute ago; left to itself promtool takes any.
        "group_eval_order": [group["name"] for group in GROUPS],
        "tests": tests,
    }
    file.write_text(yaml.safe_dump(played))
    return _promtool("test", "rules", str(file))


def _promtool(*arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [ensure_program("promtool"), *arguments], capture_output=True, text=True, check=False, timeout=60
    )


@pytest.mark.parametrize("name", ["prometheus.yml"])
def test_the_configuration_is_one(name: str) -> None:
    """The file beside the rules, which compose mounts, is read without complaint."""
    done = _promtool("check", "config", str(RULES.with_name(name)))
    assert done.returncode == 0, done.stdout + done.stderr
