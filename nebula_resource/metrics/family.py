"""Family: one metric of the catalogue with its values, ready to be written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from nebula_resource.errors import ConfigurationError
from nebula_resource.metrics.catalogue import CATALOGUE, Metric
from nebula_resource.model.histogram import HistogramSnapshot

__all__ = ["Family", "Value", "merged"]

Value = int | float | HistogramSnapshot


@dataclass(frozen=True, slots=True)
class Family:
    """Values of one metric by the values of its labels, in the catalogue's order of labels."""

    metric: Metric
    samples: Mapping[tuple[str, ...], Value]

    @classmethod
    def of(cls, name: str, samples: Mapping[tuple[str, ...], Value]) -> Family:
        """Return the family with this name of the catalogue.

        Raises:
            ConfigurationError: there is no such metric, or a sample has another number of labels.
        """
        metric = CATALOGUE.get(name)
        if metric is None:
            raise ConfigurationError(f"no metric named '{name}' is in the catalogue")
        if any(len(labels) != len(metric.labels) for labels in samples):
            raise ConfigurationError(f"the labels of '{name}' are {', '.join(metric.labels) or 'none'}")
        return cls(metric, samples)


def merged(snapshots: Sequence[HistogramSnapshot]) -> HistogramSnapshot:
    """Return the sum of histograms that have the first one's bounds.

    Raises:
        ValueError: one has others; its counts cannot be told apart any more.
    """
    first = snapshots[0]
    if len(snapshots) == 1:
        return first
    if any(one.bounds != first.bounds for one in snapshots):
        raise ValueError("histograms with different bounds cannot be added")
    return HistogramSnapshot(
        bounds=first.bounds,
        counts=tuple(map(sum, zip(*(one.counts for one in snapshots), strict=True))),
        total_s=sum(one.total_s for one in snapshots),
    )
