"""HealthBlock: how well one resource is, why, and since when."""

from __future__ import annotations

from typing import Any

from pydantic import TypeAdapter
from typing_extensions import TypedDict

from nebula_resource.admin.sight import Sight
from nebula_resource.admin.times import stamp, stamp_or_none
from nebula_resource.health import HealthView, Transition
from nebula_resource.manager import Registration
from nebula_resource.model.health import HealthStatus

__all__ = [
    "CheckView",
    "CountsView",
    "HealthBlock",
    "OverallView",
    "ProbeView",
    "StatusView",
    "TransitionView",
    "health_block",
    "probe_view",
    "transition_view",
]


class CauseView(TypedDict):
    """What a dependency imposes; which one is None for who may not see it."""

    dependency: str | None
    state: str
    reason: str


class HealthBlock(TypedDict):
    """Own evidence, and own and imposed together."""

    own: str
    effective: str
    reason: str
    score: float
    because: list[CauseView]
    since: str | None
    last_check: str | None
    failures: int


class TransitionView(TypedDict):
    """One change of the effective state."""

    at: str
    old: str
    new: str
    because: str


class ProbeView(TypedDict):
    """What one check found."""

    result: str
    reason: str
    score: float
    duration_s: float
    checked_at: str
    metadata: dict[str, Any]


class CheckView(TypedDict):
    """One resource in the overall answer."""

    id: str
    resource_id: str
    required: bool
    state: str
    reason: str
    quarantined: bool


class CountsView(TypedDict):
    """How many there are of each."""

    healthy: int
    degraded: int
    unhealthy: int
    unknown: int
    quarantined: int


class StatusView(TypedDict):
    """The bare status: all that somebody without a key is told."""

    status: str


class OverallView(StatusView):
    """The health of everything the caller may see."""

    resources: CountsView
    checks: list[CheckView]


def health_block(view: HealthView | None, sight: Sight) -> HealthBlock:
    """As an answer shows it; one that is not watched is unknown."""
    if view is None:
        return {
            "own": "unknown", "effective": "unknown", "reason": "health checks are off", "score": 0.5, "because": [],
            "since": None, "last_check": None, "failures": 0,
        }  # fmt: skip  # one value
    return {
        "own": view.own.kind,
        "effective": view.effective.kind,
        "reason": sight.text(view.effective.because),
        "score": view.effective.score(),
        "because": [
            {
                "dependency": key if sight.shows(key) else None,
                "state": state.kind,
                "reason": sight.text(state.because),
            }
            for key, state in view.causes.items()
        ],
        "since": stamp(view.since),
        "last_check": stamp_or_none(view.last_checked),
        "failures": view.failures,
    }


def transition_view(transition: Transition, sight: Sight) -> TransitionView:
    """As an answer shows it."""
    return {
        "at": stamp(transition.at),
        "old": transition.old.kind,
        "new": transition.new.kind,
        "because": sight.text(transition.because),
    }


_METADATA = TypeAdapter(dict[str, Any])


def probe_view(status: HealthStatus, sight: Sight, registration: Registration) -> ProbeView:
    """As an answer about this registration shows it."""
    metadata = _METADATA.dump_python(dict(status.metadata), mode="json", fallback=lambda _: None)
    return {
        "result": status.state.kind,
        "reason": sight.text(status.state.because),
        "score": status.score(),
        "duration_s": status.latency_s,
        "checked_at": stamp(status.checked_at),
        "metadata": sight.found(metadata, registration),
    }
