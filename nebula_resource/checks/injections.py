"""Injections: what is wrong with the functions of the modules that a container is wired to."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

from dependency_injector import providers
from dependency_injector.containers import Container

from nebula_resource.checks.annotations import annotations_of, place
from nebula_resource.checks.keys import Keys
from nebula_resource.di import Leased, ScopedSingleton
from nebula_resource.di.ingredients import ingredients
from nebula_resource.di.injection import Injection, injections_in, is_marker
from nebula_resource.di.signature import readable_signature
from nebula_resource.di.wired import foreign_in, modules_of, unawaited_in, unresolved_in
from nebula_resource.errors import ConfigurationError, FieldViolation

__all__ = ["check_injections"]


def check_injections(container: Container, keys: Keys) -> Iterator[FieldViolation]:
    """Note the keys that functions inject, with their annotations; find what cannot work."""
    modules = modules_of([*_wired(container, "modules"), *_wired(container, "packages")])
    yield from unresolved_in(modules, container)
    yield from unawaited_in(modules)
    yield from foreign_in(modules, container)
    for injection in injections_in(*modules):
        yield from _check(injection, keys)
    for module in modules:
        yield from _unseen(module)


def _wired(container: Any, what: str) -> list[ModuleType]:
    found: list[ModuleType] = getattr(container, f"wired_to_{what}")
    return found


def _check(injection: Injection, keys: Keys) -> Iterator[FieldViolation]:
    fn = injection.original
    annotations = annotations_of(fn)
    for parameter, provider in injection.providers.items():
        where = place(fn, parameter)
        if isinstance(provider, Leased):
            keys.use(provider.key, where, annotations.get(parameter, inspect.Parameter.empty))
        leased = _is_leased(provider)
        if leased and parameter in injection.closing:
            yield FieldViolation(where, "must not be Closing[...]: a scope ends its leases itself", "Closing")
        if leased and inspect.isasyncgenfunction(fn):
            yield FieldViolation(
                where,
                "must not be injected into an async generator: @inject passes no error on to it; take it inside: "
                "await current_scope().get(key)",
                "async generator",
            )


def _is_leased(provider: providers.Provider[Any]) -> bool:
    """Whether a scope ends it, or something that it is made from."""
    if isinstance(provider, providers.Delegate):
        return False
    kinds = (Leased, ScopedSingleton)
    return isinstance(provider, kinds) or any(isinstance(each, kinds) for each in ingredients(provider))


def _unseen(module: ModuleType) -> Iterator[FieldViolation]:
    """Functions with a marker that dependency-injector cannot see, because the annotation is text."""
    for fn in _functions(module):
        if Injection.of(fn) is not None or getattr(fn, "opens_action", False):
            continue
        try:
            parameters = readable_signature(fn).parameters
        except ConfigurationError as error:
            yield FieldViolation(place(fn), "must have readable annotations", error.message)
            continue
        for name, parameter in parameters.items():
            if any(is_marker(each) for each in getattr(parameter.annotation, "__metadata__", ())):
                yield FieldViolation(
                    place(fn, name),
                    'must be written name: T = Provide["..."], or the function be an @action: under "from __future__ import '
                    'annotations" @inject does not see a marker in Annotated',
                    "Annotated",
                )


def _functions(module: ModuleType) -> Iterator[Callable[..., Any]]:
    for member in vars(module).values():
        if getattr(member, "__module__", None) != module.__name__:
            continue
        if inspect.isfunction(member):
            yield member
        elif inspect.isclass(member):
            for inner in vars(member).values():
                bare = inner.__func__ if isinstance(inner, (staticmethod, classmethod)) else inner
                if inspect.isfunction(bare):
                    yield bare
