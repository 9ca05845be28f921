"""Validate: everything that is known to be wrong with an application, at its start, all at once."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from nebula_resource.checks.keys import Keys
from nebula_resource.errors import FieldViolation, ValidationFailed
from nebula_resource.manager import Manager

if TYPE_CHECKING:
    from dependency_injector.containers import Container
    from fastapi import FastAPI

__all__ = ["validate"]


def validate(
    app: FastAPI | None = None,
    container: Container | None = None,
    manager: Manager | None = None,
    *,
    expected: Iterable[str] = (),
) -> None:
    """Look for mistakes in an application and its container; call it when everything is registered and wired.

    - a key that nobody registered, with those that look like it
    - a parameter annotated with another type than its key's, and a key that is used with two types
    - an annotation that FastAPI cannot read, or a ``resource()`` without ``Depends``, so that it asks the client for what
      should be injected
    - a sync function that injects what has to be awaited, and an ``@inject`` async generator, which hears of no error
    - a singleton (or a scope's object of an outer level) that captures a lease
    - a marker that no container resolves, or that nothing looks at
    - ``Closing[...]`` around a lease
    - a module that another container was wired to after this one (`nebula_resource.di.wire` refuses the second of two)
    - an application that uses ``resource()`` and was never installed
    - a request-scoped ``yield`` dependency of the user that uses a lease which ends with the handler
    - a handler that yields its answer in pieces and uses such a lease

    Args:
        app: a FastAPI application; its included routers and mounted applications are looked at, too.
        container: a wired container.
        manager: whose registrations are known; that of the application or the container when not given.
        expected: keys that are registered later (a tenant's own, at its first login).

    Raises:
        ValidationFailed: with all of it.
    """
    if manager is None:
        manager = _manager_of(app, container)
    keys = Keys(manager, expected)
    violations: list[FieldViolation] = []
    if container is not None:
        from nebula_resource.checks.graph import check_graph  # they need an extra each
        from nebula_resource.checks.injections import check_injections

        violations += check_graph(container, keys)
        violations += check_injections(container, keys)
    if app is not None:
        from nebula_resource.checks.routes import check_routes

        violations += check_routes(app, keys)
    violations += keys.violations()
    if violations:
        raise ValidationFailed(_without_repeats(violations))


def _manager_of(app: FastAPI | None, container: Container | None) -> Manager | None:
    """The manager that the application was installed with, or the container's if it has been made."""
    installed: Any = None if app is None else getattr(app.state, "nebula_manager", None)
    if isinstance(installed, Manager):
        return installed
    if container is None:
        return None
    from nebula_resource.di import ManagerProvider

    for provider in container.traverse(types=[ManagerProvider]):
        made: object = provider()
        if isinstance(made, Manager):
            return made
    return None


def _without_repeats(violations: Iterable[FieldViolation]) -> list[FieldViolation]:
    return list(dict.fromkeys(violations))
