"""The dashboard and the rules: every question they ask is answered by a real Prometheus that scrapes a real service."""

import asyncio
import json
import math
import re
import time
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, replace
from typing import Any

import httpx
import pytest
import pytest_asyncio
import yaml
from fastapi import FastAPI

from nebula_dashboard.dashboard import FILE, VARIABLES
from nebula_resource.admin import create_admin
from nebula_resource.admin.readings import MAX_AGE
from nebula_resource.errors import ResourceError, ValidationFailed
from nebula_resource.events import QuarantineExhausted
from nebula_resource.hooks import HookEvent, HookPayload, ResourceHook
from nebula_resource.manager import Manager
from nebula_resource.metrics.catalogue import CATALOGUE, PREFIX
from nebula_resource.model.context import ResourceContext
from nebula_resource.model.health import HealthPolicy
from nebula_resource.model.scope import Scope
from nebula_resource.quarantine import QuarantinePolicy, RecoveryBackoff
from nebula_resource.service.http_metrics import HttpMetrics
from tests.app.admin_world import QUIET
from tests.app.served_admin import ServedAdmin, serving
from tests.architecture.tree import ROOT
from tests.servers.fixtures import obtain
from tests.servers.prometheus import PrometheusServer, private_prometheus

pytestmark = pytest.mark.asyncio(loop_scope="module")

RULES = ROOT / ".docker/prometheus/rules.yml"
WINDOW = "30s"  # what `$__rate_interval` is here: it holds every scrape of the test

NEVER_HERE = {
    "autoscale_actions": "counted from events of the scaler, which nothing publishes before there is one",
    "autoscale_target_instances": "the same",
    "scopes_created": "counted from events of managed scopes, which nothing publishes before there are any",
    "scopes_cleaned_up": "the same",
    "quota_rejections": "quotas come with managed scopes",
    "metrics_series_overflow": "written from the first set of labels beyond the budget on: nothing overflows here",
}
"""Metrics that this service does not send, and why; all others must be there."""

PATIENT = HealthPolicy(interval=3600.0, failure_threshold=99)
SOON = QuarantinePolicy(backoff=RecoveryBackoff(base=0.05, max=0.1))

DASHBOARD: dict[str, Any] = json.loads(FILE.read_text())
PANELS: list[dict[str, Any]] = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
QUERIES = [
    (f"{panel['title']}: {target['refId']}", target["expr"])
    for panel in PANELS
    for target in panel["targets"]
]


class Looks(ResourceHook):
    """A hook whose time is taken."""

    name = "looks"
    events = (HookEvent.ACQUIRE,)

    def before(self, event: HookPayload) -> object:
        return None


@dataclass
class World:
    """The service after two rounds of traffic, and the Prometheus that has seen it before, between and after them."""

    served: ServedAdmin
    http: httpx.AsyncClient
    prometheus: PrometheusServer
    things: dict[str, Any]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world() -> AsyncGenerator[World]:
    """Everything of which the dashboard tells has happened twice, so that rates are rates of something."""
    async with AsyncExitStack() as stack:
        manager = await stack.enter_async_context(Manager(health=QUIET))
        outer = FastAPI()
        admin = create_admin(
            manager, None, {"tenant_metrics": ["acme"]}, more_metrics=HttpMetrics(outer).text
        )
        outer.mount("", admin)
        outer.state.close_streams = admin.state.close_streams
        port = await stack.enter_async_context(serving(outer))
        http = await stack.enter_async_context(httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}"))
        served = ServedAdmin(manager, admin, port)
        things = await _register(served)
        prometheus = await asyncio.to_thread(
            obtain, lambda: private_prometheus(f"127.0.0.1:{port}", rules=[RULES])
        )
        stack.push_async_callback(asyncio.to_thread, prometheus.close)
        found = World(served, http, prometheus, things)
        manager.hooks.add(Looks())
        slow = manager.events.subscribe(buffer=1, name="slow")
        stack.callback(slow.close)
        # Callers in line, an open scope and a cascade that lasts: what the gauges tell of at the end.
        await stack.enter_async_context(manager.scope(Scope.tenant("acme")))
        for _ in range(2):
            await _traffic(found)
            await _scraped_after(prometheus, time.time() + MAX_AGE)
        yield found


async def _register(served: ServedAdmin) -> dict[str, Any]:
    every_use = {"min_size": 0, "max_size": 1, "use_timing": "always"}
    things = {"db": await served.add("db", pool=every_use)}
    for tenant in ("acme", "globex"):
        await served.add("orders", tenant=tenant)
    things["flaky"] = await served.add("flaky", quarantine=SOON)
    things["hopeless"] = await served.add("hopeless", quarantine=replace(SOON, max_attempts=1))
    breaks = {"min_size": 0, "circuit_threshold": 1, "circuit_open_for": 0.01}
    things["breaks"] = await served.add("breaks", pool=breaks, health=PATIENT)
    await served.add("reloaded")
    things["vault"] = await served.add("vault")
    for member in ("a", "b"):
        things[member] = await served.add(member, "vault")
    return things


