"""A real Prometheus scrapes a real service: what it says equals what was done."""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Iterable
from dataclasses import dataclass
from typing import cast

import httpx
import pytest
import pytest_asyncio
from prometheus_client import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics

from nebula_resource.admin import create_admin
from nebula_resource.admin.readings import MAX_AGE
from nebula_resource.errors import AcquireTimeout, CreateFailed, PoolExhausted, Unavailable, ValidationFailed
from nebula_resource.events import QuarantineReleased
from nebula_resource.hooks import HookEvent, HookPayload, ResourceHook
from nebula_resource.manager import Manager
from nebula_resource.metrics.catalogue import CATALOGUE, PREFIX
from nebula_resource.model.context import ResourceContext
from nebula_resource.model.health import HealthPolicy
from nebula_resource.model.scope import Scope
from tests.app.admin_world import QUIET, Thing
from tests.app.served_admin import ServedAdmin, serving
from tests.servers.fixtures import obtain
from tests.servers.prometheus import PrometheusServer, check_metrics, private_prometheus

pytestmark = pytest.mark.asyncio(loop_scope="module")

TENANTS = {"acme": 5, "globex": 6}
OPENMETRICS = {"Accept": "application/openmetrics-text;version=1.0.0"}


class Passes(ResourceHook):
    """A hook that every acquire passes."""

    name = "passes"
    events = (HookEvent.ACQUIRE,)

    def before(self, event: HookPayload) -> object:
        return None


@dataclass
class Scraped:
    """A service that has done the load, and the Prometheus that has seen it before and after."""

    served: ServedAdmin
    prometheus: PrometheusServer
    http: httpx.AsyncClient


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def scraped() -> AsyncGenerator[Scraped]:
    """The service, scraped before the load and after it."""
    async with Manager(health=QUIET) as manager:
        app = create_admin(manager)
        async with serving(app) as port, httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as http:
            served = ServedAdmin(manager, app, port)
            things = await _register(served)
            prometheus = await asyncio.to_thread(
                obtain, lambda: private_prometheus(f"127.0.0.1:{served.port}")
            )
            try:
                await _scraped_after(prometheus, 0.0)
                sleeper = manager.events.subscribe(QuarantineReleased, buffer=1, name="sleeper")
                await _load(served, http, things)
                await _scraped_after(prometheus, time.time() + MAX_AGE)
                yield Scraped(served, prometheus, http)
                sleeper.close()
            finally:
                await asyncio.to_thread(prometheus.close)


async def _register(served: ServedAdmin) -> dict[str, Thing]:
    await served.add("db", pool={"min_size": 0, "max_size": 2})
    for tenant in TENANTS:
        await served.add("orders", tenant=tenant)
    await served.add("ill")
    patient = HealthPolicy(interval=3600.0, failure_threshold=9)
    (await served.add("broken", health=patient)).broken = True
    await served.add("full", pool={"max_size": 1, "backpressure": "fail_fast"})
    for gone in ("gone", "swapped"):
        await served.add(gone, pool={"min_size": 0, "max_size": 1})
    await served.add("torn", pool={"min_size": 0, "max_size": 1})
    things = {"root": await served.add("root")}
    for member in ("a", "b"):
        things[member] = await served.add(member, "root")
    breaks = {"min_size": 0, "circuit_threshold": 1, "circuit_open_for": 0.01}
    things["breaks"] = await served.add("breaks", pool=breaks, health=patient)
    served.manager.hooks.add(Passes())
    return things


