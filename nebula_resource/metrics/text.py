"""TextRenderer: readings as Prometheus text 0.0.4 or OpenMetrics 1.0."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from itertools import accumulate

from nebula_resource.errors import ConfigurationError
from nebula_resource.metrics.catalogue import CATALOGUE, Metric
from nebula_resource.metrics.families import families_of
from nebula_resource.metrics.family import Family, Value
from nebula_resource.metrics.readout import PoolReading, Readings
from nebula_resource.metrics.tenants import TenantFamilies
from nebula_resource.metrics.totals import STATES, PoolLabels, PoolTotals, totals_by_labels
from nebula_resource.model.histogram import HistogramSnapshot

__all__ = ["CONTENT_TYPE", "OPENMETRICS_CONTENT_TYPE", "TextRenderer", "render"]

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
OPENMETRICS_CONTENT_TYPE = "application/openmetrics-text; version=1.0.0; charset=utf-8"

_POOL_FAMILIES = tuple(
    CATALOGUE[name]
    for name in (
        "pool_instances",
        "pool_instances_max",
        "pool_instances_min",
        "pool_pending_acquires",
        "pool_saturation_ratio",
        "pool_acquires",
        "pool_acquire_duration_seconds",
        "pool_use_duration_seconds",
        "pool_releases",
        "pool_instances_created",
        "pool_instance_create_duration_seconds",
        "pool_instances_destroyed",
        "pool_leaks",
        "pool_draining",
        "autoscale_target_instances",
    )
)


def render(readings: Readings, *, openmetrics: bool = False) -> str:
    """Return the readings as text; keep a `TextRenderer` to do it again and faster."""
    return TextRenderer().render(readings, openmetrics=openmetrics)


class TextRenderer:
    """Writes readings; lines that stay the same from scrape to scrape are remembered as templates.

    Args:
        tenants: at most 50 tenant ids that get families of their own (``tenant_pool_instances``,
            ``tenant_acquires``); all others are added up as ``_other``. Empty: no tenant is ever written.
        max_series: most series those families may have; what is beyond goes to the pool ``_overflow`` and is counted.

    Raises:
        ConfigurationError: more than 50 tenants.
    """

    def __init__(self, *, tenants: Collection[str] = (), max_series: int = 10_000) -> None:
        self._tenants = TenantFamilies(tenants, max_series=max_series) if tenants else None
        self._lines: dict[PoolLabels, _PoolLines] = {}

    def render(self, readings: Readings, *, openmetrics: bool = False) -> str:
        """Return the text."""
        out: list[str] = []
        self._write_pools(readings.pools, out, openmetrics=openmetrics)
        families = families_of(readings)
        if self._tenants is not None:
            families += self._tenants.families(readings.pools)
        for family in _joined(families):
            out.append(_head(family.metric, openmetrics=openmetrics))
            out += [_sample(family.metric, labels, value) for labels, value in family.samples.items()]
        if openmetrics:
            out.append("# EOF\n")
        # A lone surrogate in an id has no UTF-8: what is sent must still be readable.
        return "".join(out).encode("utf-8", "replace").decode("utf-8")

    def _write_pools(self, pools: tuple[PoolReading, ...], out: list[str], *, openmetrics: bool) -> None:
        if not pools:
            return
        totals = totals_by_labels(pools)
        if len(self._lines) > 2 * len(totals):
            self._lines = {labels: self._lines[labels] for labels in totals if labels in self._lines}
        columns: list[list[str]] = [[] for _ in _POOL_FAMILIES]
        appends = [column.append for column in columns]
        for labels, total in totals.items():
            lines = self._lines.get(labels)
            if lines is None:
                lines = self._lines[labels] = _PoolLines(labels)
            for append, text in zip(appends, lines.write(total), strict=True):
                append(text)
        for metric, column in zip(_POOL_FAMILIES, columns, strict=True):
            text = "".join(column)
            if text:
                out.append(_head(metric, openmetrics=openmetrics))
                out.append(text)


class _PoolLines:
    """The lines of one set of pool labels, with places for their numbers."""

    __slots__ = ("_acquires", "_create", "_created", "_destroyed", "_gauges", "_labels", "_states", "_target", "_use",
                 "_wait")  # fmt: skip  # a word a slot, not a line

    def __init__(self, labels: PoolLabels) -> None:
        own = _labels(("pool", "driver", "scope_level"), labels).replace("%", "%%")
        self._labels = own
        self._states = "".join(_place("pool_instances", f'{own},state="{state}"') for state in STATES)
        self._gauges = tuple(
            _place(name, own)
            for name in (
                "pool_instances_max",
                "pool_instances_min",
                "pool_pending_acquires",
                "pool_saturation_ratio",
                "pool_releases",
                "pool_leaks",
                "pool_draining",
            )
        )
        self._created = "".join(
            _place("pool_instances_created", f'{own},outcome="{outcome}"') for outcome in ("ok", "failed")
        )
        self._target = _place("autoscale_target_instances", own)
        self._acquires: dict[str, str] = {}
        self._destroyed: dict[str, str] = {}
        self._wait = _HistogramLines("pool_acquire_duration_seconds", f'{own},outcome="ok"')
        self._use = _HistogramLines("pool_use_duration_seconds", own)
        self._create = _HistogramLines("pool_instance_create_duration_seconds", f'{own},outcome="ok"')

    def write(self, total: PoolTotals) -> tuple[str, ...]:
        """Return the text of each family, in the order of ``_POOL_FAMILIES``."""
        most, least, waiting, saturation, releases, leaks, draining = self._gauges
        return (
            self._states % total.states,
            most % total.max,
            least % total.min,
            waiting % total.waiting,
            saturation % total.saturation,
            self._by_value(self._acquires, "pool_acquires", "outcome", total.acquires),
            self._wait.write(total.wait),
            self._use.write(total.use),
            releases % total.releases,
            self._created % (total.created, total.create_failures),
            self._create.write(total.create),
            self._by_value(self._destroyed, "pool_instances_destroyed", "reason", total.destroyed),
            leaks % total.leaks,
            draining % total.draining,
            "" if total.target is None else self._target % total.target,
        )

    def _by_value(self, known: dict[str, str], name: str, label: str, counts: Mapping[str, int]) -> str:
        """Lines for a label whose values turn up as they happen."""
        text = ""
        for value, count in counts.items():
            line = known.get(value)
            if line is None:
                more = f'{label}="{_escape(value)}"'.replace("%", "%%")
                line = known[value] = _place(name, f"{self._labels},{more}")
            text += line % count
        return text


class _HistogramLines:
    """The lines of one histogram; the last text is kept, since most pools rest between two scrapes."""

    __slots__ = ("_bounds", "_labels", "_last", "_name", "_template", "_text")

    def __init__(self, name: str, labels: str) -> None:
        self._name = CATALOGUE[name].series_name
        self._labels = labels
        self._bounds: tuple[float, ...] | None = None
        self._template = ""
        self._last: HistogramSnapshot | None = None
        self._text = ""

    def write(self, snapshot: HistogramSnapshot) -> str:
        """Return its lines."""
        if snapshot == self._last:
            return self._text
        if snapshot.bounds != self._bounds:
            self._bounds = snapshot.bounds
            self._template = _histogram_template(self._name, self._labels, snapshot.bounds)
        cumulative = tuple(accumulate(snapshot.counts))
        self._text = self._template % (*cumulative, _number(snapshot.total_s), cumulative[-1])
        self._last = snapshot
        return self._text


def _histogram_template(series: str, labels: str, bounds: tuple[float, ...]) -> str:
    before = f"{labels}," if labels else ""
    lines = [f'{series}_bucket{{{before}le="{_number(bound)}"}} %d\n' for bound in (*bounds, float("inf"))]
    braces = f"{{{labels}}}" if labels else ""
    return "".join(lines) + f"{series}_sum{braces} %s\n{series}_count{braces} %d\n"


def _place(name: str, labels: str) -> str:
    """One line with a place for its number."""
    metric = CATALOGUE[name]
    return f"{metric.series_name}{{{labels}}} {'%r' if metric.name.endswith('_ratio') else '%d'}\n"


# ── every other family ────────────────────────────────────────────────────────────────────────────────────────────


def _joined(families: Iterable[Family]) -> list[Family]:
    """Families in the catalogue's order, those of one metric as one, since a format allows each name once.

    Where two have the same labels the later one's value stands.
    """
    found: dict[str, Family] = {}
    for family in families:
        known = found.get(family.metric.name)
        found[family.metric.name] = (
            family if known is None else Family(family.metric, {**known.samples, **family.samples})
        )
    taken = {metric.name for metric in _POOL_FAMILIES}
    twice = taken & found.keys()
    if twice:
        raise ConfigurationError(f"the pools' own families cannot be given again: {', '.join(sorted(twice))}")
    return [found[name] for name in CATALOGUE if name in found and found[name].samples]


def _head(metric: Metric, *, openmetrics: bool) -> str:
    # OpenMetrics names the family, the older format the series.
    name = metric.series_name
    if openmetrics and metric.kind == "counter":
        name = name.removesuffix("_total")
    text = metric.help.replace("\\", "\\\\").replace("\n", "\\n")
    return f"# HELP {name} {text}\n# TYPE {name} {metric.kind}\n"


def _sample(metric: Metric, values: tuple[str, ...], value: Value) -> str:
    labels = _labels(metric.labels, values)
    if isinstance(value, HistogramSnapshot):
        template = _histogram_template(metric.series_name, labels.replace("%", "%%"), value.bounds)
        cumulative = tuple(accumulate(value.counts))
        return template % (*cumulative, _number(value.total_s), cumulative[-1])
    braces = f"{{{labels}}}" if labels else ""
    return f"{metric.series_name}{braces} {_number(value)}\n"


def _labels(names: tuple[str, ...], values: tuple[str, ...]) -> str:
    return ",".join(f'{name}="{_escape(value)}"' for name, value in zip(names, values, strict=True))


def _escape(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _number(value: int | float) -> str:
    if isinstance(value, int):
        return str(int(value))  # True is a number here
    if value != value:
        return "NaN"
    if value in (float("inf"), float("-inf")):
        return "+Inf" if value > 0 else "-Inf"
    return repr(value)
