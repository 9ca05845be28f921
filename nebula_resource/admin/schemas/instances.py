"""InstanceView: one instance of a pool: how old it is, and what it does."""

from __future__ import annotations

import asyncio

from typing_extensions import TypedDict

from nebula_resource.admin.schemas.common import ProcessView
from nebula_resource.manager import Registration
from nebula_resource.model.lifecycle import Lifecycle
from nebula_resource.pool.entry import Entry

__all__ = ["InstanceList", "InstanceView", "instances_of"]


class InstanceView(TypedDict):
    """One instance; ages are seconds. ``held_s`` is exact where the use is timed, else known to one tick."""

    number: int
    state: str
    age_s: float
    expires_in_s: float | None
    uses: int
    holders: int
    held_s: float | None
    idle_s: float | None
    retiring_because: str | None


class InstanceList(TypedDict):
    """All of them, oldest first."""

    items: list[InstanceView]
    next_cursor: str | None
    process: ProcessView
    as_of: str


def instances_of(registration: Registration) -> list[InstanceView]:
    """What the pool holds now; the instances themselves are never shown."""
    pool = registration.pool
    now = asyncio.get_running_loop().time()
    return [_view(entry, now) for entry in sorted(pool.ledger.entries, key=lambda entry: entry.birth)]


def _view(entry: Entry, now: float) -> InstanceView:
    in_use = entry.state is Lifecycle.IN_USE
    since = entry.use.started if entry.use is not None and entry.use.started is not None else entry.lent_at
    return {
        "number": entry.birth,
        "state": entry.state.name.lower(),
        "age_s": round(now - entry.created_at, 3),
        "expires_in_s": None if entry.expires_at is None else round(max(0.0, entry.expires_at - now), 3),
        "uses": entry.uses,
        "holders": max(entry.holders, 1) if in_use else 0,
        "held_s": round(now - (since if since is not None else entry.idle_since(now)), 3) if in_use else None,
        "idle_s": None if in_use else round(now - entry.idle_since(now), 3),
        "retiring_because": None if entry.doom is None else entry.doom.value,
    }
