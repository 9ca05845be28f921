"""UserApp: the application that ``--app module:factory`` names."""

from __future__ import annotations

import importlib
import inspect
import sysconfig
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from fastapi import FastAPI

from nebula_resource.errors import ConfigurationError
from nebula_resource.model.printable import printable
from nebula_resource.service.findings import near

__all__ = ["app_raised", "load_app"]

T = TypeVar("T")

_NOT_THEIRS = tuple(
    str(Path(each).resolve())
    for each in (
        sysconfig.get_path("stdlib"),
        sysconfig.get_path("purelib"),
        sysconfig.get_path("platlib"),
        Path(__file__).parents[1],
    )
)
"""Where the code stands that a user has not written."""


def load_app(name: str) -> FastAPI:
    """Return the FastAPI application, or what the factory makes.

    Raises `ConfigurationError`, in one line, for whatever stands in the way; what the user's code raised is its cause.
    """
    module_name, _, attribute = name.partition(":")
    if not attribute or not all(part.isidentifier() for part in module_name.split(".")):
        raise ConfigurationError("--app is module:factory, such as shop.main:create_app")
    module = _run(lambda: _imported(module_name), f"importing {module_name}")
    found: Any = getattr(module, attribute, None)
    if found is None:
        names = [each for each in vars(module) if not each.startswith("_")]
        raise ConfigurationError(
            f"--app: {module_name} has no {printable(attribute)}{near(attribute, names)}"
        )
    if not isinstance(found, FastAPI) and callable(found):
        _check_factory(name, found)
        found = _run(found, name)
    if not isinstance(found, FastAPI):
        raise ConfigurationError("--app must name a FastAPI application, or a function that returns one")
    return found


def app_raised(what: str, error: BaseException) -> ConfigurationError:
    """Say what a user's code raised, and where in it: never its text, which may hold a secret."""
    return ConfigurationError(f"{what} raised {_place(error)}; the log level DEBUG shows its traceback")


def _place(error: BaseException) -> str:
    """Of the frames it came through the innermost that the user wrote; of a syntax error the place itself."""
    file, line = getattr(error, "filename", None), getattr(error, "lineno", None)
    if not isinstance(error, SyntaxError) or file is None:
        frames = traceback.extract_tb(error.__traceback__)
        theirs = [each for each in frames if _is_theirs(each.filename)]
        file, line = (theirs[-1].filename, theirs[-1].lineno) if theirs else (None, None)
    where = "" if file is None else f" at {Path(file).name}, line {line}"
    return f"{type(error).__name__}{where}"


def _check_factory(name: str, factory: Callable[..., object]) -> None:
    if inspect.iscoroutinefunction(factory):
        raise ConfigurationError(f"--app: {name} must be a plain function, not an async one")
    try:
        inspect.signature(factory).bind()
    except TypeError as error:
        raise ConfigurationError(f"--app: {name} must be callable without arguments: {error}") from None
    except ValueError:
        pass  # written in C: it tells when it is called


def _imported(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and (name == error.name or name.startswith(f"{error.name}.")):
            raise ConfigurationError(f"--app: there is no module {error.name}") from None
        raise ConfigurationError(f"--app: its module needs {error.name}, which is not installed") from None


def _run(theirs: Callable[[], T], what: str) -> T:
    """Run the user's code; what it raises becomes one line. One that ends the process does not know who called it."""
    try:
        return theirs()
    except ConfigurationError:
        raise
    except (Exception, SystemExit) as error:
        raise app_raised(f"--app: {what}", error) from error


def _is_theirs(file: str) -> bool:
    return not file.startswith("<") and not str(Path(file).resolve()).startswith(_NOT_THEIRS)