async def _traffic(world: World) -> None:
    """One round of everything."""
    manager, things = world.served.manager, world.things
    for _ in range(3):
        await _use(manager, "db")
    async with manager.acquire("db"):
        await _use(manager, "db", timeout=0.02)
        in_line = asyncio.ensure_future(_use(manager, "db"))
        await asyncio.sleep(0.02)
    await in_line
    manager.recycle("db")
    await _use(manager, "db")
    for tenant in ("acme", "globex"):
        with manager.detached():
            await _use(manager, "orders", ResourceContext(scope=Scope.tenant(tenant)))
    await manager.check("db")
    await _fall_ill_and_recover(manager, things)
    await _fail_for_good(manager, things)
    things["breaks"].broken = True
    await _use(manager, "breaks")
    things["breaks"].broken = False
    await asyncio.sleep(0.02)
    await _use(manager, "breaks")
    for id_ in ("vault", "a", "b"):
        things[id_].broken = True
    for id_ in ("vault", "a", "b"):
        await manager.check(id_)
    (reloaded,) = manager.registry.named("reloaded")
    wider = {"min_size": 0, "max_size": reloaded.pool_config.max_size + 1}
    await manager.reload("reloaded", reloaded.config, pool=wider)
    with pytest.raises(ValidationFailed):
        await manager.reload("reloaded", {"host": 3})
    await world.http.get("/pools")
    assert (await world.http.get("/pools", headers={"Host": "elsewhere.example"})).status_code >= 400


async def _fall_ill_and_recover(manager: Manager, things: dict[str, Any]) -> None:
    things["flaky"].broken = True
    await manager.check("flaky")
    async with asyncio.timeout(10):
        while not manager.watch.quarantine.entries():  # it is told by events, which the next line reads
            await manager.check("flaky")
        things["flaky"].broken = False
        while any(e.resource_id == "flaky" for e in manager.watch.quarantine.entries().values()):  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def _fail_for_good(manager: Manager, things: dict[str, Any]) -> None:
    """Until every attempt is used up; a person lets it out, and it is well again."""
    given_up = manager.events.subscribe(QuarantineExhausted)
    things["hopeless"].broken = True
    await manager.check("hopeless")
    async with asyncio.timeout(10):
        await anext(aiter(given_up))
    given_up.close()
    things["hopeless"].broken = False
    await manager.release("hopeless", "force")


async def _use(
    manager: Manager, key: str, context: ResourceContext | None = None, *, timeout: float | None = None
) -> None:
    """Use it once, or be told why not."""
    with suppress(ResourceError):
        async with manager.acquire(key, context, timeout=timeout):
            await asyncio.sleep(0)


async def _scraped_after(prometheus: PrometheusServer, moment: float) -> None:
    async with asyncio.timeout(15):
        asked = f"timestamp(up) > {moment} and up == 1"
        while not await asyncio.to_thread(prometheus.value, asked):  # noqa: ASYNC110  # Prometheus tells nobody
            await asyncio.sleep(0.05)


def _filled(expr: str) -> str:
    """A query with everything chosen, as the dashboard asks it when it is opened."""
    for name in VARIABLES:
        # Grafana writes `.*`, which matches where there is no such label, too: a wrong name would go unseen.
        expr = expr.replace(f"${name}", ".+")
    return expr.replace("$__rate_interval", WINDOW)


@pytest.mark.parametrize(("panel", "expr"), QUERIES, ids=[name for name, _ in QUERIES])
async def test_every_panel_has_data(world: World, panel: str, expr: str) -> None:
    """Each query runs, and answers with numbers, unless it asks for nothing but what this service never sends."""
    filled = _filled(expr)
    assert "$" not in filled
    answer = await asyncio.to_thread(world.prometheus.query, filled)
    asked = {_family(name) for name in re.findall(rf"{PREFIX}\w+", expr)}
    if asked and asked <= set(NEVER_HERE):
        assert not answer, f"{panel} has data: take {asked} off the list"
        return
    assert any(not math.isnan(value) for value in answer.values()), f"{panel}: {filled} → {answer}"