async def _load(served: ServedAdmin, http: httpx.AsyncClient, things: dict[str, Thing]) -> None:
    """What is done, and counted by hand in the table below."""
    manager = served.manager
    for _ in range(7):
        async with manager.acquire("db"):
            pass
    async with manager.acquire("db"), manager.acquire("db"):
        for _ in range(3):
            with pytest.raises(AcquireTimeout):
                await manager.acquire("db", timeout=0.02)
        waiting = asyncio.ensure_future(manager.acquire("db").__aenter__())
        while not manager.pools()[0].pool.stats().waiting:  # noqa: ASYNC110  # nobody tells of a caller in line
            await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.wait([waiting])
    for tenant, times in TENANTS.items():
        for _ in range(times):
            async with manager.acquire("orders", ResourceContext(scope=Scope.tenant(tenant))):
                pass
    manager.quarantine("ill", "look")
    for _ in range(4):
        with pytest.raises(Unavailable):
            await manager.acquire("ill")
    with pytest.raises(CreateFailed):
        await manager.acquire("broken")
    (await http.post("/resources/db/check", json={})).raise_for_status()
    await _load_that_ends(manager)
    await _load_that_fails(manager, things)
    for status in (200, 200, 404):
        assert (await http.get("/pools/db" if status == 200 else "/pools/none")).status_code == status
    assert (await http.get("/pools", headers={"Host": "elsewhere.example"})).status_code == 400


async def _load_that_ends(manager: Manager) -> None:
    """Pools that are gone when Prometheus comes, and callers who are turned away, one of them in line."""
    for _ in range(5):
        async with manager.acquire("gone"):
            pass
    await manager.deregister("gone")
    await _use(manager, "swapped", 3)
    (swapped,) = manager.registry.named("swapped")
    await manager.reload("swapped", swapped.config, pool={"min_size": 0, "max_size": 2})
    await _use(manager, "swapped", 4)
    with pytest.raises(ValidationFailed):
        await manager.reload("swapped", {"host": 3})
    async with manager.acquire("full"):
        for _ in range(2):
            with pytest.raises(PoolExhausted):
                await manager.acquire("full")
    async with manager.acquire("torn"):
        waiting = asyncio.ensure_future(manager.acquire("torn").__aenter__())
        while not manager.registry.named("torn")[0].pool.stats().waiting:  # noqa: ASYNC110  # as above
            await asyncio.sleep(0)
        manager.quarantine("torn", "look")
        with pytest.raises(Unavailable):
            await waiting
    await manager.release("torn", "force")
    manager.quarantine("torn", "again")
    await manager.release("torn", "force")


async def _load_that_fails(manager: Manager, things: dict[str, Thing]) -> None:
    """A circuit that opens and closes, and a cascade."""
    things["breaks"].broken = True
    with pytest.raises(CreateFailed):
        await manager.acquire("breaks")
    await asyncio.sleep(0.02)  # its circuit is open for half as long
    things["breaks"].broken = False
    await _use(manager, "breaks", 1)
    for id_ in ("root", "a", "b"):
        things[id_].broken = True
    for id_ in ("root", "a", "b"):
        await manager.check(id_)


async def _use(manager: Manager, key: str, times: int) -> None:
    for _ in range(times):
        async with manager.acquire(key):
            pass


async def _scraped_after(prometheus: PrometheusServer, moment: float) -> None:
    """Wait until Prometheus has scraped later than that Unix time."""
    async with asyncio.timeout(15):
        asked = f"timestamp(up) > {moment} and up == 1"  # `timestamp` of anything but a name is the time of asking
        while not await asyncio.to_thread(prometheus.value, asked):  # noqa: ASYNC110  # Prometheus tells nobody
            await asyncio.sleep(0.05)


