"""HealthText: the families of health as text, a row for each resource."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from operator import attrgetter

from nebula_resource.metrics.family import merged
from nebula_resource.metrics.grouped import Grouped
from nebula_resource.metrics.parts import Column, counts, histograms, numbers
from nebula_resource.metrics.readout import HealthReading
from nebula_resource.metrics.rows import RowText
from nebula_resource.model.histogram import HistogramSnapshot

__all__ = ["HEALTH_FAMILIES", "HEALTH_STATES", "HealthText"]

HEALTH_STATES = ("healthy", "degraded", "unhealthy", "unknown")


class _Health:
    """All registrations of one resource: counted by state, the worst score, the oldest check, the checks of all."""

    __slots__ = ("checked", "checks", "durations", "score", "states")

    def __init__(self, readings: Sequence[HealthReading]) -> None:
        self.states = dict.fromkeys(HEALTH_STATES, 0)
        self.score = 1.0
        self.checked: float | None = None
        self.checks: Mapping[str, int] = {}
        self.durations: Mapping[str, HistogramSnapshot] = {}
        for one in readings:
            self._add(one)

    @property
    def counted(self) -> tuple[int, ...]:
        """Registrations in each of `HEALTH_STATES`."""
        return tuple(self.states.values())

    def _add(self, one: HealthReading) -> None:
        if one.state in self.states:
            self.states[one.state] += 1
        self.score = min(self.score, one.score)
        if one.last_check_at is not None:
            self.checked = min(one.last_check_at, self.checked or one.last_check_at)
        if one.checks:
            names = dict.fromkeys((*self.checks, *one.checks))
            self.checks = {name: self.checks.get(name, 0) + one.checks.get(name, 0) for name in names}
        if one.durations:
            both = (self.durations, one.durations)
            names = dict.fromkeys((*self.durations, *one.durations))
            self.durations = {name: merged([held[name] for held in both if name in held]) for name in names}


class HealthText:
    """Writes the health of one scrape."""

    def __init__(self) -> None:
        self._text: RowText[_Health] = RowText(("resource", "driver"), _PARTS, _COLUMNS, _split)
        # One driver for each resource id, that of its first registration: the state's families name none.
        self._grouped: Grouped[HealthReading, _Health] = Grouped(
            attrgetter("resource_id"), attrgetter("resource_id", "driver"), _Health
        )

    def write(self, readings: Sequence[HealthReading], *, openmetrics: bool) -> Iterator[bytes]:
        """Yield the text in pieces, and an empty piece after each slice of work."""
        yield from self._grouped.update(readings)
        yield from self._text.write(self._grouped.totals, openmetrics=openmetrics)


_COLUMNS = ("durations", "checks", "counted", "score", "checked")
_row = attrgetter(*_COLUMNS)


def _split(readings: Sequence[_Health]) -> Sequence[Column]:
    """What is told of resources as `_COLUMNS`."""
    return [*zip(*map(_row, readings), strict=True)]


_PARTS = (
    histograms("health_check_duration_seconds", "stage", "durations"),
    counts("health_checks", "result", "checks"),
    numbers("health_state", "counted", label="state", values=HEALTH_STATES, depth=1),
    numbers("health_score_ratio", "score", depth=1, place="%a"),
    numbers("health_last_check_timestamp_seconds", "checked", depth=1, place="%a"),
)

HEALTH_FAMILIES = frozenset(part.name for part in _PARTS)
"""Names of the families that are written here."""