@pytest.mark.parametrize(("panel", "expr"), QUERIES, ids=[name for name, _ in QUERIES])
async def test_every_panel_can_be_drawn(world: World, panel: str, expr: str) -> None:
    """The same over a range of time, as a panel that shows a course asks it: a line, which ends where the instant is."""
    if {_family(name) for name in re.findall(rf"{PREFIX}\w+", expr)} & set(NEVER_HERE):
        return  # what of it there is the other test tells
    filled, end = _filled(expr), time.time()
    course = await asyncio.to_thread(world.prometheus.course, filled, start=end - 10, end=end, step=1.0)
    drawn = {labels: points for labels, points in course.items() if not math.isnan(points[-1][1])}
    assert any(len(points) > 1 for points in drawn.values()), f"{panel}: {filled} → {course}"
    now = await asyncio.to_thread(world.prometheus.query, filled, at=end)
    ends = {labels: points[-1][1] for labels, points in drawn.items() if points[-1][0] == pytest.approx(end)}
    assert ends == pytest.approx({labels: value for labels, value in now.items() if not math.isnan(value)})


@pytest.mark.parametrize("query", list(VARIABLES.values()))
async def test_every_choice_offers_something(world: World, query: str) -> None:
    """What stands in the lists at the top of the dashboard is there."""
    found = re.fullmatch(r"label_values\((.+), (\w+)\)", query)
    assert found is not None
    series, label = found.groups()
    offered = await asyncio.to_thread(
        world.prometheus.ask, "query", query=f"count by ({label}) ({_filled(series)})"
    )
    assert all(each["metric"][label] for each in offered["result"])
    assert offered["result"]


async def test_the_annotation_marks_cascades(world: World) -> None:
    """The query behind the marks runs and finds the cascade of the traffic."""
    (mark,) = DASHBOARD["annotations"]["list"]
    assert await asyncio.to_thread(world.prometheus.query, _filled(mark["expr"]))


async def test_the_first_cascade_is_counted(world: World) -> None:
    """It begins the series at 1, of which ``increase`` alone sees nothing."""
    (shown,) = (panel for panel in PANELS if panel["title"] == "Cascades, 24 h")
    (query,) = shown["targets"]
    assert await asyncio.to_thread(world.prometheus.value, _filled(query["expr"])) == 1


async def test_every_metric_is_sent_and_shown(world: World) -> None:
    """Each of the catalogue reaches Prometheus and stands in a panel; what is not sent has its reason."""
    found = await asyncio.to_thread(world.prometheus.ask, "label/__name__/values")
    sent = {_family(name) for name in found if name.startswith(PREFIX)}
    assert set(CATALOGUE) - sent == set(NEVER_HERE)
    shown = {_family(name) for _, expr in QUERIES for name in re.findall(rf"{PREFIX}\w+", expr)}
    assert sent <= shown, f"in no panel: {sorted(sent - shown)}"
    assert shown <= set(CATALOGUE), f"unknown: {sorted(shown - set(CATALOGUE))}"


async def test_every_rule_is_evaluated(world: World) -> None:
    """The rules as they are committed, gone through by the real Prometheus over the real service: none fails."""
    rules = [rule for group in await _groups(world) for rule in group["rules"]]
    assert len(rules) == sum(len(group["rules"]) for group in yaml.safe_load(RULES.read_text())["groups"])
    assert [(rule["name"], rule["lastError"]) for rule in rules if rule["health"] != "ok"] == []


async def test_every_rule_asks_what_is_asked_of_prometheus(world: World) -> None:
    """Each expression runs as a query as well; the recordings have values."""
    for group in yaml.safe_load(RULES.read_text())["groups"]:
        for rule in group["rules"]:
            await asyncio.to_thread(world.prometheus.query, rule["expr"])
            if "record" in rule:
                assert await asyncio.to_thread(world.prometheus.query, rule["record"]), rule["record"]


async def test_whatever_a_rule_selects_is_there(world: World) -> None:
    """A rule that asks for what nobody sends is evaluated without complaint, and never fires."""
    missing: set[str] = set()
    for group in yaml.safe_load(RULES.read_text())["groups"]:
        for rule in group["rules"]:
            for selector in re.findall(r"(?<![\w:])(?:nebula[_:][\w:]+|up)(?:\{[^}]*\})?", rule["expr"]):
                if not await asyncio.to_thread(world.prometheus.query, selector):
                    missing.add(selector)
    assert not missing


async def _groups(world: World) -> list[dict[str, Any]]:
    async with asyncio.timeout(15):
        while True:
            groups: list[dict[str, Any]] = (await asyncio.to_thread(world.prometheus.ask, "rules"))["groups"]
            if all(rule["health"] != "unknown" for group in groups for rule in group["rules"]):
                return groups
            await asyncio.sleep(0.1)


def _family(series: str) -> str:
    """The metric of the catalogue that a series belongs to."""
    name = series.removeprefix(PREFIX)
    for ending in ("_total", "_bucket", "_sum", "_count"):
        if name.removesuffix(ending) in CATALOGUE:
            return name.removesuffix(ending)
    return name