@pytest.mark.parametrize(
    ("promql", "expected"),
    [
        ('nebula_resource_pool_acquires_total{pool="db",outcome="ok"}', 9),
        ('nebula_resource_pool_acquires_total{pool="db",outcome="timeout"}', 3),
        ('nebula_resource_pool_acquires_total{pool="db",outcome="cancelled"}', 1),
        ('sum(nebula_resource_pool_acquires_total{pool="db"})', 13),
        ('nebula_resource_pool_acquire_duration_seconds_count{pool="db",outcome="ok"}', 9),
        ('nebula_resource_pool_acquire_duration_seconds_bucket{pool="db",outcome="ok",le="+Inf"}', 9),
        ('nebula_resource_pool_releases_total{pool="db"}', 9),
        ('nebula_resource_pool_instances_created_total{pool="db",outcome="ok"}', 2),
        ('sum(nebula_resource_pool_instances{pool="db"})', 2),
        ('nebula_resource_pool_instances{pool="db",state="used"}', 0),
        ('nebula_resource_pool_instances_max{pool="db"}', 2),
        ('nebula_resource_pool_pending_acquires{pool="db"}', 0),
        ('nebula_resource_pool_saturation_ratio{pool="db"}', 0),
        ('nebula_resource_pool_acquires_total{pool="orders",outcome="ok"}', 11),
        ('nebula_resource_pool_acquires_total{pool="ill",outcome="quarantined"}', 4),
        ('nebula_resource_quarantine_active{resource="ill",reason="manual"}', 1),
        ('nebula_resource_quarantines_total{resource="ill",reason="manual"}', 1),
        ('nebula_resource_pool_acquires_total{pool="broken",outcome="create_failed"}', 1),
        ('sum(nebula_resource_health_checks_total{resource="db"})', 1),
        ('nebula_resource_health_state{resource="db",state="healthy"}', 1),
        # What a dashboard asks: the growth since the scrape before the load.
        (
            "max_over_time({0}[1m]) - min_over_time({0}[1m])".format(
                'nebula_resource_pool_acquires_total{pool="db",outcome="ok"}'
            ),
            9,
        ),
        # Prometheus takes these where the first sample already was there, at nought.
        ('min_over_time(nebula_resource_pool_acquires_total{pool="db",outcome="timeout"}[1m])', 0),
    ],
)
async def test_prometheus_says_what_was_done(scraped: Scraped, promql: str, expected: float) -> None:
    """Each number that PromQL finds is the number of times that it was done."""
    assert await asyncio.to_thread(scraped.prometheus.value, promql) == expected


ALSO = [
    # Pools that no scrape saw alive, or whole.
    ('pool_acquires_total{pool="gone",outcome="ok"}', 5),
    ('pool_releases_total{pool="gone"}', 5),
    ('pool_instances_created_total{pool="gone",outcome="ok"}', 1),
    ('pool_instances_destroyed_total{pool="gone",reason="drained"}', 1),
    ('pool_acquire_duration_seconds_count{pool="gone",outcome="ok"}', 5),
    ('pool_instance_cleanup_duration_seconds_count{pool="gone"}', 1),
    ('pool_instances{pool="gone"}', None),
    ('pool_acquires_total{pool="swapped",outcome="ok"}', 7),
    ('pool_releases_total{pool="swapped"}', 7),
    ('pool_instances_created_total{pool="swapped",outcome="ok"}', 2),
    ('sum(nebula_resource_pool_instances_destroyed_total{pool="swapped"})', 1),
    ('pool_instances_max{pool="swapped"}', 2),
    ('config_reloads_total{outcome="ok"}', 1),
    ('config_reloads_total{outcome="rejected"}', 1),
    # Callers that were turned away.
    ('pool_acquires_total{pool="full",outcome="exhausted"}', 2),
    ('pool_acquires_total{pool="full",outcome="ok"}', 1),
    ('pool_acquires_total{pool="torn",outcome="quarantined"}', 1),
    ('pool_acquires_total{pool="torn",outcome="ok"}', 1),
    ('pool_acquire_duration_seconds_count{pool="torn",outcome="refused"}', 1),
    ('pool_acquire_duration_seconds_count{pool="db",outcome="timeout"}', 3),
    ('pool_instances_created_total{pool="broken",outcome="failed"}', 1),
    ('pool_instances_created_total{pool="breaks",outcome="failed"}', 1),
    # What is told by events.
    ('quarantines_total{resource="torn",reason="manual"}', 2),
    ('quarantine_releases_total{resource="torn",trigger="manual"}', 2),
    ('breaker_transitions_total{resource="breaks",from="closed",to="open"}', 1),
    ('breaker_transitions_total{resource="breaks",from="open",to="closed"}', 1),
    ('cascades_total{root="root"}', 1),
    ('health_checks_total{resource="a",result="unhealthy"}', 1),
    ('sum(nebula_resource_health_transitions_total{resource="root",to_state="unhealthy"})', 1),
    ('events_dropped_total{subscriber="sleeper"}', 1),
    ('events_emitted_total{type="quarantine.released"}', 2),
    ('events_replay_gaps_total', 0),
    # Every acquire that was not refused at the door: 13 of db, 11 of orders, and of the others 7, 5, 3, 2, 2 and 1.
    ('hook_duration_seconds_count{hook="passes",phase="before",outcome="ok"}', 44),
    # The admin API.
    ('admin_requests_total{method="GET",route="/pools/{id}",status_class="2xx"}', 2),
    ('admin_requests_total{method="GET",route="/pools/{id}",status_class="4xx"}', 1),
    ('admin_request_duration_seconds_count{method="GET",route="/pools/{id}"}', 3),
    ('sum(nebula_resource_admin_auth_failures_total)', 1),
]  # fmt: skip  # a table


