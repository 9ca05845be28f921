"""CheckTally: how many checks of each resource found what, and how long each of their stages took."""

from __future__ import annotations

from collections.abc import Mapping

from nebula_resource.model.health import HealthStatus
from nebula_resource.model.histogram import Histogram, HistogramSnapshot

__all__ = ["CheckTally"]

MOST_STAGES = 16
"""Stages of one resource that are told apart: their names are labels, and a user's check may invent new ones for ever."""
WHOLE = "whole"
"""The stage of a check that has none."""
OTHER = "_other"
"""All stages beyond those that are told apart."""


class CheckTally:
    """Counts by resource id, all its registrations together: ten thousand tenants cost what one does."""

    def __init__(self) -> None:
        self._results: dict[str, dict[str, int]] = {}
        self._counts: dict[str, int] = {}
        self._durations: dict[str, dict[str, Histogram]] = {}

    def note(self, resource_id: str, status: HealthStatus) -> None:
        """A check ended, or was given up."""
        results = self._results.setdefault(resource_id, {})
        kind = status.state.kind
        results[kind] = results.get(kind, 0) + 1
        self._counts[resource_id] = self.count(resource_id) + 1
        durations = self._durations.setdefault(resource_id, {})
        for name, seconds in _stages(status):
            told = name if name in durations or len(durations) < MOST_STAGES else OTHER
            held = durations.get(told)
            if held is None:
                held = durations[told] = Histogram()
            held.add(seconds)

    def forget(self, resource_id: str) -> None:
        """Its last registration is gone."""
        self._results.pop(resource_id, None)
        self._counts.pop(resource_id, None)
        self._durations.pop(resource_id, None)

    def count(self, resource_id: str) -> int:
        """Checks so far."""
        return self._counts.get(resource_id, 0)

    def results(self, resource_id: str) -> Mapping[str, int]:
        """Checks so far by what they found."""
        return dict(self._results.get(resource_id, {}))

    def durations(self, resource_id: str) -> Mapping[str, HistogramSnapshot]:
        """Seconds by stage."""
        return {name: held.snapshot() for name, held in self._durations.get(resource_id, {}).items()}


def _stages(status: HealthStatus) -> list[tuple[str, float]]:
    """What a pipeline says of its stages; a resource's own check may write anything there, and is one stage."""
    told = status.metadata.get("stages")
    found: list[tuple[str, float]] = []
    for stage in told if isinstance(told, list) else ():
        name, seconds = (
            (stage.get("name"), stage.get("latency_s")) if isinstance(stage, dict) else (None, None)
        )
        if not isinstance(name, str) or not isinstance(seconds, float) or len(found) == MOST_STAGES:
            break
        found.append((name, seconds))
    return found or [(WHOLE, status.latency_s)]
