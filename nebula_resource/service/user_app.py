"""UserApp: the application that ``--app module:factory`` names."""

from __future__ import annotations

import importlib
from typing import Any

from fastapi import FastAPI

from nebula_resource.errors import ConfigurationError
from nebula_resource.service.findings import near

__all__ = ["load_app"]


def load_app(name: str) -> FastAPI:
    """Return the FastAPI application, or what the factory makes. Raises `ConfigurationError`, and what that raises."""
    module_name, _, attribute = name.partition(":")
    if not attribute or not all(part.isidentifier() for part in module_name.split(".")):
        raise ConfigurationError("--app is module:factory, such as shop.main:create_app")
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is not None and (module_name == error.name or module_name.startswith(f"{error.name}.")):
            raise ConfigurationError(f"--app: there is no module {error.name}") from None
        raise ConfigurationError(f"--app: its module needs {error.name}, which is not installed") from None
    found: Any = getattr(module, attribute, None)
    if found is None:
        names = [each for each in vars(module) if not each.startswith("_")]
        raise ConfigurationError(f"--app: {module_name} has no {attribute}{near(attribute, names)}")
    app = found if isinstance(found, FastAPI) else found() if callable(found) else None
    if not isinstance(app, FastAPI):
        raise ConfigurationError("--app must name a FastAPI application, or a function that returns one")
    return app
