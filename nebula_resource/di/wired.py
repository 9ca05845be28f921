"""Wired: connecting a container to modules, all of their markers or none."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from types import ModuleType
from typing import Any

from dependency_injector import providers
from dependency_injector.containers import Container

from nebula_resource.di.ingredients import has_to_be_awaited
from nebula_resource.di.injection import configuration_of, injections_in, shown
from nebula_resource.errors import ConfigurationError, FieldViolation, ValidationFailed
from nebula_resource.model.near import did_you_mean

__all__ = ["foreign_in", "modules_of", "named_providers", "unawaited_in", "unresolved_in", "wire", "wired"]


def wire(container: Container, *modules: ModuleType | str) -> None:
    """Wire a container to modules (and the modules of packages); every marker in them must be in it.

    Raises:
        ConfigurationError: no module is named, or what is given is none.
        ValidationFailed: with every marker that the container cannot resolve, and every one by which a plain function is given
            what has to be awaited; nothing stays wired then. With every one that another container was wired to before and
            never unwired; that one stays wired.
    """
    _check_modules(modules)
    found = modules_of(modules)
    if taken := foreign_in(found, container):
        raise ValidationFailed(taken)
    container.wire(modules=found)
    if violations := [*unresolved_in(found, container), *unawaited_in(found)]:
        container.unwire()
        raise ValidationFailed(violations)


@contextmanager
def wired(container: Container, *modules: ModuleType | str) -> Generator[None]:
    """``with wired(container, module):`` for a test: wired inside, not after."""
    wire(container, *modules)
    try:
        yield
    finally:
        container.unwire()


def unresolved_in(modules: Iterable[ModuleType], container: Container) -> list[FieldViolation]:
    """A violation for every marker in these modules that no container resolved, with what it may be a slip for."""
    known = [name for _, name in named_providers(container)]
    return [
        FieldViolation(
            f"{injection.qualified_name}({parameter})",
            f"must name a provider of the container that is wired to the module{_hint(marker, known)}",
            shown(marker),
        )
        for injection in injections_in(*modules)
        for parameter in injection.unresolved
        for marker in (injection.markers[parameter],)
    ]


def foreign_in(modules: Iterable[ModuleType], container: Container) -> list[FieldViolation]:
    """A violation for every marker in these modules that another container resolves: the last to be wired did so for all."""
    own: set[providers.Provider[Any]] = set(container.traverse())
    return [
        FieldViolation(
            f"{injection.qualified_name}({parameter})",
            "must be wired to one container, and the last that is wired to a module wins for all of it: unwire() the other "
            "(with wired(...): does so at its end)",
            "another container's provider",
        )
        for injection in injections_in(*modules)
        for parameter, provider in injection.providers.items()
        if not _is_of(provider, own)
    ]


def unawaited_in(modules: Iterable[ModuleType]) -> list[FieldViolation]:
    """A violation for every marker in these modules by which a plain function is given what it cannot wait for."""
    return [
        FieldViolation(
            f"{injection.qualified_name}({parameter})",
            "must be injected into an async function: it has to be awaited",
            "def",
        )
        for injection in injections_in(*modules)
        if not _can_wait(injection.original)
        for parameter, provider in injection.providers.items()
        if has_to_be_awaited(provider)
    ]


def _can_wait(fn: Any) -> bool:
    return inspect.iscoroutinefunction(fn) or inspect.isasyncgenfunction(fn)


def _is_of(provider: providers.Provider[Any], own: set[providers.Provider[Any]]) -> bool:
    """Whether it is one of these, or made from one: ``Provide["repo.provider"]`` is resolved to something new."""
    if isinstance(provider, providers.Self) or provider in own:
        return True
    made_from: list[providers.Provider[Any]] = [provider, *provider.traverse()]
    if isinstance(provider, providers.Delegate) and provider.provides is not None:
        made_from.append(provider.provides)
    made_from += [
        configuration_of(each) for each in made_from if isinstance(each, providers.ConfigurationOption)
    ]
    return not own.isdisjoint(made_from)


def _check_modules(modules: Iterable[object]) -> None:
    """Raise where dependency-injector would wire nothing and say nothing."""
    wrong = [each for each in modules if not isinstance(each, (ModuleType, str))]
    if wrong or not modules:
        told = "nothing" if not wrong else getattr(wrong[0], "__name__", type(wrong[0]).__name__)
        raise ConfigurationError(f"wire takes modules or their names, not {told}: wire(container, __name__)")


def _hint(marker: Any, known: Iterable[str]) -> str:
    name = marker.provider
    return did_you_mean(name, known) if isinstance(name, str) else ""


def named_providers(container: Any, prefix: str = "") -> Iterable[tuple[providers.Provider[Any], str]]:
    """Every provider that has a name in the container, with that name; those of containers inside it, too."""
    for name, provider in container.providers.items():
        yield provider, f"{prefix}{name}"
        if isinstance(provider, providers.Container):
            yield from named_providers(provider, f"{prefix}{name}.")


def modules_of(names: Iterable[ModuleType | str]) -> list[ModuleType]:
    """The modules themselves, and, of packages, all that are in them."""
    found: dict[str, ModuleType] = {}
    for name in names:
        module = importlib.import_module(name) if isinstance(name, str) else name
        found[module.__name__] = module
        if hasattr(module, "__path__"):
            for info in pkgutil.walk_packages(module.__path__, prefix=f"{module.__name__}."):
                found[info.name] = importlib.import_module(info.name)
    return list(found.values())
