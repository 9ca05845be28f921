"""Signature: a function's parameters with markers found even in annotations that are still text."""

from __future__ import annotations

import builtins
import inspect
import types
from collections.abc import Callable, Mapping
from typing import Annotated, Any, get_args, get_origin

from nebula_resource.di.injection import is_marker
from nebula_resource.errors import ConfigurationError

__all__ = ["readable_signature", "without"]


def readable_signature(fn: Callable[..., Any]) -> inspect.Signature:
    """The signature of ``fn`` whose ``Annotated[..., marker]`` are evaluated.

    dependency-injector does not see a marker in an annotation that is text (``from __future__ import annotations``).
    Names that exist for type checkers alone do not matter here, only the marker's own.

    Raises:
        ConfigurationError: an annotation that mentions a marker cannot be evaluated.
    """
    signature = inspect.signature(fn)
    names = _Names(fn)
    parameters = [
        parameter.replace(annotation=_evaluated(parameter, fn, names))
        if isinstance(parameter.annotation, str)
        else parameter
        for parameter in signature.parameters.values()
    ]
    return signature.replace(parameters=parameters)


def without(signature: inspect.Signature, names: Mapping[str, Any]) -> inspect.Signature:
    """The signature as a caller sees it: what is injected is left out."""
    kept = [parameter for name, parameter in signature.parameters.items() if name not in names]
    return signature.replace(parameters=kept)


def _evaluated(parameter: inspect.Parameter, fn: Callable[..., Any], names: _Names) -> Any:
    """The annotation itself where it holds a marker; else the text, as it was."""
    text: str = parameter.annotation
    try:
        value = eval(text, {}, names)  # noqa: S307  # source code of the program, as typing.get_type_hints does
    except Exception as error:
        if any(word in text for word in ("Provide", "Closing", "Annotated")):
            raise ConfigurationError(
                f"the annotation of '{parameter.name}' in {fn.__qualname__} cannot be read ({type(error).__name__}), and it "
                f'may hold a marker; write: {parameter.name}: ... = Provide["..."]'
            ) from error
        return text
    if get_origin(value) is Annotated and any(is_marker(each) for each in get_args(value)[1:]):
        return value
    return text


class _Names(dict[str, Any]):
    """What a function's annotations may mention; a name that only type checkers see is as good as any type."""

    def __init__(self, fn: Callable[..., Any]) -> None:
        bare: Any = inspect.unwrap(fn)
        cells = zip(bare.__code__.co_freevars, bare.__closure__ or (), strict=True)
        closed_over = {name: cell.cell_contents for name, cell in cells if cell != _EMPTY_CELL}
        super().__init__({**vars(builtins), **bare.__globals__, **closed_over})

    def __missing__(self, name: str) -> Any:
        return _ForCheckers


_EMPTY_CELL = types.CellType()


class _Anything(type):
    """Lets a stand-in be used as any type may: ``X | None``, ``X[int]``, ``x.Y``."""

    def __getattr__(cls, name: str) -> Any:
        return cls

    def __getitem__(cls, item: Any) -> Any:
        return cls


class _ForCheckers(metaclass=_Anything):
    """Stands for a type that is imported for type checkers only."""
