"""Filters: for which resources a hook is meant."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

__all__ = ["All", "ById", "ByIds", "ByPrefix", "HookFilter"]


class HookFilter(Protocol):
    """Says by a resource's id whether a hook is meant for it; asked when hooks or registrations change."""

    def matches(self, resource_id: str, /) -> bool:
        """Say whether it is."""
        ...


@dataclass(frozen=True, slots=True)
class All:
    """Every resource."""

    def matches(self, resource_id: str, /) -> bool:
        """Say yes."""
        return True


@dataclass(frozen=True, slots=True)
class ById:
    """The resource with this id."""

    id: str

    def matches(self, resource_id: str, /) -> bool:
        """Say whether it is this id."""
        return resource_id == self.id


@dataclass(frozen=True, slots=True, init=False)
class ByIds:
    """The resources with these ids: ``ByIds("db", "cache")`` or ``ByIds(ids)``."""

    ids: frozenset[str]

    def __init__(self, *ids: str | Iterable[str]) -> None:
        found: set[str] = set()
        for one in ids:
            found.update((one,) if isinstance(one, str) else one)
        object.__setattr__(self, "ids", frozenset(found))

    def matches(self, resource_id: str, /) -> bool:
        """Say whether it is one of the ids."""
        return resource_id in self.ids


@dataclass(frozen=True, slots=True)
class ByPrefix:
    """The resources whose ids begin so."""

    prefix: str

    def matches(self, resource_id: str, /) -> bool:
        """Say whether it begins so."""
        return resource_id.startswith(self.prefix)
