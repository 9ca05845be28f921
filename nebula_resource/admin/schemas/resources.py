"""ResourceView: one registration: what it is, what it needs, who needs it, how it fares."""

from __future__ import annotations

from typing import Any

from pydantic import Field
from typing_extensions import TypedDict

from nebula_resource.admin.readings import driver_of
from nebula_resource.admin.schemas.common import MAX_REASON, Body, Page, ProcessView, ScopeView, scope_view
from nebula_resource.admin.schemas.health import (
    HealthBlock,
    ProbeView,
    TransitionView,
    health_block,
    transition_view,
)
from nebula_resource.admin.schemas.pools import config_view
from nebula_resource.admin.schemas.quarantine import QuarantineView, quarantine_view
from nebula_resource.admin.sight import Sight
from nebula_resource.admin.times import stamp
from nebula_resource.manager import Registration

__all__ = ["Check", "CheckResult", "ResourceFilters", "ResourceList", "ResourceView", "resource_view"]


class MetadataView(TypedDict):
    """What people call it."""

    name: str
    description: str
    tags: list[str]


class ResourceView(TypedDict):
    """One registration."""

    id: str
    resource_id: str
    driver: str
    metadata: MetadataView
    scope: ScopeView
    state: str
    generation: int
    required: bool
    registered_at: str
    refused: list[str]
    dependencies: list[str]
    dependents: list[str]
    health: HealthBlock
    history: list[TransitionView]
    quarantine: QuarantineView | None
    config: Any


class ResourceList(TypedDict):
    """A page of registrations."""

    items: list[ResourceView]
    next_cursor: str | None
    process: ProcessView
    as_of: str


class CheckResult(TypedDict):
    """What a check that was asked for found."""

    id: str
    probe: ProbeView
    health: HealthBlock


class ResourceFilters(Page):
    """What a list of registrations may be narrowed to."""

    q: str | None = None


class Check(Body):
    """Look now; why may be said, and then stands in the audit."""

    reason: str | None = Field(default=None, min_length=1, max_length=MAX_REASON)


def resource_view(sight: Sight, registration: Registration) -> ResourceView:
    """As an answer shows it; of its neighbours only those that the caller may see."""
    manager = sight.manager
    name = registration.public_id
    entry = manager.watch.quarantine.get(name)
    metadata = registration.resource.metadata
    graph = manager.dependencies
    return {
        "id": name,
        "resource_id": registration.key,
        "driver": driver_of(registration.resource),
        "metadata": {
            "name": registration.key if metadata is None else metadata.name,
            "description": "" if metadata is None else metadata.description,
            "tags": [] if metadata is None else list(metadata.tags),
        },
        "scope": scope_view(registration.scope),
        "state": registration.state.value,
        "generation": registration.generation,
        "required": registration.required,
        "registered_at": stamp(registration.registered_at),
        "refused": [cause.name.lower() for cause in registration.causes],
        "dependencies": [each for each in graph.dependencies(name) if _is_there(sight, each)],
        "dependents": [each for each in graph.dependents(name) if _is_there(sight, each)],
        "health": health_block(manager.watch.board.get(name), sight),
        "history": [transition_view(each, sight) for each in manager.watch.board.history(name)],
        "quarantine": None if entry is None else quarantine_view(sight, name, entry),
        "config": config_view(registration),
    }


def _is_there(sight: Sight, id: str) -> bool:
    """Whether it is registered, and exists for the caller; what is needed may not be registered yet."""
    return sight.manager.registry.get(id) is not None and sight.shows(id)
