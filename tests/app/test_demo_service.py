"""The service around the demo: what it shows to operators, and how it begins to end."""

from collections.abc import Callable, Iterable
from typing import Any

from prometheus_client import parser
from prometheus_client.openmetrics import parser as openmetrics_parser

from tests.app.conftest import Running, as_tenant

# Neither has types.
parse_text: Callable[[str], Iterable[Any]] = parser.text_string_to_metric_families
parse_openmetrics: Callable[[str], Iterable[Any]] = openmetrics_parser.text_string_to_metric_families


async def test_every_tenant_has_a_pool_of_its_own(running: Running) -> None:
    """The pools are one per tenant, all with the id `db`, and one of the payment client for all."""
    pools = (await running.http.get("/pools")).json()
    assert sorted(pool["resource_id"] for pool in pools["items"]) == ["db", "db", "db", "payments"]
    assert len({pool["id"] for pool in pools["items"]}) == 4


async def test_one_scrape_holds_the_numbers_of_pools_and_of_http(running: Running) -> None:
    """`/metrics` is one valid text in both formats: requests by route template, and pools."""
    await running.order("acme")
    await running.charge("acme", "f" * 32)
    plain = await running.http.get("/metrics")
    families = {family.name: family for family in parse_text(plain.text)}
    assert {"http_requests", "nebula_resource_pool_instances", "process_cpu_seconds"} <= set(families)
    handlers = {sample.labels["handler"] for sample in families["http_requests"].samples}
    assert {"/demo/orders", "/demo/orders/{order_id}/charge"} <= handlers
    assert all("f" * 32 not in handler for handler in handlers)
    as_open = await running.http.get("/metrics", headers={"Accept": "application/openmetrics-text"})
    assert as_open.text.count("# EOF") == 1
    assert {"http_requests", "process_cpu_seconds"} <= {each.name for each in parse_openmetrics(as_open.text)}


async def test_a_method_nobody_knows_is_no_label(running: Running) -> None:
    """A made-up method is refused before it is counted."""
    answer = await running.http.request("CHARGE", "/demo/orders", headers=as_tenant("acme"))
    assert answer.status_code == 501
    assert "CHARGE" not in (await running.http.get("/metrics")).text


async def test_told_to_stop_it_is_not_ready_and_still_serves(running: Running) -> None:
    """The first thing is that ready turns 503; live and requests go on."""
    assert (await running.http.get("/health/ready")).status_code == 200
    running.service.stop()
    assert (await running.http.get("/health/ready")).status_code == 503
    assert (await running.http.get("/health/live")).status_code == 200
    assert await running.items("acme") == []


async def test_paths_nobody_serves_are_problems(running: Running) -> None:
    """At the root and in the demo alike."""
    for answer in (
        await running.http.get("/no/such/path"),
        await running.http.get("/demo/no/such/path", headers=as_tenant("acme")),
        await running.http.delete("/demo/orders", headers=as_tenant("acme")),
    ):
        assert answer.status_code in {404, 405}
        assert answer.headers["content-type"] == "application/problem+json"
        assert "such" not in answer.text.replace("there is no such path", "")
