"""PrometheusCollector: an application's registry has our families, with the numbers of now."""

from prometheus_client import CollectorRegistry, Counter, generate_latest

from nebula_resource import Manager, Scope
from nebula_resource.admin.collector import PrometheusCollector
from nebula_resource.testing import MockResource


async def test_a_registry_tells_of_our_pools_beside_its_own() -> None:
    """What was done is what is exposed; registering reads nothing; a second scrape sees what came since."""
    registry = CollectorRegistry()
    Counter("orders", "Orders of the application.", registry=registry).inc()
    async with Manager() as manager:
        await manager.register(MockResource("db"), {}, pool={"max_size": 3})
        await manager.register(MockResource("db"), {}, scope=Scope.tenant("acme"), pool={"max_size": 4})
        registry.register(PrometheusCollector(manager))
        labels = {"pool": "db", "driver": "custom", "scope_level": "global", "outcome": "ok"}
        acquires = "nebula_resource_pool_acquires_total"
        assert registry.get_sample_value(acquires, labels) == 0
        for _ in range(3):
            async with manager.acquire("db"):
                pass
        assert registry.get_sample_value(acquires, labels) == 3
        text = generate_latest(registry).decode()
    assert "orders_total 1.0" in text
    assert 'nebula_resource_pool_instances_max{driver="custom",pool="db",scope_level="tenant"} 4.0' in text
    assert "acme" not in text