@pytest.mark.parametrize(("promql", "expected"), ALSO)
async def test_every_counter_says_what_was_done(
    scraped: Scraped, promql: str, expected: float | None
) -> None:
    """The same of what is counted elsewhere, and of pools that were gone before Prometheus came."""
    asked = promql if promql.startswith("sum(") else PREFIX + promql
    assert await asyncio.to_thread(scraped.prometheus.value, asked) == expected


ELSEWHERE = {
    "pool_leaks": "a handle that is lost is counted when it is collected: tests/unit/pool",
    "quarantine_recovery_attempts": "attempts come when their time does: tests/unit/metrics/test_tally.py",
    "autoscale_actions": "nothing publishes them yet",
    "scopes_created": "nothing publishes them yet",
    "scopes_cleaned_up": "nothing publishes them yet",
    "quota_rejections": "nothing publishes them yet",
    "tenant_acquires": "an allow-list makes labels of tenants: tests/unit/metrics/test_tenants.py",
    "metrics_series_overflow": "the same",
}


async def test_no_counter_is_left_out() -> None:
    """Each of the catalogue is compared above, or says where."""
    asked = " ".join(promql for promql, _ in ALSO)
    missing = {name for name, metric in CATALOGUE.items() if metric.kind == "counter" and name not in asked}
    assert missing == set(ELSEWHERE)


async def test_no_series_names_a_tenant(scraped: Scraped) -> None:
    """Two tenants' pools are one series, and no value of any label is a tenant's id."""
    found = await asyncio.to_thread(scraped.prometheus.query, '{__name__=~"nebula_resource_.+"}')
    assert found
    assert not {value for labels in found for _, value in labels} & set(TENANTS)


async def test_promtool_finds_nothing_wrong(scraped: Scraped) -> None:
    """What the service sends passes the checker of Prometheus without a warning."""
    answer = (await scraped.http.get("/metrics")).raise_for_status()
    assert await asyncio.to_thread(check_metrics, answer.content) == ""


async def test_promtool_would_have_said_so() -> None:
    """The checker does speak: of a counter without its ending, and of help that is missing."""
    said = await asyncio.to_thread(check_metrics, b"# TYPE things counter\nthings 1\n")
    assert "counter metrics should have" in said
    assert "no help text" in said


async def test_openmetrics_says_the_same(scraped: Scraped) -> None:
    """prometheus-client reads the OpenMetrics text, and finds the counts of the load."""
    answer = (await scraped.http.get("/metrics", headers=OPENMETRICS)).raise_for_status()
    assert answer.headers["content-type"].startswith("application/openmetrics-text; version=1.0.0")
    parse = cast("Callable[[str], Iterable[Metric]]", parse_openmetrics)  # prometheus-client types half of it
    families = {family.name: family for family in parse(answer.text)}
    acquires = families["nebula_resource_pool_acquires"]
    assert acquires.type == "counter"
    found = {(s.labels["pool"], s.labels["outcome"]): s.value for s in acquires.samples}
    assert found["db", "ok"] == 9
    assert found["orders", "ok"] == 11
