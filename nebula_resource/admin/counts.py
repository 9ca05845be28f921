"""AdminCounts: how much is asked of the admin API, how long it takes, and what it refuses."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from nebula_resource.metrics import Family
from nebula_resource.model.histogram import Histogram

if TYPE_CHECKING:
    from nebula_resource.admin.sse.hub import Hub

__all__ = ["OTHER", "AdminCounts"]

OTHER = "_other"
"""In place of a path that is no route, or of a method that is none: input never becomes a label."""

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


class AdminCounts:
    """Counted by the guard; written out with every scrape."""

    def __init__(self) -> None:
        self._requests: Counter[tuple[str, ...]] = Counter()
        self._durations: dict[tuple[str, ...], Histogram] = {}
        self._refused: Counter[tuple[str, ...]] = Counter()

    def request(self, method: str, route: str | None, status: int, seconds: float | None) -> None:
        """Count one answer; ``route`` is its template, ``seconds`` None for a stream, which lasts as long as it likes."""
        labels = (method if method in _METHODS else OTHER, route or OTHER)
        self._requests[*labels, f"{status // 100}xx"] += 1
        if seconds is not None:
            self._durations.setdefault(labels, Histogram()).add(seconds)

    def refusal(self, reason: str) -> None:
        """Count a request that was refused for whom it came from."""
        self._refused[reason,] += 1

    def families(self, hub: Hub) -> tuple[Family, ...]:
        """What was counted, and how the streams fare."""
        found = [
            Family.of("admin_requests", dict(self._requests)),
            Family.of(
                "admin_request_duration_seconds",
                {labels: durations.snapshot() for labels, durations in self._durations.items()},
            ),
            Family.of("admin_auth_failures", dict(self._refused)),
            Family.of("events_replay_gaps", {(): hub.gaps}),
        ]
        for oldest in hub.main.frames(0, hub.main.oldest):
            age = (datetime.now(UTC) - oldest.event.at).total_seconds()
            found.append(Family.of("events_ring_oldest_age_seconds", {(): max(0.0, age)}))
        return tuple(found)
