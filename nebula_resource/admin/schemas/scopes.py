"""Scopes: where registrations live, and what the pools of each hold together."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal

from pydantic import Field
from typing_extensions import TypedDict

from nebula_resource.admin.schemas.common import Page, ProcessView, scope_id, scope_view
from nebula_resource.manager import Manager, Registration
from nebula_resource.model.scope import Scope

__all__ = [
    "Owned",
    "ScopeDetail",
    "ScopeFilters",
    "ScopeList",
    "ScopeSummary",
    "grouped",
    "parent_of",
    "scope_detail",
    "scope_summary",
]

Owned = Mapping[Scope, list[Registration]]
"""The registrations of each scope."""


class ScopeSummary(TypedDict):
    """One scope that has registrations; the label is its tenant, ``parent`` the nearest scope around it that has some."""

    id: str
    level: str
    label: str | None
    parent: str | None
    pools: int
    instances: int
    in_use: int
    waiting: int
    quarantined: int
    unhealthy: int


class ScopeDetail(ScopeSummary):
    """The same, with what is in it."""

    children: list[str]
    pool_ids: list[str]
    as_of: str


class ScopeList(TypedDict):
    """One page of scopes. ``open``: blocks that are open now, by level, of all scopes; null for a key of a tenant."""

    items: list[ScopeSummary]
    next_cursor: str | None
    open: dict[str, int] | None
    process: ProcessView
    as_of: str


class ScopeFilters(Page):
    """Which scopes a list holds."""

    level: Literal["global", "tenant", "user", "workflow", "execution", "action", "custom"] | None = None
    tenant: str | None = Field(default=None, min_length=1, max_length=128)
    parent: str | None = Field(default=None, min_length=1, max_length=64)


def grouped(registrations: Iterable[Registration]) -> dict[Scope, list[Registration]]:
    """Them by their scopes."""
    found: dict[Scope, list[Registration]] = {}
    for each in registrations:
        found.setdefault(each.scope, []).append(each)
    return found


def scope_summary(manager: Manager, scope: Scope, owned: Owned) -> ScopeSummary:
    """One of them as a list shows it."""
    watch, held = manager.watch, owned[scope]
    parent = parent_of(scope, owned)
    return {
        **scope_view(scope),
        "parent": None if parent is None else scope_id(parent),
        "pools": len(held),
        "instances": sum(each.pool.ledger.size for each in held),
        "in_use": sum(each.pool.ledger.in_use for each in held),
        "waiting": sum(len(each.pool.line) for each in held),
        "quarantined": sum(each.public_id in watch.quarantine for each in held),
        "unhealthy": sum(watch.board.effective(each.public_id).kind == "unhealthy" for each in held),
    }


def scope_detail(manager: Manager, scope: Scope, owned: Owned, as_of: str) -> ScopeDetail:
    """The same with its children and pools."""
    return {
        **scope_summary(manager, scope, owned),
        "children": sorted(scope_id(each) for each in owned if parent_of(each, owned) == scope),
        "pool_ids": sorted(each.public_id for each in owned[scope]),
        "as_of": as_of,
    }


def parent_of(scope: Scope, owned: Owned) -> Scope | None:
    """The nearest scope around it that is one of these."""
    return next((each for each in scope.ancestors() if each in owned), None)
