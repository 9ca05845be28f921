"""TextRenderer: readings as Prometheus text 0.0.4 or OpenMetrics 1.0."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator

from nebula_resource.errors import ConfigurationError
from nebula_resource.metrics.budget import MAX_SERIES, SeriesBudget
from nebula_resource.metrics.catalogue import CATALOGUE, Metric
from nebula_resource.metrics.exposition import (
    head,
    histogram_prefixes,
    histogram_values,
    labelled,
    number,
    prefix,
)
from nebula_resource.metrics.families import families_of
from nebula_resource.metrics.family import Family, Value
from nebula_resource.metrics.health_text import HEALTH_FAMILIES, HealthText
from nebula_resource.metrics.pool_text import POOL_FAMILIES, PoolText
from nebula_resource.metrics.readout import Readings
from nebula_resource.metrics.rows import SLICE
from nebula_resource.metrics.tenants import TenantFamilies
from nebula_resource.model.histogram import HistogramSnapshot

__all__ = ["CONTENT_TYPE", "OPENMETRICS_CONTENT_TYPE", "TextRenderer", "render"]

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
OPENMETRICS_CONTENT_TYPE = "application/openmetrics-text; version=1.0.0; charset=utf-8"


def render(readings: Readings, *, openmetrics: bool = False) -> str:
    """Return the readings as text; keep a `TextRenderer` to do it again and faster."""
    return TextRenderer().render(readings, openmetrics=openmetrics)


class TextRenderer:
    """Writes readings; what stays the same from scrape to scrape is remembered.

    Args:
        tenants: at most 50 tenant ids that get families of their own (``tenant_pool_instances``,
            ``tenant_acquires``); all others are added up as ``_other``. Empty: no tenant is ever written.
        max_series: most series beyond the fixed families: of tenants, and of whatever else shares `budget`; what is beyond
            goes to ``_overflow`` and is counted.

    Raises:
        ConfigurationError: more than 50 tenants.
    """

    def __init__(self, *, tenants: Collection[str] = (), max_series: int = MAX_SERIES) -> None:
        self.budget = SeriesBudget(max_series)
        self._tenants = TenantFamilies(tenants, self.budget) if tenants else None
        self._pools = PoolText()
        self._health = HealthText()

    def tenant_label(self, tenant: str | None) -> str | None:
        """What a pool's tenant is called here: its id if it is allow-listed, ``_other``, or nothing at all."""
        return None if self._tenants is None or tenant is None else self._tenants.label(tenant)

    def render(self, readings: Readings, *, openmetrics: bool = False) -> str:
        """Return the text.

        Raises:
            ConfigurationError: ``readings.families`` holds a family that is written from the pools or their health.
        """
        return b"".join(self.pieces(readings, openmetrics=openmetrics)).decode()

    def pieces(self, readings: Readings, *, openmetrics: bool = False) -> Iterator[bytes]:
        """Yield the same as bytes, piece by piece, each after so little work that others may run in between.

        A piece may be empty. Whoever stops half-way harms nothing; two at a time must not be under way.
        """
        families = families_of(readings)
        if self._tenants is not None:
            families += self._tenants.families(readings.pools)
        joined = _joined(families)
        yield from self._pools.write(readings.pools, openmetrics=openmetrics)
        yield from self._health.write(readings.health, openmetrics=openmetrics)
        for family in joined:
            lines = [head(family.metric, openmetrics=openmetrics)]
            for labels, value in family.samples.items():
                lines.append(_sample(family.metric, labels, value))
                if not len(lines) % SLICE:
                    yield "".join(lines).encode()
                    lines = []
            yield "".join(lines).encode()
        if openmetrics:
            yield b"# EOF\n"


def _joined(families: Iterable[Family]) -> list[Family]:
    """Families in the catalogue's order, those of one metric as one, since a format allows each name once.

    Where two have the same labels the later one's value stands.
    """
    found: dict[str, Family] = {}
    for family in families:
        name = family.metric.name
        if name in POOL_FAMILIES or name in HEALTH_FAMILIES:
            raise ConfigurationError(f"'{name}' is written from pools or health and cannot be given again")
        known = found.get(name)
        found[name] = family if known is None else Family(family.metric, {**known.samples, **family.samples})
    return [found[name] for name in CATALOGUE if name in found and found[name].samples]


def _sample(metric: Metric, values: tuple[str, ...], value: Value) -> str:
    labels = labelled(metric.labels, values)
    if not isinstance(value, HistogramSnapshot):
        return f"{prefix(metric.series_name, labels)}{number(value)}\n"
    lines = zip(
        histogram_prefixes(metric.series_name, labels, value.bounds), histogram_values(value), strict=True
    )
    return "".join(f"{before}{number(held)}\n" for before, held in lines)
