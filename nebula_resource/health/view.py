"""HealthView: what is known of one resource's health at one moment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import final

from nebula_resource.model.health import HealthState

__all__ = ["HealthView", "Transition"]


@final
@dataclass(frozen=True, slots=True)
class Transition:
    """One real change of the effective state, at a UTC time; ``because`` names the evidence."""

    at: datetime
    old: HealthState
    new: HealthState
    because: str


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class HealthView:
    """One resource's health; times are UTC.

    ``own`` is what its own evidence says, ``causes`` what others impose on it (public id of the cause → state),
    ``effective`` both together. ``since`` is when ``effective`` last really changed, ``last_checked`` when a check
    last said anything. ``failures`` counts the failures in a row, of checks and of real use.
    """

    own: HealthState
    effective: HealthState
    causes: Mapping[str, HealthState]
    since: datetime
    last_checked: datetime | None
    failures: int
