"""PrometheusCollector: a manager's families in an application's own prometheus-client registry (extra ``prometheus``)."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from nebula_resource._extras import needs_extra

with needs_extra(__name__, "prometheus"):
    from prometheus_client.metrics_core import Metric
    from prometheus_client.parser import text_string_to_metric_families
    from prometheus_client.registry import Collector

from nebula_resource.admin.readings import ReadingsCollector
from nebula_resource.manager import Manager
from nebula_resource.metrics import TextRenderer

__all__ = ["PrometheusCollector"]


class PrometheusCollector(Collector):
    """Whatever exposes the registry exposes the manager too: ``REGISTRY.register(PrometheusCollector(manager))``.

    It says what ``/metrics`` of the admin API says, by way of its text: a scrape of many pools costs prometheus-client's
    own price (tens of milliseconds for a thousand), so prefer the admin API's where there is one. Collect in the thread
    of the manager's event loop, or accept numbers of slightly different moments.

    Args:
        manager: whose numbers.
        tenants: at most 50 tenant ids that get families of their own; none by default.
        max_series: most series beyond the fixed families.

    Raises:
        ConfigurationError: more than 50 tenants.
    """

    def __init__(self, manager: Manager, *, tenants: Collection[str] = (), max_series: int = 10_000) -> None:
        self._renderer = TextRenderer(tenants=tenants, max_series=max_series)
        self._readings = ReadingsCollector(manager, renderer=self._renderer)

    def describe(self) -> Iterable[Metric]:
        """Nothing: a registry that asked would read every pool when this is registered."""
        return []

    def collect(self) -> Iterable[Metric]:
        """The families of now."""
        return text_string_to_metric_families(self._renderer.render(self._readings.read()))
