"""Builders of readings for the tests of metrics."""

from __future__ import annotations

import re
from typing import Any

from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from nebula_resource.metrics import PoolReading
from nebula_resource.model.histogram import Histogram, HistogramSnapshot
from nebula_resource.model.numbers import PoolNumbers
from nebula_resource.model.stats import PoolStats


def histogram(*seconds: float) -> HistogramSnapshot:
    """A histogram of these values."""
    made = Histogram()
    for value in seconds:
        made.add(value)
    return made.snapshot()


def stats(**values: Any) -> PoolStats:
    """The numbers of an untouched pool but for those given."""
    plain: dict[str, Any] = dict.fromkeys(
        [
            "size",
            "idle",
            "in_use",
            "checking",
            "creating",
            "retiring",
            "waiting",
            "min",
            "max",
            "acquisitions",
            "releases",
            "created",
            "timeouts",
            "exhausted",
            "cancelled",
            "create_failures",
            "leaks",
        ],
        0,
    )
    plain |= {"state": "open", "destroyed": {}, "oldest_wait_s": None, "oldest_hold_s": None}
    plain |= {name: histogram() for name in ("wait", "use", "create")}
    return PoolStats(**plain | values)


def pool(
    resource_id: str = "db", *, tenant: str | None = None, scope_level: str = "global", **values: Any
) -> PoolReading:
    """One pool's reading."""
    return PoolReading(
        resource_id=resource_id,
        driver="postgres",
        scope_level=scope_level,
        tenant=tenant,
        refused=values.pop("refused", {}),
        target=values.pop("target", None),
        stats=PoolNumbers.of(stats(**values)),
    )


L = {"pool": "db", "driver": "postgres", "scope_level": "global"}
Sample = tuple[str, frozenset[tuple[str, str]]]


def parsed(text: str, *, openmetrics: bool = False) -> dict[Sample, float]:
    """Every sample of a text by its name and labels."""
    families = list((parse_openmetrics if openmetrics else parse_text)(text))
    names = [family.name for family in families]
    assert len(names) == len(set(names)), "each family stands once"
    found: dict[Sample, float] = {}
    for family in families:
        assert family.documentation
        assert family.type in ("gauge", "counter", "histogram")
        for sample in family.samples:
            key = (sample.name, frozenset(sample.labels.items()))
            assert key not in found
            found[key] = sample.value
    return found


def by_pool(text: str) -> list[list[str]]:
    """The lines of each family, those of a pool in their order, and the pools sorted: theirs is nobody's business."""
    families: list[list[str]] = [[]]
    for line in text.split("\n"):
        if line.startswith("# HELP"):
            families.append([])
        families[-1].append(line)
    return [sorted(lines, key=_pool_of) for lines in families]


def _pool_of(line: str) -> str:
    found = re.match(r'[^{#]*\{pool="((?:[^"\\]|\\.)*)"', line)
    return "" if found is None else found[1]


def value(samples: dict[Sample, float], name: str, **labels: str) -> float:
    """One sample; its name without the prefix."""
    return samples[f"nebula_resource_{name}", frozenset(labels.items())]
