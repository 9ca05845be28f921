"""Annotations: those of a function's parameters, evaluated as far as they can be."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, get_type_hints

__all__ = ["annotations_of", "called", "place"]


def annotations_of(fn: Callable[..., Any]) -> Mapping[str, Any]:
    """Parameter to annotation; text that cannot be evaluated here stays text, what is missing is missing."""
    bare = called(fn)
    if inspect.isclass(bare):
        bare = bare.__init__
    found: dict[str, Any] = dict(getattr(bare, "__annotations__", {}))
    names = dict(vars(sys.modules.get(getattr(bare, "__module__", ""), inspect)))
    # Each on its own: one name that only type checkers know would spoil all of them.
    for parameter, annotation in found.items():
        try:
            found[parameter] = get_type_hints(_Single(annotation), names, include_extras=True)["it"]
        except Exception:
            found[parameter] = annotation
    return found


class _Single:
    """One annotation, in the shape that `get_type_hints` takes."""

    def __init__(self, annotation: Any) -> None:
        self.__annotations__ = {"it": annotation}


def unwrapped(fn: Any) -> Any:
    """What is inside of wrappers that say what they wrap, and of `functools.partial`."""
    while True:
        bare: Any = inspect.unwrap(fn)
        if not isinstance(bare, partial):
            return bare
        fn = bare.func


def called(fn: Any) -> Any:
    """The function that runs when it is called: its own, or its type's ``__call__``; a class stays one."""
    bare = unwrapped(fn)
    if inspect.isroutine(bare) or inspect.isclass(bare):
        return bare
    return getattr(type(bare), "__call__", bare)  # noqa: B004  # the function is wanted, not whether there is one


def place(fn: Callable[..., Any], parameter: str | None = None) -> str:
    """Where something is wrong: ``module.function(parameter)``."""
    bare = unwrapped(fn)
    name = f"{getattr(bare, '__module__', '?')}.{getattr(bare, '__qualname__', type(bare).__qualname__)}"
    return name if parameter is None else f"{name}({parameter})"
