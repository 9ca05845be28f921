"""Graph: what is wrong with the providers of a container."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from dependency_injector import providers
from dependency_injector.containers import Container

from nebula_resource.checks.keys import Keys
from nebula_resource.di import Leased, ScopedSingleton
from nebula_resource.di.ingredients import ingredients
from nebula_resource.di.wired import named_providers
from nebula_resource.errors import FieldViolation
from nebula_resource.model.scope import ScopeLevel

__all__ = ["check_graph"]


def check_graph(container: Container, keys: Keys) -> Iterator[FieldViolation]:
    """Note the keys that the container leases; find what holds a lease longer than it lasts."""
    names = dict(named_providers(container))
    for provider, name in names.items():
        if isinstance(provider, Leased):
            keys.use(provider.key, f"container.{name}")
    for provider in container.traverse():
        if isinstance(provider, (providers.BaseSingleton, providers.BaseResource)):
            yield from _captures(provider, names.get(provider) or str(provider))
        elif isinstance(provider, ScopedSingleton):
            yield from _deeper(provider, names.get(provider) or str(provider))


def _captures(provider: providers.Provider[Any], name: str) -> Iterator[FieldViolation]:
    """One object for the whole process keeps what a scope gave it."""
    for held in ingredients(provider, into_scopes=False):
        if isinstance(held, (Leased, ScopedSingleton)):
            yield FieldViolation(
                f"container.{name}",
                f"must not keep {held} beyond its scope: make it a Factory, or ScopedSingleton(level, ...)",
                type(provider).__name__,
            )


def _deeper(provider: ScopedSingleton[Any], name: str) -> Iterator[FieldViolation]:
    """An object of a scope is made in that scope, where nothing deeper is open."""
    for held in ingredients(provider, into_scopes=False):
        level: ScopeLevel | None = None
        if isinstance(held, ScopedSingleton):
            level = held.level
        elif isinstance(held, Leased):
            level = held.hold
        if level is not None and level > provider.level:
            yield FieldViolation(
                f"container.{name}",
                f"must not be given {held}: no {level.name} is open where it is made",
                str(provider),
            )
