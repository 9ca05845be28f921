"""Routes: what is wrong with the dependencies of a FastAPI application."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from typing import Any

from fastapi import FastAPI, routing

from nebula_resource.checks.annotations import annotations_of, called, place
from nebula_resource.checks.keys import Keys
from nebula_resource.errors import FieldViolation
from nebula_resource.fastapi import ResourceDependency
from nebula_resource.fastapi.leases import MANAGER

__all__ = ["check_routes"]


def check_routes(app: FastAPI, keys: Keys) -> Iterator[FieldViolation]:
    """Note the keys that handlers and dependencies ask for; find what cannot work."""
    uses_leases = False
    for dependant in _dependants(app.routes):
        yield from _unread(dependant)
        for parent, child in _edges(dependant):
            yield from _unread(child)
            if isinstance(child.call, ResourceDependency):
                uses_leases = True
                yield from _lease(parent, child, keys, is_handler=parent is dependant)
                if parent is dependant and _is_generator(parent.call):
                    yield from _ends_before_it_begins(parent, child)
            elif _is_marker(child.call):
                yield from _marker(parent, child)
            elif _outlives_the_handler(child):
                yield from _ends_too_late(child)
    if uses_leases and getattr(app.state, MANAGER, None) is None:
        yield FieldViolation(
            "app", "must have a manager: nebula_resource.fastapi.install(app, manager)", "none"
        )


# ── every dependency of every route ──


def _dependants(routes: Any) -> Iterator[Any]:
    """The dependency tree of every route, in included routers and mounted applications, too."""
    # Included routers are not in the list of routes; newer versions tell what they make of theirs.
    contexts = getattr(routing, "iter_route_contexts", None)
    for route in routes if contexts is None else contexts(routes):
        dependant = getattr(route, "dependant", None)
        if dependant is not None:
            yield dependant
            continue
        original = getattr(route, "original_route", route)
        yield from _dependants(getattr(original, "routes", None) or ())


def _edges(dependant: Any) -> Iterator[tuple[Any, Any]]:
    """Who depends on whom, all the way down."""
    for child in dependant.dependencies:
        yield dependant, child
        yield from _edges(child)


# ── one of them ──


def _lease(parent: Any, child: Any, keys: Keys, *, is_handler: bool) -> Iterator[FieldViolation]:
    dependency: ResourceDependency[Any] = child.call
    if child.name is None:
        # Depends in `dependencies=[...]` of a route or router: nobody gets the value.
        keys.use(dependency.key, f"route {parent.path}" if parent.path else "app")
        return
    annotation = annotations_of(parent.call).get(child.name, inspect.Parameter.empty)
    where = place(parent.call, child.name)
    keys.use(dependency.key, where, annotation)
    given = keys.type_of(dependency.key)
    # A dependency may only hand it on: the class of a repository, or what makes one.
    if is_handler and given is not None and not _can_wait(parent.call) and _has_to_be_awaited(given):
        yield FieldViolation(
            where, f"must be asked for by an async function: {given.__qualname__} has to be awaited", "def"
        )


def _can_wait(call: Callable[..., Any]) -> bool:
    bare = called(call)
    return inspect.iscoroutinefunction(bare) or inspect.isasyncgenfunction(bare)


def _has_to_be_awaited(lease: type[Any]) -> bool:
    """Whether the type has an async method that is no way of ending it: then a thread can do nothing with it."""
    return any(
        inspect.iscoroutinefunction(getattr(lease, name, None)) and name not in ("close", "aclose")
        for name in dir(lease)
        if not name.startswith("_")
    )


def _unread(dependant: Any) -> Iterator[FieldViolation]:
    """Parameters that were meant for a lease, and that FastAPI asks the client for.

    Their annotation is text that means nothing to it, most often ``db: Db`` under postponed annotations, with an alias made
    inside the function that makes the app; or ``Depends`` was forgotten.
    """
    annotations = annotations_of(dependant.call)
    for field in (*dependant.query_params, *dependant.body_params):
        text, bare = annotations.get(field.name), field.field_info.default
        if isinstance(bare, ResourceDependency):
            yield FieldViolation(
                place(dependant.call, field.name), f"must be in Depends: Depends({bare!r})", repr(bare)
            )
        if isinstance(text, str):
            yield FieldViolation(
                place(dependant.call, field.name),
                "must be annotated with names of its module: FastAPI cannot read it, and takes the parameter for the client's "
                '(move the alias out of the function, or do without "from __future__ import annotations")',
                text,
            )


def _is_marker(call: object) -> bool:
    return getattr(call, "__IS_MARKER__", False) is True


def _marker(parent: Any, child: Any) -> Iterator[FieldViolation]:
    """``Depends(Provide[...])`` works only in a function under ``@inject``, and goes through a thread then."""
    if child.name is None:
        return  # in `dependencies=[...]`: nobody gets it
    from nebula_resource.di.injection import Injection, shown

    injection = Injection.of(parent.call)
    if injection is None or child.name not in injection.providers:
        yield FieldViolation(
            place(parent.call, child.name),
            "must be under @inject in a wired module: the function is given the marker itself",
            f"Depends({shown(child.call)})",
        )


def _outlives_the_handler(child: Any) -> bool:
    """A ``yield`` dependency of the user that is torn down after the response, FastAPI's default."""
    return child.scope != "function" and _is_generator(child.call)


def _is_generator(call: Any) -> bool:
    bare = called(call)
    return inspect.isasyncgenfunction(bare) or inspect.isgeneratorfunction(bare)


def _ends_too_late(child: Any) -> Iterator[FieldViolation]:
    for _, below in _edges(child):
        if isinstance(below.call, ResourceDependency) and below.call.until == "endpoint":
            yield FieldViolation(
                place(child.call),
                f'must be Depends(..., scope="function"), or use resource({str(below.call.key)!r}, until="response"): it is '
                "torn down after the response, and the lease ends before",
                repr(below.call),
            )


def _ends_before_it_begins(handler: Any, child: Any) -> Iterator[FieldViolation]:
    """A handler that yields its answer in pieces, the first of which FastAPI asks for when it has ended the handler's leases."""
    if child.call.until == "endpoint" and child.name is not None:
        yield FieldViolation(
            place(handler.call, child.name),
            f'must be resource({str(child.call.key)!r}, until="response"): the handler yields, and a lease until its end is over '
            "before the first piece",
            repr(child.call),
        )
